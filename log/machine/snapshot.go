package machine

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// A machine's folder holds its database in a folder of its own, "state-N", and a file CURRENT that names it. A
// snapshot is received into state-N+1; rewriting CURRENT is the moment at which it becomes the state, so a crash
// leaves the old state or the new one, never a mixture.
const currentFile = "CURRENT"

func (m *Machine) fs() store.FS {
	if m.config.Store.FS != nil {
		return m.config.Store.FS
	}
	return store.DefaultFS
}

func stateName(n uint64) string { return fmt.Sprintf("state-%06d", n) }

// current is the number of the state that CURRENT names; zero when there is none yet.
func (m *Machine) current() (uint64, error) {
	path := m.fs().PathJoin(m.config.Dir, currentFile)
	b, err := store.ReadFile(m.fs(), path)
	if err != nil || b == nil {
		return 0, err
	}
	digits, ok := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), "state-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n == 0 {
		return 0, fmt.Errorf("read %s: %q names no state", path, b)
	}
	return n, nil
}

// openCurrent opens the state that CURRENT names, and gives its number.
func (m *Machine) openCurrent() (_ *store.DB, n uint64, err error) {
	if !m.config.Existing {
		if err := store.MakeDir(m.fs(), m.config.Dir); err != nil {
			return nil, 0, err
		}
	}
	if n, err = m.current(); err != nil {
		return nil, 0, err
	}
	if n == 0 {
		n = 1
		if err := m.checkEmpty(); err != nil {
			return nil, 0, err
		}
		if err := m.setCurrent(n); err != nil {
			return nil, 0, err
		}
	}
	db, err := store.Open(m.statePath(n), m.config.Store)
	return db, n, err
}

// checkEmpty refuses a folder that holds a state though no CURRENT says which is the one: CURRENT is written before
// the first state, so it was lost, and what is there must not be taken for nothing.
func (m *Machine) checkEmpty() error {
	if m.config.Existing {
		return fmt.Errorf("%s holds no %s: there is no state, or it is damaged", m.config.Dir, currentFile)
	}
	names, err := m.fs().List(m.config.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "state-") {
			return fmt.Errorf("%s holds %s but no %s that says which state is the present one: bring the folder back from a backup, "+
				"or write the name of the newest state into that file", m.config.Dir, name, currentFile)
		}
	}
	return nil
}

func (m *Machine) statePath(n uint64) string { return m.fs().PathJoin(m.config.Dir, stateName(n)) }

func (m *Machine) setCurrent(n uint64) error {
	return store.WriteFile(m.fs(), m.fs().PathJoin(m.config.Dir, currentFile), []byte(stateName(n)+"\n"))
}

// removeOthers removes the states that a crash has left behind.
func (m *Machine) removeOthers(keep uint64) error {
	names, err := m.fs().List(m.config.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "state-") && name != stateName(keep) {
			if err := m.fs().RemoveAll(m.fs().PathJoin(m.config.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// PrepareSnapshot implements Raft's interface: it takes hold of the present state.
func (m *Machine) PrepareSnapshot() (any, error) {
	fault.Point(fault.SnapshotTake)
	return m.db.Snapshot(), nil
}

// SaveSnapshot implements Raft's interface: it streams the state that PrepareSnapshot took hold of, while entries
// go on being applied.
func (m *Machine) SaveSnapshot(state any, w io.Writer, stop <-chan struct{}) (err error) {
	snapshot, ok := state.(*store.Snapshot)
	if !ok {
		return fmt.Errorf("save snapshot: a %T is not what PrepareSnapshot gave", state)
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	fault.Point(fault.SnapshotSave)
	defer fault.Point(fault.SnapshotSaved)
	if err := snapshot.Write(w, stop); errors.Is(err, store.ErrStopped) {
		return sm.ErrSnapshotStopped
	} else if err != nil {
		return err
	}
	return nil
}

// RecoverFromSnapshot implements Raft's interface: it replaces the state by one that was streamed. The old state
// serves readers until the new one is complete, checked and synced.
func (m *Machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) (err error) {
	defer store.Catch(&err)
	fault.Point(fault.SnapshotReceive)
	n, err := m.current()
	if err != nil {
		return err
	}
	n++
	if err := m.fs().RemoveAll(m.statePath(n)); err != nil {
		return err
	}
	if err := store.Restore(m.statePath(n), r, m.config.Store, stop); errors.Is(err, store.ErrStopped) {
		return sm.ErrSnapshotStopped
	} else if err != nil {
		return fmt.Errorf("receive snapshot: %w", err)
	}
	fault.Point(fault.SnapshotArrived)
	if err := m.setCurrent(n); err != nil {
		return err
	}
	fault.Point(fault.SnapshotCurrent)
	if err := m.swapTo(n); err != nil {
		return err
	}
	fault.Point(fault.SnapshotSwapped)
	if err := m.writeMarker(m.Applied()); err != nil {
		return err
	}
	m.announce()
	fault.Point(fault.SnapshotDone)
	return nil
}

// swapTo takes state n for the present one, and removes the one before when nobody reads it any more. What cannot be
// removed is in nobody's way, and goes at the next start.
func (m *Machine) swapTo(n uint64) error {
	db, err := store.Open(m.statePath(n), m.config.Store)
	if err != nil {
		return err
	}
	m.swap.Lock()
	defer m.swap.Unlock()
	old := m.db
	if err := m.load(db, n); err != nil {
		return errors.Join(err, db.Close())
	}
	if old == nil {
		return nil
	}
	return old.letGo(func() error {
		err := old.DB.Close()
		_ = m.fs().RemoveAll(m.statePath(old.number))
		return err
	})
}

// announce tells followers that ledgers have grown by events that were never applied here one by one: an empty
// publication makes them look at the store.
func (m *Machine) announce() {
	if m.config.Publish == nil {
		return
	}
	for name := range m.ledgers {
		m.config.Publish(name, []event.Event(nil))
	}
}
