package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// What all servers of a simulation have in common.
const (
	group      = 1
	ledger     = event.Default
	folder     = "/data"
	tick       = 100 * time.Millisecond // the cost of a simulation is that of its ticks
	electionIn = 20 * tick              // at most, with a quorum and nothing in the way
)

// host is one server: one place of a cluster: an address, a disk, and one life after another. Faults are injected by one goroutine
// at a time, which holds control.
type host struct {
	cluster *cluster
	name    string // which is its address, too
	skew    time.Duration

	control  lock
	replica  atomic.Uint64
	founders map[uint64]string
	disk     *disk
	saw      *log.Memory // what it saw of the others, in all its lives: more than a real server, which may forget it

	life  atomic.Pointer[life] // the present or the last one
	open  *life                // the one that has to be ended; guarded by control
	lives int
}

// lock is a mutex for what takes time: who waits for a sync.Mutex keeps the bubble's clock from going on.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// life is a server from a start to a stop or a crash.
type life struct {
	server   *host
	n        int
	replica  uint64
	log      *log.Log
	endpoint *endpoint
	dead     atomic.Bool // the power is gone, or the server is stopping: nobody may believe it any more
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// alive gives the server's present life; nil while it is down.
func (s *host) alive() *life {
	if l := s.life.Load(); l != nil && !l.dead.Load() {
		return l
	}
	return nil
}

// start begins a life. The caller holds control.
func (s *host) start() error {
	s.lives++
	ctx, stop := context.WithCancel(context.Background())
	l := &life{server: s, n: s.lives, replica: s.replica.Load(), endpoint: s.cluster.network.endpoint(s.name), stop: stop}
	s.disk.onCrash = func() {
		l.dead.Store(true)
		s.cluster.network.unplug(l.endpoint)
	}
	var err error
	l.log, err = log.Open(log.Config{
		Dir: folder, Address: s.name, Replica: l.replica, Groups: 1, Founders: s.founders, Cluster: "sim",
		Transport: l.endpoint, Tick: tick, Logger: s.cluster.logger.With("server", s.name, "life", s.lives),
		SnapshotEntries: s.cluster.plan.snapshotEntries, CompactionOverhead: s.cluster.plan.snapshotEntries / 4,
		Damaged: func(d log.Damage) {
			if !l.dead.Load() {
				s.cluster.fault(fmt.Errorf("%s found damage: %w", s.name, d.Err))
			}
		},
		FS: s.disk.stateFS(), RaftFS: s.disk.raftFS(), Memory: s.saw, Before: s.notOld,
	}, s.cluster.plan.domain(s))
	if err != nil {
		stop()
		return fmt.Errorf("start %s as replica %d, life %d: %w", s.name, s.replica.Load(), s.lives, err)
	}
	l.wg.Go(func() { l.noteVotes(ctx) })
	s.open = l
	s.life.Store(l)
	return nil
}

// noteVotes does what package server does now and then, and has the others see what was applied.
func (l *life) noteVotes(ctx context.Context) {
	for wait(ctx, time.Second) {
		l.log.NoteVotes()
		if applied := l.log.Applied(group); !l.dead.Load() { // it was alive when it said so
			for _, other := range l.server.cluster.servers {
				other.saw.NoteApplied(l.replica, group, applied)
			}
		}
	}
}

// notOld refuses what a server would that asks all others: its disk may have lost nothing that anybody saw.
func (s *host) notOld(l *log.Log) error {
	if s.cluster.plan.amnesia {
		return nil // it is up to the checkers to notice
	}
	for _, other := range s.cluster.servers {
		if lacks := l.Held()[group].Lacks(other.saw.Of(s.replica.Load())[group]); lacks != "" {
			return fmt.Errorf("%s saw that it %s", other.name, lacks)
		}
	}
	return nil
}

// wait tells whether a time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// end closes what a life holds. A life that did not crash is closed in good order.
func (l *life) end() error {
	l.dead.Store(true)
	l.stop()
	l.wg.Wait()
	return l.log.Close()
}

// halt stops the server in good order: everything on its disks stays. The caller holds control.
func (s *host) halt() {
	if err := s.end(); err != nil && s.disk.whole() {
		s.cluster.fault(fmt.Errorf("stop %s: %w", s.name, err))
	}
	s.settle()
}

// end ends the life that there is.
func (s *host) end() error {
	l := s.open
	if l == nil {
		return nil
	}
	s.open = nil
	return l.end()
}

// crash takes the power away after so many operations of its file systems, or after a while when there are not so many.
// The caller holds control.
func (s *host) crash(operations int) {
	l := s.open
	if l == nil {
		return
	}
	if operations > 0 {
		s.disk.light(operations)
		for deadline := time.Now().Add(2 * time.Second); !l.dead.Load() && time.Now().Before(deadline); {
			wait(context.Background(), 10*time.Millisecond)
		}
	}
	s.disk.pull()
	_ = s.end() // it runs on disks that nobody will look at any more
	s.settle()
}

// stumble starts the server and takes the power away after so many operations of its file systems, which may be before it
// runs. The caller holds control.
func (s *host) stumble(operations int) {
	if s.open != nil {
		return
	}
	s.settle()
	s.disk.light(operations)
	switch err := s.start(); {
	case err == nil:
		s.crash(0)
	case s.disk.whole():
		s.cluster.fault(err)
	}
}

// settle makes the disks what they are after a crash, where there was one.
func (s *host) settle() {
	if s.disk.whole() {
		return
	}
	s.disk.restore()
	if s.cluster.plan.amnesia {
		s.disk = newDisk(s.disk.random)
	}
}

// up starts the server unless it runs. The caller holds control.
func (s *host) up() {
	if s.open != nil {
		return
	}
	s.settle()
	if err := s.start(); err != nil && s.disk.whole() { // it may have crashed while it started
		s.cluster.fault(err)
	}
}

// cluster is everything in one bubble.
type cluster struct {
	plan    plan
	logger  *slog.Logger
	network *network
	servers []*host // never changes; a wiped server comes back in its place as another replica
	record  *record
	next    atomic.Uint64 // the last replica number given
	counts  counts
}

// founded makes a cluster and opens its ledger.
func founded(p plan, out *slog.Logger, stuck *watchdog) (*cluster, error) {
	c := &cluster{plan: p, logger: out, record: &record{}, network: newNetwork(p.random("network"), stuck)}
	founders := map[uint64]string{}
	for i := range p.servers {
		s := &host{cluster: c, control: make(lock, 1), saw: log.NewMemory(), name: fmt.Sprintf("s%d", i+1), skew: time.Duration(i) * 3 * time.Second}
		s.replica.Store(uint64(i + 1))
		s.disk = newDisk(p.random("disk " + s.name))
		founders[uint64(i+1)] = s.name
		c.servers = append(c.servers, s)
	}
	c.next.Store(uint64(p.servers))
	for _, s := range c.servers {
		s.founders = founders
		if err := s.start(); err != nil {
			return c, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*electionIn)
	defer cancel()
	return c, c.open(ctx)
}

// open opens the ledger: what is open already stays as it is, so it may be asked for again.
func (c *cluster) open(ctx context.Context) error {
	for {
		l := c.servers[0].alive()
		if l == nil {
			return errors.New("the server that is to open the ledger does not run")
		}
		attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := l.log.Submit(attempt, group, machine.Command{
			Ledger: ledger, Time: event.Time(time.Now().UnixNano()),
			Body: commands.Encode(commands.OpenNamespace{Namespace: ledger, Cluster: "sim"}),
		})
		cancel()
		if err == nil || !errors.Is(err, log.ErrUnavailable) && !errors.Is(err, log.ErrOutcomeUnknown) || ctx.Err() != nil {
			return err
		}
	}
}

// anyone gives a random server that runs; nil when none does.
func (c *cluster) anyone(random *rand.Rand) *life {
	for _, i := range random.Perm(len(c.servers)) {
		if l := c.servers[i].alive(); l != nil {
			return l
		}
	}
	return nil
}

// fault notes what must never happen.
func (c *cluster) fault(err error) { c.record.fault(err) }

// close ends every life.
func (c *cluster) close() {
	for _, s := range c.servers {
		s.control.Lock()
		s.halt()
		s.control.Unlock()
	}
}
