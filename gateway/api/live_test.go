package api_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/gateway/live"
	"github.com/rollcall/rollcall/log/event"
)

// A stream of a namespace that is deleted ends with a word, and who comes back is told the same, as a browser is: an answer
// other than 200 is the end for an EventSource. Where there is a namespace of that name again, it begins with that one.
func TestWatchTellsTheEnd(t *testing.T) {
	b := gatewaytest.New("test")
	b.MustSubmit(event.System, commands.CreateNamespace{Namespace: "n"})
	url := serve(t, b) + "/v1/n/events"
	all, none := open(t, url+"?from=1"), open(t, url+"?subject=kv.none")
	all.must()
	none.must()
	b.MustSubmit("n", commands.PutKey{Key: "a", Value: []byte("v")})
	b.MustSubmit(event.System, commands.DeleteNamespace{Namespace: "n"})
	for name, r := range map[string]*reader{"all": all, "none": none} {
		var events []string
		f := r.must()
		for ; f.event != "end"; f = r.must() {
			if f.event == "" {
				events = append(events, f.id)
			}
		}
		var p gateway.Problem
		if err := json.Unmarshal([]byte(f.data), &p); err != nil || p.Code != commands.CodeUnknownNamespace || f.id != "3" || !strings.Contains(p.Detail, "ended at revision 3") {
			t.Errorf("%s: the last word is %+v (%v)", name, f, err)
		}
		if want := map[string]string{"all": "2 3", "none": ""}[name]; strings.Join(events, " ") != want {
			t.Errorf("%s: got events %v before the end, want %q", name, events, want)
		}
		if f, ok := r.next(); ok || r.scanner.Err() != nil {
			t.Errorf("%s: got %+v (%v) behind the end", name, f, r.scanner.Err())
		}
	}
	request := watchRequest(t, url)
	request.Header.Set("Last-Event-ID", "3")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("got status %d, want 404", response.StatusCode)
	}
	b.MustSubmit(event.System, commands.CreateNamespace{Namespace: "n"})
	var e gateway.CloudEvent
	if err := json.Unmarshal([]byte(open(t, url, "Last-Event-ID", "3").mustEvent().data), &e); err != nil || e.Type != "rollcall.namespace.open" {
		t.Errorf("got %+v (%v) first, want the opening of the next one", e, err)
	}
}

// mute asks for a stream and never reads.
func mute(t *testing.T, url, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		wait := time.NewTimer(5 * time.Millisecond)
		<-wait.C
	}
}

// Readers that take nothing cost nobody else anything, hold bounded memory, and are cut off after a while.
func TestWatchReadersThatTakeNothing(t *testing.T) {
	b := gatewaytest.New("test")
	hub := live.New(b)
	url := serve(t, b, func(c *api.Config, _ *http.Server) {
		// They fall out before they are cut off, also where the writes take their time.
		c.Live, c.StreamPatience, c.Bookmark = hub, 10*time.Second, time.Hour
	})
	const mutes, writes = 20, 150
	for range mutes {
		c := mute(t, url, "/v1/default/events?from=2&subject=kv.a")
		// What the kernel takes for a reader need not be written first.
		if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
	}
	good := open(t, url+"/v1/default/events?from=2")
	eventually(t, "all are there", func() bool { return hub.Stats().Namespaces[event.Default].Streams == mutes+1 })
	value := []byte(strings.Repeat("x", 64<<10))
	for i := range writes {
		b.MustSubmit(event.Default, commands.PutKey{Key: "a", Value: value})
		if f := good.mustEvent(); f.id != strconv.Itoa(i+2) {
			t.Fatalf("got id %s, want %d", f.id, i+2)
		}
	}
	s := hub.Stats()
	if s.QueuedBytes > mutes*(live.QueueBytesMax+1<<20) || s.Overflows == 0 {
		t.Errorf("got %+v, want %d bytes for each reader at most", s, live.QueueBytesMax)
	}
	eventually(t, "they are cut off", func() bool { return hub.Stats().Stalled == mutes })
	eventually(t, "the good reader is alone, and has everything", func() bool {
		return hub.Stats().Namespaces[event.Default] == live.NamespaceStats{Streams: 1}
	})
}

// A reader that takes a little at a time is late, and no more.
func TestWatchReaderThatTakesLittle(t *testing.T) {
	b := gatewaytest.New("test")
	hub := live.New(b)
	url := serve(t, b, func(c *api.Config, _ *http.Server) { c.Live, c.StreamPatience = hub, 3*time.Second })
	value := []byte(strings.Repeat("x", 64<<10))
	for range 200 {
		b.MustSubmit(event.Default, commands.PutKey{Key: "a", Value: value})
	}
	c := mute(t, url, "/v1/default/events?from=1")
	// A sender hears of what was taken when that is a good part of the kernel's buffer.
	if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond) // all of it takes longer than the patience
	defer tick.Stop()
	buf := make([]byte, 32<<10)
	for total, start := 0, time.Now(); total < 200*64<<10; <-tick.C {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("cut off after %d bytes and %s: %v", total, time.Since(start), err)
		}
		total += n
	}
}

// Whatever stands in a key, its subject as a filter gives its events, and no others.
func TestWatchAwkwardKeys(t *testing.T) {
	b := gatewaytest.New("test")
	base := serve(t, b) + "/v1/default/events?subject="
	keys := []string{
		".", "a.b", "*", ">", "a/*/>", "%", "%25", "a//b", "/a", "a b", " ", "\t\r\n", "\x01\x7f", "ü/日本/🙂", "\u2028", strings.Repeat("*", 1000), "a/+&=?#",
	}
	for _, key := range keys {
		r := open(t, base+url.QueryEscape(event.KeySubject(key)))
		r.must()
		last := b.MustSubmit(event.Default, commands.PutKey{Key: "beside"}, commands.PutKey{Key: key}, commands.PutKey{Key: key + "/below"})
		var e gateway.CloudEvent
		f := r.mustEvent()
		if err := json.Unmarshal([]byte(f.data), &e); err != nil {
			t.Fatal(err)
		}
		got, err := event.ParseKeySubject(e.Subject)
		if err != nil || got != key || e.Revision != strconv.FormatUint(uint64(last-1), 10) {
			t.Errorf("key %q: got %q (%v) at %s, want revision %d", key, got, err, e.Revision, last-1)
		}
		if f := r.must(); f.event != "bookmark" {
			t.Errorf("key %q: got %+v too", key, f)
		}
		r.cancel()
	}
}

// flood is the answer to a stream without a socket.
type flood struct {
	sink
	wanted  string // what stands in each event that it asked for
	frames  int
	waiting chan<- struct{} // gets something for each event
	once    sync.Once
	opened  chan struct{} // closed when the stream has caught up for the first time
}

func (f *flood) Write(p []byte) (int, error) {
	if n := strings.Count(string(p), "\ndata: {\"specversion\""); n > 0 {
		if !strings.Contains(string(p), f.wanted) {
			panic("an event that was not asked for: " + string(p))
		}
		f.frames += n
		for range n {
			f.waiting <- struct{}{}
		}
	}
	return len(p), nil
}

func (f *flood) Flush() { f.once.Do(func() { close(f.opened) }) }

// startFloods opens streams, and gives what ends them.
func startFloods(t testing.TB, h http.Handler, all []*flood, got chan<- struct{}, of func(i int) (url, wanted string)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range all {
		url, wanted := of(i)
		f := &flood{sink: sink{header: http.Header{}}, wanted: wanted, waiting: got, opened: make(chan struct{})}
		all[i] = f
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		wg.Go(func() { h.ServeHTTP(f, r) })
	}
	for _, f := range all {
		<-f.opened
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// Ten thousand streams, each with a key of its own, and some with the same: each gets its own events and nothing else.
func TestWatchTenThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand streams")
	}
	const streams, keys = 10_000, 5_000
	b := gatewaytest.New("test")
	hub := live.New(b)
	h := api.New(api.Config{Backend: b, Live: hub})
	before := heap()
	got := make(chan struct{}, streams)
	all := make([]*flood, streams)
	url := "http://test/v1/default/events?from=2&subject=kv.k"
	stop := startFloods(t, h, all, got, func(i int) (string, string) {
		key := strconv.Itoa(i % keys)
		return url + key, `"key":"k` + key + `"`
	})
	t.Logf("%d bytes for each stream", (heap()-before)/streams)
	for i := range 100 {
		b.MustSubmit(event.Default, commands.PutKey{Key: "k" + strconv.Itoa(i*37%keys), Value: []byte("v")})
	}
	for range 200 {
		select {
		case <-got:
		case <-time.After(patience):
			t.Fatal("an event did not arrive")
		}
	}
	stop()
	total := 0
	for _, f := range all {
		if total += f.frames; f.frames > 1 {
			t.Errorf("%s: got %d events, want one at most", f.wanted, f.frames)
		}
	}
	if total != 200 {
		t.Errorf("got %d events, want 200", total)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
