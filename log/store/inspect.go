package store

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/rollcall/rollcall/log/event"
)

// InspectSnapshot reads a snapshot without a database: it checks its checksum, gives every event to visit, ledger by
// ledger and in the order of revisions, and then says which ledgers the snapshot holds. Visit must not keep the bytes.
func InspectSnapshot(from io.Reader, stop <-chan struct{}, visit func(l LedgerID, r event.Revision, canonical []byte) error) ([]Ledger, error) {
	var ledgers []Ledger
	heads := map[LedgerID]Head{}
	err := readSnapshot(from, stop, func(key, value []byte) error {
		// Names and heads come before events, because that is the order of the keys.
		switch key[0] {
		case prefixNames:
			if len(value) != ledgerBytes {
				return fmt.Errorf("%w: ledger %q has a number of %d bytes", ErrSnapshotDamaged, key[1:], len(value))
			}
			ledgers = append(ledgers, Ledger{Name: string(key[1:]), ID: LedgerID(binary.BigEndian.Uint32(value))})
		case prefixHeads:
			h, err := decodeHead(value)
			if err != nil || len(key) != 1+ledgerBytes {
				return fmt.Errorf("%w: the head %x of ledger %x", ErrSnapshotDamaged, value, key[1:])
			}
			heads[LedgerID(binary.BigEndian.Uint32(key[1:]))] = h
		case prefixEvents:
			if len(key) != 1+ledgerBytes+versionBytes {
				return fmt.Errorf("%w: an event under the key %x", ErrSnapshotDamaged, key)
			}
			rest := key[1+ledgerBytes:]
			return visit(LedgerID(binary.BigEndian.Uint32(key[1:])), event.Revision(binary.BigEndian.Uint64(rest)), value)
		}
		return nil
	})
	for i := range ledgers {
		ledgers[i].Head = heads[ledgers[i].ID]
	}
	return ledgers, err
}
