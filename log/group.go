package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// group is this server's replica of one Raft group.
type group struct {
	id       uint64
	replica  uint64 // this server's
	host     *host
	machine  *machine.Machine
	closed   atomic.Pointer[error] // how Raft could not close it
	proposer *proposer

	mu    sync.Mutex
	tails map[string]*tail

	fs        store.FS
	held      Held        // what the log held when this process began
	replayTo  uint64      // the last entry of the log that was committed when this process began, and that is a command
	voterFile string      // says that this replica votes, see wasVoter
	votes     atomic.Bool // and that the file is there

	term      atomic.Uint64 // of the last leader that this server was told of
	elections atomic.Uint64 // see Log.Elections

	current  atomic.Int64 // when the state was last known to be current, as now gives it
	checking atomic.Bool  // somebody is finding out
}

// Raft's times, in ticks of Config.Tick.
const (
	electionTicks  = 10
	heartbeatTicks = 1
)

// See Config.SnapshotEntries.
const (
	defaultSnapshotEntries    = 20_000
	defaultCompactionOverhead = 5_000
)

// openGroup opens the replica's state. Raft does not run it yet.
func openGroup(c Config, id uint64, domain machine.Domain, options store.Options) (*group, error) {
	g := &group{id: id, tails: map[string]*tail{}}
	at := c.machine(id, domain, options)
	at.Publish = func(ledger string, events []event.Event) { g.tail(ledger).publish(events) }
	m, err := machine.New(at)
	if err != nil {
		return nil, fmt.Errorf("open group %d: %w", id, err)
	}
	g.machine = m
	return g, nil
}

// machine says where a group's state is.
func (c Config) machine(id uint64, domain machine.Domain, options store.Options) machine.Config {
	return machine.Config{
		Dir:    filepath.Join(c.Dir, "groups", strconv.FormatUint(id, 10)),
		Marker: filepath.Join(c.raftDir(), fmt.Sprintf("synced-%d", id)),
		Store:  options,
		Domain: domain,
		Origin: c.origin,
	}
}

// Verify holds every group's state in the folder of a server that does not run against its ledgers, and gives what
// it found by group; see machine.Verify.
func Verify(ctx context.Context, c Config, domain machine.Domain) (_ map[uint64][]machine.Verified, err error) {
	scratch, err := os.MkdirTemp("", "rollcall-verify")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	all := map[uint64][]machine.Verified{}
	for id := uint64(1); id <= c.Groups; id++ {
		all[id], err = machine.Verify(ctx, c.machine(id, domain, store.Options{FS: c.FS}), filepath.Join(scratch, strconv.FormatUint(id, 10)))
		if err != nil {
			return nil, fmt.Errorf("group %d: %w", id, err)
		}
	}
	return all, nil
}

// unfailing is a machine as Raft sees it, which panics where the state cannot be closed: Log.Close gives the error instead,
// for the disk may be bad, and the process has to say so.
type unfailing struct {
	*machine.Machine
	err *atomic.Pointer[error]
}

// Close implements Raft's interface.
func (u unfailing) Close() error {
	if err := u.Machine.Close(); err != nil {
		u.err.Store(&err)
	}
	return nil
}

// start lets Raft run the replica.
func (g *group) start(c Config, host *host) error {
	g.host, g.replica, g.proposer = host, c.Replica, newProposer(host, g.id, c.origin, c.Tick, g.barrier)
	create := func(uint64, uint64) sm.IOnDiskStateMachine { return unfailing{g.machine, &g.closed} }
	voter, err := g.wasVoter(c)
	if err != nil {
		return err
	}
	shard := config.Config{
		IsNonVoting: !voter,
		ReplicaID:   c.Replica, ShardID: g.id,
		ElectionRTT: electionTicks, HeartbeatRTT: heartbeatTicks, CheckQuorum: true, PreVote: true,
		SnapshotEntries:     fault.Value(fault.SnapshotEntries, c.SnapshotEntries),
		CompactionOverhead:  fault.Value(fault.CompactionOverhead, c.CompactionOverhead),
		OrderedConfigChange: true,
		// A group that nobody has asked anything of for a while (10 election timeouts) sends no heartbeats until somebody
		// does. Who leads it may die unnoticed meanwhile: see Log.Wake.
		Quiesce: true,
	}
	err = host.use(func(raft *dragonboat.NodeHost) error {
		return raft.StartOnDiskReplica(c.Founders, len(c.Founders) == 0, create, shard)
	})
	if err == nil {
		err = g.readLog()
	}
	if err != nil {
		return fmt.Errorf("start group %d: %w", g.id, err)
	}
	return nil
}

// readLog notes what Raft's log holds. Dragonboat does not show it before it runs the replica, which a moment later may
// append to it; what it says of the term and the vote is as it was found.
func (g *group) readLog() error {
	reader, err := g.host.reader(g.id)
	if err != nil {
		return err
	}
	state, _ := reader.NodeState()
	_, last := reader.GetRange()
	g.held = Held{Term: state.Term, Vote: state.Vote, Last: last}
	return g.findReplay(reader, state.Commit)
}

// findReplay notes how far Raft is going to apply its log again without asking anybody. Entries that hold no command do
// not come to the state machine.
func (g *group) findReplay(reader dragonboat.ReadonlyLogReader, committed uint64) error {
	first, last := reader.GetRange()
	const step = 64
	for high := min(committed, last) + 1; high > max(first, g.machine.Applied()+1); {
		low := max(first, g.machine.Applied()+1, high-min(high, step))
		entries, err := reader.Entries(low, high, math.MaxUint64)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(entries) {
			if len(e.Cmd) > 0 && e.Type != raftpb.ConfigChangeEntry && e.Type != raftpb.MetadataEntry {
				g.replayTo = e.Index
				return nil
			}
		}
		high = low
	}
	return nil
}

func (g *group) tail(ledger string) *tail {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tails[ledger]
	if t == nil {
		t = &tail{}
		g.tails[ledger] = t
	}
	return t
}

func (g *group) hasLeader() bool {
	return g.host.leader(g.id) != 0
}

// barrier returns when this replica has applied everything that was committed anywhere when it was called.
func (g *group) barrier(ctx context.Context) error {
	return g.attempts(ctx, g.readIndex)
}

// A question to a leader that dies is not answered, and nobody says so. So it is asked again after a while, and the
// next time after a longer one, for a leader may also be slow.
const (
	firstAttempt   = 400 * time.Millisecond
	longestAttempt = 2 * time.Second
)

// attempts repeats what only asks, until it is answered or the time is up. Without a deadline that is defaultTimeout.
func (g *group) attempts(ctx context.Context, ask func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	for patience := firstAttempt; ; patience = min(2*patience, longestAttempt) {
		attempt, cancel := context.WithTimeout(ctx, patience)
		err := ask(attempt)
		early := attempt.Err() == nil
		cancel()
		switch {
		case errors.Is(err, errDropped):
			patience = firstAttempt / 2
			if err := pause(ctx, retryWithNoLeader); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		case !errors.Is(err, ErrUnavailable):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		case early: // refused at once, as it is while the replica starts: asking again at once would only burn time
			if err := pause(ctx, retryWithNoLeader); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
	}
}

// pause returns after a while, or with the reason why it ended earlier.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readIndex asks the leader once.
func (g *group) readIndex(ctx context.Context) error {
	began := now()
	timeout := g.proposer.least
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), g.proposer.least)
	}
	var request *dragonboat.RequestState
	err := g.host.use(func(raft *dragonboat.NodeHost) (err error) {
		request, err = raft.ReadIndex(g.id, timeout)
		return err
	})
	if err != nil {
		return refusal(err)
	}
	select {
	case result := <-request.ResultC():
		request.Release()
		switch {
		case result.Completed():
			g.noteCurrent(began)
			return nil
		case result.Dropped():
			return errDropped
		case result.Terminated():
			return ErrClosed
		}
		return ErrUnavailable
	case <-ctx.Done():
		// Dragonboat owns the request until it has answered: it is left to the collector.
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// now counts on when somebody sets the clock back: staleness must not.
func now() time.Duration { return time.Since(processStart) }

var processStart = time.Now()

func (g *group) noteCurrent(at time.Duration) {
	for {
		old := g.current.Load()
		if old >= int64(at) || g.current.CompareAndSwap(old, int64(at)) {
			return
		}
	}
}

// staleness is how long ago the state was last known to be current. Where that is not recent it also has somebody
// find out, so that an idle group costs nothing and the next caller knows better.
func (g *group) staleness() time.Duration {
	const recent = 250 * time.Millisecond
	current := time.Duration(g.current.Load())
	age := now() - current
	if current == 0 {
		// Not since this process began: what is here is as old as the last event, or less.
		age = max(age, time.Since(time.Unix(0, int64(g.machine.NewestEvent()))))
	}
	if age > recent && g.checking.CompareAndSwap(false, true) {
		go g.find()
	}
	return age
}

// find asks the leader whether this replica is current, for whoever asks next. It is the only one of its kind at a time.
func (g *group) find() {
	defer g.checking.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = g.readIndex(ctx) // a failure leaves the age as it is, which is the truth
}
