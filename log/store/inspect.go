package store

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/rollcall/rollcall/log/event"
)

// InspectSnapshot reads a snapshot without a database: it checks its checksum, gives every event to visit, ledger by
// ledger and in the order of revisions, and then says which ledgers the snapshot holds. Visit must not keep the bytes.
func InspectSnapshot(from io.Reader, stop <-chan struct{}, visit func(l Ledger, r event.Revision, canonical []byte) error) ([]Ledger, error) {
	in := inspection{byID: map[LedgerID]int{}, visit: visit}
	err := readSnapshot(from, stop, in.record)
	return in.ledgers, err
}

// inspection gathers what a snapshot holds. Names come before heads, and heads before events, because that is the
// order of the keys.
type inspection struct {
	ledgers []Ledger
	byID    map[LedgerID]int
	visit   func(l Ledger, r event.Revision, canonical []byte) error
}

func (in *inspection) record(key, value []byte) error {
	if key[0] == prefixNames {
		if len(value) != ledgerBytes {
			return damaged(fmt.Errorf("ledger %q has a number of %d bytes", key[1:], len(value)))
		}
		id := LedgerID(binary.BigEndian.Uint32(value))
		in.byID[id] = len(in.ledgers)
		in.ledgers = append(in.ledgers, Ledger{Name: string(key[1:]), ID: id})
		return nil
	}
	if key[0] != prefixHeads && key[0] != prefixEvents {
		return nil
	}
	if len(key) < 1+ledgerBytes {
		return damaged(fmt.Errorf("the key %x means nothing", key))
	}
	at, known := in.byID[LedgerID(binary.BigEndian.Uint32(key[1:]))]
	rest := key[1+ledgerBytes:]
	switch {
	case !known:
		return damaged(fmt.Errorf("the key %x belongs to no ledger", key))
	case key[0] == prefixHeads && len(rest) == 0:
		var err error
		if in.ledgers[at].Head, err = decodeHead(value); err != nil {
			return damaged(err)
		}
		return nil
	case key[0] == prefixEvents && len(rest) == versionBytes:
		return in.visit(in.ledgers[at], event.Revision(binary.BigEndian.Uint64(rest)), value)
	}
	return damaged(fmt.Errorf("the key %x means nothing", key))
}
