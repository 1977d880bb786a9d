package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Chunk bounds what one read of events takes: at most so many events, and no further one once so many bytes are
// there. Readers ask for the next chunk when they have used this one, so that nobody holds an iterator for long.
type Chunk struct {
	Events int
	Bytes  int
}

// Events gives the events of a ledger from a revision on, in order, up to the revision to and to a chunk's size.
func (d *DB) Events(l LedgerID, from, to event.Revision, c Chunk) (events []event.Event, err error) {
	defer Catch(&err)
	if from > to {
		return nil, nil
	}
	it := d.iter(&pebble.IterOptions{LowerBound: eventKey(l, from), UpperBound: eventKey(l, to+1)})
	defer it.close()
	size := 0
	for ok := it.First(); ok && len(events) < c.Events && size < c.Bytes; ok = it.Next() {
		v := it.value()
		size += len(v)
		e, err := event.Decode(v)
		if err != nil {
			return nil, &Fault{Op: fmt.Sprintf("read the ledger from revision %d", from), Err: err}
		}
		events = append(events, e)
	}
	it.check("read events")
	return events, nil
}

// NextEvent gives the first event from a revision on, in its canonical bytes; nil when there is none.
func (d *DB) NextEvent(l LedgerID, from event.Revision) (_ event.Revision, canonical []byte, err error) {
	defer Catch(&err)
	it := d.iter(&pebble.IterOptions{LowerBound: eventKey(l, from), UpperBound: successor(ledgerKey(prefixEvents, l))})
	defer it.close()
	if !it.First() {
		it.check("read an event")
		return 0, nil, nil
	}
	return event.Revision(binary.BigEndian.Uint64(it.Key()[1+ledgerBytes:])), bytes.Clone(it.value()), nil
}

// Floor is the last revision that is not after r; zero when there is none. They differ where revisions jump.
func (d *DB) Floor(l LedgerID, r event.Revision) (_ event.Revision, err error) {
	defer Catch(&err)
	it := d.iter(&pebble.IterOptions{LowerBound: ledgerKey(prefixEvents, l), UpperBound: eventKey(l, r+1)})
	defer it.close()
	if !it.Last() {
		it.check("find a revision")
		return 0, nil
	}
	return event.Revision(binary.BigEndian.Uint64(it.Key()[1+ledgerBytes:])), nil
}

// Leaf is an event as it is kept, with the Merkle hashes that it completed.
type Leaf struct {
	Revision event.Revision
	Event    []byte // its canonical bytes
	Hashes   []byte // concatenated; nil where there are none
}

// Leaves gives what is kept of the events from a revision on, the first of which is the leaf number first, up to the
// revision to and to a chunk's size.
func (d *DB) Leaves(l LedgerID, from, to event.Revision, first uint64, c Chunk) (leaves []Leaf, err error) {
	defer Catch(&err)
	events := d.iter(&pebble.IterOptions{LowerBound: eventKey(l, from), UpperBound: eventKey(l, to+1)})
	defer events.close()
	size := 0
	for ok := events.First(); ok && len(leaves) < c.Events && size < c.Bytes; ok = events.Next() {
		if len(events.Key()) != 1+ledgerBytes+8 {
			return nil, &Fault{Op: "read a ledger", Err: fmt.Errorf("the key %x means nothing", events.Key())}
		}
		revision := event.Revision(binary.BigEndian.Uint64(events.Key()[1+ledgerBytes:]))
		leaves = append(leaves, Leaf{Revision: revision, Event: bytes.Clone(events.value())})
		size += len(leaves[len(leaves)-1].Event)
	}
	events.check("read events")
	hashes := d.iter(&pebble.IterOptions{LowerBound: hashKey(l, first), UpperBound: hashKey(l, first+uint64(len(leaves)))})
	defer hashes.close()
	for ok := hashes.First(); ok; ok = hashes.Next() {
		if len(hashes.Key()) != 1+ledgerBytes+8 {
			return nil, &Fault{Op: "read Merkle hashes", Err: fmt.Errorf("the key %x means nothing", hashes.Key())}
		}
		leaf := binary.BigEndian.Uint64(hashes.Key()[1+ledgerBytes:])
		leaves[leaf-first].Hashes = bytes.Clone(hashes.value())
	}
	hashes.check("read Merkle hashes")
	return leaves, nil
}

// RevisionAt is the last revision whose event's time is not after t; zero when there is none. Times rise with
// revisions, so it is found by halving.
func (d *DB) RevisionAt(l LedgerID, head event.Revision, t event.Time) (event.Revision, error) {
	low, high := event.Revision(0), head // the answer is in [low, high]
	for low < high {
		middle := low + (high-low+1)/2
		// Revisions may jump once, after a restore: the event that stands for the middle is the first from it on.
		found, err := d.Events(l, middle, head, Chunk{Events: 1, Bytes: 1})
		if err != nil {
			return 0, err
		}
		if len(found) > 0 && found[0].Time <= t {
			low = found[0].Revision
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
