package commands

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/rollcall/rollcall/log/event"
)

// A request with an idempotency key that made events is remembered with them. When it comes again, its answer is found
// by deciding the command once more, on the state as it was before the events: decisions are pure, so this gives the
// same events, which are not written again, and the same answer. A request that was refused, or found nothing to
// change, left no trace, and is decided anew.

// fingerprintBytes is how much of a SHA-256 tells one command from another. Whoever could make two commands with one
// fingerprint would deceive nobody but themselves.
const fingerprintBytes = 16

// ValidateKeyOf says what is wrong with the idempotency key of a request.
func ValidateKeyOf(key string) *Rejection {
	if key == "" || len(key) > event.IdempotencyKeyMax || !printable(key) {
		return reject(CodeInvalidRequestKey, "idempotency key %.40q: 1 to %d printable ASCII characters", key, event.IdempotencyKeyMax)
	}
	return nil
}

// decideOnce decides a command with an idempotency key.
func decideOnce(s State, at Situation, o Order) (Decision, *Rejection) {
	if r := ValidateKeyOf(o.Key); r != nil {
		return Decision{}, r
	}
	if o.Version < VersionKeys {
		return Decision{}, reject(CodeUnsupportedVersion, "idempotency keys are known from version %d of the decisions on, not in %d", VersionKeys, o.Version)
	}
	own := fingerprint(o.Command)
	if done, ok := s.Done(o.Key); ok && at.Asked-done.Time <= event.RequestKept && ofThisLife(s, done, o.Command) {
		if !bytes.Equal(done.Fingerprint, own) {
			return Decision{}, reject(CodeRequestKeyReused, "idempotency key %q was used for another request, which made revision %d: take a new key for each change", o.Key, done.Commit)
		}
		if r := living(s, at.Ledger, o.Command); r != nil {
			return Decision{}, r // what is gone answers nobody; that it was to go is answered again
		}
		if r := kept(s, done.First-1, "the answer to this repeat"); r != nil {
			return Decision{}, r
		}
		return decideAgain(at, done, o.Command)
	}
	d, r := decideWithin(s, at, o)
	if r == nil && len(d.Events) > 0 && d.Skip == 0 { // the state before a jump of revisions has no number of its own
		d.Request = &event.Request{Key: o.Key, Fingerprint: own, Version: o.Version}
	}
	return d, r
}

// ofThisLife tells whether a request was made of the namespace that is there now, and not of one of that name that was
// deleted: what that one did is not here. What begins and ends namespaces is of both.
func ofThisLife(s State, done event.Done, c Command) bool {
	switch c.(type) {
	case OpenNamespace, CloseNamespace, ClearNamespace:
		return true
	}
	return done.Commit >= s.Life().Began
}

// decideAgain gives the answer that a request got.
func decideAgain(at Situation, done event.Done, c Command) (Decision, *Rejection) {
	at.Now = done.Time
	d, r := decide(at.Past(done.First-1), at, Order{Version: done.Version, Command: accepted(c)})
	if r != nil {
		return Decision{}, r // it may read too much beside the others in its entry
	}
	d.Answer.Resolve(done.Commit)
	d.Events = nil
	return d, nil
}

// accepted is a command without what a server adds to it each time anew from what it knows at the moment, as it must
// have been to be accepted where that decided.
func accepted(c Command) Command {
	switch c := c.(type) {
	case AddMember:
		c.Replace = true // which matters only where a server is replaced, and is refused without it
		return c
	case CreateNamespace:
		c.FromRevision = anyOf(c.From)
		return c
	case ConfigureNamespace:
		c.FromRevision = anyOf(c.From)
		return c
	case CloseNamespace:
		c.Placed = 0
		return c
	case DeleteNamespace:
		return DeleteNamespace{Namespace: c.Namespace, Placed: whichever}
	}
	return c
}

// anyOf is a revision of a namespace that another one is made from, as good as any other: no answer tells which it was.
func anyOf(from string) event.Revision {
	if from == "" {
		return 0
	}
	return 1
}

// fingerprint tells a command from any other.
func fingerprint(c Command) []byte {
	b, err := encMode.Marshal(struct {
		Kind kind    `cbor:"1,keyasint"`
		Body Command `cbor:"2,keyasint"`
	}{kindOf(c), accepted(c)})
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", c, err)) // structs of plain fields always encode
	}
	sum := sha256.Sum256(b)
	return sum[:fingerprintBytes]
}
