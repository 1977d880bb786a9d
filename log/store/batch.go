package store

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Batch gathers everything that a run of Raft entries changes: events, hashes, rows, heads and the applied index
// become visible together, or not at all. It is used by one goroutine.
type Batch struct {
	db      *DB
	pebble  *pebble.Batch
	ledgers map[LedgerID]*LedgerBatch
	scratch []byte
}

// NewBatch begins a batch.
func (d *DB) NewBatch() *Batch {
	return &Batch{db: d, pebble: d.db.NewBatch(), ledgers: map[LedgerID]*LedgerBatch{}}
}

// Commit makes the batch visible. It does not sync: Raft's log is what was synced.
func (b *Batch) Commit() error {
	if err := b.pebble.Commit(pebble.NoSync); err != nil {
		return &Fault{Op: "commit a batch", Err: err}
	}
	for id, l := range b.ledgers {
		for table, rows := range l.written {
			for key, w := range rows {
				b.db.newest.put(rowName{id, table, key}, w.row)
			}
		}
	}
	return nil
}

// Close releases the batch, committed or not.
func (b *Batch) Close() error {
	for _, l := range b.ledgers {
		if err := l.base.Close(); err != nil {
			return err
		}
	}
	return b.pebble.Close()
}

// SetApplied records the index of the last Raft entry in the batch.
func (b *Batch) SetApplied(index uint64) {
	b.set(appliedKey(), binary.BigEndian.AppendUint64(b.scratch[:0], index))
}

// SetHead records where a ledger ends now.
func (b *Batch) SetHead(l LedgerID, h Head) { b.set(headKey(l), encodeHead(h)) }

// NameLedger records a new ledger of the group.
func (b *Batch) NameLedger(l LedgerID, name string) {
	b.set(nameKey(name), binary.BigEndian.AppendUint32(nil, uint32(l)))
}

// AppendEvent records an event's canonical bytes.
func (b *Batch) AppendEvent(l LedgerID, r event.Revision, canonical []byte) {
	b.set(eventKey(l, r), canonical)
}

// AppendHashes records the Merkle hashes that a leaf completed, concatenated.
func (b *Batch) AppendHashes(l LedgerID, leaf uint64, hashes []byte) { b.set(hashKey(l, leaf), hashes) }

func (b *Batch) set(key, value []byte) { fault("add to a batch", b.pebble.Set(key, value, nil)) }

// Ledger gives the rows of one ledger as the batch leaves them.
func (b *Batch) Ledger(l LedgerID) *LedgerBatch {
	w, ok := b.ledgers[l]
	if !ok {
		w = &LedgerBatch{batch: b, base: b.db.Rows(l, math.MaxUint64), written: map[Table]map[string]written{}}
		b.ledgers[l] = w
	}
	return w
}

// LedgerBatch implements Writer: it reads the newest rows, with the batch's own writes on top.
type LedgerBatch struct {
	batch   *Batch
	base    *Rows
	commit  event.Revision
	sum     Sum                          // of what the commit has written
	written map[Table]map[string]written // by row key
	key     []byte
}

// written is the newest version of a row in a batch.
type written struct {
	row    []byte // nil where deleted
	commit event.Revision
}

// Begin says which commit the rows that are written next belong to.
func (w *LedgerBatch) Begin(commit event.Revision) { w.commit, w.sum = commit, Sum{} }

// Sum is that of the row versions which the commit has added so far.
func (w *LedgerBatch) Sum() Sum { return w.sum }

// Get implements Reader.
func (w *LedgerBatch) Get(t Table, key []byte) ([]byte, bool) {
	if own, mine := w.written[t][string(key)]; mine {
		return own.row, own.row != nil
	}
	name := rowName{w.base.ledger, t, string(key)}
	row, known := w.batch.db.newest.get(name)
	if !known {
		row, _ = w.base.Get(t, key)
		w.batch.db.newest.put(name, row)
	}
	return row, row != nil
}

// Set implements Writer. An empty row cannot be told from a deleted one, so no projection writes any.
func (w *LedgerBatch) Set(t Table, key, row []byte) {
	if len(row) == 0 {
		panic("store: an empty row") // a projection that was written wrongly
	}
	w.write(t, key, row)
}

// Delete implements Writer.
func (w *LedgerBatch) Delete(t Table, key []byte) { w.write(t, key, nil) }

func (w *LedgerBatch) write(t Table, key, row []byte) {
	w.key = appendVersion(appendRowPrefix(w.key[:0], w.base.ledger, t, key), w.commit)
	w.batch.set(w.key, row)
	table := w.written[t]
	if table == nil {
		table = map[string]written{}
		w.written[t] = table
	}
	if before, mine := table[string(key)]; mine && before.commit == w.commit {
		w.sum = w.sum.Minus(w.batch.db.summer.of(w.key, before.row)) // one commit makes one version of a row: this replaces it
	}
	w.sum = w.sum.Plus(w.batch.db.summer.of(w.key, row))
	table[string(key)] = written{row, w.commit}
}

// Scan implements Reader. Both sides are in key order and are merged.
func (w *LedgerBatch) Scan(t Table, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		own := w.writtenFrom(t, prefix, from)
		emit := func(key string) bool {
			row := w.written[t][key].row
			return row == nil || yield([]byte(key), row)
		}
		for key, row := range w.base.Scan(t, prefix, from) {
			for len(own) > 0 && own[0] < string(key) {
				if !emit(own[0]) {
					return
				}
				own = own[1:]
			}
			if len(own) > 0 && own[0] == string(key) {
				continue // written anew: its turn comes with the next key, or at the end
			}
			if !yield(key, row) {
				return
			}
		}
		for _, key := range own {
			if !emit(key) {
				return
			}
		}
	}
}

func (w *LedgerBatch) writtenFrom(t Table, prefix, from []byte) []string {
	var keys []string
	for key := range w.written[t] {
		if bytes.HasPrefix([]byte(key), prefix) && key >= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
