package machine

import (
	"fmt"
	"slices"

	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Digest is what a ledger and its views come to at one commit: two replicas that hold the same have the same digest,
// and, accidents of 1 in 2^128 aside, only they.
type Digest struct {
	Revision event.Revision `json:"revision"`
	Leaves   uint64         `json:"leaves"`
	Root     audit.Hash     `json:"root"` // of the Merkle tree over the events
	Rows     store.Sum      `json:"rows"` // of all row versions
}

// mark is what is remembered of a commit, out of which its digest can be made. The number of leaves is kept because a
// revision does not give it: revisions jump after a restoration, leaves do not.
type mark struct {
	revision event.Revision
	leaves   uint64
	rows     store.Sum
}

func markOf(h store.Head) mark { return mark{h.Revision, h.Leaves, h.Rows} }

// RecentCommits is how many commits of a ledger a machine remembers for Digest: replicas apply the same commit at
// slightly different moments, and a busy ledger moves on by tens of thousands in a second.
const RecentCommits = 8192

// recent are the newest commits of a ledger, oldest first.
type recent struct{ marks []mark }

// add appends; when twice as many are there as are kept, the older half is given up, so that each is copied once.
func (r *recent) add(marks []mark) {
	r.marks = append(r.marks, marks...)
	if len(r.marks) > 2*RecentCommits {
		r.marks = slices.Clone(r.marks[len(r.marks)-RecentCommits:])
	}
}

func (r *recent) find(at event.Revision) (mark, bool) {
	i, ok := slices.BinarySearchFunc(r.marks, at, func(m mark, at event.Revision) int {
		return int(int64(m.revision) - int64(at))
	})
	if !ok {
		return mark{}, false
	}
	return r.marks[i], true
}

// recentOf gives a ledger's newest commits. The caller holds mu.
func (m *Machine) recentOf(ledger string) *recent {
	r := m.recent[ledger]
	if r == nil {
		r = &recent{}
		m.recent[ledger] = r
	}
	return r
}

// Digest gives a ledger's digest at a commit, zero meaning the newest. It is not known for a commit that is not there
// yet, that is too long ago, or that was applied before the machine was opened; nor for a revision inside a commit.
func (m *Machine) Digest(ledger string, at event.Revision) (d Digest, known bool, err error) {
	err = m.Read(func(db *store.DB) error {
		found, id, ok := m.mark(ledger, at)
		if !ok {
			return nil
		}
		root, err := audit.RootAt(found.leaves, func(leaf uint64) ([]byte, error) { return db.Hashes(id, leaf) })
		if err != nil {
			return fmt.Errorf("find the root of ledger %q at revision %d: %w", ledger, found.revision, err)
		}
		d, known = Digest{Revision: found.revision, Leaves: found.leaves, Root: root, Rows: found.rows}, true
		return nil
	})
	return d, known, err
}

func (m *Machine) mark(ledger string, at event.Revision) (mark, store.LedgerID, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok := m.published[ledger]
	if !ok {
		return mark{}, 0, false
	}
	if at == 0 {
		return markOf(l.Head), l.ID, true
	}
	found, ok := m.recent[ledger].find(at)
	return found, l.ID, ok
}
