// Package machine is the replicated state machine of one Raft group: it takes committed entries, has their commands
// decided, and writes events, Merkle hashes, rows and the applied index in one batch.
//
// It knows no event's meaning (a Domain decides and folds), no namespaces' placement and no network. It sees no
// clock: time comes with the commands.
package machine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Domain gives commands and events their meaning. Its methods are pure: the same arguments give the same results on
// every replica, in every batching and in every replay.
type Domain interface {
	Decide(rows store.Reader, at Situation, command []byte) Decision
	// Fold applies an event to the rows. It cannot refuse.
	Fold(rows store.Writer, e event.Event)
}

// Situation is where and when a command is decided.
type Situation struct {
	Ledger string
	Head   event.Revision // the ledger's last revision; zero while it is not open
	Now    event.Time     // not before the ledger's last event
	Asked  event.Time     // what the proposer's clock said
	// Live is what the domain counts of the ledger's rows, after every command before this one.
	Live store.Live
	// ReadBytes is how much the command may read for its reply: what the commands before it in its entry have
	// left. It depends on the entry alone, so it is the same on every replica.
	ReadBytes int
}

// Decision is what a command comes to.
type Decision struct {
	// Events are what happened; none when the command is refused or changes nothing.
	Events []event.Body
	// Skip is how many revisions to leave out before the first event. The Merkle tree counts on without a jump.
	Skip event.Revision
	// Request is what the first of the events remembers of the request that they answer; nil for nothing.
	Request *event.Request
	// Read is how many bytes the reply will hold of what was read.
	Read int
	// Reply makes what the caller is told, given the commit that the events got (the head's revision when there
	// are none). It is called on the replica where the caller waits, and nowhere else.
	Reply func(commit event.Revision) []byte
}

// Config says what a machine works with.
type Config struct {
	Dir string // where its database lives; nobody else uses it
	// Existing refuses to make what is not there, and removes nothing: for whoever only wants to look.
	Existing bool
	Marker   string // file that remembers the last synced index outside of Dir, see marker.go
	Store    store.Options
	Domain   Domain
	// Origin is the number under which this process proposes: entries that bear another one, or are applied again
	// after a restart, have nobody here who waits for their replies.
	Origin uint64
	// Publish is told the events of each ledger right after they became readable, in order. It must not wait.
	Publish func(ledger string, events []event.Event)
}

// Machine is the state machine of one group. Its reads may be called concurrently with everything.
type Machine struct {
	config Config

	// swap is held for writing while a snapshot replaces db, and for reading while somebody reads db.
	swap sync.RWMutex
	db   *opened

	// mu guards published: where each ledger ends for readers. It moves after a batch has become readable.
	mu        sync.RWMutex
	published map[string]store.Ledger
	recent    map[string]*recent // the newest commits, for Digest
	applied   uint64
	pins      map[string]pins // by ledger: from where on somebody reads; see Pin

	// sweep is held for each step of a scrubbing through rows, and of trimming them.
	sweep     sync.Mutex
	trimChunk int                     // what a step of trimming reads
	scrubs    map[*scrubbing]struct{} // those that read rows

	// ledgers and nextID belong to the goroutine that applies.
	ledgers map[string]*ledger
	nextID  store.LedgerID
}

// ledger is what appending to a ledger needs.
type ledger struct {
	store.Ledger
	frontier audit.Frontier
}

var _ sm.IOnDiskStateMachine = (*Machine)(nil)

// New opens a machine's database, and makes it where there is none. It refuses a state that is older than what
// this machine had synced (ErrStateLost).
func New(c Config) (*Machine, error) {
	m := &Machine{config: c, pins: map[string]pins{}, scrubs: map[*scrubbing]struct{}{}, trimChunk: trimChunkBytes}
	if counter, ok := c.Domain.(Counter); ok {
		m.config.Store.Counted = counter.Counted()
	}
	db, number, err := m.openCurrent()
	if err != nil {
		return nil, err
	}
	err = m.load(db, number)
	if err == nil {
		err = m.checkMarker()
	}
	if err == nil && !c.Existing {
		err = m.removeOthers(number)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, nil
}

// load takes db, which is the state of a number, as the machine's state.
func (m *Machine) load(db *store.DB, number uint64) error {
	applied, err := db.Applied()
	if err != nil {
		return err
	}
	ledgers, err := db.Ledgers()
	if err != nil {
		return err
	}
	loaded, published, nextID := map[string]*ledger{}, map[string]store.Ledger{}, store.LedgerID(1)
	for _, l := range ledgers {
		f, err := audit.Load(l.Head.Leaves, func(leaf uint64) ([]byte, error) { return db.Hashes(l.ID, leaf) })
		if err != nil {
			return fmt.Errorf("load the Merkle tree of ledger %q: %w", l.Name, err)
		}
		if retainer, ok := m.config.Domain.(Retainer); ok {
			if l.Head.Floor, err = floorOf(db, l.ID, retainer); err != nil {
				return err
			}
		}
		loaded[l.Name], published[l.Name] = &ledger{Ledger: l, frontier: f}, l
		nextID = max(nextID, l.ID+1)
	}
	m.db, m.ledgers, m.nextID = &opened{DB: db, number: number}, loaded, nextID
	m.mu.Lock()
	m.published, m.applied, m.recent = published, applied, map[string]*recent{}
	for name, l := range published {
		m.recentOf(name).add([]mark{markOf(l.Head)})
	}
	m.mu.Unlock()
	return nil
}

// Open implements Raft's interface: it tells which entry was applied last. The database is open since New.
func (m *Machine) Open(<-chan struct{}) (uint64, error) { return m.Applied(), nil }

// Applied is the index of the last entry whose effects can be read.
func (m *Machine) Applied() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied
}

// Ledger tells where a ledger ends for readers; ok is false while it is not open.
func (m *Machine) Ledger(name string) (l store.Ledger, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok = m.published[name]
	return l, ok
}

// NewestEvent is the time of the newest event of any ledger; zero while there is none.
func (m *Machine) NewestEvent() (newest event.Time) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, l := range m.published {
		newest = max(newest, l.Head.Time)
	}
	return newest
}

// Ledgers are the names of the ledgers that readers can see, in order.
func (m *Machine) Ledgers() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.published))
}

// Read runs fn on the database. It holds off the arrival of a snapshot, so fn should not wait for anybody.
func (m *Machine) Read(fn func(*store.DB) error) (err error) {
	m.swap.RLock()
	defer m.swap.RUnlock()
	if m.db == nil {
		return ErrClosed
	}
	defer store.Catch(&err)
	return fn(m.db.DB)
}

// ErrClosed says that the machine was closed.
var ErrClosed = errors.New("state machine is closed")

// Lookup implements Raft's interface. Reads do not come this way: they use Read.
func (m *Machine) Lookup(any) (any, error) {
	return nil, errors.New("machine: reads do not go through Lookup")
}

// Sync implements Raft's interface: what was applied survives a loss of power, and the marker says up to where.
func (m *Machine) Sync() error {
	applied := m.Applied()
	fault.Point(fault.SyncBefore)
	if err := m.db.Sync(); err != nil {
		return err
	}
	return m.writeMarker(applied)
}

// Close implements Raft's interface. It may be called twice.
func (m *Machine) Close() error {
	m.swap.Lock()
	defer m.swap.Unlock()
	if m.db == nil {
		return nil
	}
	db := m.db
	m.db = nil
	return db.letGo(db.DB.Close)
}
