package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// What a server has answered before it closes a connection is taken, so nothing is asked twice.
func TestAnswersBeforeTheEnd(t *testing.T) {
	const calls = 500
	var asked atomic.Int64
	var asks []ask // of the one connection
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		if asks = append(asks, a); asked.Add(1) != calls {
			return
		}
		for _, a := range asks {
			c.answer(a, 200, `{"revision":7}`)
		}
		c.Close()
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := c.Put(t.Context(), "a", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != calls {
		t.Errorf("it was asked %d times, want %d", n, calls)
	}
}

// A connection that could not be written to is over, and does not go on without what was to be written.
func TestWriteThatFails(t *testing.T) {
	one, two := net.Pipe()
	defer two.Close()
	c := client.Lived(one)
	if err := c.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("SUB")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := two.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
}

// What is not wanted any more is not sent.
func TestCanceledBefore(t *testing.T) {
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.operation == "kv.put" {
			t.Error("a put was sent")
		}
		c.answer(a, 200, `{"revision":7}`)
	})
	overHTTP := newClient(t, client.Options{}, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	overNATS := newClient(t, client.Options{Servers: []string{f.url()}})
	must(overNATS.Delete(t.Context(), "a"))(t) // so that there is a connection
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []*client.Client{overHTTP, overNATS} {
		if _, err := c.Put(ctx, "a", nil); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("got %v, want that it was canceled, with nothing unknown", err)
		}
	}
}

// A watch may begin behind the last revision, and no further on: there, something else would happen than whoever asks has seen.
func TestWatchNoFurtherThanNext(t *testing.T) {
	overDoors(t, client.Options{}, func(t *testing.T, c *client.Client) {
		last := must(c.Put(t.Context(), "a", nil))(t).Revision
		if _, err := collect(t, c, client.WatchOptions{From: last + 2}, 1); !errors.Is(err, client.Code("invalid-revision")) {
			t.Errorf("two behind the last one: got %v", err)
		}
		for e, err := range c.WatchWith(t.Context(), client.WatchOptions{From: last + 1, Bookmarks: true}) {
			if err != nil || !e.IsBookmark() || e.Revision != last {
				t.Errorf("one behind the last one: got %+v, %v", e, err)
			}
			break
		}
	})
}

// Where history has gone back between a cache's snapshot and what it follows, it shows what there is.
func TestKeyCacheOfAHistoryThatWentBackAtOnce(t *testing.T) {
	one, two := gatewaytest.New("one"), gatewaytest.New("two")
	putKeys(one, "a/old/%d", 20)
	putKeys(two, "a/new/%d", 3)
	x := &exchange{}
	before, after := doorOf(t, one), doorOf(t, two)
	x.put(before)
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			x.put(after)
		}
		x.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k := must(c.CacheKeys(ctx, "a/"))(t)
	defer k.Close()
	awaitKeys(ctx, t, k, func(s *client.KeyState) bool {
		_, old := s.Get("a/old/0")
		return !old && s.Len() == 3
	})
}

// A watch that has seen no event yet knows all the same whose history it follows.
func TestQuietWatchOfAnotherHistory(t *testing.T) {
	check := func(t *testing.T, c *client.Client, replace func()) {
		t.Helper()
		var source *client.SourceError
		replaced := false
		for e, err := range c.WatchWith(t.Context(), client.WatchOptions{Subject: "kv.quiet", From: 2, Bookmarks: true}) {
			switch {
			case err != nil && errors.As(err, &source) && source.Was == "rollcall/one/default" && source.Is == "rollcall/two/default":
				return
			case err != nil || e.Source != "rollcall/one/default":
				t.Fatalf("got %+v, %v", e, err)
			case !replaced:
				replace()
				replaced = true
			}
		}
	}
	one, two := gatewaytest.New("one"), gatewaytest.New("two")
	putKeys(one, "a%d", 5)
	putKeys(two, "b%d", 10)
	t.Run("http", func(t *testing.T) {
		x := &exchange{}
		x.put(doorOf(t, one))
		s := httptest.NewServer(x)
		defer s.Close()
		check(t, newClient(t, client.Options{Servers: []string{s.URL}}), func() {
			x.put(doorOf(t, two))
			s.CloseClientConnections()
		})
	})
	t.Run("nats", func(t *testing.T) {
		before := startNATS(t, one)
		servers := []string{"nats://" + before.Addr().String(), newNATS(t, two)}
		check(t, newClient(t, client.Options{Servers: servers}), before.Close)
	})
}

// A cache is not moved on by bookmarks of another history.
func TestKeyCacheHeedsTheSourceOfBookmarks(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{}, doorOf(t, b).ServeHTTP)
	events := make(chan client.Event)
	k := must(c.CacheKeysBy(t.Context(), "a/", quiet(events)))(t)
	defer k.Close()
	for _, source := range []string{"rollcall/test/default", "rollcall/other/default"} {
		e := client.Bookmark(5)
		e.Source = source
		if source != "rollcall/test/default" {
			e.Revision = 9
		}
		events <- e
	}
	for k.Status().Resyncs == 0 {
		if k.Revision() == 9 {
			t.Fatal("it shows a revision of another history")
		}
		runtime.Gosched()
	}
}

// The last bookmark of a namespace ends its watches at once, unless there is one of that name again.
func TestWatchOfANamespaceThatEnds(t *testing.T) {
	gone := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.number("limit") == 1 {
			c.refuse(a, 404, client.ErrUnknownNamespace, "it has ended")
			return
		}
		c.page(a, ledgerOf(1, 2), 9)
		c.event(plain(3))
		c.ended(4)
	})
	c := newClient(t, client.Options{Servers: []string{gone.url()}, StreamIdle: time.Hour})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 9); !errors.Is(err, client.ErrUnknownNamespace) || fmt.Sprint(got) != span(1, 3) {
		t.Errorf("got %d, %v", got, err)
	}
	again := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.number("limit") != 1 {
			c.page(a, ledgerOf(1, 2), 9)
			c.ended(2)
			c.event(plain(3))
			return
		}
		c.page(a, ledgerOf(1, 3), 9)
		c.event(plain(4))
	})
	c = newClient(t, client.Options{Servers: []string{again.url()}, StreamIdle: time.Hour})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 4); err != nil || fmt.Sprint(got) != span(1, 4) {
		t.Errorf("got %d, %v", got, err)
	}
}

// A server that lags may not know a namespace yet that a watch has seen: the others are asked before that is believed.
func TestWatchGoesOnWhereTheNamespaceIsNotKnownYet(t *testing.T) {
	ahead := newFakeNATS(t, func(c *fakeConn, a ask) { c.page(a, ledgerOf(1, 2), 9); c.Close() })
	behind := newFakeNATS(t, func(c *fakeConn, a ask) {
		if a.body["consistency"] == "stale" {
			c.refuse(a, 404, client.ErrUnknownNamespace, "not yet")
			return
		}
		c.page(a, ledgerOf(1, 3), 9)
	})
	c := newClient(t, client.Options{Servers: []string{ahead.url(), behind.url()}})
	if got, err := collect(t, c, client.WatchOptions{From: 1}, 3); err != nil || fmt.Sprint(got) != span(1, 3) {
		t.Errorf("got %d, %v", got, err)
	}
}

// That one server says nothing at all does not keep a watch from the next one.
func TestSilenceAtTheStart(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{StreamIdle: 200 * time.Millisecond, RetryFor: time.Minute}, silent, doorOf(t, b).ServeHTTP)
	for e, err := range c.WatchWith(t.Context(), client.WatchOptions{Bookmarks: true}) {
		if err != nil || e.Revision != 1 {
			t.Errorf("got %+v, %v", e, err)
		}
		break
	}
}

// Behind the end of its context a watch yields nothing of what has arrived already.
func TestWatchEndsAtOnce(t *testing.T) {
	asked := 0
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		c.page(a, ledgerOf(1, 2), 9)
		if asked++; asked == 2 {
			for r := uint64(3); r < 100; r++ {
				c.event(plain(r))
			}
		}
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for e, err := range c.Watch(ctx, "", 1) {
		switch last = err; {
		case err == nil && e.Revision == 2: // what another watch of the subject has seen has arrived here
			if got, err := collect(t, c, client.WatchOptions{From: 1}, 99); err != nil {
				t.Fatalf("got %d, %v", got, err)
			}
		case err == nil && e.Revision == 3:
			cancel()
		case err == nil && e.Revision > 3:
			t.Fatalf("got revision %d", e.Revision)
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("got %v", last)
	}
}
