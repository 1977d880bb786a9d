package commands

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
)

// The bytes of an order are CBOR: a map of {1: version, 2: kind, 3: body, 4: idempotency key}, the last of them from
// VersionKeys on and left out where there is none. Unlike an event's they are never
// hashed, so they need not be canonical; but every replica decodes the same bytes, so decoding must be total.
type wire struct {
	Version uint32          `cbor:"1,keyasint"`
	Kind    kind            `cbor:"2,keyasint"`
	Body    cbor.RawMessage `cbor:"3,keyasint"`
	Key     *string         `cbor:"4,keyasint,omitempty"`
}

// kind numbers the commands. Raft logs hold them: append only, never reuse.
type kind uint16

const (
	kindPutKey              kind = 1
	kindDeleteKey           kind = 2
	kindDeletePrefix        kind = 3
	kindTxn                 kind = 4
	kindAppendKey           kind = 6
	kindPutTree             kind = 5
	kindRegisterInstance    kind = 10
	kindDeregisterInstance  kind = 11
	kindReportStatus        kind = 12
	kindInstanceMaintenance kind = 13
	kindConfigureService    kind = 14
	kindPutNode             kind = 15
	kindDeleteNode          kind = 16
	kindNodeMaintenance     kind = 17
	kindCreateSession       kind = 20
	kindEndSession          kind = 21
	kindClaimTimekeeper     kind = 22
	kindExpire              kind = 23
	kindCreateNamespace     kind = 90
	kindOpenNamespace       kind = 91
	kindAddMember           kind = 92
	kindPromoteMember       kind = 93
	kindRemoveMember        kind = 94
	kindRestoreNamespace    kind = 95
	kindAnnounceVersion     kind = 96
	kindSetClusterVersion   kind = 97
	kindConfigureNamespace  kind = 100
	kindApplySettings       kind = 101
	kindTrimHistory         kind = 102
	kindCloseNamespace      kind = 103
	kindClearNamespace      kind = 104
	kindDeleteNamespace     kind = 105
	kindFillNamespace       kind = 106
)

// ErrMalformed is why bytes are not a command that this version knows.
var ErrMalformed = errors.New("malformed command")

// ErrVersion is why bytes are an order that this binary is too old for. Nobody writes one before every server has said
// that it knows the version, so this binary took the place of a newer one, and must not go on: what it would skip, the
// others do.
var ErrVersion = errors.New("the command was written for a newer version of the decisions")

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8DecodeInvalid, // a key that is not UTF-8 can still be deleted and read
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxMapPairs:       4096,
		MaxArrayElements:  event.TreeEntriesMax,
		MaxNestedLevels:   16,
	}.DecMode())
	// versionMode reads the version of whatever newer versions may write.
	versionMode = must(cbor.DecOptions{MaxNestedLevels: 64}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: this is a build mistake, seen at the first start
	}
	return v
}

// Encode gives the bytes of an order for a command without more ado, in the newest version.
func Encode(c Command) []byte { return Order{Version: Version, Command: c}.Encode() }

// Encode gives an order's bytes.
func (o Order) Encode() []byte {
	body, err := encMode.Marshal(o.Command)
	if err == nil {
		w := wire{Version: o.Version, Kind: kindOf(o.Command), Body: body}
		if o.Key != "" {
			w.Key = &o.Key
		}
		var b []byte
		if b, err = encMode.Marshal(w); err == nil {
			return b
		}
	}
	panic(fmt.Sprintf("encode %T: %v", o.Command, err)) // structs of plain fields always encode
}

// codec is how a command of one type travels.
type codec struct {
	kind   kind
	is     func(Command) bool
	decode func([]byte) (Command, error)
}

func codecOf[T Command](k kind) codec {
	return codec{k, func(c Command) bool { _, ok := c.(T); return ok }, unmarshal[T]}
}

// codecs has every command once.
var codecs = []codec{
	codecOf[PutKey](kindPutKey),
	codecOf[DeleteKey](kindDeleteKey),
	codecOf[DeletePrefix](kindDeletePrefix),
	codecOf[Txn](kindTxn),
	codecOf[AppendKey](kindAppendKey),
	codecOf[CreateSession](kindCreateSession),
	codecOf[EndSession](kindEndSession),
	codecOf[ClaimTimekeeper](kindClaimTimekeeper),
	codecOf[Expire](kindExpire),
	codecOf[PutTree](kindPutTree),
	codecOf[RegisterInstance](kindRegisterInstance),
	codecOf[DeregisterInstance](kindDeregisterInstance),
	codecOf[ReportStatus](kindReportStatus),
	codecOf[SetInstanceMaintenance](kindInstanceMaintenance),
	codecOf[ConfigureService](kindConfigureService),
	codecOf[PutNode](kindPutNode),
	codecOf[DeleteNode](kindDeleteNode),
	codecOf[SetNodeMaintenance](kindNodeMaintenance),
	codecOf[CreateNamespace](kindCreateNamespace),
	codecOf[OpenNamespace](kindOpenNamespace),
	codecOf[AddMember](kindAddMember),
	codecOf[PromoteMember](kindPromoteMember),
	codecOf[RemoveMember](kindRemoveMember),
	codecOf[RestoreNamespace](kindRestoreNamespace),
	codecOf[AnnounceVersion](kindAnnounceVersion),
	codecOf[SetClusterVersion](kindSetClusterVersion),
	codecOf[ConfigureNamespace](kindConfigureNamespace),
	codecOf[ApplySettings](kindApplySettings),
	codecOf[TrimHistory](kindTrimHistory),
	codecOf[CloseNamespace](kindCloseNamespace),
	codecOf[ClearNamespace](kindClearNamespace),
	codecOf[DeleteNamespace](kindDeleteNamespace),
	codecOf[FillNamespace](kindFillNamespace),
}

var codecByKind = func() map[kind]codec {
	m := map[kind]codec{}
	for _, c := range codecs {
		m[c.kind] = c
	}
	return m
}()

func kindOf(c Command) kind {
	for _, known := range codecs {
		if known.is(c) {
			return known.kind
		}
	}
	panic(fmt.Sprintf("command %T has no kind", c)) // a type that was added wrongly
}

// Decode reads an order from its bytes.
func Decode(b []byte) (Order, error) {
	var w wire
	err := decMode.Unmarshal(b, &w)
	if v := max(w.Version, versionIn(b, err)); v > Version {
		return Order{}, fmt.Errorf("%w: it was written for %d, and this binary knows up to %d: start a newer one", ErrVersion, v, Version)
	}
	if err != nil {
		return Order{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if w.Version == 0 {
		return Order{}, fmt.Errorf("%w: it does not say for which version of the decisions it was written", ErrMalformed)
	}
	o := Order{Version: w.Version}
	if w.Key != nil {
		if w.Version < VersionKeys || *w.Key == "" { // a binary that knows no more than that version says so, too
			return Order{}, fmt.Errorf("%w: an idempotency key in version %d, or an empty one", ErrMalformed, w.Version)
		}
		o.Key = *w.Key
	}
	if o.Command, err = w.command(); err != nil {
		return o, err
	}
	if since := Since(o.Command); w.Version < since {
		return Order{}, fmt.Errorf("%w: %T is known from version %d on, and the order is of %d", ErrMalformed, o.Command, since, w.Version)
	}
	return o, nil
}

// versionIn is the version that an order was written for which could not be read: a newer version may add what this
// one does not know, and that is not for it to judge. Zero where there is none.
func versionIn(b []byte, unreadable error) uint32 {
	var w struct {
		Version uint32 `cbor:"1,keyasint"`
	}
	if unreadable == nil || versionMode.Unmarshal(b, &w) != nil {
		return 0
	}
	return w.Version
}

func (w wire) command() (Command, error) {
	c, known := codecByKind[w.Kind]
	if !known {
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, w.Kind)
	}
	return c.decode(w.Body)
}

func unmarshal[T Command](raw []byte) (Command, error) {
	var v T
	if err := decMode.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrMalformed, v, err)
	}
	return v, nil
}
