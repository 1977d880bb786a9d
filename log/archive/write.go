package archive

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/store"
)

// Write writes the groups' states, the first group's first. Stop, when closed, ends it early with store.ErrStopped.
func Write(to io.Writer, h Header, groups []*store.Snapshot, stop <-chan struct{}) error {
	sum := sha256.New()
	w := io.MultiWriter(to, sum)
	h.Groups = uint64(len(groups))
	head, err := appendFrame([]byte(magic), h)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	index := []Ledger{}
	for i, state := range groups {
		ledgers, err := ledgersOf(state, uint64(i)+1)
		if err != nil {
			return fmt.Errorf("group %d: %w", i+1, err)
		}
		index = append(index, ledgers...)
		if err := state.Write(w, stop); err != nil {
			return fmt.Errorf("group %d: %w", i+1, err)
		}
	}
	tail, err := appendFrame(nil, index)
	if err != nil {
		return err
	}
	if _, err := w.Write(tail); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if _, err := to.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

func ledgersOf(state *store.Snapshot, group uint64) ([]Ledger, error) {
	ledgers, err := state.Ledgers()
	if err != nil {
		return nil, err
	}
	var all []Ledger
	for _, l := range ledgers {
		tree, err := audit.Load(l.Head.Leaves, func(leaf uint64) ([]byte, error) { return state.Hashes(l.ID, leaf) })
		if err != nil {
			return nil, fmt.Errorf("load the Merkle tree of ledger %q: %w", l.Name, err)
		}
		all = append(all, newLedger(l, group, &tree))
	}
	return all, nil
}

func newLedger(l store.Ledger, group uint64, tree *audit.Frontier) Ledger {
	root := tree.Root()
	return Ledger{
		Name: l.Name, Group: group, Revision: l.Head.Revision, Time: l.Head.Time, Leaves: l.Head.Leaves, Root: bytes.Clone(root[:]),
	}
}
