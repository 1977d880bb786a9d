package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// ledgerOf has the plain events of the revisions first to last.
func ledgerOf(first, last uint64) []fakeEvent {
	var all []fakeEvent
	for r := first; r <= last; r++ {
		all = append(all, plain(r))
	}
	return all
}

// collect watches until it has n events, or an error.
func collect(t *testing.T, c *client.Client, o client.WatchOptions, n int) (revisions []uint64, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for e, err := range c.WatchWith(ctx, o) {
		if err != nil {
			return revisions, err
		}
		revisions = append(revisions, e.Revision)
		if len(revisions) == n {
			break
		}
	}
	return revisions, nil
}

func span(first, last uint64) string {
	var all []uint64
	for r := first; r <= last; r++ {
		all = append(all, r)
	}
	return fmt.Sprint(all)
}

// Events that arrive while the past is read come once, and in their place.
func TestWatchFillsBeforeItFollows(t *testing.T) {
	asked := 0
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		switch asked++; asked {
		case 1:
			c.event(plain(4))
			c.page(a, ledgerOf(1, 5), 3)
			c.event(plain(5))
		case 2:
			if a.number("from") != 4 {
				t.Errorf("the second page is asked for from %v", a.body["from"])
			}
			c.bookmark(5) // counts once what is before it has been read
			c.event(plain(6))
			c.page(a, ledgerOf(1, 6), 100)
			c.event(plain(7))
			c.bookmark(9)
		}
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 7); err != nil || fmt.Sprint(got) != span(1, 7) {
		t.Errorf("got %d, %v", got, err)
	}
}

// From now is the head as all servers agree on it, however far the subject's events are behind it.
func TestWatchFromNowOverNATS(t *testing.T) {
	asked := 0
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		asked++
		if asked == 1 {
			if a.body["consistency"] != nil || a.body["subject"] != nil || a.number("limit") != 1 {
				t.Errorf("the head is asked for with %v", a.body)
			}
			c.event(plain(40)) // acknowledged before, and late
			c.page(a, ledgerOf(1, 40), 100)
			return
		}
		if a.number("from") != 41 || a.body["consistency"] != "stale" {
			t.Errorf("it goes on with %v", a.body)
		}
		c.page(a, ledgerOf(1, 41), 100)
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	var got []uint64
	for e, err := range c.WatchWith(t.Context(), client.WatchOptions{Subject: "kv.*", Bookmarks: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Revision); len(got) == 2 {
			break
		}
		f.cut() // and 41 happens
	}
	if fmt.Sprint(got) != "[40 41]" {
		t.Errorf("got %d, want a bookmark at 40 and then 41", got)
	}
}

// A server that dies anywhere is followed by the next one, which may lag behind.
func TestWatchGoesOnAtAServerThatLags(t *testing.T) {
	ahead := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.number("from") > 1 {
			c.Close() // between the past and what follows
			return
		}
		c.page(a, ledgerOf(1, 5), 5)
	})
	behind := newFakeNATS(t, func(c *fakeConn, a ask) {
		switch {
		case a.number("from") < 6:
			t.Errorf("it goes on with %v", a.body)
		case a.body["consistency"] == "stale":
			c.page(a, ledgerOf(1, 3), 100)
			c.event(plain(4))
			c.bookmark(4)
		default:
			c.event(plain(5))
			c.page(a, ledgerOf(1, 5), 100)
			c.event(plain(6))
		}
	})
	c := newClient(t, client.Options{Servers: []string{ahead.url(), behind.url()}})
	var got []uint64
	for e, err := range c.Watch(t.Context(), "", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Revision); e.Revision == 5 {
			ahead.cut()
		}
		if e.Revision == 6 {
			break
		}
	}
	if fmt.Sprint(got) != span(1, 6) {
		t.Errorf("got %d", got)
	}
}

func TestWatchEndsOverNATS(t *testing.T) {
	var order *client.OrderError
	var source *client.SourceError
	for _, tt := range []struct {
		name    string
		options client.WatchOptions
		handle  func(*fakeConn, ask)
		check   func(error) bool
	}{
		{"repeat", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			c.page(a, ledgerOf(1, 2), 9)
			c.event(plain(3))
			c.event(plain(3))
		}, func(err error) bool { return errors.As(err, &order) && order.After == 3 && order.Got == 3 }},
		{"out of order", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			c.page(a, ledgerOf(1, 2), 9)
			c.event(plain(5))
			c.event(plain(4))
		}, func(err error) bool { return errors.As(err, &order) && order.After == 5 && order.Got == 4 }},
		{"a page before the position", client.WatchOptions{From: 3}, func(c *fakeConn, a ask) {
			c.answer(a, 200, `{"revision":5,"events":[`+plain(2).json()+`]}`)
		}, func(err error) bool { return errors.As(err, &order) && order.Got == 2 }},
		{"a page that leads nowhere", client.WatchOptions{From: 3}, func(c *fakeConn, a ask) {
			c.answer(a, 200, `{"revision":5,"events":[],"next":3}`)
		}, func(err error) bool { return strings.Contains(err.Error(), "next at 3") }},
		{"another cluster", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			c.page(a, ledgerOf(1, 2), 9)
			e := plain(3)
			e.source = "rollcall/other/default"
			c.event(e)
		}, func(err error) bool {
			return errors.As(err, &source) && source.After == 2 && strings.Contains(source.Is, "other")
		}},
		{"no event", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			c.page(a, ledgerOf(1, 2), 9)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.send("rollcall.default.kv.k", "X: y\r\n", "{")
		}, func(err error) bool { return strings.Contains(err.Error(), "read event") }},
		{"no namespace", client.WatchOptions{}, func(c *fakeConn, a ask) {
			c.refuse(a, 404, client.ErrUnknownNamespace, "none")
		}, func(err error) bool { return errors.Is(err, client.ErrUnknownNamespace) }},
		{"a namespace that ended", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			if a.number("from") > 2 {
				c.refuse(a, 404, client.ErrUnknownNamespace, "none")
				return
			}
			c.page(a, ledgerOf(1, 2), 9)
			c.Close()
		}, func(err error) bool { return errors.Is(err, client.ErrUnknownNamespace) }},
		{"a position that does not exist", client.WatchOptions{From: 1}, func(c *fakeConn, a ask) {
			if a.number("from") == 1 {
				c.page(a, ledgerOf(1, 7), 9)
				c.Close()
				return
			}
			c.page(a, ledgerOf(1, 5), 9)
		}, func(err error) bool { return errors.Is(err, client.Code("invalid-revision")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeNATS(t, tt.handle)
			c := newClient(t, client.Options{Servers: []string{f.url()}})
			if _, err := collect(t, c, tt.options, 100); err == nil || !tt.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A subject that is none is refused before anything is sent.
func TestWatchNoSubjectOverNATS(t *testing.T) {
	f := newFakeNATS(t, func(*fakeConn, ask) { t.Error("something was asked") })
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	for _, subject := range []string{"kv.", ".kv", "kv..a", "kv.>.a", "kv.a*", "kv a", "kv.\r\n", "\xff"} {
		if _, err := collect(t, c, client.WatchOptions{Subject: subject}, 1); !errors.Is(err, client.Code("invalid-filter")) {
			t.Errorf("%q: got %v", subject, err)
		}
	}
	if f.count() != 0 {
		t.Error("it was connected to")
	}
}

func TestWatchIsEndedOverNATS(t *testing.T) {
	t.Run("context", func(t *testing.T) {
		f := newFakeNATS(t, func(c *fakeConn, a ask) { c.page(a, ledgerOf(1, 2), 9) })
		c := newClient(t, client.Options{Servers: []string{f.url()}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got error
		for e, err := range c.Watch(ctx, "", 1) {
			if got = err; e.Revision == 2 {
				cancel()
			}
		}
		if !errors.Is(got, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", got)
		}
	})
	t.Run("closed", func(t *testing.T) {
		f := newFakeNATS(t, func(c *fakeConn, a ask) { c.page(a, ledgerOf(1, 2), 9) })
		c := newClient(t, client.Options{Servers: []string{f.url()}})
		var got error
		for e, err := range c.Watch(t.Context(), "", 1) {
			if got = err; e.Revision == 2 {
				c.Close()
			}
		}
		if !errors.Is(got, client.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", got)
		}
	})
}

// A reader that does not keep up gets everything, is told, and costs no more memory than there is room.
func TestSlowReader(t *testing.T) {
	const last = 200
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.number("from") == 1 {
			c.page(a, ledgerOf(1, 1), 9)
			return
		}
		c.page(a, ledgerOf(1, last), 7)
		c.bookmark(last)
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	c.SetRoom(10, 1<<20)
	var told []client.Slow
	slow, stop := iter.Pull2(c.WatchWith(t.Context(), client.WatchOptions{From: 1, Slow: func(s client.Slow) { told = append(told, s) }}))
	defer stop()
	quick, stop := iter.Pull2(c.Watch(t.Context(), "", 1)) // shares what arrives, and so tells what has arrived
	defer stop()
	read := func(next func() (client.Event, error, bool), want uint64) {
		t.Helper()
		if e, err, ok := next(); err != nil || !ok || e.Revision != want {
			t.Fatalf("got %d, %v; want %d", e.Revision, err, want)
		}
	}
	read(slow, 1)
	read(quick, 1)
	for r := uint64(2); r <= last; r++ {
		for _, c := range f.all() {
			c.event(plain(r))
		}
		read(quick, r)
	}
	for r := uint64(2); r <= last; r++ {
		read(slow, r)
	}
	if len(told) == 0 || told[0].Times != 1 || told[0].Position >= last {
		t.Errorf("told of %+v", told)
	}
}

// What a watch has taken and its reader has not had yet waits too, and counts.
func TestSlowReaderWithMuchInHand(t *testing.T) {
	const room, first, last = 10, 10, 16
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		have := uint64(1) // at first
		if a.number("from") > 1 {
			have = last
		}
		c.page(a, ledgerOf(1, have), last)
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	c.SetRoom(room, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	told := 0
	slow, stop := iter.Pull2(c.WatchWith(ctx, client.WatchOptions{From: 1, Slow: func(client.Slow) { told++ }}))
	defer stop()
	quick, stop := iter.Pull2(c.Watch(ctx, "", 1)) // shares what arrives, and so tells what has arrived
	defer stop()
	read := func(next func() (client.Event, error, bool), from, to uint64) {
		t.Helper()
		for want := from; want <= to; want++ {
			if e, err, ok := next(); err != nil || !ok || e.Revision != want {
				t.Fatalf("got %d, %v; want %d", e.Revision, err, want)
			}
		}
	}
	send := func(from, to uint64) {
		for r := from; r <= to; r++ {
			for _, c := range f.all() {
				c.event(plain(r))
			}
		}
	}
	read(slow, 1, 1)
	read(quick, 1, 1)
	send(2, first)
	read(quick, 2, first) // so the slow one has all but the last, surely
	read(slow, 2, 2)      // and takes them, of which the reader has this one
	send(first+1, last)
	read(quick, first+1, last)
	if told != 0 {
		t.Errorf("told %d times before there was more than %d", told, room)
	}
	read(slow, 3, last)
	if told != 1 {
		t.Errorf("told %d times, want once: %d of %d waited, 7 of them at least in hand", told, last-2, room)
	}
}

// A connection that brings nothing is left for the next.
func TestSilenceOverNATS(t *testing.T) {
	quiet := newFakeNATS(t, func(c *fakeConn, a ask) { c.page(a, ledgerOf(1, 2), 9) })
	other := newFakeNATS(t, func(c *fakeConn, a ask) { c.page(a, ledgerOf(1, 3), 9) })
	c := newClient(t, client.Options{Servers: []string{quiet.url(), other.url()}, StreamIdle: 50 * time.Millisecond})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 3); err != nil || fmt.Sprint(got) != span(1, 3) {
		t.Errorf("got %d, %v", got, err)
	}
	// Alone, it is asked again for what it did not bring.
	asked := 0
	alone := newFakeNATS(t, func(c *fakeConn, a ask) { asked++; c.page(a, ledgerOf(1, uint64(1+asked)), 9) })
	c = newClient(t, client.Options{Servers: []string{alone.url()}, StreamIdle: 50 * time.Millisecond})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 4); err != nil || fmt.Sprint(got) != span(1, 4) {
		t.Errorf("got %d, %v", got, err)
	}
}

// A quiet subject still shows how far the ledger is, over either door.
func TestBookmarks(t *testing.T) {
	overDoors(t, client.Options{}, func(t *testing.T, c *client.Client) {
		must(c.Put(t.Context(), "loud", nil))(t) // 2
		seen := uint64(0)
		for e, err := range c.WatchWith(t.Context(), client.WatchOptions{Subject: "kv.quiet", Bookmarks: true}) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.IsBookmark() || e.EndsCommit() || e.Revision < seen {
				t.Fatalf("got %+v behind %d", e, seen)
			}
			if e.Revision == 2 && seen < 2 { // once: there may be several bookmarks at 2, and none at 3 if more were put
				must(c.Put(t.Context(), "loud", nil))(t)
			}
			if seen = e.Revision; seen == 3 {
				break
			}
		}
	})
}

// Watches of one subject share what arrives, and each has its own place.
func TestWatchesShareASubscription(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{Servers: []string{newNATS(t, b)}})
	const watches, events = 50, 40
	must(c.Put(t.Context(), "k", nil))(t) // 2
	var begun, done sync.WaitGroup
	begun.Add(watches)
	for i := range watches {
		done.Go(func() {
			next := uint64(1 + i%2)
			for e, err := range c.Watch(t.Context(), "", next) {
				if err != nil || e.Revision != next {
					t.Errorf("watch %d: got %d, %v; want %d", i, e.Revision, err, next)
					begun.Done()
					return
				}
				if e.Revision == 2 {
					begun.Done()
				}
				if next++; next > events+2 {
					return
				}
			}
		})
	}
	begun.Wait()
	for range events {
		must(c.Put(t.Context(), "k", nil))(t)
	}
	done.Wait()
}

// simulation is a ledger and servers that show it at their own pace, over connections that break.
type simulation struct {
	t  *testing.T
	mu sync.Mutex
	// random makes all choices but those of the scheduler.
	random *rand.Rand
	ledger []fakeEvent
	shown  [2]int // how much of it each server has
	faults bool
}

func (s *simulation) chance(one int) bool { return s.faults && s.random.IntN(one) == 0 }

// grow adds commits to the ledger, and has the servers come closer to it.
func (s *simulation) step(servers [2]*fakeNATS) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range s.random.IntN(3) {
		last := uint64(0)
		if n := len(s.ledger); n > 0 {
			last = s.ledger[n-1].revision
		}
		if s.random.IntN(50) == 0 {
			last += 1000 // a restore
		}
		size := uint64(1 + s.random.IntN(3))
		for i := range size {
			e := plain(last + i + 1)
			e.commit = last + size
			if s.random.IntN(2) == 0 {
				e.subject = "kv.other"
			}
			s.ledger = append(s.ledger, e)
		}
	}
	for i, f := range servers {
		show := s.random.IntN(len(s.ledger) - s.shown[i] + 1)
		for _, c := range f.all() {
			for _, e := range s.ledger[s.shown[i] : s.shown[i]+show] {
				c.event(e)
			}
			if n := s.shown[i] + show; n > 0 && s.random.IntN(4) == 0 {
				c.bookmark(s.ledger[n-1].revision)
			}
			if s.chance(25) {
				c.Close()
			}
		}
		s.shown[i] += show
	}
}

// handle answers a request of a server's.
func (s *simulation) handle(i int) func(*fakeConn, ask) {
	return func(c *fakeConn, a ask) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.chance(10):
			c.Close()
		case s.chance(10):
			c.refuse(a, 503, "busy", "later")
		case a.body["consistency"] == "stale":
			c.page(a, s.ledger[:s.shown[i]], 1+s.random.IntN(6))
		default:
			// This server has all of it now; what it had not is still to be published, as a feeder does.
			c.page(a, s.ledger, 1+s.random.IntN(6))
		}
	}
}

// TestAnyInterleaving has a watch yield exactly its events, in order, whatever arrives when, and no bookmark that lies.
func TestAnyInterleaving(t *testing.T) {
	for round := range 12 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Logf("seed %d", seed)
			s := &simulation{t: t, random: rand.New(rand.NewPCG(seed, 1)), faults: round%3 > 0}
			s.ledger = ledgerOf(1, 3)
			s.shown = [2]int{3, 3}
			servers := [2]*fakeNATS{newFakeNATS(t, s.handle(0)), newFakeNATS(t, s.handle(1))}
			c := newClient(t, client.Options{Servers: []string{servers[0].url(), servers[1].url()}, RetryFor: time.Minute, StreamIdle: 300 * time.Millisecond})
			c.SetRoom(5+round*3, 1<<20)
			stop := make(chan struct{})
			var driver sync.WaitGroup
			driver.Go(func() {
				tick := time.NewTicker(500 * time.Microsecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						s.step(servers)
					}
				}
			})
			defer driver.Wait()
			defer close(stop)
			s.watch(c, 300)
		})
	}
}

// watch holds what a watch yields against the ledger.
func (s *simulation) watch(c *client.Client, events int) {
	last, n, pauses := uint64(0), 0, rand.New(rand.NewPCG(1, 2))
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	for e, err := range c.WatchWith(ctx, client.WatchOptions{Subject: "kv.k", From: 1, Bookmarks: true}) {
		if err != nil {
			s.t.Fatalf("behind revision %d: %v", last, err)
		}
		s.mu.Lock()
		next := uint64(0)
		for _, one := range s.ledger {
			if one.subject == "kv.k" && one.revision > last {
				next = one.revision
				break
			}
		}
		s.mu.Unlock()
		switch {
		case e.IsBookmark() && (e.Revision < last || next != 0 && next <= e.Revision):
			s.t.Fatalf("a bookmark at %d, behind %d and before %d", e.Revision, last, next)
		case !e.IsBookmark() && e.Revision != next:
			s.t.Fatalf("got revision %d behind %d, want %d", e.Revision, last, next)
		case !e.IsBookmark():
			n++
		}
		if last = e.Revision; n >= events {
			return
		}
		if pauses.IntN(20) == 0 {
			<-time.After(time.Duration(pauses.IntN(10)) * time.Millisecond)
		}
	}
}

// The real doors, over connections that die at any byte: nothing is missed, and nothing comes twice.
func TestWatchOverBothDoorsAndBrokenConnections(t *testing.T) {
	b := gatewaytest.New("test")
	writer := newClient(t, client.Options{Servers: []string{newNATS(t, b)}})
	door := newDoorTo(t, b)
	address := strings.TrimPrefix(newNATS(t, b), "nats://")
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	var mu sync.Mutex
	url, _ := newCutter(t, address, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(40) == 0
	})
	reader := newClient(t, client.Options{Servers: []string{strings.Replace(url, "http", "nats", 1)}, RetryFor: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(&breaking{w, 1 + rand.IntN(8000)}, r)
	})
	const writes = 300
	var begun atomic.Bool
	written := make(chan error, 1)
	must(writer.Put(t.Context(), "seen/first", nil))(t) // revision 2
	want := uint64(2)
	for e, err := range reader.Watch(t.Context(), "kv.seen.>", 2) {
		if err != nil || e.Revision != want {
			t.Fatalf("got revision %d (%v), want %d", e.Revision, err, want)
		}
		if begun.CompareAndSwap(false, true) {
			want-- // the next is an odd one
			go func() {
				var err error
				for i := 0; i < writes && err == nil; i++ {
					_, err = writer.Put(context.Background(), fmt.Sprintf("%s/%d", []string{"seen", "unseen"}[i%2], i), nil)
				}
				written <- err
			}()
		}
		if want += 2; want > writes+1 {
			break
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}
