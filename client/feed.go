package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	// feedsMax is below what a server allows a connection (4096 subscriptions).
	feedsMax = 4000
)

// room bounds what waits for one watch whose reader is slow, in its tap and in its hand together. What is behind it is let go, and
// read again from the ledger.
type room struct{ events, bytes int }

// tapRoom is the room that a watch has.
var tapRoom = room{events: 4096, bytes: 8 << 20}

// feeds hand out what arrives for the watches of one connection, in the order in which it arrived: a bookmark says
// something about the events that came before it, so all of them go through one queue. Watches of the same subject share
// a subscription, and each event is read once for all of them.
type feeds struct {
	nc       *conn
	arrivals chan *nats.Msg

	feedMu    sync.Mutex
	bySubject map[string]*feed
	bySub     map[*nats.Subscription]*feed
	marks     map[string]*bookmarks // by namespace
	markSub   map[*nats.Subscription]*bookmarks
	over      error         // why no more will arrive
	done      chan struct{} // closed then
	running   bool
}

// feed is the subscription to one subject.
type feed struct {
	subject string
	marks   *bookmarks
	sub     *nats.Subscription
	taps    map[*tap]struct{}
	last    uint64 // the revision that arrived last
	dropped int    // what nats.go had to let go of it
}

// bookmarks is the subscription to a namespace's bookmarks.
type bookmarks struct {
	namespace string
	sub       *nats.Subscription
	feeds     map[*feed]struct{}
}

func (f *feeds) init(c *conn) {
	f.nc = c
	f.bySubject, f.bySub = map[string]*feed{}, map[*nats.Subscription]*feed{}
	f.marks, f.markSub = map[string]*bookmarks{}, map[*nats.Subscription]*bookmarks{}
	f.done = make(chan struct{})
}

// join gives a tap into which arrives what the connection brings from now on: a request that is sent after this is
// answered from a state that lacks nothing of what arrived before.
func (f *feeds) join(namespace, filter string, room room) (*tap, error) {
	f.feedMu.Lock()
	defer f.feedMu.Unlock()
	if f.over != nil {
		return nil, &brokenError{err: f.over}
	}
	if !f.running {
		f.running = true
		f.arrivals = make(chan *nats.Msg, arrivalsMax)
		go f.run()
	}
	subject := eventPrefix + namespace + "." + filter
	one := f.bySubject[subject]
	if one == nil {
		var err error
		if one, err = f.subscribe(namespace, subject); err != nil {
			return nil, err
		}
	}
	t := &tap{feeds: f, feed: one, room: room, wake: make(chan struct{}, 1)}
	one.taps[t] = struct{}{}
	return t, nil
}

// subscribe begins a feed. The lock must be held.
func (f *feeds) subscribe(namespace, subject string) (*feed, error) {
	if len(f.bySubject)+len(f.marks) >= feedsMax {
		return nil, fmt.Errorf("watches of this client have %d subjects on one connection, which is as many as it takes: make another client", len(f.bySubject))
	}
	marks := f.marks[namespace]
	if marks == nil {
		sub, err := f.nc.nc.ChanSubscribe(bookmarkPrefix+namespace, f.arrivals)
		if err != nil {
			return nil, &brokenError{err: err}
		}
		marks = &bookmarks{namespace: namespace, sub: sub, feeds: map[*feed]struct{}{}}
		f.marks[namespace], f.markSub[sub] = marks, marks
	}
	one := &feed{subject: subject, marks: marks, taps: map[*tap]struct{}{}}
	marks.feeds[one] = struct{}{}
	sub, err := f.nc.nc.ChanSubscribe(subject, f.arrivals)
	if err != nil {
		f.leave(one)
		return nil, &brokenError{err: err}
	}
	one.sub = sub
	f.bySubject[subject], f.bySub[sub] = one, one
	return one, nil
}

// leave ends a feed that nobody reads any more. The lock must be held.
func (f *feeds) leave(one *feed) {
	if one.sub != nil {
		delete(f.bySubject, one.subject)
		delete(f.bySub, one.sub)
		_ = one.sub.Unsubscribe() // it fails only where the connection is over
	}
	delete(one.marks.feeds, one)
	if len(one.marks.feeds) == 0 {
		delete(f.marks, one.marks.namespace)
		delete(f.markSub, one.marks.sub)
		_ = one.marks.sub.Unsubscribe()
	}
}

func (f *feeds) run() {
	for {
		select {
		case m := <-f.arrivals:
			f.take(m)
		case <-f.done:
			return
		}
	}
}

// take hands out one message.
func (f *feeds) take(m *nats.Msg) {
	f.feedMu.Lock()
	defer f.feedMu.Unlock()
	if one := f.bySub[m.Sub]; one != nil {
		one.check()
		e, err := parseEvent(m.Data)
		switch {
		case err != nil:
		case e.Revision <= one.last:
			err = &OrderError{After: one.last, Got: e.Revision}
		default:
			one.last = e.Revision
		}
		for t := range one.taps {
			t.put(arrival{event: &e, err: err})
		}
		return
	}
	marks := f.markSub[m.Sub]
	if marks == nil {
		return // of a feed that has ended
	}
	a := readBookmark(m)
	if a.bookmark == 0 && !a.ended {
		return // no bookmark of ours
	}
	for one := range marks.feeds {
		one.check()
		for t := range one.taps {
			t.put(a)
		}
	}
}

// readBookmark reads a bookmark, which is the last one where the namespace is gone.
func readBookmark(m *nats.Msg) arrival {
	var w struct {
		Ended bool `json:"ended"`
	}
	revision, err := strconv.ParseUint(m.Header.Get(headerRevision), 10, 64)
	if err != nil {
		revision = frame{data: m.Data}.revision()
	}
	ended := bytes.Contains(m.Data, []byte(`"ended"`)) && json.Unmarshal(m.Data, &w) == nil && w.Ended
	return arrival{bookmark: revision, ended: ended}
}

// check looks whether nats.go had to let something go: then no bookmark may say that everything has come.
func (one *feed) check() {
	n, err := one.sub.Dropped()
	if err != nil || n == one.dropped {
		return // an error means that the subscription is over, and fail says so
	}
	one.dropped = n
	for t := range one.taps {
		t.lose()
	}
}

// complain hears what the connection has to say besides messages.
func (c *conn) complain(sub *nats.Subscription, err error) {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer) && strings.HasPrefix(sub.Subject, c.inbox):
		c.nc.Close() // whoever waits for what was let go asks again
	case errors.Is(err, nats.ErrSlowConsumer):
		c.feedMu.Lock()
		defer c.feedMu.Unlock()
		for _, one := range c.bySub {
			one.check()
		}
	case errors.Is(err, nats.ErrPermissionViolation):
		c.feedMu.Lock()
		defer c.feedMu.Unlock()
		for _, one := range c.bySub {
			if strings.Contains(err.Error(), `"`+one.subject+`"`) || strings.Contains(err.Error(), `"`+one.marks.sub.Subject+`"`) {
				one.end(err)
			}
		}
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		// Which one was refused is not said, so nothing may be believed of any.
		c.nc.Close()
	}
}

// end ends what reads a feed.
func (one *feed) end(err error) {
	for t := range one.taps {
		t.put(arrival{err: err})
	}
}

// fail ends all feeds.
func (f *feeds) fail(err error) {
	f.feedMu.Lock()
	defer f.feedMu.Unlock()
	if f.over != nil {
		return
	}
	f.over = err
	close(f.done)
	for _, one := range f.bySubject {
		one.end(&brokenError{err: err})
	}
}

// arrival is an event, a bookmark or an end.
type arrival struct {
	event    *Event
	bookmark uint64
	ended    bool // the namespace is gone, says this bookmark
	err      error
}

// size is how many bytes it counts for.
func (a arrival) size() int {
	if a.event == nil {
		return 0
	}
	return len(a.event.Raw)
}

// tap is where a watch takes what arrives for it.
type tap struct {
	feeds *feeds
	feed  *feed
	room  room
	wake  chan struct{} // has room for one

	mu    sync.Mutex
	queue []arrival
	bytes int   // of the queue
	taken room  // what the watch has taken and not handed on yet
	lost  bool  // something was let go, and nothing is kept since
	err   error // why nothing more will come; what is in the queue comes before it
}

// put adds what arrived, unless too much waits already.
func (t *tap) put(a arrival) {
	t.mu.Lock()
	switch {
	case t.err != nil:
	case a.err != nil:
		t.err = a.err
	case t.lost:
	default:
		t.queue = append(t.queue, a)
		t.bytes += a.size()
		if len(t.queue)+t.taken.events > t.room.events || t.bytes+t.taken.bytes > t.room.bytes {
			t.drop()
		}
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// lose has the watch read again from the ledger.
func (t *tap) lose() {
	t.mu.Lock()
	t.drop()
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// drop lets everything go. The lock must be held.
func (t *tap) drop() {
	clear(t.queue) // for whom it is collected
	t.queue, t.bytes, t.lost = t.queue[:0], 0, true
}

// take gives what has arrived, and keeps what comes next in spare, which is what was taken last; lost says that something was
// let go behind that, and err that nothing will come behind it. What is taken counts as waiting until hand says otherwise.
func (t *tap) take(spare []arrival) (arrived []arrival, lost bool, err error) {
	clear(spare)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = room{len(t.queue), t.bytes}
	arrived, t.queue, t.bytes = t.queue, spare[:0], 0
	if len(arrived) > 0 {
		return arrived, false, nil
	}
	return arrived, t.lost, t.err
}

// hand gives the first of what was taken to the reader.
func (t *tap) hand(taken []arrival) arrival {
	a := taken[0]
	taken[0] = arrival{} // it waits no longer, so it may go
	t.mu.Lock()
	t.taken.events--
	t.taken.bytes -= a.size()
	t.mu.Unlock()
	return a
}

// renew begins to keep what arrives, where something was let go; it tells whether that was so.
func (t *tap) renew() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := t.lost
	t.lost = false
	return lost
}

func (t *tap) close() {
	t.feeds.feedMu.Lock()
	defer t.feeds.feedMu.Unlock()
	delete(t.feed.taps, t)
	if len(t.feed.taps) == 0 && t.feeds.over == nil {
		t.feeds.leave(t.feed)
	}
}
