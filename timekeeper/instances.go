package timekeeper

import (
	"context"
	"slices"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// What is due of instances is kept like leases: a TTL check that is not heard from becomes critical, an instance with a
// TTL that is not registered again is gone, and so is one of which a check was critical for longer than it says.

// instance names an instance of a service.
type instance struct{ service, id string }

// lookUp gives what is due of every instance that events are about, as of the last of them: it is the rows that say so,
// because an event alone does not tell what becomes of a check that was there before. l.mu is not held.
func (l *ledger) lookUp(ctx context.Context, events []event.Event) (map[instance][]event.Due, error) {
	var due map[instance][]event.Due
	for i := range events {
		at, ok := l.mayBeDue(events[i].Body)
		if ok && due == nil {
			due = map[instance][]event.Due{}
		}
		if ok {
			due[at] = nil
		}
	}
	if due == nil {
		return nil, nil
	}
	last := gateway.ReadOptions{Stale: true, At: events[len(events)-1].Revision}
	err := l.keeper.host.View(ctx, l.name, last, func(v gateway.View) error {
		for at := range due {
			due[at] = slices.Collect(v.AllDue(at.service, at.id))
		}
		return nil
	})
	return due, err
}

// mayBeDue gives the instance for which an event may change what is due.
func (l *ledger) mayBeDue(body event.Body) (at instance, ok bool) {
	switch b := body.(type) {
	case event.InstanceRegistered:
		at = instance{b.Instance.Service, b.Instance.ID}
		ok = len(b.Instance.Checks) > 0 || b.Instance.TTL > 0
	case event.InstanceStatus:
		return instance{b.Service, b.ID}, true
	case event.InstanceDeregistered:
		at = instance{b.Service, b.ID}
	case event.InstanceExpired:
		at = instance{b.Service, b.ID}
	default:
		return at, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return at, ok || len(l.instances[at]) > 0
}

// schedule has the timers of an instance be what is due of it. What was due before, by the same event, keeps its time.
func (l *ledger) schedule(at instance, due []event.Due) {
	before := l.instances[at]
	delete(l.instances, at)
	for _, d := range due {
		lease := leaseOf(d)
		l.instances[at] = append(l.instances[at], lease)
		if t := l.timers[lease]; t == nil || t.revision != d.Revision || t.ttl != time.Duration(d.After) {
			l.set(lease, d.Revision, d.After)
		}
	}
	for _, lease := range before {
		if !slices.Contains(l.instances[at], lease) {
			l.drop(lease)
		}
	}
}

func leaseOf(d event.Due) gateway.Lease {
	return gateway.Lease{Service: d.Service, ID: d.ID, Check: d.Check, Status: d.Status}
}
