package timekeeper

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// ledger is the leases of one namespace while this server leads its group.
type ledger struct {
	life   context.Context // ends when this server leads the group no longer
	keeper *Keeper
	name   string

	mu        sync.Mutex
	timers    map[gateway.Lease]*timer
	instances map[instance][]gateway.Lease // of timers: what is due of an instance
	queue     queue
	position  event.Revision // the timers are as of it
	claimed   event.Revision // the latest claim that was seen, whoever made it
	epoch     event.Revision // the claim of this term; zero while there is none
	term      uint64         // counts the terms; none runs while over is set
	over      bool
	changed   chan struct{} // closed, and made anew, whenever any of this changes

	next       *confirmation
	confirming bool
}

// timer is a lease that is to end.
type timer struct {
	lease    gateway.Lease
	revision event.Revision
	ttl      time.Duration
	deadline time.Time
	firing   bool // its end was proposed

	queued time.Time // the deadline by which it stands in the queue; renewals only move the other one
	index  int       // in the queue; -1 outside
}

// whole is the lease of the namespace itself.
var whole = gateway.Lease{Namespace: true}

// errTermOver says that what was waited for will not come in this term.
var errTermOver = errors.New("the timekeeper's term is over")

func newLedger(life context.Context, k *Keeper, name string) *ledger {
	return &ledger{life: life, keeper: k, name: name, over: true, changed: make(chan struct{})}
}

// keep runs one term after the other until ctx ends.
func (l *ledger) keep(ctx context.Context) {
	for ctx.Err() == nil {
		err := errTermOver
		if l.keeper.host.Leads(l.name) { // one that was deposed is not to claim what is another's
			err = l.run(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		l.keeper.logger.Debug("a timekeeper begins anew", "namespace", l.name, "error", err)
		_ = wait(ctx, retryAfter) // the loop sees why
	}
	l.end()
}

// end lets nobody wait for a term that is over.
func (l *ledger) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.timers, l.instances, l.queue, l.epoch = true, nil, nil, nil, 0
	l.announce()
}

// announce wakes whoever waits for a change. l.mu is held.
func (l *ledger) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// run is one term: from a state of the ledger on, it follows the events and ends leases. It returns why it cannot go on.
func (l *ledger) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.end()
	if err := l.begin(ctx); err != nil {
		return err
	}
	f, err := l.keeper.host.Follow(l.name, l.position+1)
	if err != nil {
		return err
	}
	defer f.Close()
	following := make(chan error, 1)
	go func() {
		err := l.follow(ctx, f)
		cancel()
		following <- err
	}()
	err = l.expire(ctx)
	cancel()
	return errors.Join(err, <-following)
}

// begin takes the leases from the state, each with its whole TTL.
func (l *ledger) begin(ctx context.Context) error {
	timers, instances := map[gateway.Lease]*timer{}, map[instance][]gateway.Lease{}
	var head, claimed event.Revision
	err := l.keeper.host.View(ctx, l.name, gateway.ReadOptions{}, func(v gateway.View) error {
		head, claimed = v.Head(), v.Timekeeper()
		for s := range v.Sessions("") {
			lease := gateway.Lease{Session: s.ID}
			timers[lease] = &timer{lease: lease, revision: s.Revision, ttl: time.Duration(s.TTL), index: -1}
		}
		if s := v.Settings(); s.TTL > 0 {
			timers[whole] = &timer{lease: whole, revision: s.Configured, ttl: time.Duration(s.TTL), index: -1}
		}
		for k := range v.Leases() {
			lease := gateway.Lease{Key: k.Key}
			timers[lease] = &timer{lease: lease, revision: k.Revision, ttl: time.Duration(k.TTL), index: -1}
		}
		for d := range v.AllDue("", "") {
			lease := leaseOf(d)
			timers[lease] = &timer{lease: lease, revision: d.Revision, ttl: time.Duration(d.After), index: -1}
			at := instance{d.Service, d.ID}
			instances[at] = append(instances[at], lease)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timers, l.instances, l.queue, l.position, l.claimed, l.epoch = timers, instances, nil, head, claimed, 0
	l.over = false
	l.term++
	l.wholeTTLs()
	l.announce()
	return nil
}

// wholeTTLs gives every lease its whole TTL from now. l.mu is held.
func (l *ledger) wholeTTLs() {
	now := time.Now()
	l.queue = l.queue[:0]
	for _, t := range l.timers {
		if t.firing {
			continue // it comes back into the queue when the outcome is known
		}
		t.deadline = now.Add(t.ttl)
		t.queued, t.index = t.deadline, len(l.queue)
		l.queue = append(l.queue, t)
	}
	heap.Init(&l.queue)
}

// follow keeps the timers up with the ledger's events.
func (l *ledger) follow(ctx context.Context, f gateway.Follower) error {
	for {
		events, err := f.Next(ctx)
		if err != nil {
			return err
		}
		due, err := l.lookUp(ctx, events)
		if err != nil {
			return err
		}
		l.mu.Lock()
		for i := range events {
			l.apply(&events[i])
		}
		for at, all := range due {
			l.schedule(at, all)
		}
		deposed := l.deposed()
		l.announce()
		l.mu.Unlock()
		if deposed {
			return errTermOver
		}
	}
}

// deposed tells whether somebody else has claimed the ledger. l.mu is held.
func (l *ledger) deposed() bool { return l.epoch != 0 && l.claimed > l.epoch }

func (l *ledger) apply(e *event.Event) {
	l.position = e.Revision
	switch b := e.Body.(type) {
	case event.TimekeeperClaimed:
		l.claimed = e.Commit
	case event.NamespaceConfigured:
		if b.Configured == 0 {
			return // it is _system's ledger, where others are spoken of
		}
		if b.TTL > 0 {
			l.set(whole, b.Configured, b.TTL)
		} else {
			l.drop(whole)
		}
	case event.NamespaceClosed, event.NamespaceExpired:
		clear(l.timers) // nothing in it ends any more: all of it has
		l.queue = nil
	case event.SessionCreated:
		l.set(gateway.Lease{Session: b.ID}, e.Commit, b.TTL)
	case event.SessionEnded:
		l.drop(gateway.Lease{Session: b.ID})
	case event.SessionExpired:
		l.drop(gateway.Lease{Session: b.ID})
	case event.KeySet:
		if b.TTL > 0 {
			l.set(gateway.Lease{Key: b.Key}, e.Commit, b.TTL)
		} else {
			l.drop(gateway.Lease{Key: b.Key})
		}
	case event.KeyDeleted:
		l.drop(gateway.Lease{Key: b.Key})
	case event.KeyExpired:
		l.drop(gateway.Lease{Key: b.Key})
	}
}

// set puts a lease in the place of one of that name.
func (l *ledger) set(lease gateway.Lease, revision event.Revision, ttl event.Time) {
	l.drop(lease)
	t := &timer{lease: lease, revision: revision, ttl: time.Duration(ttl), deadline: time.Now().Add(time.Duration(ttl)), index: -1}
	l.timers[lease] = t
	l.enqueue(t)
}

func (l *ledger) enqueue(t *timer) {
	t.queued = t.deadline
	heap.Push(&l.queue, t)
}

func (l *ledger) drop(lease gateway.Lease) {
	t := l.timers[lease]
	if t == nil {
		return
	}
	delete(l.timers, lease)
	if t.index >= 0 {
		heap.Remove(&l.queue, t.index)
	}
}

// expire claims the ledger as soon as it has leases, and ends those whose time has passed.
func (l *ledger) expire(ctx context.Context) error {
	for {
		due, changed, until, err := l.due(ctx)
		if err != nil {
			return err
		}
		if len(due) > 0 {
			if err := l.propose(ctx, due); err != nil {
				return err
			}
			continue
		}
		if err := l.sleep(ctx, changed, until); err != nil {
			return err
		}
	}
}

// due gives the leases that are to end now, marked as such. Where there are none it says what to wait for: a change, or
// an instant unless that is zero.
func (l *ledger) due(ctx context.Context) (due []*timer, changed <-chan struct{}, until time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.timers) > 0 && l.epoch == 0 {
		if err := l.claim(ctx); err != nil {
			return nil, nil, until, err
		}
	}
	now := time.Now()
	for len(l.queue) > 0 && len(due) < event.ExpireMax {
		t := l.queue[0]
		if t.queued != t.deadline { // it was renewed
			t.queued = t.deadline
			heap.Fix(&l.queue, 0)
			continue
		}
		if t.deadline.After(now) {
			until = t.deadline
			break
		}
		heap.Pop(&l.queue)
		t.firing = true
		due = append(due, t)
	}
	return due, l.changed, until, nil
}

// claim claims the ledger. l.mu is held, but not while the claim is on its way.
func (l *ledger) claim(ctx context.Context) error {
	l.mu.Unlock()
	answer, err := l.keeper.host.Submit(ctx, l.name, gateway.Request{
		Command: commands.ClaimTimekeeper{Server: l.keeper.server}, Reason: "leases are to be kept",
	})
	l.mu.Lock()
	if err != nil {
		return err
	}
	l.epoch = answer.Revision
	if l.deposed() {
		return errTermOver
	}
	l.wholeTTLs() // whoever acknowledged renewals up to the claim does so no longer
	l.announce()
	return nil
}

// sleep returns when something has changed, or the instant has come.
func (l *ledger) sleep(ctx context.Context, changed <-chan struct{}, until time.Time) error {
	var alarm <-chan time.Time
	asleep := time.Now()
	if !until.IsZero() {
		t := time.NewTimer(min(time.Until(until), napMax))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-alarm:
	}
	if !until.IsZero() && time.Since(asleep) > napMax+lapse {
		l.mu.Lock()
		l.wholeTTLs()
		l.mu.Unlock()
		l.keeper.logger.Warn("a timekeeper stood still, and gives every lease its whole TTL again", "namespace", l.name, "for", time.Since(asleep))
	}
	return nil
}

// propose has leases end, and returns when the timers show what came of it. Where there is too much for one commit it goes
// on: nobody renews a lease of which a part has ended.
func (l *ledger) propose(ctx context.Context, due []*timer) error {
	for len(due) > 0 {
		c := commands.Expire{Leases: make([]commands.Lease, len(due))}
		for i, t := range due {
			at := t.lease
			c.Leases[i] = commands.Lease{Session: at.Session, Key: at.Key, Service: at.Service, ID: at.ID, Check: at.Check, Namespace: at.Namespace}
			if at.Session == "" {
				c.Leases[i].Revision = t.revision
			}
			if at.Service != "" {
				c.Leases[i].After = event.Time(t.ttl)
			}
		}
		l.mu.Lock()
		c.Epoch = l.epoch
		l.mu.Unlock()
		answer, err := l.keeper.host.Submit(ctx, l.name, gateway.Request{Command: c, Reason: "nobody renewed it in time"})
		if err != nil {
			return err // where the outcome is not known, the next term's claim decides it
		}
		if err := l.reach(ctx, answer.Revision); err != nil {
			return err
		}
		l.mu.Lock()
		due = slices.DeleteFunc(due, func(t *timer) bool { return l.timers[t.lease] != t })
		l.announce()
		l.mu.Unlock()
		if len(due) > 0 && answer.Results[0].Deleted == 0 {
			return errTermOver // the timers are not what the ledger says: take them from it anew
		}
	}
	return nil
}

// reach returns when the timers are as of a revision.
func (l *ledger) reach(ctx context.Context, r event.Revision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for term := l.term; l.position < r; {
		if l.over || l.term != term {
			return errTermOver
		}
		if err := l.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// await returns when something has changed. l.mu is held, but not meanwhile.
func (l *ledger) await(ctx context.Context) error {
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
		return nil
	}
}

func (l *ledger) left(leases []gateway.Lease) map[gateway.Lease]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[gateway.Lease]time.Duration{}
	for _, lease := range leases {
		if t := l.timers[lease]; t != nil && l.epoch != 0 {
			out[lease] = max(time.Until(t.deadline), 0)
		}
	}
	return out
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.timers)
}

// queue is the timers by their deadlines, the first one first; see container/heap.
type queue []*timer

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].queued.Before(q[j].queued) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*timer)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1], t.index = nil, -1
	*q = old[:len(old)-1]
	return t
}
