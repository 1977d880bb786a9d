package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/store"
)

// The marker is a small file that stands with Raft's log, not with the database, and says which index the machine
// had synced. Raft compacts its log up to there: were the database lost or rolled back behind it, Raft would go on
// with a silent gap (lni/dragonboat#156, #369). So the machine compares, and refuses to start.

// ErrStateLost says that the database is older than what this replica had made durable.
var ErrStateLost = errors.New("the state is older than what this server had made durable")

func (m *Machine) checkMarker() error {
	synced, err := readMarker(m.fs(), m.config.Marker)
	if err != nil {
		return err
	}
	if applied := m.Applied(); applied < synced {
		return fmt.Errorf("%w: %s holds entry %d, entry %d was synced; bring the folder back from a backup of this "+
			"very server, or wipe the server and let it join as a new one", ErrStateLost, m.config.Dir, applied, synced)
	}
	return nil
}

func (m *Machine) writeMarker(index uint64) error {
	fault.Point(fault.MarkerBefore)
	defer fault.Point(fault.MarkerAfter)
	if err := store.WriteFile(m.fs(), m.config.Marker, encodeMarker(index)); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	return nil
}

func encodeMarker(index uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, index)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func readMarker(fs store.FS, path string) (uint64, error) {
	b, err := store.ReadFile(fs, path)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 12 || binary.BigEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[:8]) {
		return 0, fmt.Errorf("read marker %s: %d bytes that do not fit their checksum", path, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
