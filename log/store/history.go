package store

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Touches yields the commits that wrote or deleted a row, up to a commit, newest first. Only what is kept of the row's
// versions is known.
func (d *DB) Touches(l LedgerID, t Table, key []byte, upTo event.Revision) iter.Seq[event.Revision] {
	return func(yield func(event.Revision) bool) {
		prefix := appendRowPrefix(nil, l, t, key)
		it := d.iter(&pebble.IterOptions{LowerBound: appendVersion(append([]byte(nil), prefix...), upTo), UpperBound: successor(prefix)})
		defer it.close()
		for ok := it.First(); ok; ok = it.Next() {
			if _, commit := rowKeyOf(it.Key()); !yield(commit) {
				return
			}
		}
		it.check("read the versions of a row")
	}
}

// RowName names a row of a ledger.
type RowName struct {
	Table Table
	Key   []byte
}

// TouchesAny is Touches of several rows: a commit that wrote more than one of them comes once.
func (d *DB) TouchesAny(l LedgerID, rows []RowName, upTo event.Revision) iter.Seq[event.Revision] {
	return func(yield func(event.Revision) bool) {
		next := make([]func() (event.Revision, bool), len(rows))
		heads := make([]event.Revision, len(rows)) // zero where there are no more
		for i, row := range rows {
			pull, stop := iter.Pull(d.Touches(l, row.Table, row.Key, upTo))
			defer stop()
			next[i] = pull
			heads[i], _ = pull()
		}
		for {
			newest := slices.Max(append(heads, 0))
			if newest == 0 || !yield(newest) {
				return
			}
			for i := range heads {
				if heads[i] == newest {
					heads[i], _ = next[i]()
				}
			}
		}
	}
}

// Commit yields the events of a commit, the last one first.
func (d *DB) Commit(l LedgerID, commit event.Revision) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		it := d.iter(&pebble.IterOptions{LowerBound: ledgerKey(prefixEvents, l), UpperBound: eventKey(l, commit+1)})
		defer it.close()
		for ok := it.Last(); ok; ok = it.Prev() {
			e, err := event.Decode(it.value())
			if err != nil {
				fault(fmt.Sprintf("read commit %d", commit), err)
			}
			if e.Commit != commit || !yield(e) {
				return
			}
		}
		it.check("read a commit")
	}
}

// Backward yields the events of a ledger up to a revision, the last one first.
func (d *DB) Backward(l LedgerID, upTo event.Revision) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		it := d.iter(&pebble.IterOptions{LowerBound: ledgerKey(prefixEvents, l), UpperBound: eventKey(l, upTo+1)})
		defer it.close()
		for ok := it.Last(); ok; ok = it.Prev() {
			e, err := event.Decode(it.value())
			if err != nil {
				fault("read a ledger backwards", err)
			}
			if !yield(e) {
				return
			}
		}
		it.check("read a ledger backwards")
	}
}
