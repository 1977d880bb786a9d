package health

import (
	"container/heap"
	"context"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// retryAfter is when a target is looked at again whose change of status could not be reported.
const retryAfter = time.Second

// target is a check of an instance, as a server looks at it. The checker's mutex guards it.
type target struct {
	key

	hash     uint64 // of the instance: one server looks at all of its targets
	phase    time.Duration
	check    event.Check
	instance *instance
	aliased  *aliased         // what it takes its status from, where it is an alias
	state    event.CheckState // as the ledger has it
	gone     bool             // it is registered no longer
	owned    bool             // this server looks at it
	running  bool
	again    bool   // it is to be looked at anew when the look under way is over
	lane     lane   // of the look under way, or that it waits for
	next     lane   // of the next look, as far as is known
	stop     func() // ends the look under way

	due   time.Time
	index int // in the queue; -1 outside

	failing  bool          // at the last look
	looked   time.Time     // when that began; zero where this server has not looked since it owns the target
	took     time.Duration // the last look that did not fail
	streak   streak
	held     time.Time      // since when this server takes what it sees for its own fault; zero where it does not
	reported event.Revision // of the change that this server reported last
}

// slot is the next instant after now at which a target is looked at: those of one interval are spread over it, and stay
// where they are whichever server looks.
func (t *target) slot(now time.Time) time.Time {
	interval := time.Duration(t.check.Interval)
	wait := (t.phase - time.Duration(now.UnixNano())%interval + interval) % interval
	return now.Add(wait)
}

// after is when to look again when a look began at an instant.
func (t *target) after(began, now time.Time) time.Time {
	return later(t.slot(began.Add(time.Duration(t.check.Interval)/8)), now) // a first look may be right before a slot
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// streak is a number of results in a row that are all better, or all worse, than what the ledger says.
type streak struct {
	better bool
	n      int
	status event.Status // the one of them that is nearest to what the ledger says
}

// add takes a result in, and gives the status that the check has with it: another one than before when enough results
// in a row say so.
func (s *streak) add(is, result event.Status, c event.Check) event.Status {
	if result == is {
		*s = streak{}
		return is
	}
	better := result < is
	if s.n == 0 || s.better != better {
		*s = streak{better: better, status: result}
	}
	s.n++
	need := max(c.FailureThreshold, 1)
	if better {
		need = max(c.SuccessThreshold, 1)
		s.status = max(s.status, result)
	} else {
		s.status = min(s.status, result)
	}
	if s.n < int(need) {
		return is
	}
	return s.status
}

// lane is a share of the looks that may be under way: targets that do not answer wait for others of their kind only. What
// fails at once takes nothing from anybody; what hangs does, for up to the timeout that its registrant has chosen. So that
// few of those, of one registrant, do not have everybody wait, a look that takes longer than could be expected goes on in the
// lane of what hangs. Where that lane is full, the look is ended, says nothing, and is made anew when it has its turn there.
//
// The lanes stand in the order in which waiting looks are started.
type lane int

const (
	laneFine    lane = iota // answered at the last look, or failed promptly: may take everything that others leave, a quarter at least
	laneNew                 // nobody knows yet whether it answers: at most a quarter
	laneLate                // was fine, and takes too long now: at most half, together with those that hang
	laneHanging             // took long to fail the last time
	lanes
)

const (
	// promptly is within what time a failure costs little: a connection that is refused.
	promptly = 100 * time.Millisecond
	// patience is how long what nobody knows may take before it counts as what hangs. What is known to take long may do so.
	patience = time.Second
)

// firstLane is where a target is looked at first that became this server's: what another server saw pass is likely to
// answer. c.mu is held.
func (t *target) firstLane() lane {
	if t.aliased != nil || t.state.Kind == event.KindInstanceStatus && t.state.Status.Usable() {
		return laneFine
	}
	return laneNew
}

// sort notes which lane a target belongs to, now that a look at it has taken so long. c.mu is held.
func (t *target) sort(took time.Duration) {
	switch {
	case t.aliased != nil: // nothing hangs but this server
	case !t.failing:
		t.next, t.took = laneFine, took
	case took <= promptly:
		t.next = laneFine
	default:
		t.next = laneHanging
	}
}

// overdue is called when a look, of which ctx is the life, takes longer than could be expected.
func (c *Checker) overdue(ctx context.Context, t *target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := laneLate
	switch {
	case ctx.Err() != nil, t.lane > laneNew, t.aliased != nil:
		return // it is over, or where it belongs
	case t.lane == laneNew:
		to = laneHanging
	}
	if !c.slowRoom() {
		t.next, t.again = to, true
		t.stop()
		return
	}
	c.under[t.lane]--
	t.lane = to
	c.under[t.lane]++
	c.kick()
}

// queue is the targets by when they are due, the first one first; see container/heap.
type queue []*target

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*target)
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

// enqueue has a target looked at when an instant comes. c.mu is held.
func (c *Checker) enqueue(t *target, due time.Time) {
	t.due = due
	switch {
	case t.index >= 0:
		heap.Fix(&c.queue, t.index)
	default:
		heap.Push(&c.queue, t)
	}
	if t.index == 0 {
		c.kick()
	}
}

// dequeue takes a target out of the queue. c.mu is held.
func (c *Checker) dequeue(t *target) {
	if t.index >= 0 {
		heap.Remove(&c.queue, t.index)
	}
}

// kick wakes the scheduler.
func (c *Checker) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// lookSoon has a target looked at now. c.mu is held.
func (c *Checker) lookSoon(t *target) {
	switch {
	case !t.owned:
	case t.running:
		t.again = true
	default:
		c.enqueue(t, time.Now())
	}
}

// schedule starts looks when they are due, until c.life ends.
func (c *Checker) schedule() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(c.startDue())
		select {
		case <-c.life.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// startDue starts the looks that are due and have room, and gives how long there is nothing to do.
func (c *Checker) startDue() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for l := range c.waiting {
		for len(c.waiting[l]) > 0 && c.room(lane(l)) {
			t := c.waiting[l][0]
			c.waiting[l] = c.waiting[l][1:]
			if t.owned && !t.running && t.index < 0 && t.lane == lane(l) { // else it has found another way
				c.start(t)
			}
		}
	}
	for len(c.queue) > 0 {
		t := c.queue[0]
		if wait := t.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&c.queue)
		t.lane = t.next
		if c.room(t.lane) {
			c.start(t)
		} else {
			c.waiting[t.lane] = append(c.waiting[t.lane], t)
		}
	}
	return time.Hour
}

// room tells whether another look of a lane may be started.
func (c *Checker) room(l lane) bool {
	all := 0
	for _, n := range c.under {
		all += n
	}
	switch {
	case all >= c.config.Looks:
		return false
	case l == laneNew:
		return c.under[laneNew] < max(c.config.Looks/4, 1)
	case l > laneNew:
		return c.slowRoom()
	}
	return true
}

// slowRoom tells whether there may be another look at what takes long.
func (c *Checker) slowRoom() bool {
	return c.under[laneLate]+c.under[laneHanging] < max(c.config.Looks/2, 1)
}
