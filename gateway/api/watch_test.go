package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// patience is how long a test waits for what must come. Nothing depends on its length.
const patience = 2 * time.Minute

// serve serves a backend on a free port.
func serve(t *testing.T, b gateway.Backend, change ...func(*api.Config, *http.Server)) string {
	t.Helper()
	c := api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), Bookmark: 10 * time.Millisecond}
	server := httptest.NewUnstartedServer(nil)
	for _, f := range change {
		f(&c, server.Config)
	}
	streams, cancel := context.WithCancel(context.Background())
	if c.Streams == nil {
		c.Streams = streams
	}
	server.Config.Handler = api.New(c)
	server.Start()
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// frame is one message of a stream.
type frame struct {
	id    string
	event string // empty for a CloudEvent
	data  string
}

// reader reads a stream.
type reader struct {
	t        *testing.T
	response *http.Response
	scanner  *bufio.Scanner
	cancel   context.CancelFunc
}

func open(t *testing.T, url string, header ...string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("got status %d: %s", response.StatusCode, body)
	}
	s := bufio.NewScanner(response.Body)
	s.Buffer(nil, 8<<20)
	return &reader{t, response, s, cancel}
}

// next gives the next frame; ok is false at the end.
func (r *reader) next() (f frame, ok bool) {
	for r.scanner.Scan() {
		line := r.scanner.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			return f, true
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = value
		default:
			r.t.Fatalf("a line that is none: %q", line)
		}
	}
	return f, false
}

func (r *reader) must() frame {
	r.t.Helper()
	f, ok := r.next()
	if !ok {
		r.t.Fatalf("the stream ended: %v", r.scanner.Err())
	}
	return f
}

// mustEvent gives the next frame that is no bookmark.
func (r *reader) mustEvent() frame {
	r.t.Helper()
	for {
		if f := r.must(); f.event == "" {
			return f
		}
	}
}

// until skips frames up to a bookmark of a revision.
func (r *reader) until(revision event.Revision) frame {
	r.t.Helper()
	for {
		f := r.must()
		if f.event == "bookmark" && f.data == fmt.Sprintf(`{"revision":%d}`, revision) {
			return f
		}
	}
}

func TestWatchFromNow(t *testing.T) {
	b := gatewaytest.New("test")
	seed(b, "a", "b")
	r := open(t, serve(t, b)+"/v1/default/events")
	if got := r.response.Header.Get("Rollcall-Revision"); got != "3" {
		t.Errorf("got Rollcall-Revision %q, want 3: what the stream begins behind", got)
	}
	if diff := cmp.Diff(frame{"3", "bookmark", `{"revision":3}`}, r.must(), cmp.AllowUnexported(frame{})); diff != "" {
		t.Errorf("the first frame is to be a bookmark (-want +got):\n%s", diff)
	}
	seed(b, "c")
	got := r.mustEvent()
	var e gateway.CloudEvent
	if err := json.Unmarshal([]byte(got.data), &e); err != nil {
		t.Fatal(err)
	}
	if got.id != "4" || e.Revision != "4" || e.Subject != "kv.c" || e.ID != "default/4" {
		t.Errorf("got id %q and event %+v, want revision 4 of kv.c", got.id, e)
	}
	if f := r.until(4); f.id != "4" {
		t.Errorf("got id %q of the bookmark, want 4", f.id)
	}
}

func TestWatchFromAndResume(t *testing.T) {
	b := gatewaytest.New("test")
	seed(b, "a", "b", "c", "d")
	url := serve(t, b) + "/v1/default/events"
	for _, c := range []struct {
		name   string
		query  string
		header []string
		want   string
	}{
		{"from", "?from=3", nil, "3"},
		{"from the beginning", "?from=0", nil, "1"},
		{"resume", "", []string{"Last-Event-ID", "3"}, "4"},
		{"resume wins over from", "?from=1", []string{"Last-Event-ID", "4"}, "5"},
		{"resume from zero", "?from=4", []string{"Last-Event-ID", "0"}, "1"},
		{"an empty id is none", "?from=2", []string{"Last-Event-ID", ""}, "2"},
		{"stale", "?from=2&consistency=stale", nil, "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, url+c.query, c.header...)
			if got := r.must(); got.id != c.want || got.event != "" {
				t.Errorf("got %+v first, want revision %s", got, c.want)
			}
			r.until(5)
		})
	}
}

func TestWatchFilter(t *testing.T) {
	b := gatewaytest.New("test")
	r := open(t, serve(t, b)+"/v1/default/events?from=1&subject=kv.app.>")
	r.until(1)
	seed(b, "other/1", "app/1", "other/2", "app/2", "other/3")
	for _, want := range []string{"3", "5"} {
		if got := r.mustEvent(); got.id != want {
			t.Errorf("got id %q, want %s", got.id, want)
		}
	}
	r.until(6) // the bookmark passes what the filter keeps back
}

func TestWatchFromTheFuture(t *testing.T) {
	b := gatewaytest.New("test")
	r := open(t, serve(t, b)+"/v1/default/events?from=4")
	if got := r.must(); got.event != "bookmark" || got.id != "" || got.data != `{"revision":1}` {
		t.Errorf("got %+v, want a bookmark at 1 without an id: to resume there would give what was not asked for", got)
	}
	seed(b, "a", "b", "c", "d")
	if got := r.mustEvent(); got.id != "4" {
		t.Errorf("got id %q, want 4", got.id)
	}
}

func TestWatchWithoutQuorum(t *testing.T) {
	b := gatewaytest.New("test")
	seed(b, "a")
	b.SetFaults(gatewaytest.Faults{View: gateway.ErrUnavailable})
	url := serve(t, b) + "/v1/default/events"
	if got := open(t, url, "Last-Event-ID", "1").must(); got.id != "2" {
		t.Errorf("got id %q, want 2: who says where it stands may come back without a quorum", got.id)
	}
	response, err := http.DefaultClient.Do(watchRequest(t, url))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got status %d, want 503: what is now cannot be known", response.StatusCode)
	}
}

func watchRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	return r
}

// A reader that loses its connection anywhere, and comes back with the last id that it saw, misses nothing and gets
// nothing twice, while others write.
func TestWatchLosesNothingAcrossReconnects(t *testing.T) {
	b := gatewaytest.New("test")
	url := serve(t, b) + "/v1/default/events?from=1"
	const commits = 1500
	random := rand.New(rand.NewPCG(1, 2))
	done := make(chan event.Revision, 1)
	go func() {
		var last event.Revision
		for i := range commits {
			key := "k" + strconv.Itoa(i%7)
			last = b.MustSubmit(event.Default, commands.Txn{Then: []commands.Operation{
				{Put: &commands.PutKey{Key: key, Value: []byte(key)}},
				{Put: &commands.PutKey{Key: key + "/x", Value: []byte(key)}},
			}})
		}
		done <- last
	}()
	end := event.Revision(1 + 2*commits)
	var seen event.Revision
	last, connections := "", 0
	for seen < end {
		connections++
		r := open(t, url, "Last-Event-ID", last)
		for range 1 + random.IntN(400) {
			f := r.must()
			if f.id != "" {
				last = f.id
			}
			if f.event == "bookmark" {
				if f.data != fmt.Sprintf(`{"revision":%d}`, seen) {
					t.Fatalf("got bookmark %s behind revision %d", f.data, seen)
				}
				continue
			}
			if seen++; f.id != strconv.FormatUint(uint64(seen), 10) {
				t.Fatalf("got revision %s, want %d", f.id, seen)
			}
			if seen == end {
				break
			}
		}
		r.cancel()
	}
	if got := <-done; got != end || connections < 5 {
		t.Errorf("got %d revisions over %d connections, want %d over many", got, connections, end)
	}
}

// A reader that does not read holds up neither the writers nor other readers, and gets everything in the end.
func TestWatchSlowReader(t *testing.T) {
	b := gatewaytest.New("test")
	url := serve(t, b) + "/v1/default/events?from=1"
	slow := open(t, url)
	value := make([]byte, 64<<10)
	const writes = 300 // 26 MB as they are sent, more than sockets hold
	for range writes {
		b.MustSubmit(event.Default, commands.PutKey{Key: "a", Value: value})
	}
	open(t, url+"&subject=none").until(writes + 1)
	for want := 1; want <= writes+1; want++ {
		if got := slow.mustEvent(); got.id != strconv.Itoa(want) {
			t.Fatalf("got id %s, want %d", got.id, want)
		}
	}
}

// The deadlines of a server are for requests that end.
func TestWatchOutlivesDeadlines(t *testing.T) {
	b := gatewaytest.New("test")
	r := open(t, serve(t, b, func(c *api.Config, s *http.Server) {
		c.RequestTimeout = time.Second // the beginning is within it
		s.ReadTimeout, s.WriteTimeout = time.Second, time.Second
	})+"/v1/default/events")
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		if got := r.must(); got.event != "bookmark" {
			t.Fatalf("got %+v, want bookmarks", got)
		}
	}
	seed(b, "a")
	if got := r.mustEvent(); got.id != "2" {
		t.Errorf("got id %s, want 2", got.id)
	}
}

func TestWatchEndsWhenTheServerStops(t *testing.T) {
	for _, c := range []struct {
		name string
		stop func(cancel func(), b *gatewaytest.Backend)
	}{
		{"the door is told", func(cancel func(), _ *gatewaytest.Backend) { cancel() }},
		{"the backend closes", func(_ func(), b *gatewaytest.Backend) { b.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			streams, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := gatewaytest.New("test")
			r := open(t, serve(t, b, func(c *api.Config, _ *http.Server) { c.Streams = streams })+"/v1/default/events")
			r.must()
			c.stop(cancel, b)
			for {
				if _, ok := r.next(); !ok {
					break
				}
			}
			if err := r.scanner.Err(); err != nil {
				t.Errorf("got %v, want a clean end", err)
			}
		})
	}
}

// Shutdown does not wait for a reader that does not read.
func TestShutdownWithAStuckReader(t *testing.T) {
	b := gatewaytest.New("test")
	streams, cancel := context.WithCancel(t.Context())
	var server *http.Server
	url := serve(t, b, func(c *api.Config, s *http.Server) { c.Streams, server = streams, s })
	open(t, url+"/v1/default/events?from=1").must()
	for range 200 {
		b.MustSubmit(event.Default, commands.PutKey{Key: "a", Value: make([]byte, 256<<10)})
	}
	cancel()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
}

// A fault in the middle shows: an answer that just ended would look whole.
func TestBrokenStreamsShow(t *testing.T) {
	for _, c := range []struct{ name, query, accept string }{
		{"watch", "?from=1", "text/event-stream"},
		{"replay", "", "application/x-ndjson"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := gatewaytest.New("test")
			seed(b, "a", "b")
			request := watchRequest(t, serve(t, failing{b})+"/v1/default/events"+c.query)
			request.Header.Set("Accept", c.accept)
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			if err == nil {
				t.Error("the answer ended as if it were whole")
			}
		})
	}
}

// failing is a backend whose followers break after the first event.
type failing struct{ *gatewaytest.Backend }

func (f failing) Follow(namespace string, from event.Revision) (gateway.Follower, error) {
	inner, err := f.Backend.Follow(namespace, from)
	return &failingFollower{Follower: inner}, err
}

func (f *failingFollower) Fork(from event.Revision) gateway.Follower {
	return &failingFollower{Follower: f.Follower.Fork(from)}
}

type failingFollower struct {
	gateway.Follower
	calls int
}

func (f *failingFollower) TryNext() ([]event.Event, error) {
	if f.calls++; f.calls > 1 {
		return nil, io.ErrUnexpectedEOF
	}
	events, err := f.Follower.TryNext()
	return events[:1], err
}
