package timekeeper

import (
	"context"
	"time"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// renew gives a lease its whole TTL again. It fails with errTermOver where it has to be tried again in another term.
func (l *ledger) renew(ctx context.Context, lease gateway.Lease) (gateway.Renewal, error) {
	for {
		set := l.extend(lease)
		seen, err := l.confirm(ctx)
		if err != nil {
			return gateway.Renewal{}, err
		}
		again, renewal, err := l.settle(ctx, lease, set, seen)
		if !again {
			return renewal, err
		}
	}
}

// extend sets the timer of a lease anew, before anybody has confirmed that it counts: a lease may end too late, but not
// too early. It gives the timer; nil where there is none, or its end was proposed.
func (l *ledger) extend(lease gateway.Lease) *timer {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.timers[lease]
	if t == nil || t.firing {
		return nil
	}
	if fault.Broken(fault.LeasesEarly) {
		return t
	}
	if deadline := time.Now().Add(t.ttl); deadline.After(t.deadline) {
		t.deadline = deadline
	}
	return t
}

// settle tells what came of a renewal whose timer was set, now that it is confirmed who keeps the time. It says again
// where the timer was not there to be set, but is now.
func (l *ledger) settle(ctx context.Context, lease gateway.Lease, set *timer, seen *confirmation) (again bool, renewal gateway.Renewal, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for term := l.term; ; {
		t := l.timers[lease]
		switch {
		case l.over || l.term != term || l.deposed():
			return false, renewal, errTermOver
		case l.position < seen.head: // what the read saw may be the end of this lease
		case t == nil:
			return false, renewal, gateway.ErrNoLease
		case t == set && !t.firing && l.epoch != 0 && l.epoch == seen.epoch:
			if !fault.Broken(fault.LeasesEarly) {
				t.deadline = time.Now().Add(t.ttl) // the whole of it from the acknowledgement on
			}
			return false, gateway.Renewal{TTL: t.ttl, Revision: t.revision}, nil
		case !t.firing && l.epoch != 0:
			return true, renewal, nil
		}
		// It is about to end, or the ledger about to be claimed, or an event about to come: that is soon known.
		if err := l.await(ctx); err != nil {
			return false, renewal, err
		}
	}
}

// confirmation is a linearizable read that several renewals wait for.
type confirmation struct {
	done  chan struct{}
	head  event.Revision
	epoch event.Revision // the latest claim
	err   error
}

// confirm reads who keeps the time, by a read that begins after the call.
func (l *ledger) confirm(ctx context.Context) (*confirmation, error) {
	l.mu.Lock()
	if l.next == nil {
		l.next = &confirmation{done: make(chan struct{})}
	}
	c := l.next
	if !l.confirming {
		l.confirming = true
		go l.confirmAll()
	}
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return c, c.err
	}
}

// confirmAll reads for whoever waits, one read after the other, until nobody does. Each has the time of a request.
func (l *ledger) confirmAll() {
	for {
		l.mu.Lock()
		c := l.next
		l.next = nil
		if c == nil {
			l.confirming = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		c.err = l.keeper.host.View(l.life, l.name, gateway.ReadOptions{}, func(v gateway.View) error {
			c.head, c.epoch = v.Head(), v.Timekeeper()
			return nil
		})
		close(c.done)
	}
}
