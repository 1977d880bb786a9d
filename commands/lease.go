package commands

import (
	"fmt"
	"strconv"

	"github.com/rollcall/rollcall/log/event"
)

// A lease is what ends unless somebody renews it: a session, or a key with a TTL of its own. When one ends is not for a
// decision to say, which has no clock: a timekeeper finds it, and says so with its epoch. Decisions see to it that only
// the latest timekeeper is heard, and that a lease which was changed meanwhile does not end.

// AppendKey makes a key below a directory, named by the revision that makes it in 20 digits, so that such keys are in the
// order in which they were made.
type AppendKey struct {
	Directory   string     `cbor:"1,keyasint"` // with its last slash
	Value       []byte     `cbor:"2,keyasint,omitempty"`
	ContentType string     `cbor:"3,keyasint,omitempty"`
	Flags       uint64     `cbor:"4,keyasint,omitempty"`
	TTL         event.Time `cbor:"5,keyasint,omitempty"`
	Session     string     `cbor:"6,keyasint,omitempty"`
}

// CreateSession begins a session. Its id is the revision that creates it.
type CreateSession struct {
	TTL       event.Time  `cbor:"1,keyasint"`
	OnEnd     event.OnEnd `cbor:"2,keyasint,omitempty"`
	LockDelay event.Time  `cbor:"3,keyasint,omitempty"`
}

// EndSession ends a session, and what is bound to it. Where that is too much for one commit, the result says that there is
// more, and the same command goes on. Ending what is not there is rejected with CodeNotFound.
type EndSession struct {
	ID string `cbor:"1,keyasint"`
}

// ClaimTimekeeper says that a server keeps the time of a ledger from now on. The revision of the answer is its epoch.
type ClaimTimekeeper struct {
	Server string `cbor:"1,keyasint"`
}

// Expire ends the leases whose time has passed, in one commit. It is rejected with CodeStaleEpoch where another server
// keeps the time by now. What was renewed by a write, or is gone, is passed over.
type Expire struct {
	Epoch  event.Revision `cbor:"1,keyasint"`
	Leases []Lease        `cbor:"2,keyasint"`
}

// Lease names a session, a key as it was written at a revision, what is due of an instance as it was at a revision, or the
// namespace itself as it was configured at a revision of _system's ledger.
type Lease struct {
	Session   string         `cbor:"1,keyasint,omitempty"`
	Key       string         `cbor:"2,keyasint,omitempty"`
	Revision  event.Revision `cbor:"3,keyasint,omitempty"`
	Service   string         `cbor:"4,keyasint,omitempty"`
	ID        string         `cbor:"5,keyasint,omitempty"`
	Check     string         `cbor:"6,keyasint,omitempty"`
	Namespace bool           `cbor:"7,keyasint,omitempty"`
	// After is for how long nobody has said anything of the instance: what is due only later by now is not due.
	After event.Time `cbor:"8,keyasint,omitempty"`
}

func (AppendKey) command()       {}
func (CreateSession) command()   {}
func (EndSession) command()      {}
func (ClaimTimekeeper) command() {}
func (Expire) command()          {}

func (AppendKey) since() uint32       { return VersionLeases }
func (CreateSession) since() uint32   { return VersionLeases }
func (EndSession) since() uint32      { return VersionLeases }
func (ClaimTimekeeper) since() uint32 { return VersionLeases }

func (c Expire) since() uint32 {
	for _, l := range c.Leases {
		if l.Service != "" || l.Namespace {
			return VersionHealth
		}
	}
	return VersionLeases
}

func (c PutKey) since() uint32 {
	if c.TTL != 0 || c.Session != "" || asksSession(c.If) {
		return VersionLeases
	}
	return VersionFirst
}

func (c DeleteKey) since() uint32 {
	if asksSession(c.If) {
		return VersionLeases
	}
	return VersionFirst
}

func (c RegisterInstance) since() uint32 {
	if len(c.Instance.Checks) > 0 || c.Instance.TTL != 0 || c.Credentials != nil {
		return VersionHealth
	}
	if c.Instance.Session != "" {
		return VersionLeases
	}
	return VersionFirst
}

func (c Txn) since() uint32 {
	version := uint32(VersionFirst)
	if asksSession(c.If) {
		version = VersionLeases
	}
	for _, branch := range [][]Operation{c.Then, c.Else} {
		for _, op := range branch {
			if op.Put != nil {
				version = max(version, op.Put.since())
			}
			if op.Register != nil {
				version = max(version, op.Register.since())
			}
		}
	}
	return version
}

func asksSession(conditions []Condition) bool {
	for _, c := range conditions {
		if c.Field == FieldSession {
			return true
		}
	}
	return false
}

// validateLease says what is wrong with the lease of a key that is to be written.
func validateLease(key string, ttl event.Time, session string) *Rejection {
	switch {
	case ttl != 0 && session != "":
		return reject(CodeInvalidArgument, "key %q has both a TTL and a session: it ends with one of them", key)
	case len(session) > event.NameBytesMax:
		return reject(CodeInvalidArgument, "session %.40q…: no id is as long", session)
	case ttl != 0:
		return validateTTL(ttl)
	}
	return nil
}

func validateTTL(ttl event.Time) *Rejection {
	if ttl < event.TTLMin || ttl > event.TTLMax {
		return reject(CodeInvalidTTL, "a TTL of %s: from %s to %s", seconds(ttl), seconds(event.TTLMin), seconds(event.TTLMax))
	}
	return nil
}

// seconds shows a duration without package time, which has a clock.
func seconds(d event.Time) string {
	s := strconv.FormatFloat(float64(d)/1e9, 'f', -1, 64)
	return s + "s"
}

// validateDirectory says what is wrong with a put of a key that ends in a slash.
func validateDirectory(c PutKey) *Rejection {
	if c.Session != "" || len(c.Value) > 0 || c.ContentType != "" || c.Flags != 0 {
		return reject(CodeInvalidKey, "%q is a directory: it has a TTL, and neither a value nor a session", c.Key)
	}
	return nil
}

func validateAppend(c AppendKey) *Rejection {
	if !event.IsDirectory(c.Directory) {
		return reject(CodeInvalidKey, "%q is no directory: its name ends in a slash", c.Directory)
	}
	return validatePut(c.put(0))
}

// put is the same as a put of the key at a revision.
func (c AppendKey) put(r event.Revision) PutKey {
	return PutKey{
		Key:   fmt.Sprintf("%s%020d", c.Directory, r),
		Value: c.Value, ContentType: c.ContentType, Flags: c.Flags, TTL: c.TTL, Session: c.Session,
	}
}

func validateSession(c CreateSession) *Rejection {
	if c.OnEnd > event.Delete {
		return reject(CodeInvalidArgument, "a session releases (0) or deletes (1) what it holds; %d is neither", c.OnEnd)
	}
	if c.LockDelay < 0 || c.LockDelay > event.LockDelayMax {
		return reject(CodeInvalidTTL, "a lock delay of %s: from 0s to %s", seconds(c.LockDelay), seconds(event.LockDelayMax))
	}
	return validateTTL(c.TTL)
}

func validateExpire(c Expire) *Rejection {
	if len(c.Leases) > event.ExpireMax {
		return reject(CodeTooLarge, "%d leases; at most %d", len(c.Leases), event.ExpireMax)
	}
	return nil
}

func decideAppend(s State, c AppendKey) (Decision, *Rejection) {
	p := c.put(s.Head() + 1)
	if _, exists := s.Key(p.Key); exists {
		return Decision{}, reject(CodeConditionFailed, "key %q, which would be the next one of %q, exists already: somebody wrote it by that name", p.Key, c.Directory)
	}
	d, r := decidePut(s, p)
	if r == nil {
		d.Answer.Results[0].Key = p.Key
	}
	return d, r
}

// checkSession refuses to bind a thing to a session that is not there.
func checkSession(s State, id string) *Rejection {
	if id == "" {
		return nil
	}
	if _, ok := s.Session(id); !ok {
		return reject(CodeUnknownSession, "session %q does not exist: it ended, or never began", id)
	}
	return nil
}

func decideCreateSession(s State, c CreateSession) (Decision, *Rejection) {
	id := strconv.FormatUint(uint64(s.Head()+1), 10)
	return one(event.SessionCreated{ID: id, TTL: c.TTL, OnEnd: c.OnEnd, LockDelay: c.LockDelay}, Result{Created: true, Key: id}), nil
}

func decideEndSession(s State, c EndSession) (Decision, *Rejection) {
	session, ok := s.Session(c.ID)
	if !ok {
		return Decision{}, reject(CodeNotFound, "session %q does not exist: it ended, or never began", c.ID)
	}
	events, _, more := endSession(s, session, 0, event.CommitEventsMax, event.LetGoBytesMax)
	return Decision{Events: events, Answer: Answer{Results: []Result{{Deleted: uint64(len(events)), More: more}}}}, nil
}

func decideClaim(s State, ledger string, c ClaimTimekeeper) (Decision, *Rejection) {
	return one(event.TimekeeperClaimed{Namespace: ledger, Server: c.Server, Previous: s.Timekeeper()}, Result{}), nil
}

func decideExpire(s State, ledger string, c Expire) (Decision, *Rejection) {
	if c.Epoch == 0 || c.Epoch != s.Timekeeper() {
		return Decision{}, reject(CodeStaleEpoch, "the timekeeper of epoch %d was followed by that of epoch %d", c.Epoch, s.Timekeeper())
	}
	if gone := expireNamespace(s, ledger, c); gone != nil {
		return one(*gone, Result{Deleted: 1}), nil // with all that is in it
	}
	e := &expiring{state: s, epoch: c.Epoch, gone: map[string]bool{}, bytes: event.LetGoBytesMax}
	for _, lease := range c.Leases {
		if len(e.events) >= event.CommitEventsMax || e.bytes <= 0 {
			break // the rest is for another commit: the timekeeper sees that it is still there
		}
		e.end(lease)
	}
	if len(e.events) == 0 {
		return nothing(s.Head(), Result{}), nil
	}
	return Decision{Events: e.events, Answer: Answer{Results: []Result{{Deleted: uint64(len(e.events))}}}}, nil
}

// expiring gathers the events of leases that end in one commit, in which a key goes once, though it may be bound to a
// session and stand in directories that all end.
type expiring struct {
	state  State
	epoch  event.Revision
	events []event.Body
	gone   map[string]bool
	bytes  int // of values that may still be let go
}

func (e *expiring) end(l Lease) {
	if l.Namespace {
		return // it has no TTL any more, or another one
	}
	left := event.CommitEventsMax - len(e.events)
	if l.Session != "" {
		const apart = "\x00" // which no key holds
		if session, ok := e.state.Session(l.Session); ok && !e.gone[apart+l.Session] {
			e.gone[apart+l.Session] = true
			events, bytes, _ := endSession(e.state, session, e.epoch, left, e.bytes)
			for _, body := range events {
				e.add(body)
			}
			e.bytes -= bytes
		}
		return
	}
	if l.Service != "" {
		e.endDue(l)
		return
	}
	entry, ok := e.state.Key(l.Key)
	if !ok || entry.TTL == 0 || entry.Revision != l.Revision {
		return
	}
	if !event.IsDirectory(l.Key) {
		e.add(event.KeyExpired{Key: l.Key, Previous: entry.Revision})
		return
	}
	// The directory itself comes first in key order, and must go last: while something is left below it for another
	// commit, so is its lease.
	var below []event.Body
	for key, revision := range e.state.KeyRevisions(l.Key) {
		if key == l.Key {
			continue
		}
		if len(below) == left-1 {
			for _, body := range below {
				e.add(body)
			}
			return
		}
		below = append(below, event.KeyExpired{Key: key, Previous: revision, Directory: l.Key})
	}
	e.add(event.KeyExpired{Key: l.Key, Previous: entry.Revision})
	for _, body := range below {
		e.add(body)
	}
}

// endDue has happen to an instance what is due.
func (e *expiring) endDue(l Lease) {
	due, ok := e.state.Due(l.Service, l.ID, l.Check)
	if !ok || due.Revision != l.Revision || due.After > l.After {
		return
	}
	i, ok := e.state.Instance(l.Service, l.ID)
	switch {
	case !ok:
	case due.Check == "" || due.Status == event.Critical:
		e.add(event.InstanceExpired{Service: i.Service, ID: i.ID, Previous: i.Revision, Check: due.Check})
	default:
		e.add(event.InstanceStatus{
			Service: i.Service, ID: i.ID, Check: due.Check, Status: event.Critical, Was: due.Status, Previous: due.Revision, Epoch: e.epoch,
		})
	}
}

// add adds an event, unless it is about a key or an instance that is gone by an earlier one.
func (e *expiring) add(body event.Body) {
	const instance = "\x01" // with a NUL behind it, which no key holds
	key := ""
	switch b := body.(type) {
	case event.InstanceStatus:
		if e.gone[instance+b.Service+"\x00"+b.ID] {
			return
		}
	case event.InstanceExpired:
		at := instance + b.Service + "\x00" + b.ID
		if e.gone[at] {
			return
		}
		e.gone[at] = true
	case event.KeyExpired:
		key = b.Key
	case event.KeyReleased:
		key = b.Key
	}
	if key != "" {
		if e.gone[key] {
			return
		}
		_, expired := body.(event.KeyExpired)
		e.gone[key] = expired
	}
	e.events = append(e.events, body)
}

// endSession gives the events by which a session ends, at most limit, and how many bytes of values they let go: about so
// many at most, of which a released one counts for several, because it is written anew. Of a session that holds more, some
// things are let go, and it stays for the next commit: then there is more. An epoch of zero says that somebody ended it;
// else it has expired.
func endSession(s State, session event.Session, epoch event.Revision, limit, bytesMax int) (events []event.Body, bytes int, more bool) {
	weight := 1
	if session.OnEnd == event.Release {
		weight = event.LetGoBytesMax / event.ReleasedBytesMax
	}
	events = []event.Body{event.SessionEnded{ID: session.ID}}
	if epoch != 0 {
		events[0] = event.SessionExpired{ID: session.ID, Epoch: epoch}
	}
	for key := range s.KeysHeld(session.ID) {
		if len(events) == limit || bytes >= bytesMax {
			return events[1:], bytes, true
		}
		entry, ok := s.Key(key)
		if !ok {
			continue
		}
		bytes += weight * len(entry.Value)
		events = append(events, keyLetGo(entry, session, epoch != 0))
	}
	for i := range s.InstancesHeld(session.ID) {
		if len(events) == limit {
			return events[1:], bytes, true
		}
		if epoch != 0 {
			events = append(events, event.InstanceExpired{Service: i.Service, ID: i.ID, Previous: i.Revision, Session: session.ID})
		} else {
			events = append(events, event.InstanceDeregistered{Service: i.Service, ID: i.ID, Previous: i.Revision, Session: session.ID})
		}
	}
	return events, bytes, false
}

func keyLetGo(e event.Entry, session event.Session, expired bool) event.Body {
	switch {
	case session.OnEnd == event.Release:
		return event.KeyReleased{Key: e.Key, Previous: e.Revision, Session: session.ID}
	case expired:
		return event.KeyExpired{Key: e.Key, Previous: e.Revision, Session: session.ID}
	}
	return event.KeyDeleted{Key: e.Key, Previous: e.Revision, Session: session.ID}
}
