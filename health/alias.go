package health

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

// aliasEvery is how often a service is counted anew for its aliases, and they are woken, while things happen in it: what one
// event costs depends neither on how many aliases there are, nor on how many instances. It is less often where there are so
// many that it would take more than a tenth of the time: of instances, as the last count showed, or of aliases.
const (
	aliasEvery  = 50 * time.Millisecond
	aliasesTime = 100 * time.Microsecond // for each alias, ten times what one takes
)

// aliased is a service from which checks take their status. The checker's mutex guards it.
type aliased struct {
	service string
	targets map[*target]bool // the checks
	woken   time.Time
	waking  bool          // a later wake-up is on its way
	tally   *tally        // of the service; nil where it is to be counted anew
	version int           // of what is to be counted
	counts  chan struct{} // closed when somebody has counted; nil while nobody does
	took    time.Duration // the last count
}

// tally is how the instances of a service are. It does not change.
type tally struct {
	of  [event.Maintenance + 1]int
	own map[string]event.Status // by id, of those that are aliases of their own service
}

// join has a check take its status from a service. c.mu is held.
func (l *ledger) join(t *target) {
	service := t.check.Alias.Service
	a := l.aliases[service]
	if a == nil {
		a = &aliased{service: service, targets: map[*target]bool{}}
		l.aliases[service] = a
	}
	a.targets[t], t.aliased = true, a
	if t.service == service {
		a.changed() // the tally may not know it
	}
}

// part ends that. c.mu is held.
func (l *ledger) part(t *target) {
	if delete(t.aliased.targets, t); len(t.aliased.targets) == 0 {
		delete(l.aliases, t.aliased.service)
	}
}

// touched has those looked at anew that take their status from a service: at once, or together with what happens in it
// right after it.
func (l *ledger) touched(service string) {
	a := l.aliases[service]
	if a == nil || a.waking {
		return
	}
	now := time.Now()
	wait := a.woken.Add(max(aliasEvery, 10*a.took, time.Duration(len(a.targets))*aliasesTime)).Sub(now)
	if wait <= 0 {
		l.wake(a, now)
		return
	}
	a.waking = true
	time.AfterFunc(wait, func() {
		l.checker.mu.Lock()
		defer l.checker.mu.Unlock()
		a.waking = false
		l.wake(a, time.Now())
	})
}

// wake has every alias of a service looked at. c.mu is held.
func (l *ledger) wake(a *aliased, now time.Time) {
	a.woken = now
	a.changed()
	for t := range a.targets {
		l.checker.lookSoon(t)
	}
}

// changed has the service counted anew when somebody wants to know. c.mu is held.
func (a *aliased) changed() {
	a.tally = nil
	a.version++
}

// alias takes the status of what the check names: the worst of a service's instances that are not kept out of use, or of
// one instance. Aliases of one another each take what the other one has: they never rise by themselves, nor swing.
func (c *Checker) alias(ctx context.Context, q question) (r probe.Result) {
	r.Status = event.Critical
	if err := c.readAlias(ctx, q, &r); err != nil {
		r.Reason = "alias that cannot be read"
	}
	r.Output = r.Reason
	return r
}

func (c *Checker) readAlias(ctx context.Context, q question, r *probe.Result) error {
	of := *q.check.Alias
	if of.ID != "" {
		return c.host.View(ctx, q.target.namespace, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
			i, ok := v.Instance(of.Service, of.ID)
			if !ok {
				r.Reason = "alias of an instance that is not registered"
				return nil
			}
			status := verdict(v, i, v.Health(of.Service, of.ID))
			r.Status, r.Reason = min(status, event.Critical), "alias of an instance that is "+status.String()
			return nil
		})
	}
	n, err := c.count(ctx, q.target)
	if err != nil {
		return err
	}
	own := event.Status(0)
	if of.Service == q.target.service {
		own = n.own[q.target.id]
	}
	for status := event.Critical; status >= event.Passing; status-- {
		others := n.of[status]
		if own == status {
			others-- // it does not hold itself down
		}
		if others > 0 {
			r.Status, r.Reason = status, fmt.Sprintf("alias of a service that is %s at worst", status)
			return nil
		}
	}
	r.Reason = "alias of a service without instances in use"
	return nil
}

// count gives how the instances are of the service that a check is an alias of. All aliases of it that are looked at before
// something happens in it again share one count.
func (c *Checker) count(ctx context.Context, t *target) (*tally, error) {
	a := t.aliased
	for {
		c.mu.Lock()
		n, counts := a.tally, a.counts
		if n == nil && counts == nil {
			a.counts = make(chan struct{})
			n := &tally{own: map[string]event.Status{}}
			for t := range a.targets {
				if t.service == a.service {
					n.own[t.id] = 0
				}
			}
			version := a.version
			c.mu.Unlock()
			return n, c.countNow(ctx, t, n, version)
		}
		c.mu.Unlock()
		if n != nil {
			return n, nil
		}
		select {
		case <-counts:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// countNow fills a tally in for a version of what is to be counted, and keeps it for others if it is not outdated already.
func (c *Checker) countNow(ctx context.Context, t *target, n *tally, version int) error {
	a, began := t.aliased, time.Now()
	err := c.host.View(ctx, t.namespace, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
		for i, h := range v.WithHealth(a.service) {
			status := verdict(v, i, h)
			n.of[status]++
			if _, ok := n.own[i.ID]; ok {
				n.own[i.ID] = status
			}
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	close(a.counts)
	a.counts, a.took = nil, time.Since(began)
	if err == nil && a.version == version {
		a.tally = n
	}
	return err
}

func verdict(v gateway.View, i event.Registration, h event.Health) event.Status {
	node, _ := v.Node(i.Node)
	return h.Verdict(i, node.Maintenance).Status
}
