package commands

import "github.com/rollcall/rollcall/log/event"

// ConfigureNamespace asks a namespace to keep to settings, and makes it where it is missing; it goes to the ledger of
// event.System. A field that is nil stays as it is, and zero takes a bound away. Asking for what holds is no event.
type ConfigureNamespace struct {
	Namespace string      `cbor:"1,keyasint"`
	Group     uint64      `cbor:"2,keyasint,omitempty"` // as CreateNamespace has it
	Keys      *uint64     `cbor:"3,keyasint,omitempty"`
	Bytes     *uint64     `cbor:"4,keyasint,omitempty"`
	Age       *event.Time `cbor:"5,keyasint,omitempty"`
	Revisions *uint64     `cbor:"6,keyasint,omitempty"`
	// TTL is for how long the namespace stays after it was last renewed.
	TTL          *event.Time    `cbor:"7,keyasint,omitempty"`
	From         string         `cbor:"8,keyasint,omitempty"` // as CreateNamespace has it
	FromRevision event.Revision `cbor:"9,keyasint,omitempty"`
}

// ApplySettings carries settings from _system's ledger to the namespace's own, which is all that its decisions see.
// What is there already, or something newer, is no event.
type ApplySettings struct {
	Namespace  string         `cbor:"1,keyasint"`
	Keys       uint64         `cbor:"2,keyasint,omitempty"`
	Bytes      uint64         `cbor:"3,keyasint,omitempty"`
	Age        event.Time     `cbor:"4,keyasint,omitempty"`
	Revisions  uint64         `cbor:"5,keyasint,omitempty"`
	Configured event.Revision `cbor:"6,keyasint"` // the revision of _system's ledger that asked for it
	TTL        event.Time     `cbor:"7,keyasint,omitempty"`
}

func (ConfigureNamespace) command() {}
func (ApplySettings) command()      {}

func (c ConfigureNamespace) since() uint32 {
	if c.TTL != nil || c.From != "" {
		return VersionHealth
	}
	return VersionLeases
}

func (c ApplySettings) since() uint32 {
	if c.TTL != 0 {
		return VersionHealth
	}
	return VersionLeases
}

// The bounds of settings: numbers that JSON's readers hold exactly.
const (
	settingMax = 1 << 53
	ageMin     = event.Time(1e9)
	ageMax     = event.Time(100 * 365 * 24 * 3600 * 1e9)
)

func validateConfigure(c ConfigureNamespace) *Rejection {
	if r := validateNamespace(c.Namespace); r != nil {
		return r
	}
	for _, f := range []struct {
		name  string
		value *uint64
	}{{"quota of keys", c.Keys}, {"quota of bytes", c.Bytes}, {"number of revisions", c.Revisions}} {
		if f.value != nil && *f.value > settingMax {
			return reject(CodeInvalidArgument, "a %s of %d: at most %d, and 0 for none", f.name, *f.value, uint64(settingMax))
		}
	}
	if c.Age != nil && *c.Age != 0 && (*c.Age < ageMin || *c.Age > ageMax) {
		return reject(CodeInvalidArgument, "an age of %d milliseconds: from a second to 100 years, and 0 for none", *c.Age/1e6)
	}
	if c.TTL != nil && *c.TTL != 0 {
		if r := ValidateEnd(c.Namespace); r != nil {
			return r
		}
		return validateTTL(*c.TTL)
	}
	return nil
}

func decideConfigure(s State, ledger string, c ConfigureNamespace) (Decision, *Rejection) {
	d, r := decideCreateNamespace(s, ledger, CreateNamespace{
		Namespace: c.Namespace, Group: c.Group, From: c.From, FromRevision: c.FromRevision,
	})
	if r != nil {
		return d, r
	}
	holds, known := s.Wish(c.Namespace)
	wish := holds
	for _, f := range []struct{ to, from *uint64 }{{&wish.Keys, c.Keys}, {&wish.Bytes, c.Bytes}, {&wish.Revisions, c.Revisions}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if c.Age != nil {
		wish.Age = *c.Age
	}
	if c.TTL != nil {
		wish.TTL = *c.TTL
	}
	if !wish.Same(holds) {
		d.Answer.Revision, d.Answer.Results[0].Revision = 0, 0 // this very commit
		d.Events = append(d.Events, event.NamespaceConfigured{
			Namespace: c.Namespace, Keys: wish.Keys, Bytes: wish.Bytes, Age: wish.Age, Revisions: wish.Revisions, TTL: wish.TTL,
		})
	} else if known && len(d.Events) == 0 {
		return nothing(holds.Configured, d.Answer.Results[0]), nil
	}
	return d, nil
}

func decideApplySettings(s State, ledger string, c ApplySettings) (Decision, *Rejection) {
	switch holds := s.Settings(); {
	case c.Namespace != ledger || ledger == event.System:
		return Decision{}, reject(CodeInvalidNamespace, "settings of %q came to the ledger of %q", c.Namespace, ledger)
	case c.Configured == 0:
		return Decision{}, reject(CodeInvalidArgument, "settings of %q that nobody asked for", c.Namespace)
	case c.Configured <= holds.Configured, c.Configured < s.Life().Placed: // the latter are of one that was deleted
		return nothing(s.Head(), Result{}), nil
	}
	return one(event.NamespaceConfigured(c), Result{}), nil
}
