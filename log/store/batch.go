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

// Bytes is how much the batch holds.
func (b *Batch) Bytes() int { return b.pebble.Len() }

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
func (b *Batch) SetHead(l LedgerID, h Head) {
	b.set(headKey(l), encodeHead(h))
	if b.db.counted.Size != nil {
		b.set(ledgerKey(prefixLive, l), encodeLive(h))
	}
}

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
	grown   Live                         // by which it has changed what is live, modulo 2^64
	written map[Table]map[string]written // by row key
	scanned map[string]Live              // see worth
	key     []byte
}

// written is a version of a row that the batch holds. Those before it in the same batch are kept too: how commits fall
// into batches must not show, so what was replaced a moment ago is still the past for whoever asks for it.
type written struct {
	commit event.Revision
	row    []byte // nil where deleted
	before *written
}

// at gives the version that a commit saw; ok is false where the batch holds none.
func (w written) at(commit event.Revision) (row []byte, ok bool) {
	for v := &w; v != nil; v = v.before {
		if v.commit <= commit {
			return v.row, true
		}
	}
	return nil, false
}

// Begin says which commit the rows that are written next belong to.
func (w *LedgerBatch) Begin(commit event.Revision) {
	w.commit, w.sum, w.grown = commit, Sum{}, Live{}
}

// Sum is that of the row versions which the commit has added so far.
func (w *LedgerBatch) Sum() Sum { return w.sum }

// Grown is by how much the commit has changed what is live so far.
func (w *LedgerBatch) Grown() Live { return w.grown }

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
	if counted := w.batch.db.counted; counted.Table == t && counted.Size != nil {
		w.grown = w.grown.Plus(counted.of(key, row)).Minus(w.worth(key))
	}
	table := w.written[t]
	if table == nil {
		table = map[string]written{}
		w.written[t] = table
	}
	version := written{commit: w.commit, row: row}
	if old, again := table[string(key)]; again && old.commit == w.commit {
		version.before = old.before                               // within a commit only the last word counts
		w.sum = w.sum.Minus(w.batch.db.summer.of(w.key, old.row)) // one commit makes one version of a row: this replaces it
	} else if again {
		replaced := old // a variable of its own, so that only what replaces something costs an allocation
		version.before = &replaced
	}
	w.sum = w.sum.Plus(w.batch.db.summer.of(w.key, row))
	table[string(key)] = version
}

// At implements Reader. It sees what the batch has written, too.
func (w *LedgerBatch) At(commit event.Revision) Reader {
	return &past{batch: w, base: w.base.as(commit), at: commit}
}

// past is the rows as they were at a commit, which may be one in the batch.
type past struct {
	batch *LedgerBatch
	base  *Rows // what was there before the batch, as of that commit
	at    event.Revision
}

// At implements Reader.
func (p *past) At(commit event.Revision) Reader { return p.batch.At(min(commit, p.at)) }

// Get implements Reader.
func (p *past) Get(t Table, key []byte) ([]byte, bool) {
	if own, mine := p.batch.written[t][string(key)]; mine {
		if row, ok := own.at(p.at); ok {
			return row, row != nil
		}
	}
	return p.base.Get(t, key)
}

// Scan implements Reader.
func (p *past) Scan(t Table, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return p.batch.scan(p.base, t, prefix, from, p.at)
}

// Scan implements Reader.
func (w *LedgerBatch) Scan(t Table, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return w.scan(w.base, t, prefix, from, math.MaxUint64)
}

// scan gives the rows as of a commit. Both sides, what the batch wrote and what was there before, are in key order and
// are merged.
func (w *LedgerBatch) scan(base *Rows, t Table, prefix, from []byte, at event.Revision) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		own := w.writtenFrom(t, prefix, from, at)
		emit := func(key string) bool {
			row, _ := w.written[t][key].at(at)
			return row == nil || yield([]byte(key), row)
		}
		for key, row := range base.Scan(t, prefix, from) {
			for len(own) > 0 && own[0] < string(key) {
				if !emit(own[0]) {
					return
				}
				own = own[1:]
			}
			if len(own) > 0 && own[0] == string(key) {
				continue // written anew: its turn comes with the next key, or at the end
			}
			if at == math.MaxUint64 {
				w.noteScanned(t, key, row)
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

// writtenFrom gives the keys of the rows that the batch wrote up to a commit.
func (w *LedgerBatch) writtenFrom(t Table, prefix, from []byte, at event.Revision) []string {
	var keys []string
	for key, own := range w.written[t] {
		if _, ok := own.at(at); ok && bytes.HasPrefix([]byte(key), prefix) && key >= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
