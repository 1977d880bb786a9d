package commands

import (
	"bytes"
	"cmp"

	"github.com/rollcall/rollcall/log/event"
)

// Condition is one comparison that must hold for a command to go ahead. Fields are appended to, never renumbered:
// a command in an old Raft log must be decided as it was.
type Condition struct {
	Field  Field  `cbor:"1,keyasint"`
	Op     Op     `cbor:"2,keyasint,omitempty"`
	Key    string `cbor:"3,keyasint,omitempty"` // the prefix, for FieldEmpty
	Number uint64 `cbor:"4,keyasint,omitempty"` // for the numeric fields; 0 and 1 for the boolean ones
	Value  []byte `cbor:"5,keyasint,omitempty"` // for FieldValue and FieldSession
}

// Field is what a condition looks at.
type Field uint8

// The fields of a condition. A key that does not exist has revision, create revision and version 0, and no value.
const (
	FieldRevision       Field = 1
	FieldCreateRevision Field = 2
	FieldVersion        Field = 3
	FieldValue          Field = 4
	FieldExists         Field = 5
	FieldEmpty          Field = 6 // no key starts with Key
	FieldSession        Field = 7 // Value is the id of the session that the key is bound to, empty for none
)

// Op is how a condition compares; the zero Op is equality.
type Op uint8

// The comparisons.
const (
	Equal    Op = 0
	NotEqual Op = 1
	Less     Op = 2
	Greater  Op = 3
)

// KeyExists is the condition that a key exists, or that it does not.
func KeyExists(key string, exists bool) Condition {
	c := Condition{Field: FieldExists, Key: key}
	if exists {
		c.Number = 1
	}
	return c
}

// KeyRevision is the condition that a key was last written by the commit at this revision.
func KeyRevision(key string, r event.Revision) Condition {
	return Condition{Field: FieldRevision, Key: key, Number: uint64(r)}
}

// KeyValue is the condition that a key has this very value.
func KeyValue(key string, value []byte) Condition {
	return Condition{Field: FieldValue, Key: key, Value: value}
}

// holds tells whether the condition is true of the state.
func (c Condition) holds(s State) bool {
	if c.Field == FieldEmpty {
		empty := true
		for range s.KeyRevisions(c.Key) {
			empty = false
			break
		}
		return c.Op.holds(cmp.Compare(truth(empty), c.Number))
	}
	e, ok := s.Key(c.Key)
	switch c.Field {
	case FieldEmpty: // above
	case FieldRevision:
		return c.Op.holds(cmp.Compare(uint64(e.Revision), c.Number))
	case FieldCreateRevision:
		return c.Op.holds(cmp.Compare(uint64(e.CreateRevision), c.Number))
	case FieldVersion:
		return c.Op.holds(cmp.Compare(e.Version, c.Number))
	case FieldExists:
		return c.Op.holds(cmp.Compare(truth(ok), c.Number))
	case FieldSession:
		return c.Op.holds(cmp.Compare(e.Session, string(c.Value)))
	case FieldValue:
		if !ok { // what is not there equals nothing, and is neither less nor greater
			return c.Op == NotEqual
		}
		return c.Op.holds(bytes.Compare(e.Value, c.Value))
	}
	return false // unknown fields are refused before they come here
}

func (o Op) holds(compared int) bool {
	switch o {
	case Equal:
		return compared == 0
	case NotEqual:
		return compared != 0
	case Less:
		return compared < 0
	case Greater:
		return compared > 0
	}
	return false
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// failing gives the indexes of the conditions that do not hold.
func failing(s State, conditions []Condition) []int {
	var failed []int
	for i, c := range conditions {
		if !c.holds(s) {
			failed = append(failed, i)
		}
	}
	return failed
}
