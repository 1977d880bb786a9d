package store

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Rows reads the rows of one ledger as they were at one commit. It implements Reader. It is used by one goroutine
// and closed after use.
type Rows struct {
	db     *DB
	ledger LedgerID
	at     event.Revision
	points *points
	key    []byte
}

// points is an iterator that is positioned again for each Get; the first opens it. A reader and what At gives of it
// share one.
type points struct{ iterator }

// Rows reads the rows of a ledger as of the commit at, or the last one before it.
func (d *DB) Rows(l LedgerID, at event.Revision) *Rows {
	return &Rows{db: d, ledger: l, at: at, points: &points{}}
}

// At implements Reader.
func (r *Rows) At(commit event.Revision) Reader { return r.as(commit) }

func (r *Rows) as(commit event.Revision) *Rows {
	return &Rows{db: r.db, ledger: r.ledger, at: min(commit, r.at), points: r.points}
}

// Close releases what the reader holds.
func (r *Rows) Close() error {
	if r.points.Iterator == nil {
		return nil
	}
	return r.points.Close()
}

// Get implements Reader.
func (r *Rows) Get(t Table, key []byte) ([]byte, bool) {
	if r.points.Iterator == nil {
		r.points.iterator = r.db.iter(&pebble.IterOptions{
			LowerBound: ledgerKey(prefixRows, r.ledger), UpperBound: successor(ledgerKey(prefixRows, r.ledger)),
			UseL6Filters: true, // a decision often asks for a key that is not there yet: no table needs to be read for that
		})
	}
	r.key = appendVersion(appendRowPrefix(r.key[:0], r.ledger, t, key), r.at)
	if !r.points.SeekPrefixGE(r.key) {
		r.points.check("get a row")
		return nil, false
	}
	v := r.points.value()
	if len(v) == 0 {
		return nil, false
	}
	return bytes.Clone(v), true
}

// Scan implements Reader.
func (r *Rows) Scan(t Table, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		start := appendRowStart(nil, r.ledger, t, prefix)
		lower := start
		if bytes.Compare(from, prefix) > 0 {
			lower = appendRowStart(nil, r.ledger, t, from)
		}
		it := r.db.iter(&pebble.IterOptions{LowerBound: lower, UpperBound: successor(start)})
		defer it.close()
		for ok := it.First(); ok; {
			key, commit := rowKeyOf(it.Key())
			if commit > r.at {
				// Seek the version that the commit saw. Where there is none, that is already the next row.
				n := split(it.Key())
				r.key = appendVersion(append(r.key[:0], it.Key()[:n]...), r.at)
				ok = it.SeekGE(r.key)
				continue
			}
			if v := it.value(); len(v) > 0 && !yield(key, v) {
				return
			}
			ok = it.NextPrefix()
		}
		it.check("scan rows")
	}
}

// RowVersion is one version of a row as it is kept.
type RowVersion struct {
	Key []byte // the whole key, version and all
	Row []byte // empty where the row was deleted
}

// String shows a version for a person.
func (v RowVersion) String() string {
	key, commit := rowKeyOf(v.Key)
	return fmt.Sprintf("%q of table %d at commit %d (%d bytes)", key, v.Key[1+ledgerBytes], commit, len(v.Row))
}

// RowVersions yields every version of every row of a ledger, in key order. Both are only valid until the next step.
func (d *DB) RowVersions(l LedgerID) iter.Seq[RowVersion] {
	return func(yield func(RowVersion) bool) {
		start := ledgerKey(prefixRows, l)
		it := d.iter(&pebble.IterOptions{LowerBound: start, UpperBound: successor(start)})
		defer it.close()
		for ok := it.First(); ok; ok = it.Next() {
			if !yield(RowVersion{Key: it.Key(), Row: it.value()}) {
				return
			}
		}
		it.check("read every row")
	}
}
