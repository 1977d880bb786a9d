package commands

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Version is the version of the decide logic that this binary writes commands for. It travels with every command,
// so that a later version can go on deciding old commands as they were decided.
const Version = 1

// The bytes of a command are CBOR: a map of {1: version, 2: kind, 3: body}. Unlike an event's they are never
// hashed, so they need not be canonical; but every replica decodes the same bytes, so decoding must be total.
type wire struct {
	Version uint32          `cbor:"1,keyasint"`
	Kind    kind            `cbor:"2,keyasint"`
	Body    cbor.RawMessage `cbor:"3,keyasint"`
}

// kind numbers the commands. Raft logs hold them: append only, never reuse.
type kind uint16

const (
	kindPutKey             kind = 1
	kindDeleteKey          kind = 2
	kindDeletePrefix       kind = 3
	kindTxn                kind = 4
	kindRegisterInstance   kind = 10
	kindDeregisterInstance kind = 11
	kindCreateNamespace    kind = 90
	kindOpenNamespace      kind = 91
	kindAddMember          kind = 92
	kindPromoteMember      kind = 93
	kindRemoveMember       kind = 94
	kindRestoreNamespace   kind = 95
)

// ErrMalformed is why bytes are not a command that this version knows.
var ErrMalformed = errors.New("malformed command")

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8DecodeInvalid, // a key that is not UTF-8 can still be deleted and read
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxMapPairs:       4096,
		MaxArrayElements:  4096,
		MaxNestedLevels:   16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: this is a build mistake, seen at the first start
	}
	return v
}

// Encode gives a command's bytes.
func Encode(c Command) []byte {
	body, err := encMode.Marshal(c)
	if err == nil {
		var b []byte
		if b, err = encMode.Marshal(wire{Version: Version, Kind: kindOf(c), Body: body}); err == nil {
			return b
		}
	}
	panic(fmt.Sprintf("encode %T: %v", c, err)) // structs of plain fields always encode
}

func kindOf(c Command) kind {
	switch c.(type) {
	case PutKey:
		return kindPutKey
	case DeleteKey:
		return kindDeleteKey
	case DeletePrefix:
		return kindDeletePrefix
	case Txn:
		return kindTxn
	case RegisterInstance:
		return kindRegisterInstance
	case DeregisterInstance:
		return kindDeregisterInstance
	case CreateNamespace:
		return kindCreateNamespace
	case OpenNamespace:
		return kindOpenNamespace
	case AddMember:
		return kindAddMember
	case PromoteMember:
		return kindPromoteMember
	case RemoveMember:
		return kindRemoveMember
	case RestoreNamespace:
		return kindRestoreNamespace
	}
	panic(fmt.Sprintf("command %T has no number", c))
}

// Decode reads a command from its bytes.
func Decode(b []byte) (Command, error) {
	var w wire
	if err := decMode.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if w.Version == 0 || w.Version > Version {
		return nil, fmt.Errorf("%w: written for version %d of the decisions; this binary knows up to %d", ErrMalformed, w.Version, Version)
	}
	switch w.Kind {
	case kindPutKey:
		return unmarshal[PutKey](w.Body)
	case kindDeleteKey:
		return unmarshal[DeleteKey](w.Body)
	case kindDeletePrefix:
		return unmarshal[DeletePrefix](w.Body)
	case kindTxn:
		return unmarshal[Txn](w.Body)
	case kindRegisterInstance:
		return unmarshal[RegisterInstance](w.Body)
	case kindDeregisterInstance:
		return unmarshal[DeregisterInstance](w.Body)
	case kindCreateNamespace:
		return unmarshal[CreateNamespace](w.Body)
	case kindOpenNamespace:
		return unmarshal[OpenNamespace](w.Body)
	case kindAddMember:
		return unmarshal[AddMember](w.Body)
	case kindPromoteMember:
		return unmarshal[PromoteMember](w.Body)
	case kindRemoveMember:
		return unmarshal[RemoveMember](w.Body)
	case kindRestoreNamespace:
		return unmarshal[RestoreNamespace](w.Body)
	}
	return nil, fmt.Errorf("%w: kind %d", ErrMalformed, w.Kind)
}

func unmarshal[T Command](raw []byte) (Command, error) {
	var v T
	if err := decMode.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrMalformed, v, err)
	}
	return v, nil
}

// EncodeReply gives the bytes of what a caller is told: an answer or a rejection.
func EncodeReply(a Answer, r *Rejection) []byte {
	b, err := encMode.Marshal(reply{Answer: a, Rejection: r})
	if err != nil {
		panic(fmt.Sprintf("encode a reply: %v", err))
	}
	return b
}

// DecodeReply is the inverse of EncodeReply.
func DecodeReply(b []byte) (Answer, *Rejection, error) {
	var v reply
	if err := replyMode.Unmarshal(b, &v); err != nil {
		return Answer{}, nil, fmt.Errorf("malformed reply: %w", err)
	}
	return v.Answer, v.Rejection, nil
}

// replyMode has no bound on sizes: a reply comes from this very process, and a get of a prefix may be long.
var replyMode = must(cbor.DecOptions{
	UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 30,
}.DecMode())

type reply struct {
	Answer    Answer     `cbor:"1,keyasint,omitempty"`
	Rejection *Rejection `cbor:"2,keyasint,omitempty"`
}
