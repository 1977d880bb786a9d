package health

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// A server whose network, resolver or limits fail sees its targets fail, all at once. So before one is reported as
// critical, the server looks at up to witnessesMax others that were fine, of other instances: its witnesses. Where they show
// that more than half of the instances fail of those that are usable by the ledger, and at least failingMin of them do, the
// server takes itself for what fails:
//
//   - What it sees fail is held: not reported, with the reason beside the output. What it sees pass is reported.
//   - It says so to the coordinator, and its targets go to other servers, as long as there is one that is not suspect.
//     What those see counts at once: it is the second opinion.
//   - A target that stays with it, because no other server can look, is held for two intervals, at least heldMin and at most
//     heldMax. Then it is taken for true what the server still sees.
//   - The suspicion ends after suspectFor, twice as long each time that it comes again within relapseWithin; or as soon as
//     most of what the server looks at is fine. What the server then sees fail goes through the same again.
//
// A real failure of most things at once is so reported a little later, and a false one not at all.
const (
	witnessesMax  = 16 // few enough to ask, and enough that a fifth that fails is hardly ever taken for half
	failingMin    = 3
	surveyTime    = 3 * time.Second        // a witness that takes longer fails
	vouchFor      = 250 * time.Millisecond // what witnesses showed counts for other targets
	heldMin       = 10 * time.Second
	heldMax       = 5 * time.Minute
	suspectFor    = 30 * time.Second
	suspectMax    = 5 * time.Minute
	relapseWithin = 10 * time.Minute
	recoverAfter  = 5 * time.Second
)

// observer is what a server thinks of itself. The checker's mutex guards it.
type observer struct {
	since, until time.Time // of the last suspicion
	relapses     int
	failing, of  int // instances, when it arose
	fine, bad    int // looks since
	survey       *survey
	vouched      time.Time // when the last survey began that showed nothing
}

// survey is a look at witnesses, for all who want to know.
type survey struct {
	done    chan struct{}
	began   time.Time
	suspect bool
}

func (o *observer) suspects(now time.Time) bool { return now.Before(o.until) }

// note takes in that a target was looked at.
func (o *observer) note(c *Checker, t *target) {
	now := time.Now()
	if !o.suspects(now) || t.looked.Before(o.since) || t.check.Alias != nil || !t.state.Status.Usable() {
		return
	}
	if t.failing {
		o.bad++
	} else {
		o.fine++
	}
	if now.Sub(o.since) >= recoverAfter && o.fine >= failingMin && o.fine > o.bad {
		o.until = now
		c.config.Logger.Info("most checks pass again: this server trusts itself", "fine", o.fine, "failing", o.bad)
		c.askSoon()
	}
}

// doubts tells whether what a look found critical is taken for this server's own fault. It may take surveyTime.
func (c *Checker) doubts(ctx context.Context, q question) bool {
	if q.check.Alias != nil {
		return false // nothing was looked at but the ledger
	}
	c.mu.Lock()
	t, now := q.target, time.Now()
	switch {
	case !t.held.IsZero() && now.Sub(t.held) >= heldFor(t.check):
		c.mu.Unlock()
		return false
	case c.observer.suspects(now):
		c.mu.Unlock()
		return true
	case c.second(t), now.Sub(c.observer.vouched) < vouchFor:
		c.mu.Unlock()
		return false
	}
	s := c.observer.survey
	if s == nil {
		s = &survey{done: make(chan struct{}), began: now}
		c.observer.survey = s
		c.survey(s, q)
	}
	c.mu.Unlock()
	select {
	case <-s.done:
		return s.suspect
	case <-ctx.Done():
		return true // it says nothing any more
	}
}

// heldFor is how long a target is held that no other server looks at.
func heldFor(c event.Check) time.Duration {
	return min(max(2*time.Duration(c.Interval), heldMin), heldMax)
}

// hold keeps a change to itself, and gives when to look again at the latest.
func (c *Checker) hold(ctx context.Context, q question) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, now := q.target, time.Now()
	if !c.says(ctx, t) {
		return time.Time{}
	}
	if t.held.IsZero() {
		t.held = now
	}
	release := t.held.Add(heldFor(t.check))
	if seen, ok := c.outputs.get(t.key); ok {
		o := c.observer
		seen.Fault = fmt.Sprintf("server %s saw %d of %d instances fail at once, and takes that for a fault of its own first: "+
			"the status stays until another server has looked, or until %s", c.config.Server, o.failing, o.of, release.UTC().Format(time.RFC3339))
		c.outputs.set(t.key, seen)
	}
	return release
}

// second tells whether a target came to this server because the one that it was with is suspect. c.mu is held.
func (c *Checker) second(t *target) bool {
	if len(c.grant.Suspects) == 0 {
		return false
	}
	all := slices.Concat(c.grant.Next, c.grant.Suspects)
	before := owner(t.hash, all, len(t.check.Command) > 0)
	return slices.ContainsFunc(c.grant.Suspects, func(s Candidate) bool { return s.Name == before })
}

// survey looks at witnesses for a look that failed, and ends s. c.mu is held, but not while it looks.
func (c *Checker) survey(s *survey, q question) {
	failing, others := c.population(q)
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	// First those that are somewhere else, and that nobody looks at just now.
	slices.SortStableFunc(others, func(a, b *target) int { return oddness(a, q) - oddness(b, q) })
	sample := others[:min(len(others), witnessesMax)]
	if failing+len(others) < failingMin || failing+len(sample) < failingMin {
		c.conclude(s, failing, len(others), 0, 0)
		return
	}
	witnesses := make([]*witness, len(sample))
	for i, t := range sample {
		w := &witness{target: t, busy: t.running}
		if !w.busy {
			w.due = t.due
			c.dequeue(t)
			w.ctx, w.question = c.begin(t)
		}
		witnesses[i] = w
	}
	c.looks.Go(func() { c.interview(s, failing, len(others), witnesses) })
}

// oddness orders witnesses: the lower the better.
func oddness(t *target, q question) (n int) {
	if t.running {
		n += 2
	}
	if t.instance.Address == q.instance.Address {
		n++
	}
	return n
}

// population counts the instances of this server's that fail, and gives a target of each other one. c.mu is held.
func (c *Checker) population(q question) (failing int, others []*target) {
	fails, fine := map[*instance]bool{q.target.instance: true}, map[*instance]*target{}
	for _, t := range c.targets {
		if !t.owned || t.check.Alias != nil || !t.state.Status.Usable() {
			continue
		}
		if t.failing {
			fails[t.instance] = true
		} else if command := len(t.check.Command) > 0; !command || len(q.check.Command) > 0 { // programs are run when they are due
			fine[t.instance] = t
		}
	}
	for i, t := range fine {
		if !fails[i] {
			others = append(others, t)
		}
	}
	return len(fails), others
}

// witness is a target that is looked at for what it says about the observer. What is seen counts for nothing else: else
// the failures of one would add up faster than its check says.
type witness struct {
	question

	target *target
	ctx    context.Context
	due    time.Time
	busy   bool // a look at it was under way already
	fails  bool
}

func (c *Checker) interview(s *survey, failing, others int, witnesses []*witness) {
	done := make(chan *witness, len(witnesses))
	for _, w := range witnesses {
		go func() {
			w.fails = c.testify(w, s.began)
			done <- w
		}()
	}
	bad := 0
	for range witnesses {
		if w := <-done; w.fails {
			bad++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conclude(s, failing, others, len(witnesses), bad)
}

// testify looks at a witness, or waits for the look at it that is under way.
func (c *Checker) testify(w *witness, since time.Time) (fails bool) {
	ctx, cancel := context.WithDeadline(c.life, since.Add(surveyTime))
	defer cancel()
	t := w.target
	if w.busy {
		for {
			c.mu.Lock()
			running, failing := t.running, t.failing || t.next > laneNew // a look that was ended for taking long is over, too
			c.mu.Unlock()
			if !running || failing { // or it waits for this very survey
				return failing
			}
			if pause(ctx, 10*time.Millisecond) != nil {
				return true
			}
		}
	}
	stop := context.AfterFunc(w.ctx, cancel)
	defer stop()
	r := c.config.Prober.Look(ctx, w.check, w.instance, w.credentials)
	c.mu.Lock()
	defer c.mu.Unlock()
	stopped := w.ctx.Err() != nil
	c.end(t, later(w.due, time.Now()))
	if stopped {
		return false // it was let go: it says nothing
	}
	if r.Status == event.Critical {
		t.failing = true
	}
	return r.Status == event.Critical
}

// conclude says what witnesses have shown: bad of the asked ones, which stand for others. c.mu is held.
func (c *Checker) conclude(s *survey, failing, others, asked, bad int) {
	defer close(s.done)
	o := &c.observer
	o.survey = nil
	estimate := failing
	if asked > 0 {
		estimate += (others*bad + asked/2) / asked
	}
	now := time.Now()
	if failing+bad < failingMin || 2*estimate <= failing+others {
		o.vouched = s.began
		return
	}
	if now.Sub(o.until) > relapseWithin {
		o.relapses = 0
	}
	last := min(suspectFor<<o.relapses, suspectMax)
	o.relapses = min(o.relapses+1, 8)
	o.since, o.until, o.fine, o.bad = now, now.Add(last), 0, 0
	o.failing, o.of = estimate, failing+others
	s.suspect = true
	c.config.Logger.Warn("most checks fail at once: this server takes that for a fault of its own first",
		"failing", estimate, "instances", failing+others, "witnesses", asked, "of_them_failing", bad)
	c.askSoon()
}
