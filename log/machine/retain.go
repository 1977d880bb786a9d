package machine

import (
	"errors"
	"fmt"
	"math"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Counter is a Domain that wants to know how many rows of a table there are, and how large: Situation.Live.
type Counter interface {
	Counted() store.Counted
}

func counted(d Domain) store.Counted {
	if c, ok := d.(Counter); ok {
		return c.Counted()
	}
	return store.Counted{}
}

// Retainer is a Domain whose ledgers have a floor, below which old row versions may go. The ledger's events stay.
type Retainer interface {
	// Floor gives the oldest revision that the newest rows let anybody read; zero where that is all.
	Floor(rows store.Reader) event.Revision
	// Trims gives the floor that an event sets.
	Trims(e event.Event) (floor event.Revision, ok bool)
}

func floorOf(db *store.DB, l store.LedgerID, r Retainer) (floor event.Revision, err error) {
	defer store.Catch(&err)
	rows := db.Rows(l, math.MaxUint64)
	floor = r.Floor(rows)
	return floor, rows.Close()
}

// retain notes the floor that an event sets.
func (a *applying) retain(l *ledger, e event.Event) {
	if r, ok := a.machine.config.Domain.(Retainer); ok {
		if floor, moves := r.Trims(e); moves {
			l.Head.Floor = floor
		}
	}
}

// TrimmedError says that a read asked for a revision whose rows may be gone.
type TrimmedError struct {
	Asked, Floor event.Revision
	Time         event.Time // of the floor
}

// Error implements error.
func (e TrimmedError) Error() string {
	return fmt.Sprintf("the state at revision %d is no longer kept; the oldest that is kept is that of revision %d", e.Asked, e.Floor)
}

// pins are the floors that readers of one ledger began with, and how many of each.
type pins map[event.Revision]int

// Pin tells where a ledger ends for readers, and keeps what they may see from there on until it is released: no version
// goes that somebody sees who reads at the floor as it is now, or later. The caller holds the database (Read).
//
// Head and floor are of one moment, so the newest state can always be read. It is the floor that is kept, and not what
// the reader begins with: it may look further back from there.
func (m *Machine) Pin(ledger string) (l store.Ledger, release func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok = m.published[ledger]; !ok {
		return l, nil, false
	}
	all := m.pins[ledger]
	if all == nil {
		all = pins{}
		m.pins[ledger] = all
	}
	floor := l.Head.Floor
	all[floor]++
	return l, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if all[floor]--; all[floor] == 0 {
			delete(all, floor)
		}
	}, true
}

// Allow refuses a revision below a ledger's floor with a TrimmedError.
func Allow(db *store.DB, l store.Ledger, at event.Revision) error {
	if at >= l.Head.Floor {
		return nil
	}
	refused := TrimmedError{Asked: at, Floor: l.Head.Floor}
	found, err := db.Events(l.ID, refused.Floor, l.Head.Revision, store.Chunk{Events: 1, Bytes: 1})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		refused.Time = found[0].Time
	}
	return refused
}

// trimmable is a ledger and the floor up to which it may be trimmed now: a reader that began before the last move still
// reads at the one before. Who comes later reads at the last one, or is refused.
func (m *Machine) trimmable(ledger string) (store.Ledger, event.Revision, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok := m.published[ledger]
	floor := l.Head.Floor
	for pinned := range m.pins[ledger] {
		floor = min(floor, pinned)
	}
	return l, floor, ok
}

// TrimStats is what trimming has done to a ledger on this replica.
type TrimStats struct {
	Rows  uint64         // versions that went
	Done  event.Revision // the floor up to which all are gone that may
	Floor event.Revision // the ledger's floor
	Busy  bool           // a pass is under way
}

// Trimmed tells how far trimming a ledger has come.
func (m *Machine) Trimmed(ledger string) (s TrimStats, err error) {
	l, ok := m.Ledger(ledger)
	if !ok {
		return s, nil
	}
	err = m.Read(func(db *store.DB) error {
		t, err := db.Trimmed(l.ID)
		s = TrimStats{Rows: t.Rows, Done: t.Done, Floor: l.Head.Floor, Busy: t.Active()}
		return err
	})
	return s, err
}

// trimChunkBytes is how much one step of trimming reads, while it holds off the arrival of a snapshot.
const trimChunkBytes = 256 << 10

// Trim deletes the row versions of a ledger that its floor lets go, in steps: after each one pace is told how many bytes
// were read, and what it returns ends the pass. The next one goes on where it ended, after a restart too.
//
// Apply goes on meanwhile, and does not wait for it.
func (m *Machine) Trim(ledger string, pace func(bytes int) error) error {
	for {
		more, read, err := m.trimStep(ledger)
		if err != nil || !more {
			return err
		}
		if err := pace(read); err != nil {
			return err
		}
	}
}

func (m *Machine) trimStep(ledger string) (more bool, read int, err error) {
	err = m.Read(func(db *store.DB) error {
		m.sweep.Lock()
		defer m.sweep.Unlock()
		l, floor, ok := m.trimmable(ledger)
		if !ok {
			return nil
		}
		before, err := db.Trimmed(l.ID)
		if err != nil {
			return err
		}
		if before.Floor > floor || !before.Active() && floor <= before.Done {
			return nil // somebody still reads further back, or there is nothing to do
		}
		step, err := db.TrimSome(l.ID, floor, m.trimChunk)
		if err != nil {
			return err
		}
		for s := range m.scrubs {
			s.trimmed(l.ID, step.Deleted)
		}
		more, read = true, step.Read
		return nil
	})
	if errors.Is(err, ErrClosed) {
		return false, 0, nil
	}
	return more, read, err
}
