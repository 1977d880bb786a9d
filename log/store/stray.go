package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Stray finds what belongs to no ledger: heads, events, hashes and rows under a number that has no name, and events
// and hashes behind a ledger's head. It gives nil when there is nothing of that kind.
func (d *DB) Stray(ledgers []Ledger) (err error) {
	defer Catch(&err)
	heads := map[LedgerID]Head{}
	for _, l := range ledgers {
		heads[l.ID] = l.Head
	}
	it := d.iter(&pebble.IterOptions{LowerBound: []byte{prefixHeads}})
	defer it.close()
	for ok := it.First(); ok; {
		key := it.Key()
		if len(key) < 1+ledgerBytes || key[0] > prefixTrimmed || key[0] > prefixRows && len(key) != 1+ledgerBytes {
			return fmt.Errorf("the key %x means nothing", key)
		}
		id := LedgerID(binary.BigEndian.Uint32(key[1:]))
		head, known := heads[id]
		if !known {
			return fmt.Errorf("the key %x belongs to ledger number %d, which has no name", key, id)
		}
		if behind := behindHead(key, head); behind != nil {
			return fmt.Errorf("ledger number %d: %w", id, behind)
		}
		if key[0] == prefixRows { // rows are compared one by one elsewhere: on to the next ledger's
			ok = it.SeekGE(ledgerKey(prefixRows, id+1))
			continue
		}
		ok = it.Next()
	}
	it.check("look for what belongs to no ledger")
	return nil
}

func behindHead(key []byte, head Head) error {
	rest := key[1+ledgerBytes:]
	if key[0] != prefixEvents && key[0] != prefixHashes {
		return nil
	}
	if len(rest) != 8 {
		return fmt.Errorf("the key %x means nothing", key)
	}
	n := binary.BigEndian.Uint64(rest)
	switch {
	case key[0] == prefixEvents && event.Revision(n) > head.Revision:
		return fmt.Errorf("there is an event at revision %d, behind the head %d", n, head.Revision)
	case key[0] == prefixHashes && n >= head.Leaves:
		return fmt.Errorf("there are hashes of leaf %d, and the tree has %d", n, head.Leaves)
	}
	return nil
}
