package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
)

func cloudEvent(revision uint64, value string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"default/%d","type":"rollcall.kv.put","subject":"kv.k","time":"2026-01-02T03:04:05Z","revision":"%d","commit":"%d","data":{"key":"k","value":%q}}`, revision, revision, revision, value)
}

// flaky is a server of a ledger whose connections break at random, anywhere: between events, within one, after a
// bookmark, or before anything. Odd revisions pass the filter that the tests ask for.
type flaky struct{ head uint64 }

func (f flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		from = last + 1
	}
	sse := r.Header.Get("Accept") == "text/event-stream"
	w.Header().Set("Content-Type", map[bool]string{true: "text/event-stream", false: "application/x-ndjson"}[sse])
	w.Header().Set("Rollcall-Revision", strconv.FormatUint(f.head, 10))
	to, err := strconv.ParseUint(r.URL.Query().Get("to"), 10, 64)
	if err != nil || sse {
		to = f.head
	}
	if !sse && from > f.head {
		problem(w, 400, "invalid-revision", "that is the future")
		return
	}
	for revision := max(from, 1); revision <= to; revision++ {
		text := cloudEvent(revision, strings.Repeat("v", rand.IntN(300))) + "\n"
		switch {
		case revision%2 == 0 && !sse:
			continue
		case revision%2 == 0:
			text = fmt.Sprintf(": a comment\nevent: bookmark\ndata: {\"revision\":\"%d\"}\n\n", revision)
		case sse:
			text = fmt.Sprintf("id: %d\r\nevent: rollcall.kv.put\ndata: %s\n", revision, text)
		}
		chance := rand.IntN(12)
		if chance == 0 {
			text = text[:rand.IntN(len(text))]
		}
		fmt.Fprint(w, text)
		if chance <= 1 {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	if sse {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func TestWatchOverBrokenConnections(t *testing.T) {
	const head = 201
	f := flaky{head}
	c := newClient(t, client.Options{}, f.ServeHTTP, f.ServeHTTP)
	want := uint64(5)
	for e, err := range c.Watch(t.Context(), "kv.>", 4) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Revision != want {
			t.Fatalf("got revision %d, want %d", e.Revision, want)
		}
		if want += 2; want > head {
			break
		}
	}
	if want <= head {
		t.Fatalf("ended before revision %d", want)
	}
}

func TestEventsOverBrokenConnections(t *testing.T) {
	const head = 400 // the last event is 399: what lies behind it must not be asked for as the future
	f := flaky{head}
	c := newClient(t, client.Options{}, f.ServeHTTP)
	for _, tt := range []struct {
		name        string
		ask         client.Range
		first, last uint64
	}{
		{"all", client.Range{}, 1, 399},
		{"from", client.Range{From: 100}, 101, 399},
		{"to", client.Range{From: 7, To: 99}, 7, 99},
		{"limit", client.Range{Limit: 60}, 1, 119},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.first
			for e, err := range c.Events(t.Context(), tt.ask) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Revision != want || want > tt.last {
					t.Fatalf("got revision %d, want %d (last %d)", e.Revision, want, tt.last)
				}
				want += 2
			}
			if want != tt.last+2 {
				t.Fatalf("ended before revision %d", want)
			}
		})
	}
}

// A watch from now must go on from where it began, also when its first connection brings no event at all.
func TestWatchFromNowKeepsItsPlace(t *testing.T) {
	requests := 0
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Rollcall-Revision", "40")
		if requests == 1 {
			w.WriteHeader(200)
			return // and 41 happens
		}
		if got := r.Header.Get("Last-Event-ID"); got != "40" {
			t.Errorf("got Last-Event-ID %q, want 40", got)
		}
		fmt.Fprintf(w, "id: 41\ndata: %s\n\n", cloudEvent(41, "x"))
	})
	for e, err := range c.Watch(t.Context(), "", 0) {
		if err != nil || e.Revision != 41 {
			t.Fatalf("got revision %d (%v), want 41", e.Revision, err)
		}
		break
	}
}

func TestWatchSilence(t *testing.T) {
	c := newClient(t, client.Options{StreamIdle: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		// What a connection brought too late is asked for again, so the requests are no measure of what has been seen.
		seen, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", seen+1, cloudEvent(seen+1, "x"))
		w.(http.Flusher).Flush()
		<-r.Context().Done() // cut off without a word: the next event comes over another connection
	})
	want := uint64(1)
	for e, err := range c.Watch(t.Context(), "", 1) {
		if err != nil || e.Revision != want {
			t.Fatalf("got revision %d (%v), want %d", e.Revision, err, want)
		}
		if want++; want > 3 {
			break
		}
	}
}

func TestWatchEnds(t *testing.T) {
	stream := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}
	frame := func(revision uint64) string { return "data: " + cloudEvent(revision, "x") + "\n\n" }
	var order *client.OrderError
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		check   func(error) bool
	}{
		{"repeat", stream(frame(7) + frame(8) + frame(8)), func(err error) bool { return errors.As(err, &order) && order.Got == 8 }},
		{"out of order", stream(frame(9) + frame(8)), func(err error) bool { return errors.As(err, &order) && order.After == 9 }},
		{"before the start", stream(frame(6)), func(err error) bool { return errors.As(err, &order) && order.After == 6 }},
		{"no event", stream("data: {\n\n"), func(err error) bool { return strings.Contains(err.Error(), "read event") }},
		{"the namespace ended", stream("event: end\nid: 4\ndata: {\"status\":404,\"code\":\"unknown-namespace\",\"detail\":\"ended at revision 4\"}\n\n"), func(err error) bool {
			return errors.Is(err, client.ErrUnknownNamespace) && strings.Contains(err.Error(), "ended at revision 4")
		}},
		{"no stream", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, func(err error) bool { return strings.Contains(err.Error(), "not with a stream") }},
		{"a line without end", stream("data: " + strings.Repeat("x", 9<<20)), func(err error) bool { return strings.Contains(err.Error(), "longer than") }},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			problem(w, 404, client.ErrUnknownNamespace, "none")
		}, func(err error) bool { return errors.Is(err, client.ErrUnknownNamespace) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, client.Options{}, tt.handler)
			var got error
			for _, err := range c.Watch(t.Context(), "", 7) {
				got = err
			}
			if got == nil || !tt.check(got) {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newClient(t, client.Options{}, stream(frame(7)))
		var got error
		for _, err := range c.Watch(ctx, "", 7) {
			got = err
			cancel()
		}
		if !errors.Is(got, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", got)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		c := newClient(t, client.Options{Servers: []string{closedServer(t)}})
		var unreachable *client.UnreachableError
		for _, err := range c.Watch(t.Context(), "", 0) {
			if !errors.As(err, &unreachable) {
				t.Errorf("got %v", err)
			}
		}
		if unreachable == nil {
			t.Error("ended without an error")
		}
	})
}
