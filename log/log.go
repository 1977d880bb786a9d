// Package log is the replicated record: it has commands committed through Raft groups, and gives back the ledgers
// that they make, as events to follow and as rows to read.
//
// It knows no event's meaning (it is given a machine.Domain) and not which ledger belongs on which group: callers
// say. Dragonboat appears here and in package machine, and nowhere else.
package log

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/vfs"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// Config says how to open a Log.
type Config struct {
	Dir     string // data folder; "raft" and "groups" are made below it
	Address string // HOST:PORT under which the other servers reach this one
	Replica uint64 // this server's number in every group, from 1; never used by another server, before or after
	Groups  uint64 // how many groups there are; their ids are 1 to Groups
	// Founders are the replicas that a new cluster begins with, this one among them, and their addresses. None means
	// that this replica joins groups that exist: it waits until their leaders add it (Log.AddReplica).
	Founders map[uint64]string
	// Cluster is the cluster's id: servers of another one are not listened to.
	Cluster string
	// Transport carries Raft's messages. Log does not close it.
	Transport Transport
	// Memory is told what other replicas show of themselves; nil: nobody is.
	Memory *Memory
	// Before is called when it is known what Raft's log holds (Log.Held), and before any message goes out or is taken.
	// An error ends the start.
	Before func(l *Log) error
	// Meet is asked before the first message goes to the server at an address, or is taken from it, and again until it
	// gives no error; meanwhile none does. It may be called concurrently, before Open returns, and while Before runs.
	Meet func(ctx context.Context, address string) error
	// Base says that the groups' states may be older than Raft's log: this server was restored; see Restore.
	Base bool
	// Tick is Raft's unit of time: a leader is missed after 10 to 20 of them. The default suits a local network.
	Tick   time.Duration
	Logger *slog.Logger
	// ScrubBytes is how many bytes of what is stored are read and checked again in a second, in the background; zero
	// means DefaultScrubBytes, less than zero none. ScrubEvery is the rest before each round through everything, the
	// first one too; zero means DefaultScrubEvery. Damaged is told what is wrong, again in every round.
	ScrubBytes int
	ScrubEvery time.Duration
	Damaged    func(Damage)
	// TrimBytes is how many bytes of rows are read in a second at most to find versions that may go; zero means
	// DefaultTrimBytes, less than zero that none go. TrimEvery is how often it is looked; zero means DefaultTrimEvery.
	TrimBytes int
	TrimEvery time.Duration
	// SnapshotEntries is after how many entries Raft's log is compacted, and CompactionOverhead how many of them are
	// kept for replicas that lag a little. Zero means the default of each.
	SnapshotEntries, CompactionOverhead uint64
	// FS is where the groups' states are, and RaftFS where Raft's log is: the operating system's file system by default,
	// or simulated ones in a test.
	FS     store.FS
	RaftFS RaftFS

	origin uint64 // of this process's proposals
}

// Transport is what carries Raft's messages: package transport's, or a test's own.
type Transport = config.TransportFactory

// RaftFS is the file system that Raft's log lives on.
type RaftFS = config.IFS

const (
	defaultTick    = 40 * time.Millisecond
	defaultTimeout = 5 * time.Second // for callers whose context has no deadline
	cacheBytes     = 64 << 20        // Pebble's block cache, shared by all groups
)

func (c Config) withDefaults() Config {
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = defaultSnapshotEntries
	}
	if c.CompactionOverhead == 0 {
		c.CompactionOverhead = defaultCompactionOverhead
	}
	if c.FS == nil {
		c.FS = store.DefaultFS
	}
	if c.RaftFS == nil {
		c.RaftFS = vfs.Default
	}
	return c
}

func (c Config) raftDir() string { return filepath.Join(c.Dir, "raft") }

// Log is this server's part of all groups. Its methods may be called concurrently.
type Log struct {
	host   *host
	groups map[uint64]*group
	gate   *gate
	logger *slog.Logger
	cache  *store.Cache
	hurry  chan struct{} // damage was met; see scrubber

	closeOnce sync.Once
	closed    chan struct{}
	stop      context.CancelFunc
	wg        sync.WaitGroup
}

// Open opens the groups and lets Raft run them. They have no leaders yet: see WaitReady.
func Open(c Config, domain machine.Domain) (*Log, error) {
	if c.Tick == 0 {
		c.Tick = defaultTick
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c = c.withDefaults()
	c.origin = rand.Uint64()
	routeRaftLogs(c.Logger)
	if err := prepare(c); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Log{groups: map[uint64]*group{}, logger: c.Logger, cache: store.NewCache(cacheBytes), closed: make(chan struct{}), stop: stop, hurry: make(chan struct{}, 1)}
	if err := l.open(ctx, c, domain); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context, c Config, domain machine.Domain) error {
	for id := uint64(1); id <= c.Groups; id++ {
		g, err := openGroup(c, id, domain, store.Options{
			FS: c.FS, Cache: l.cache, Logger: c.Logger.With("group", id), Damaged: l.metDamage,
		})
		if err != nil {
			return err
		}
		l.groups[id] = g
	}
	if err := l.checkRaftLog(c); err != nil {
		return err
	}
	if err := l.checkBase(c); err != nil {
		return err
	}
	l.gate = newGate(ctx, c, l.durable)
	if c.Transport != nil { // without one it is Dragonboat's own, and nobody meets anybody
		c.Transport = l.gate
	}
	raft, err := dragonboat.NewNodeHost(hostConfig(c, leaderListener{l}))
	if err != nil {
		return fmt.Errorf("start Raft on %s: %w", c.Address, err)
	}
	if raft == nil { // Dragonboat swallows a panic that says so in words, as raftLogger's does
		return fmt.Errorf("start Raft on %s: it could not go on; its last error in the log says why", c.Address)
	}
	l.host = &host{raft: raft, ending: ctx}
	for _, g := range l.groups {
		if err := g.start(c, l.host); err != nil {
			return err
		}
		l.wg.Go(func() { g.proposer.run(ctx) })
	}
	if c.Before != nil {
		if err := c.Before(l); err != nil {
			return err
		}
	}
	l.wg.Go(func() { newScrubber(l, c).run(ctx) })
	l.wg.Go(func() { newTrimmer(l, c).run(ctx) })
	return nil
}

// metDamage has everything that is stored read again, before long. It does not wait.
func (l *Log) metDamage() {
	select {
	case l.hurry <- struct{}{}:
	default: // it was called already
	}
}

// prepare makes the folders, and refuses what Dragonboat would get wrong in silence: it keeps its log in a folder
// that bears the host's name, and would begin an empty one under another name.
func prepare(c Config) error {
	if err := store.MakeDir(c.FS, c.raftDir()); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host's name: %w", err)
	}
	entries, err := c.RaftFS.List(c.raftDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil // a file system of Raft's own, which is empty yet
	}
	if err != nil {
		return err
	}
	for _, name := range entries {
		if e, err := c.RaftFS.Stat(filepath.Join(c.raftDir(), name)); err != nil {
			return err
		} else if e.IsDir() && name != host {
			return fmt.Errorf("the data in %s was written on host %q and this is %q: start it there, or give this host that name", c.Dir, name, host)
		}
	}
	return nil
}

// checkRaftLog refuses a state whose Raft log is gone: Dragonboat would begin an empty one and panic.
func (l *Log) checkRaftLog(c Config) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host's name: %w", err)
	}
	folder := filepath.Join(c.raftDir(), host)
	if _, err := c.RaftFS.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, g := range l.groups {
		if applied := g.machine.Applied(); applied > 0 {
			return fmt.Errorf("group %d has applied entry %d, but Raft's log %s is missing: bring it back, or wipe the server and let it join as a new one", g.id, applied, folder)
		}
	}
	return nil
}

// sendQueueBytes bounds what waits to be sent to one server. One that is paused takes nothing: what is more is dropped,
// and sent again from the log when it takes something again.
const sendQueueBytes = 128 << 20

// hostConfig sizes Dragonboat for small machines: its own defaults take gigabytes and dozens of workers. The number
// of shards of its log is fixed once data exists.
func hostConfig(c Config, leaders leaderListener) config.NodeHostConfig {
	const workers = 4
	logdb := config.GetTinyMemLogDBConfig()
	logdb.Shards = workers
	host := config.NodeHostConfig{
		NodeHostDir:       c.raftDir(),
		RTTMillisecond:    uint64(c.Tick / time.Millisecond),
		RaftAddress:       c.Address,
		DeploymentID:      deployment(c.Cluster),
		RaftEventListener: leaders,
		MaxSendQueueSize:  sendQueueBytes,
		Expert: config.ExpertConfig{
			LogDB:            logdb,
			TransportFactory: c.Transport,
			FS:               c.RaftFS,
			Engine: config.EngineConfig{
				ExecShards: workers, CommitShards: workers, ApplyShards: workers, SnapshotShards: workers, CloseShards: workers,
			},
		},
	}
	if fault.On {
		host.SystemEventListener = compactions{}
	}
	return host
}

// deployment is the number that Dragonboat puts on its messages and looks for on those of others.
func deployment(cluster string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(cluster)) // a hash takes everything
	return max(h.Sum64(), 1)        // zero is Dragonboat's default
}

// Close stops Raft and closes the groups. What was acknowledged is durable already.
func (l *Log) Close() error {
	var errs []error
	l.closeOnce.Do(func() {
		close(l.closed)
		l.stop()
		if l.host != nil {
			l.host.close()
		}
		if l.gate != nil {
			l.gate.close()
		}
		l.wg.Wait()
		for _, g := range l.groups {
			errs = append(errs, g.machine.Close())
			if err := g.closed.Load(); err != nil {
				errs = append(errs, *err)
			}
		}
		l.cache.Unref()
	})
	return errors.Join(errs...)
}

// WaitReady returns when every group has a leader and has applied what was committed before.
func (l *Log) WaitReady(ctx context.Context) error {
	for _, id := range l.Groups() {
		for {
			err := l.groups[id].barrier(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil || !errors.Is(err, ErrUnavailable) {
				return fmt.Errorf("group %d: %w", id, err)
			}
		}
	}
	return nil
}

// Held is, by group, what Raft's log held when this process began, and what it must have got since, for it was shown
// to others.
func (l *Log) Held() map[uint64]Held {
	all := map[uint64]Held{}
	for id, g := range l.groups {
		all[id] = g.held.and(l.gate.own.Of(g.replica)[id]).and(Shown{Committed: g.machine.Applied()})
	}
	return all
}

// durable is the last entry of a group that Raft's log holds; zero where that is not known.
func (l *Log) durable(group uint64) uint64 {
	g := l.groups[group]
	if g == nil {
		return 0
	}
	reader, err := g.host.reader(group)
	if err != nil {
		return 0
	}
	_, last := reader.GetRange() // Dragonboat moves it when it has saved the entries
	return last
}

// Replayed tells whether every group has applied again what its Raft log said was committed when this process began.
// It asks nobody, so what was committed elsewhere since may be missing.
func (l *Log) Replayed() bool {
	for _, g := range l.groups {
		if g.machine.Applied() < g.replayTo {
			return false
		}
	}
	return true
}

// Ready tells whether every group has a leader now.
func (l *Log) Ready() bool {
	for _, g := range l.groups {
		if !g.hasLeader() {
			return false
		}
	}
	return true
}

func (l *Log) group(id uint64) (*group, error) {
	g := l.groups[id]
	if g == nil {
		return nil, fmt.Errorf("group %d is not on this server, which has %d groups", id, len(l.groups))
	}
	return g, nil
}

// Submit has a command committed and decided, and gives the domain's reply. See the errors of this package.
func (l *Log) Submit(ctx context.Context, group uint64, c machine.Command) ([]byte, error) {
	g, err := l.group(group)
	if err != nil {
		return nil, err
	}
	return g.proposer.submit(ctx, c)
}

// Barrier makes the reads that follow it linearizable: it returns when this server has applied everything that was
// committed anywhere in the group when it was called.
func (l *Log) Barrier(ctx context.Context, group uint64) error {
	g, err := l.group(group)
	if err != nil {
		return err
	}
	return g.barrier(ctx)
}

// Staleness is how long ago a group's state was last known to be current.
func (l *Log) Staleness(group uint64) time.Duration {
	g, err := l.group(group)
	if err != nil {
		return 0
	}
	return g.staleness()
}

// Head tells where a ledger ends on this server.
func (l *Log) Head(group uint64, ledger string) (store.Head, error) {
	g, err := l.group(group)
	if err != nil {
		return store.Head{}, err
	}
	at, ok := g.machine.Ledger(ledger)
	if !ok {
		return store.Head{}, fmt.Errorf("%w: %q on group %d", ErrNoLedger, ledger, group)
	}
	return at.Head, nil
}

// Ledgers gives every ledger of a group as it is on this server, by name.
func (l *Log) Ledgers(group uint64) ([]store.Ledger, error) {
	g, err := l.group(group)
	if err != nil {
		return nil, err
	}
	var ledgers []store.Ledger
	err = g.machine.Read(func(db *store.DB) (err error) {
		ledgers, err = db.Ledgers()
		return err
	})
	return ledgers, err
}

// View runs fn on the rows of a ledger as this server has them. At chooses the revision to see, given where the
// ledger ends, among those up to there; nil means the end.
func (l *Log) View(group uint64, ledger string, at func(*store.DB, store.Ledger) (event.Revision, error), fn func(store.Reader, event.Revision) error) error {
	g, err := l.group(group)
	if err != nil {
		return err
	}
	return g.machine.Read(func(db *store.DB) (err error) {
		// The head is taken before the rows are opened: versions up to it stay as they are, and what is pinned stays.
		end, release, ok := g.machine.Pin(ledger)
		if !ok {
			return fmt.Errorf("%w: %q on group %d", ErrNoLedger, ledger, group)
		}
		defer release()
		revision := end.Head.Revision
		if at != nil {
			if revision, err = at(db, end); err != nil {
				return err
			}
		}
		if err := machine.Allow(db, end, revision); err != nil {
			return err
		}
		rows := db.Rows(end.ID, revision)
		defer func() { err = errors.Join(err, rows.Close()) }()
		return fn(rows, revision)
	})
}

// Follow reads a ledger's events from a revision on and goes on live.
func (l *Log) Follow(group uint64, ledger string, from event.Revision) (*Follower, error) {
	g, err := l.group(group)
	if err != nil {
		return nil, err
	}
	return &Follower{machine: g.machine, tail: g.tail(ledger), ledger: ledger, next: max(from, 1), chunk: followerChunk, closed: l.closed}, nil
}
