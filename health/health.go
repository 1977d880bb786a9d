// Package health finds out how instances are: the servers look at the targets of their checks, each target by one of them,
// and have a change of status written.
//
// What must stay true:
//
//   - Only a change of status is an event. What targets say is kept in memory, bounded, and wakes nobody.
//   - At most one server looks at a target at any instant: see assign.go. Should clocks mislead two of them, the ledger is
//     right all the same, because a report names the event that it has seen last and is refused behind another one.
//   - A report that failed, or of which the outcome is not known, is not lost: the next look compares with the ledger again.
//   - When most targets of one server fail at once, it takes that for a fault of its own first: see observer.go.
//
// It does not know how one looks at a target, which is package probe's, how servers ask one another, or how TTL checks end,
// which nobody looks at.
package health

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

// Host is what a checker needs from its server. A gateway.Backend has everything but Coordinate.
type Host interface {
	Namespaces() []string
	Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error)
	View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error
	Follow(namespace string, from event.Revision) (gateway.Follower, error)
	// Coordinate asks the coordinator, wherever it is. It fails where there is none, and where the cluster does not look at
	// targets yet.
	Coordinate(ctx context.Context, p Poll) (Grant, error)
}

// Prober looks at a target once; see probe.Prober.
type Prober interface {
	Look(ctx context.Context, check event.Check, instance event.Instance, credentials map[string]string) probe.Result
}

// Config is what can be set about a checker.
type Config struct {
	Server   string // the name of this one
	Commands bool   // the prober runs programs
	// Looks is how many may be under way at a time; LooksDefault where zero. At most half of them are at targets that take
	// long to fail, and a quarter at such of which nobody knows, so that they take nothing from those that answer.
	Looks  int
	Prober Prober
	Logger *slog.Logger
}

// LooksDefault is how many looks may be under way at a time.
const LooksDefault = 512

const (
	followEvery    = 200 * time.Millisecond // what there is to follow is looked for
	coordinateTime = time.Second            // for an answer of the coordinator
	leaveTime      = 500 * time.Millisecond
	freshWithin    = time.Second // what was never looked at is looked at within so long when a server gets it
)

// key names a check.
type key struct{ namespace, service, id, check string }

// Checker looks at the targets that are this server's. Its methods may be called concurrently.
type Checker struct {
	host   Host
	config Config
	nonce  string          // of this process, which may not be the first one of its server
	life   context.Context // ends when nothing is to be looked at any more
	wake   chan struct{}   // wakes the scheduler
	ask    chan struct{}   // asks the coordinator at once
	looks  sync.WaitGroup

	mu       sync.Mutex
	ledgers  map[string]*ledger
	targets  map[key]*target
	queue    queue
	waiting  [lanes][]*target
	under    [lanes]int // looks that are under way
	leaving  int        // those of them at targets that are another server's now
	outputs  *outputs
	grant    Grant
	until    time.Time // the lease counts up to then
	lapse    *time.Timer
	observer observer
	counts   Counts
}

// Counts are how much a checker does.
type Counts struct {
	Targets int // that are this server's
	Looks   [event.Critical + 1]uint64
	// Held is how many targets fail without being reported, because this server takes that for a fault of its own.
	Held    int
	Suspect bool
}

// New makes a checker. Run starts it.
func New(host Host, config Config) *Checker {
	if config.Looks <= 0 {
		config.Looks = LooksDefault
	}
	return &Checker{
		host: host, config: config, nonce: rand.Text(), wake: make(chan struct{}, 1), ask: make(chan struct{}, 1),
		ledgers: map[string]*ledger{}, targets: map[key]*target{}, outputs: newOutputs(outputsBytesMax),
	}
}

// Run looks at targets until ctx ends. It is called once.
func (c *Checker) Run(ctx context.Context) {
	life, stop := context.WithCancel(ctx)
	defer stop()
	c.mu.Lock()
	c.life = life
	c.mu.Unlock()
	var parts sync.WaitGroup
	parts.Go(c.schedule)
	parts.Go(func() { c.followAll(life) })
	parts.Go(func() { c.keepAsking(life) })
	<-ctx.Done()
	parts.Wait()
	c.drop()
	c.looks.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	// Where nobody hears it, the lease runs out.
	if _, err := c.host.Coordinate(leave, Poll{Candidate: c.candidate(), Process: c.nonce, Leave: true}); err != nil {
		c.config.Logger.Debug("nobody hears that this server looks at nothing any more", "error", err)
	}
}

func (c *Checker) candidate() Candidate {
	return Candidate{Name: c.config.Server, Commands: c.config.Commands}
}

// followAll follows every namespace that there is.
func (c *Checker) followAll(ctx context.Context) {
	type follower struct {
		stop  context.CancelFunc
		ended chan struct{}
	}
	var all sync.WaitGroup
	defer all.Wait()
	following := map[string]follower{}
	for {
		there := map[string]bool{}
		for _, name := range c.host.Namespaces() {
			there[name] = name != event.System
		}
		for name, f := range following {
			if !there[name] {
				f.stop()
			}
			select {
			case <-f.ended:
				f.stop()
				delete(following, name)
			default: // one of the same name that is made meanwhile waits, so that never two know of its targets
			}
		}
		for name, follows := range there {
			if _, ok := following[name]; ok || !follows {
				continue
			}
			l := &ledger{checker: c, name: name, instances: map[string]map[string]*instance{}, aliases: map[string]*aliased{}}
			c.mu.Lock()
			c.ledgers[name] = l
			c.mu.Unlock()
			life, stop := context.WithCancel(ctx)
			f := follower{stop, make(chan struct{})}
			following[name] = f
			all.Go(func() {
				defer close(f.ended)
				defer l.end()
				l.follow(life)
			})
		}
		if pause(ctx, followEvery) != nil {
			for _, f := range following {
				f.stop()
			}
			return
		}
	}
}

// keepAsking asks the coordinator until ctx ends, for as long as anybody has something to look at: a cluster without checks
// is left in peace.
func (c *Checker) keepAsking(ctx context.Context) {
	for ctx.Err() == nil {
		if c.idle() {
			select {
			case <-ctx.Done():
			case <-c.ask:
			}
			continue
		}
		p := c.poll()
		asked := time.Now()
		attempt, cancel := context.WithTimeout(ctx, coordinateTime)
		g, err := c.host.Coordinate(attempt, p)
		cancel()
		wait := pollSoon
		if err == nil && g.Granted && c.accept(g, asked) {
			wait = pollEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.ask:
		}
		timer.Stop()
	}
}

func (c *Checker) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.targets) == 0
}

// poll is what to ask now.
func (c *Checker) poll() Poll {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Poll{Candidate: c.candidate(), Process: c.nonce, Suspect: c.observer.suspects(time.Now())}
	if c.leaving == 0 { // else it does not quite go by it yet
		p.Seen = c.grant.Position
	}
	return p
}

// accept goes by an answer to what was asked at an instant. It tells whether there is nothing to be said soon.
func (c *Checker) accept(g Grant, asked time.Time) (calm bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	until := asked.Add(Lease)
	if past(until, now) {
		return false
	}
	lapsed := past(c.until, now)
	c.until = until
	if c.lapse != nil {
		c.lapse.Stop()
	}
	c.lapse = time.AfterFunc(until.Sub(now), c.lapses)
	news := g.Position != c.grant.Position
	c.grant = g
	if news || lapsed {
		c.assign(now)
	}
	return !news && slices.Equal(g.Next, g.Current) && c.leaving == 0
}

// past tells whether an instant has come, by either of the clocks that a time may hold: the one that never goes back stands
// still while a host sleeps.
func past(instant, now time.Time) bool {
	return !now.Before(instant) || !now.Round(0).Before(instant.Round(0))
}

// lapses lets everything go if the lease has run out.
func (c *Checker) lapses() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !past(c.until, now) {
		return // it was renewed meanwhile
	}
	for _, t := range c.targets {
		c.release(t)
	}
}

// drop lets everything go.
func (c *Checker) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lapse != nil {
		c.lapse.Stop()
	}
	c.until = time.Time{}
	for _, t := range c.targets {
		c.release(t)
	}
}

// assign takes what is this server's by the lists, and lets everything else go. c.mu is held.
func (c *Checker) assign(now time.Time) {
	for _, t := range c.targets {
		switch mine := c.assigned(t); {
		case mine && !t.owned:
			c.take(t, now)
		case !mine:
			c.release(t)
		}
	}
}

// assigned tells whether this server looks at a target. c.mu is held.
func (c *Checker) assigned(t *target) bool {
	if c.life == nil || c.life.Err() != nil || past(c.until, time.Now()) {
		return false
	}
	command := len(t.check.Command) > 0
	return owner(t.hash, c.grant.Current, command) == c.config.Server && owner(t.hash, c.grant.Next, command) == c.config.Server
}

// take makes a target this server's. What was looked at before goes on in its rhythm, and what is new begins at once.
// c.mu is held.
func (c *Checker) take(t *target, now time.Time) {
	t.owned, t.failing, t.held, t.looked, t.streak = true, false, time.Time{}, time.Time{}, streak{}
	t.next = t.firstLane()
	c.counts.Targets++
	if t.running {
		c.leaving--
		t.again = true
		return
	}
	due := t.slot(now)
	if t.state.Kind == event.KindInstanceRegistered {
		due = now
		if age := now.UnixNano() - int64(t.state.Time); age > int64(freshWithin) { // they may be many
			due = now.Add(min(t.slot(now).Sub(now), t.phase%freshWithin))
		}
	}
	c.enqueue(t, due)
}

// release lets a target go, and ends the look at it. c.mu is held.
func (c *Checker) release(t *target) {
	if !t.owned {
		return
	}
	t.owned, t.again, t.held = false, false, time.Time{}
	c.counts.Targets--
	c.dequeue(t)
	if t.running {
		c.leaving++
		t.stop()
	}
}

// Counts gives how much the checker does.
func (c *Checker) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	for _, t := range c.targets {
		if !t.held.IsZero() {
			n.Held++
		}
	}
	n.Suspect = c.observer.suspects(time.Now())
	return n
}

// Looks tells whether a service has checks, and whether this server knows the last result of all of them, so that no other
// server needs to be asked.
func (c *Checker) Looks(namespace, service string) (some, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all = true
	if l := c.ledgers[namespace]; l != nil {
		for _, i := range l.instances[service] {
			for _, check := range i.Checks {
				some = true
				t := i.targets[check.ID] // an instance reports to any server
				all = all && t != nil && t.owned && !t.looked.IsZero()
			}
		}
	}
	return some, all
}

// Observations gives what this server's last looks at the targets of a service gave, and what was reported to it.
func (c *Checker) Observations(namespace, service string) map[gateway.CheckKey]gateway.Observation {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[gateway.CheckKey]gateway.Observation{}
	l := c.ledgers[namespace]
	if l == nil {
		return all
	}
	for _, i := range l.instances[service] {
		for _, check := range i.Checks {
			if seen, ok := c.outputs.get(key{namespace, service, i.ID, check.ID}); ok {
				all[gateway.CheckKey{ID: i.ID, Check: check.ID}] = seen
			}
		}
	}
	return all
}

// Note remembers what an instance reported of itself, as it does what looks give. Of what is not known here it remembers
// nothing.
func (c *Checker) Note(namespace, service string, k gateway.CheckKey, seen gateway.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.ledgers[namespace]; l != nil {
		if i := l.instances[service][k.ID]; i != nil {
			if check, ok := i.Check(k.Check); ok && check.TTL > 0 {
				c.outputs.set(key{namespace, service, k.ID, k.Check}, seen)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
