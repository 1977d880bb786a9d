package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// faults does harm to a cluster, one random thing after another, until ctx ends. Things that take time, such as a server
// being down, overlap with those that come after.
type faults struct {
	cluster *cluster
	random  *rand.Rand
	wg      sync.WaitGroup
}

// harm is one kind of fault and how often it comes, among the others.
type harm struct {
	name   string
	weight int
	do     func(*faults, context.Context)
}

var allHarms = []harm{
	{"crash", 6, func(f *faults, ctx context.Context) { f.crash(ctx, 1) }},
	{"crash-minority", 2, func(f *faults, ctx context.Context) { f.crash(ctx, (len(f.cluster.servers)-1)/2) }},
	{"crash-majority", 2, func(f *faults, ctx context.Context) { f.crash(ctx, len(f.cluster.servers)/2+1) }},
	{"crash-all", 1, func(f *faults, ctx context.Context) { f.crash(ctx, len(f.cluster.servers)) }},
	{"restart", 3, (*faults).restart},
	{"isolate", 4, (*faults).isolate},
	{"split", 2, (*faults).split},
	{"one-way", 4, (*faults).oneWay},
	{"storm", 4, (*faults).storm},
	{"slow-disk", 3, (*faults).slowDisk},
	{"failing-disk", 4, (*faults).failingDisk},
	{"transfer", 3, (*faults).transfer},
	{"wipe", 2, (*faults).wipe},
}

func (f *faults) run(ctx context.Context) {
	defer f.wg.Wait()
	harms := f.cluster.plan.harms
	if harms == nil {
		harms = allHarms
	}
	total := 0
	for _, h := range harms {
		total += h.weight
	}
	for wait(ctx, time.Second+f.some(f.cluster.plan.calm)) {
		n := f.random.IntN(total)
		for _, h := range harms {
			if n -= h.weight; n < 0 {
				f.cluster.logger.Info("fault", "kind", h.name)
				h.do(f, ctx)
				break
			}
		}
	}
}

func (f *faults) some(most time.Duration) time.Duration {
	return time.Duration(f.random.Int64N(int64(most)))
}

func (f *faults) server() *host { return f.cluster.servers[f.random.IntN(len(f.cluster.servers))] }

// crash takes the power from so many servers, at about the same time, and gives it back to each after a while.
func (f *faults) crash(ctx context.Context, n int) {
	for _, i := range f.random.Perm(len(f.cluster.servers))[:n] {
		s, operations, down := f.cluster.servers[i], f.random.IntN(60), f.some(15*time.Second)
		again := f.random.IntN(3) == 0
		f.wg.Go(func() {
			s.control.Lock()
			defer s.control.Unlock()
			f.cluster.counts.crashes.Add(1)
			s.crash(operations)
			wait(ctx, down)
			if again {
				s.stumble(operations * 5)
			}
			s.up()
		})
	}
}

// restart stops a server in good order and starts it again.
func (f *faults) restart(ctx context.Context) {
	s, down := f.server(), f.some(5*time.Second)
	f.wg.Go(func() {
		s.control.Lock()
		defer s.control.Unlock()
		f.cluster.counts.restarts.Add(1)
		s.halt()
		wait(ctx, down)
		s.up()
	})
}

// during lets a state of the network last for a while, and heals everything.
func (f *faults) during(ctx context.Context, d time.Duration) {
	wait(ctx, d)
	f.cluster.network.heal()
}

// isolate cuts a server off from all others, both ways.
func (f *faults) isolate(ctx context.Context) {
	f.cluster.counts.cuts.Add(1)
	f.cluster.network.isolate(f.server().name, f.cluster.servers)
	f.during(ctx, f.some(20*time.Second))
}

// split cuts the cluster in two.
func (f *faults) split(ctx context.Context) {
	f.cluster.counts.cuts.Add(1)
	order := f.random.Perm(len(f.cluster.servers))
	at := 1 + f.random.IntN(len(order)-1)
	for _, i := range order[:at] {
		for _, j := range order[at:] {
			a, b := f.cluster.servers[i].name, f.cluster.servers[j].name
			f.cluster.network.cut(a, b)
			f.cluster.network.cut(b, a)
		}
	}
	f.during(ctx, f.some(20*time.Second))
}

// oneWay cuts some links in one direction only.
func (f *faults) oneWay(ctx context.Context) {
	f.cluster.counts.cuts.Add(1)
	for range 1 + f.random.IntN(len(f.cluster.servers)) {
		f.cluster.network.cut(f.server().name, f.server().name)
	}
	f.during(ctx, f.some(20*time.Second))
}

// storm makes the network slow, lossy and forgetful of what it has delivered.
func (f *faults) storm(ctx context.Context) {
	f.cluster.counts.storms.Add(1)
	w := weather{delayMin: time.Millisecond, delayMax: time.Millisecond + f.some(time.Second)}
	w.lose, w.repeat = f.random.Float64()/3, f.random.Float64()/3
	f.cluster.network.setWeather(w)
	f.during(ctx, f.some(20*time.Second))
}

// slowDisk lets the syncs of a server take up to some hundred milliseconds.
func (f *faults) slowDisk(ctx context.Context) {
	f.cluster.counts.slowDisks.Add(1)
	s, d := f.server(), f.some(20*time.Second)
	most := time.Millisecond + f.some(400*time.Millisecond)
	f.wg.Go(func() {
		s.slow(most)
		wait(ctx, d)
		s.slow(0)
	})
}

func (s *host) slow(most time.Duration) {
	s.control.Lock()
	defer s.control.Unlock()
	s.disk.setSlow(most)
}

// failingDisk has a change of a server's state fail, while it runs or while it starts. It goes on, or it ends and is started
// again; see failedWhere.
func (f *faults) failingDisk(ctx context.Context) {
	s, starts, early := f.server(), f.random.IntN(2) == 0, f.random.IntN(2) == 0
	changes, down := 1+f.random.IntN(40), f.some(5*time.Second)
	f.wg.Go(func() {
		s.control.Lock()
		defer s.control.Unlock()
		if starts {
			s.crash(0)
			if early {
				changes = (changes + 4) / 5 // before Pebble opens
			}
		}
		s.disk.spoil(changes)
		if s.open == nil {
			s.settle()
			if err := s.start(); err != nil && !s.disk.hurt() {
				f.cluster.fault(err)
			}
		}
		for deadline := time.Now().Add(3 * time.Second); !s.disk.hurt() && time.Now().Before(deadline); {
			wait(context.Background(), 10*time.Millisecond)
		}
		where := s.disk.mend()
		f.cluster.counts.failures[where].Add(1)
		if where == failedForGood {
			s.crash(0)
			wait(ctx, down)
		}
		s.up()
	})
}

// transfer asks the leader to let another server lead.
func (f *faults) transfer(context.Context) {
	l := f.cluster.anyone(f.random)
	if l == nil {
		return
	}
	leader := l.log.Leader(group)
	for _, s := range f.cluster.servers {
		if on := s.alive(); on != nil && s.replica.Load() == leader {
			f.cluster.counts.transfers.Add(1)
			_ = on.log.Transfer(group, f.server().replica.Load()) // to itself, or while it leads no more, it is refused
		}
	}
}

// wipe takes everything from a server, which comes back as a new replica. Only while the cluster is whole: what a second
// loss at the same time takes may be all that there was.
func (f *faults) wipe(ctx context.Context) {
	if !f.cluster.settled(ctx) {
		return
	}
	f.cluster.counts.wipes.Add(1)
	s := f.server()
	s.control.Lock()
	defer s.control.Unlock()
	s.crash(f.random.IntN(60))
	s.disk = newDisk(s.disk.random)
	s.founders = nil
	s.replica.Store(f.cluster.next.Add(1))
	s.up()
}

// TestFailingDisks has nothing go wrong but disks, and servers be wiped, which has others receive a snapshot.
func TestFailingDisks(t *testing.T) {
	p := plan{
		seed: firstSeed(), servers: 3, clients: 4, harm: *hours, calm: 2 * time.Second, think: *think, snapshotEntries: 30,
		verbose: *verbose,
		harms:   []harm{{"failing-disk", 8, (*faults).failingDisk}, {"wipe", 1, (*faults).wipe}},
	}
	t.Logf("seed %d", p.seed)
	r := simulate(t, p)
	r.patience = 5 * time.Minute
	t.Log(r)
	for name, err := range r.judge() {
		t.Errorf("%s: %v", name, err)
	}
	for _, where := range []failedWhere{failedInStart, failedForGood} { // the background has little to do in so short a time
		if r.counts.failures[where].Load() == 0 {
			t.Errorf("no disk failed in way %d", where)
		}
	}
}
