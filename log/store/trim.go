package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Trimmed is what was trimmed of a ledger's rows on this replica, and how far it has come. Replicas trim when they have
// the time, so this is no part of what they have in common: the sum in a ledger's head goes on to be that of all
// versions, and those that are there and those that were trimmed come to it together.
type Trimmed struct {
	Sum  Sum    // of the versions that were deleted
	Rows uint64 // how many those are
	// Done is the floor up to which nothing is left to trim.
	Done event.Revision
	// Floor is that of the pass that is under way; zero while there is none. Its next step begins behind the key After.
	Floor event.Revision
	After []byte
	// Gone is the commit of a deletion that is the newest version at the floor of the row which After stands in. It goes
	// when all versions behind it have gone, because without it they would be back; zero where there is none.
	Gone event.Revision
}

// Active tells whether a pass is under way.
func (t Trimmed) Active() bool { return t.Floor > 0 }

// The record of what was trimmed: the sum, rows, done, floor and gone, 8 bytes each, and the key.
const trimmedBytes = sumBytes + 4*8

func encodeTrimmed(t Trimmed) []byte {
	b := t.Sum.append(make([]byte, 0, trimmedBytes+len(t.After)))
	for _, n := range []uint64{t.Rows, uint64(t.Done), uint64(t.Floor), uint64(t.Gone)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, t.After...)
}

// Trimmed gives what was trimmed of a ledger's rows here.
func (d *DB) Trimmed(l LedgerID) (Trimmed, error) {
	b, err := d.get(ledgerKey(prefixTrimmed, l))
	if err != nil || b == nil {
		return Trimmed{}, err
	}
	if len(b) < trimmedBytes {
		return Trimmed{}, &Fault{Op: "read what was trimmed", Err: fmt.Errorf("%d bytes where at least %d were written", len(b), trimmedBytes)}
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[sumBytes+8*i:]) }
	t := Trimmed{Sum: readSum(b), Rows: n(0), Done: event.Revision(n(1)), Floor: event.Revision(n(2)), Gone: event.Revision(n(3))}
	if len(b) > trimmedBytes {
		t.After = b[trimmedBytes:]
	}
	return t, nil
}

// Step is what one step of trimming did.
type Step struct {
	Trimmed Trimmed
	// Deleted are the keys of the versions that went, with the sum of each.
	Deleted []Deleted
	Read    int // bytes
}

// Deleted is a version that was trimmed.
type Deleted struct {
	Key []byte // the whole key
	Sum Sum
}

// Commit is that of the version.
func (v Deleted) Commit() event.Revision {
	_, commit := rowKeyOf(v.Key)
	return commit
}

// TrimSome is one step of trimming a ledger: it reads about so many bytes of its rows, and deletes the versions that
// nobody sees who reads at the floor or later. Those are, of each row, the versions up to the floor but the newest of
// them, and that one too where it says that the row was deleted. The floor of a pass that is under way stays; a later
// one begins another pass.
//
// It may run beside the one writer: what it deletes is superseded, so no batch reads or writes it, and it writes no
// head. The caller sees to it that nobody reads before the floor, and that the database is not closed meanwhile. The
// deletions and the record of them are one Pebble batch, so a crash leaves both or neither.
func (d *DB) TrimSome(l LedgerID, floor event.Revision, bytesMax int) (step Step, err error) {
	defer Catch(&err)
	t, err := d.Trimmed(l)
	if err != nil {
		return Step{}, err
	}
	if !t.Active() {
		if floor <= t.Done {
			return Step{Trimmed: t}, nil
		}
		t.Floor = floor
	}
	b := d.db.NewBatch()
	s := &trimming{Step: Step{Trimmed: t}, batch: b}
	s.walk(d, l, bytesMax)
	fault("trim rows", b.Set(ledgerKey(prefixTrimmed, l), encodeTrimmed(s.Trimmed), nil))
	fault("trim rows", b.Commit(pebble.NoSync))
	fault("trim rows", b.Close())
	return s.Step, nil
}

// trimming is one step on its way.
type trimming struct {
	Step
	batch  *pebble.Batch
	summer summer
	row    []byte // what all versions of the present row share
	found  bool   // a version of it at or before the floor was met
}

func (s *trimming) walk(d *DB, l LedgerID, bytesMax int) {
	start := ledgerKey(prefixRows, l)
	options := &pebble.IterOptions{LowerBound: start, UpperBound: successor(start)}
	if after := s.Trimmed.After; after != nil {
		options.LowerBound = after
		s.row = bytes.Clone(after[:split(after)])
		_, commit := rowKeyOf(after)
		s.found = commit <= s.Trimmed.Floor
	}
	it := d.iter(options)
	defer it.close()
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		if bytes.Equal(key, s.Trimmed.After) {
			continue
		}
		n := split(key)
		if n == len(key) {
			panic(&Fault{Op: "trim rows", Err: fmt.Errorf("the key %x means nothing", key)})
		}
		if !bytes.Equal(key[:n], s.row) {
			s.endRow()
			s.row = append(s.row[:0], key[:n]...)
		}
		s.version(key, it)
		if s.Read >= bytesMax {
			s.Trimmed.After = bytes.Clone(key)
			it.check("trim rows")
			return
		}
	}
	it.check("trim rows")
	s.endRow()
	s.Trimmed.Done, s.Trimmed.Floor, s.Trimmed.After = s.Trimmed.Floor, 0, nil
}

// version looks at one version, the next older of its row.
func (s *trimming) version(key []byte, it iterator) {
	s.Read += len(key)
	_, commit := rowKeyOf(key)
	if commit > s.Trimmed.Floor {
		return
	}
	row := it.value()
	s.Read += len(row)
	switch {
	case s.found:
		s.delete(key, row)
	case len(row) == 0:
		s.Trimmed.Gone = commit
	}
	s.found = true
}

// endRow is called when there is no older version of the row.
func (s *trimming) endRow() {
	if s.Trimmed.Gone > 0 {
		s.delete(appendVersion(bytes.Clone(s.row), s.Trimmed.Gone), nil)
	}
	s.Trimmed.Gone, s.found = 0, false
}

func (s *trimming) delete(key, row []byte) {
	fault("trim rows", s.batch.Delete(key, nil))
	sum := s.summer.of(key, row)
	s.Trimmed.Sum, s.Trimmed.Rows = s.Trimmed.Sum.Plus(sum), s.Trimmed.Rows+1
	s.Deleted = append(s.Deleted, Deleted{Key: bytes.Clone(key), Sum: sum})
}

// Kept tells which versions of a row must be there however much was trimmed up to a floor. It is asked about the
// versions of each row in key order, the newest first.
type Kept struct {
	Floor event.Revision
	row   []byte
	found bool
}

// Must tells whether a version must be there.
func (k *Kept) Must(v RowVersion) bool {
	n := split(v.Key)
	if !bytes.Equal(v.Key[:n], k.row) {
		k.row, k.found = append(k.row[:0], v.Key[:n]...), false
	}
	if _, commit := rowKeyOf(v.Key); commit > k.Floor {
		return true
	}
	first := !k.found
	k.found = true
	return first && len(v.Row) > 0
}
