// Package check judges what clients of a cluster saw: each checker is a function that names one guarantee, takes a
// record of what happened, and gives an error that says where the guarantee was broken.
//
// It knows no server, no transport and no clock, so that a simulated cluster and one of real processes are held to the
// same guarantees by the same code.
package check

import (
	"fmt"
	"strings"
)

// Outcome is what a client was told of an operation.
type Outcome int

// The outcomes of an operation.
const (
	// OK says that the conditions held and all of it happened.
	OK Outcome = iota + 1
	// Refused says that a condition did not hold: nothing was written.
	Refused
	// Failed says that it certainly did not happen and will not: nobody even looked at the conditions.
	Failed
	// Unknown says that it may have happened, may yet happen, or never will.
	Unknown
)

// String names an outcome.
func (o Outcome) String() string {
	return [...]string{"running", "ok", "refused", "failed", "unknown"}[o]
}

// Consistency is what a read asked for.
type Consistency int

// The consistencies of a read.
const (
	Linearizable Consistency = iota
	Stale
)

// Operation is one request of a client and its answer. It writes, or it reads.
type Operation struct {
	ID     string // unique; a write carries it into the ledger
	Client int
	Server string // who was asked

	// Call and Return order what happened before what: an operation whose Return is less than another's Call ended
	// before the other began. A counter is better than a clock, for it never gives two the same number.
	Call, Return int64

	If     []Condition // of a write
	Writes []Write     // of a write; all of them in one commit
	Reads  []Read      // what a read was shown; of one moment

	Consistency Consistency
	MinRevision uint64 // what a read asked to see at least; zero for nothing

	Outcome Outcome
	// Revision is the commit of a write that is OK, and the revision that a read was shown.
	Revision uint64
}

// Condition must hold for a write to happen: the key has this revision (zero: it does not exist), or it exists, or it
// has a value.
type Condition struct {
	Key      string
	Revision uint64
	Exists   bool // any revision but zero
	ByValue  bool // this value, at any revision
	Value    string
}

// Write is a new value of a key, or the key's end.
type Write struct {
	Key, Value string
	Delete     bool
}

// Read is what a key was: revision zero says that it did not exist.
type Read struct {
	Key, Value string
	Revision   uint64
}

// IsWrite tells a write from a read.
func (o Operation) IsWrite() bool { return len(o.Writes) > 0 }

// String shows an operation for a person.
func (o Operation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by client %d on %s [%d,%d]:", o.ID, o.Client, o.Server, o.Call, o.Return)
	for _, c := range o.If {
		switch {
		case c.Exists:
			fmt.Fprintf(&b, " if %s exists", c.Key)
		case c.ByValue:
			fmt.Fprintf(&b, " if %s is %q", c.Key, c.Value)
		default:
			fmt.Fprintf(&b, " if %s@%d", c.Key, c.Revision)
		}
	}
	for _, w := range o.Writes {
		if w.Delete {
			fmt.Fprintf(&b, " delete %s", w.Key)
		} else {
			fmt.Fprintf(&b, " %s=%q", w.Key, w.Value)
		}
	}
	for _, r := range o.Reads {
		fmt.Fprintf(&b, " %s was %q@%d", r.Key, r.Value, r.Revision)
	}
	if o.MinRevision > 0 {
		fmt.Fprintf(&b, " at least %d", o.MinRevision)
	}
	if o.Consistency == Stale {
		b.WriteString(" stale")
	}
	fmt.Fprintf(&b, " -> %s at %d", o.Outcome, o.Revision)
	return b.String()
}

// Entry is one event of a ledger, as far as the checkers need it.
type Entry struct {
	Revision uint64
	Commit   uint64 // the last revision of the commit that it belongs to
	ID       string // of the operation that made it; empty for others
	Write    Write  // empty for what concerns no key
}
