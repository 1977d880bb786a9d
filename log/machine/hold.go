package machine

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/rollcall/rollcall/log/store"
)

// opened is an open database and how many hold on to a moment of it. Who replaces or closes the state lets go of the
// database at once; it is closed when the last holder has let go, so that a long backup holds up nobody.
type opened struct {
	*store.DB
	number uint64 // of the state

	mu      sync.Mutex
	holders int
	close   func() error // set when the machine has let go of it
}

func (o *opened) hold() *store.Snapshot {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holders++
	return o.Snapshot()
}

func (o *opened) release() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.holders--; o.holders > 0 || o.close == nil {
		return nil
	}
	return o.close()
}

// letGo closes the database with a function, now or when the last holder has let go.
func (o *opened) letGo(with func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.close = with; o.holders > 0 {
		return nil
	}
	return with()
}

// Held is the state at one moment, while the machine goes on. It stays readable when the machine gets another state
// or is closed. Close it after use.
type Held struct {
	*store.Snapshot
	db *opened
}

// Hold takes hold of the present state.
func (m *Machine) Hold() (*Held, error) {
	m.swap.RLock()
	defer m.swap.RUnlock()
	if m.db == nil {
		return nil, ErrClosed
	}
	return &Held{m.db.hold(), m.db}, nil
}

// Close lets go of the state.
func (h *Held) Close() error { return errors.Join(h.Snapshot.Close(), h.db.release()) }

// Base tells whether the machine holds ledgers although it has applied no entry: they came with a restore, and are in
// no Raft log. That is right for the one server that was restored, until its log has been compacted, and for no other.
func (m *Machine) Base() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied == 0 && len(m.published) > 0
}

// Restore makes the state of a machine that does not exist yet out of a snapshot that another machine has streamed, as
// one that has applied nothing. Where it fails, what stands in the folder is worth nothing.
func Restore(c Config, from io.Reader, stop <-chan struct{}) error {
	m := &Machine{config: c}
	if err := store.MakeDir(m.fs(), c.Dir); err != nil {
		return err
	}
	if err := m.checkEmpty(); err != nil {
		return err
	}
	if err := store.RestoreBase(m.statePath(1), from, c.Store, stop); err != nil {
		return fmt.Errorf("restore into %s: %w", c.Dir, err)
	}
	return m.setCurrent(1)
}
