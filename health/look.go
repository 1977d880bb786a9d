package health

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

// question is what is asked of a target in one look.
type question struct {
	target      *target
	check       event.Check
	instance    event.Instance
	credentials map[string]string
	began       time.Time
}

// start starts a look. c.mu is held.
func (c *Checker) start(t *target) {
	ctx, q := c.begin(t)
	c.under[t.lane]++
	expected := time.AfterFunc(patience+2*t.took, func() { c.overdue(ctx, t) })
	c.looks.Go(func() { c.look(ctx, q, expected) })
}

// begin marks a target as looked at, until c.end. c.mu is held.
func (c *Checker) begin(t *target) (context.Context, question) {
	ctx, stop := context.WithCancel(c.life)
	t.running, t.stop, t.again = true, stop, false
	return ctx, question{t, t.check, t.instance.Instance, t.instance.credentials, time.Now()}
}

// end has a target no longer be looked at, and says when it is next. c.mu is held.
func (c *Checker) end(t *target, next time.Time) {
	t.stop()
	t.running = false
	switch {
	case !t.owned:
		c.leaving--
		if c.leaving == 0 {
			c.askSoon()
		}
	case t.again:
		t.again = false
		c.enqueue(t, time.Now())
	default:
		c.enqueue(t, next)
	}
	c.kick()
}

// askSoon has the coordinator asked at once.
func (c *Checker) askSoon() {
	select {
	case c.ask <- struct{}{}:
	default:
	}
}

// look looks at a target once, and has a change of its status written. It stops a timer when the target has answered.
func (c *Checker) look(ctx context.Context, q question, expected *time.Timer) {
	var r probe.Result
	if q.check.Alias != nil {
		r = c.alias(ctx, q)
	} else {
		r = c.config.Prober.Look(ctx, q.check, q.instance, q.credentials)
	}
	expected.Stop() // what comes now is not the target's doing
	t := q.target
	report, judged := c.takeIn(ctx, q, r)
	again := time.Time{}
	if judged && report.Status > event.Warning && c.doubts(ctx, q) {
		again = c.hold(ctx, q)
	} else if judged && !c.report(ctx, q, report, r.Reason) {
		again = time.Now().Add(min(retryAfter, time.Duration(q.check.Interval)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under[t.lane]--
	now := time.Now()
	next := t.after(q.began, now)
	if !again.IsZero() && again.Before(next) {
		next = later(again, now)
	}
	c.end(t, next)
}

// says tells whether a look may still say something: the target is this server's, and asked the same. c.mu is held.
func (c *Checker) says(ctx context.Context, t *target) bool {
	return ctx.Err() == nil && t.owned && !past(c.until, time.Now())
}

// takeIn takes in what came of a look. Where the target's status is another one with it, it gives the report.
func (c *Checker) takeIn(ctx context.Context, q question, r probe.Result) (report commands.ReportStatus, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := q.target
	if !c.says(ctx, t) {
		return report, false
	}
	c.counts.Looks[r.Status]++
	c.outputs.set(t.key, gateway.Observation{Status: r.Status, Output: r.Output, At: time.Now(), Server: c.config.Server})
	t.looked, t.failing = q.began, r.Status == event.Critical
	t.sort(time.Since(q.began))
	if !t.failing {
		t.held = time.Time{}
	}
	c.observer.note(c, t)
	if t.reported > t.state.Revision {
		return report, false // what was reported is on its way back
	}
	status := t.streak.add(t.state.Status, r.Status, t.check)
	return commands.ReportStatus{
		Service: t.service, ID: t.id, Check: t.key.check, Status: status, Previous: t.state.Revision, Server: c.config.Server,
	}, status != t.state.Status
}

// report has a change of status written. It tells whether it is known what came of it.
func (c *Checker) report(ctx context.Context, q question, r commands.ReportStatus, reason string) bool {
	c.mu.Lock()
	says := c.says(ctx, q.target)
	c.mu.Unlock()
	if !says {
		return true
	}
	// From here on it is the ledger's business: behind another change the report is refused.
	answer, err := c.host.Submit(c.life, q.target.namespace, gateway.Request{Command: r, Reason: reason})
	var refused *commands.Rejection
	switch {
	case err == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		q.target.reported, q.target.held = answer.Revision, time.Time{}
		return true
	case errors.As(err, &refused) && refused.Code == commands.CodeNotFound:
		return true // it is gone, as will soon be known here
	}
	c.config.Logger.Debug("a check's status is not reported yet", "namespace", q.target.namespace, "service", r.Service, "id", r.ID, "check", r.Check, "error", err)
	return false
}
