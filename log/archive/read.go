package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Read reads an archive to its end. For each group it calls group, which must read that group's snapshot from in and
// no more, as package store does. Only once Read has returned without an error was the archive whole.
func Read(from io.Reader, group func(id uint64, in io.Reader) error) (Summary, error) {
	all := &summing{in: from, sum: sha256.New()}
	in := bufio.NewReaderSize(all, store.SnapshotBuffer)
	var s Summary
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(in, start); err != nil {
		return s, damaged("read its beginning: %w", err)
	}
	if string(start) != magic {
		return s, damaged("it begins with %q, and not as a snapshot of a cluster does", start)
	}
	if err := readFrame(in, headerBytesMax, &s.Header); err != nil {
		return s, fmt.Errorf("read the header: %w", err)
	}
	if s.Groups == 0 || s.Groups > groupsMax {
		return s, damaged("it claims to have %d groups", s.Groups)
	}
	for id := uint64(1); id <= s.Groups; id++ {
		if err := group(id, in); err != nil {
			return s, fmt.Errorf("group %d: %w", id, err)
		}
	}
	if err := readFrame(in, indexBytesMax, &s.Ledgers); err != nil {
		return s, fmt.Errorf("read the index: %w", err)
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(in, want[:]); err != nil {
		return s, damaged("read its checksum: %w", err)
	}
	if _, err := in.ReadByte(); err == nil {
		return s, damaged("something follows its checksum")
	} else if err != io.EOF {
		return s, fmt.Errorf("read to the end: %w", err)
	}
	copy(s.Checksum[:], all.sum.Sum(nil))
	if s.Bytes = all.n; s.Checksum != want {
		return s, damaged("its SHA-256 is %x, and %x was written", s.Checksum, want)
	}
	return s, nil
}

// Check reads an archive and holds everything in it against its checksums and its index: each ledger has as many
// events as it should, ends where it should, and its Merkle root is that of its events' bytes. It gives every event
// to visit, where that is not nil; visit must not keep the bytes. Stop, when closed, ends it early.
func Check(from io.Reader, stop <-chan struct{}, visit func(ledger string, canonical []byte) error) (Summary, error) {
	var found []Ledger
	s, err := Read(from, func(id uint64, in io.Reader) error {
		ledgers, err := checkGroup(id, in, stop, visit)
		found = append(found, ledgers...)
		return err
	})
	if err != nil {
		return s, err
	}
	if len(found) != len(s.Ledgers) {
		return s, damaged("its index names %d ledgers, and it holds %d", len(s.Ledgers), len(found))
	}
	for i, l := range s.Ledgers {
		f := found[i]
		if l.Name != f.Name || l.Group != f.Group || l.Revision != f.Revision || l.Time != f.Time || l.Leaves != f.Leaves || !bytes.Equal(l.Root, f.Root) {
			return s, damaged("ledger %q of group %d ends at revision %d with %d events and root %x; the index says %q, %d, %d, %d, %x",
				f.Name, f.Group, f.Revision, f.Leaves, f.Root, l.Name, l.Group, l.Revision, l.Leaves, l.Root)
		}
	}
	return s, nil
}

// counted is what the events of a ledger come to.
type counted struct {
	tree audit.Frontier
	last event.Revision
}

func checkGroup(id uint64, in io.Reader, stop <-chan struct{}, visit func(string, []byte) error) ([]Ledger, error) {
	events := map[store.LedgerID]*counted{}
	ledgers, err := store.InspectSnapshot(in, stop, func(l store.Ledger, r event.Revision, canonical []byte) error {
		c := events[l.ID]
		if c == nil {
			c = &counted{}
			events[l.ID] = c
		}
		c.tree.Append(canonical)
		c.last = r
		if visit == nil {
			return nil
		}
		return visit(l.Name, canonical)
	})
	if err != nil {
		return nil, err
	}
	var found []Ledger
	for _, l := range ledgers {
		c := events[l.ID]
		if c == nil || c.last != l.Head.Revision || c.tree.Size() != l.Head.Leaves {
			return nil, damaged("the head of ledger %q is at revision %d with %d events, which are not there", l.Name, l.Head.Revision, l.Head.Leaves)
		}
		found = append(found, newLedger(l, id, &c.tree))
	}
	return found, nil
}
