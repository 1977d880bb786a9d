// Package store keeps what one Raft group has applied, in one Pebble database: the ledgers' events, their Merkle
// hashes, the rows that projections fold them into, and the index of the last Raft entry applied.
//
// It knows bytes and order only: no event's meaning, no Raft, no clock. Rows are versioned by commit, so that a
// reader sees the state as of any revision by seeking, not by replaying.
package store

import (
	"fmt"
	"iter"

	"github.com/rollcall/rollcall/log/event"
)

// Table numbers a set of rows inside a ledger. The numbers are part of the keys on disk: append only.
type Table byte

// The tables. What their keys and rows hold is the business of the projection that folds them.
const (
	TableKV         Table = 1
	TableInstances  Table = 2
	TableNamespaces Table = 3
	TableSystem     Table = 4
	TableMembers    Table = 5
	TableRequests   Table = 6

	TableSessions      Table = 7
	TableLeases        Table = 8
	TableKeyHolds      Table = 9
	TableInstanceHolds Table = 10

	TableHealth      Table = 11 // of instances: checks and maintenance
	TableCredentials Table = 12 // of instances
	TableServices    Table = 13 // settings of services
	TableNodes       Table = 14
	TableDue         Table = 15 // what ends or changes by itself when time passes, see package registry
)

// Reader reads the rows of one ledger as they were at one commit.
//
// A read that the disk does not answer panics with a *Fault: decisions and folds could not do anything about it,
// and the boundaries of package log turn it back into an error (Catch) or stop the replica.
type Reader interface {
	// Get gives the row of a key; ok is false when there is none. The caller may keep the
	// bytes, but not change them.
	Get(t Table, key []byte) (row []byte, ok bool)
	// Scan yields the rows whose key starts with prefix, from the key from on (nil: from the first), in key
	// order. Key and row are only valid until the next step.
	Scan(t Table, prefix, from []byte) iter.Seq2[[]byte, []byte]
	// At reads the same rows as they were at an earlier commit. It is valid as long as this reader is.
	At(commit event.Revision) Reader
}

// Writer is what a fold writes through. Its reads see its own writes.
type Writer interface {
	Reader
	Set(t Table, key, row []byte)
	Delete(t Table, key []byte)
}

// Fault is a disk that did not answer, or answered what was never written.
type Fault struct {
	Op  string
	Err error
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("store: %s: %v", f.Op, f.Err) }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Catch turns the panic of a *Fault into an error; it is deferred where reads begin. Other panics go on.
func Catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Fault:
		*err = r
	default:
		panic(r)
	}
}

func fault(op string, err error) {
	if err != nil {
		panic(&Fault{Op: op, Err: err})
	}
}
