package event

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The bytes of an event are deterministic CBOR (RFC 8949 section 4.2): a map with integer keys, the smallest key
// first, shortest integers, definite lengths, no tags.
//
//	1 kind      unsigned
//	2 revision  unsigned
//	3 commit    unsigned
//	4 time      integer, nanoseconds since 1970-01-01 UTC
//	5 actor     text, left out when empty
//	6 reason    text, left out when empty
//	7 body      map, by kind; its fields are documented on the body's Go type
//	8 request   map, left out where there was no idempotency key
//
// They are what the Merkle tree hashes, so the same event has the same bytes on every replica and in every
// version of the binary.
type wire struct {
	Kind     Kind            `cbor:"1,keyasint"`
	Revision Revision        `cbor:"2,keyasint"`
	Commit   Revision        `cbor:"3,keyasint"`
	Time     Time            `cbor:"4,keyasint"`
	Actor    string          `cbor:"5,keyasint,omitempty"`
	Reason   string          `cbor:"6,keyasint,omitempty"`
	Body     cbor.RawMessage `cbor:"7,keyasint"`
	Request  *Request        `cbor:"8,keyasint,omitempty"`
}

// ErrMalformed is why bytes are not an event of any version that this binary knows.
var ErrMalformed = errors.New("malformed event")

var (
	encMode = must(encOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxMapPairs:       4096,
		MaxArrayElements:  4096,
		MaxNestedLevels:   8,
	}.DecMode())
)

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty // an empty value has one encoding, not two
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: this is a build mistake, seen at the first start
	}
	return v
}

// Append adds an event's canonical bytes to dst.
func Append(dst []byte, e Event) []byte {
	body, err := encMode.Marshal(e.Body)
	if err == nil {
		w := wire{
			Kind: e.Body.Kind(), Revision: e.Revision, Commit: e.Commit, Time: e.Time,
			Actor: e.Actor, Reason: e.Reason, Body: body, Request: e.Request,
		}
		buf := bytes.NewBuffer(dst)
		if err = encMode.NewEncoder(buf).Encode(w); err == nil {
			return buf.Bytes()
		}
	}
	// The bodies are structs of plain fields, which always encode: this is a type that was added wrongly.
	panic(fmt.Sprintf("encode %T: %v", e.Body, err))
}

// Decode reads an event from its bytes. It refuses unknown kinds and fields, and the same field twice, but takes
// the writer's word that the bytes are the canonical ones: DecodeCanonical does not.
func Decode(b []byte) (Event, error) {
	var w wire
	if err := decMode.Unmarshal(b, &w); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	body, err := decodeBody(w.Kind, w.Body)
	if err != nil {
		return Event{}, fmt.Errorf("%w: revision %d: %w", ErrMalformed, w.Revision, err)
	}
	return Event{
		Revision: w.Revision, Commit: w.Commit, Time: w.Time, Actor: w.Actor, Reason: w.Reason, Request: w.Request, Body: body,
	}, nil
}

// DecodeCanonical reads an event from bytes of unknown origin: besides what Decode refuses, it refuses bytes that
// Append would not have written.
func DecodeCanonical(b []byte) (Event, error) {
	e, err := Decode(b)
	if err != nil {
		return Event{}, err
	}
	if !bytes.Equal(Append(nil, e), b) {
		return Event{}, fmt.Errorf("%w: revision %d: not in canonical form", ErrMalformed, e.Revision)
	}
	return e, nil
}

func decodeBody(k Kind, raw []byte) (Body, error) {
	switch k {
	case KindKeySet:
		return unmarshal[KeySet](raw)
	case KindKeyDeleted:
		return unmarshal[KeyDeleted](raw)
	case KindKeyExpired:
		return unmarshal[KeyExpired](raw)
	case KindKeyReleased:
		return unmarshal[KeyReleased](raw)
	case KindInstanceExpired:
		return unmarshal[InstanceExpired](raw)
	case KindSessionCreated:
		return unmarshal[SessionCreated](raw)
	case KindSessionEnded:
		return unmarshal[SessionEnded](raw)
	case KindSessionExpired:
		return unmarshal[SessionExpired](raw)
	case KindTimekeeperClaimed:
		return unmarshal[TimekeeperClaimed](raw)
	case KindInstanceRegistered:
		return unmarshal[InstanceRegistered](raw)
	case KindInstanceDeregistered:
		return unmarshal[InstanceDeregistered](raw)
	case KindInstanceCredentials:
		return unmarshal[InstanceCredentials](raw)
	case KindInstanceStatus:
		return unmarshal[InstanceStatus](raw)
	case KindInstanceMaintenance:
		return unmarshal[InstanceMaintenance](raw)
	case KindServiceConfigured:
		return unmarshal[ServiceConfigured](raw)
	case KindNodeSet:
		return unmarshal[NodeSet](raw)
	case KindNodeDeleted:
		return unmarshal[NodeDeleted](raw)
	case KindNodeMaintenance:
		return unmarshal[NodeMaintenance](raw)
	case KindNamespaceOpened:
		return unmarshal[NamespaceOpened](raw)
	case KindNamespaceCreated:
		return unmarshal[NamespaceCreated](raw)
	case KindNamespaceConfigured:
		return unmarshal[NamespaceConfigured](raw)
	case KindNamespaceUsage:
		return unmarshal[NamespaceUsage](raw)
	case KindNamespaceTrimmed:
		return unmarshal[NamespaceTrimmed](raw)
	case KindMemberAdded:
		return unmarshal[MemberAdded](raw)
	case KindMemberPromoted:
		return unmarshal[MemberPromoted](raw)
	case KindMemberRemoved:
		return unmarshal[MemberRemoved](raw)
	case KindNamespaceRestored:
		return unmarshal[NamespaceRestored](raw)
	case KindMemberVersion:
		return unmarshal[MemberVersion](raw)
	case KindClusterVersion:
		return unmarshal[ClusterVersion](raw)
	default:
		return decodeEnd(k, raw)
	}
}

// decodeEnd decodes what ends a namespace, and what begins one that is made from another.
func decodeEnd(k Kind, raw []byte) (Body, error) {
	switch k {
	case KindNamespaceClosed:
		return unmarshal[NamespaceClosed](raw)
	case KindNamespaceExpired:
		return unmarshal[NamespaceExpired](raw)
	case KindNamespaceDeleted:
		return unmarshal[NamespaceDeleted](raw)
	case KindNamespaceFilled:
		return unmarshal[NamespaceFilled](raw)
	default:
		return nil, fmt.Errorf("kind %d is not known to this version", k)
	}
}

func unmarshal[T Body](raw []byte) (Body, error) {
	var v T
	if err := decMode.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	return v, nil
}
