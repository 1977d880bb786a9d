package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/rollcall/rollcall/log/event"
)

// Live is how many of a ledger's counted rows exist, and how large they are together.
type Live struct{ Rows, Bytes uint64 }

// Plus adds.
func (l Live) Plus(o Live) Live { return Live{l.Rows + o.Rows, l.Bytes + o.Bytes} }

// Minus subtracts.
func (l Live) Minus(o Live) Live { return Live{l.Rows - o.Rows, l.Bytes - o.Bytes} }

// Counted says which rows are counted, and what each of them is worth. A count that were rows itself would write a
// version with every commit: so it is kept beside the head, by whoever writes rows, who knows each row before.
type Counted struct {
	Table Table
	// Size is pure; nil counts nothing.
	Size func(key, row []byte) int
}

// of is what one row is worth; nothing where there is none.
func (c Counted) of(key, row []byte) Live {
	if len(row) == 0 {
		return Live{}
	}
	return Live{Rows: 1, Bytes: uint64(c.Size(key, row))}
}

// The record of what is live: the revision of the head that it belongs to, rows and bytes, 8 bytes each. It stands
// beside the head and not in it, so that binaries which do not count can go on with the database, and with a snapshot
// of it, while the servers of a cluster are replaced one by one; what they wrote shows in the revision.
const liveBytes = 24

func encodeLive(h Head) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, liveBytes), uint64(h.Revision))
	b = binary.BigEndian.AppendUint64(b, h.Live.Rows)
	return binary.BigEndian.AppendUint64(b, h.Live.Bytes)
}

// live gives what is live of a ledger. Where that was not kept up, all rows that count are read once, and the next
// commit writes it down.
func (d *DB) live(l Ledger) (Live, error) {
	if d.counted.Size == nil {
		return Live{}, nil
	}
	b, err := d.get(ledgerKey(prefixLive, l.ID))
	if err != nil {
		return Live{}, err
	}
	if b != nil && len(b) != liveBytes {
		return Live{}, &Fault{Op: "read what is live", Err: fmt.Errorf("%d bytes where %d were written", len(b), liveBytes)}
	}
	if b != nil && binary.BigEndian.Uint64(b) == uint64(l.Head.Revision) {
		return Live{Rows: binary.BigEndian.Uint64(b[8:]), Bytes: binary.BigEndian.Uint64(b[16:])}, nil
	}
	return d.CountRows(l.ID)
}

// CountRows reads every newest row that counts, and gives what they come to.
func (d *DB) CountRows(l LedgerID) (all Live, err error) {
	defer Catch(&err)
	rows := d.Rows(l, math.MaxUint64)
	for key, row := range rows.Scan(d.counted.Table, nil, nil) {
		all = all.Plus(d.counted.of(key, row))
	}
	return all, rows.Close()
}

// scannedMax bounds what a batch remembers of the rows that were scanned: about as many as one commit may write.
const scannedMax = event.CommitEventsMax

// noteScanned remembers what a row was worth before the batch. Who deletes all that a prefix names has scanned it just
// now, and to look each of those rows up again made that take twice as long.
func (w *LedgerBatch) noteScanned(t Table, key, row []byte) {
	if counted := w.batch.db.counted; t == counted.Table && counted.Size != nil && len(w.scanned) < scannedMax {
		if w.scanned == nil {
			w.scanned = map[string]Live{}
		}
		w.scanned[string(key)] = counted.of(key, row)
	}
}

// worth is what a row that counts is worth now.
func (w *LedgerBatch) worth(key []byte) Live {
	counted := w.batch.db.counted
	if own, mine := w.written[counted.Table][string(key)]; mine {
		return counted.of(key, own.row)
	}
	if before, known := w.scanned[string(key)]; known {
		return before
	}
	row, _ := w.Get(counted.Table, key)
	return counted.of(key, row)
}
