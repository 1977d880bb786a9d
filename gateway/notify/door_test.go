package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// withDoor has a server answer requests by the real door, on a backend in memory.
func withDoor(b gateway.Backend) func(*Config) {
	door := api.New(api.Config{Backend: b, RequestTimeout: patience}) // a busy machine is no reason to refuse
	return func(c *Config) { c.Do, c.Operations, c.Version = door.Do, door.Operations(), "v1.2.3" }
}

// withDo has a server answer requests as a test likes.
func withDo(do func(context.Context, gateway.Call) gateway.Reply) func(*Config) {
	return func(c *Config) { c.Do, c.Operations = do, []string{"kv.put", "kv.get"} }
}

func request(t testing.TB, nc *nats.Conn, subject, body string) *nats.Msg {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), patience)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return m
}

func TestDoorAnswers(t *testing.T) {
	s := startServer(t, newLedgers(t), withDoor(gatewaytest.New("test")))
	nc := guest(t, s)
	m := request(t, nc, "rollcall-api.default.kv.put", `{"key":"a","value":"1"}`)
	want := nats.Header{"Rollcall-Status": {"201"}, "Rollcall-Revision": {"2"}, "ETag": {`"2"`}}
	if diff := cmp.Diff(want, m.Header); diff != "" || string(m.Data) != "{\"revision\":2}\n" {
		t.Errorf("got %s with headers (-want +got)\n%s", m.Data, diff)
	}
	// The names of headers may be written in any case.
	m, err := nc.RequestMsg(&nats.Msg{
		Subject: "rollcall-api.default.kv.put", Data: []byte(`{"key":"a","value":"2"}`),
		Header: nats.Header{"if-match": {`"1"`}, "Rollcall-reason": {"a test"}, "X-Anything": {"else"}},
	}, patience)
	if err != nil {
		t.Fatal(err)
	}
	want = nats.Header{
		"Rollcall-Status": {"412"}, "Rollcall-Revision": {"2"}, "ETag": {`"2"`}, micro.ErrorCodeHeader: {"412"},
		micro.ErrorHeader: {`condition-failed: key "a" is not as the condition requires: it is at revision 2`},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" || !strings.Contains(string(m.Data), `"code":"condition-failed"`) {
		t.Errorf("got %s with headers (-want +got)\n%s", m.Data, diff)
	}
	for subject, code := range map[string]string{
		"rollcall-api.nowhere.kv.get":        "unknown-namespace",
		"rollcall-api.*.kv.get":              "unknown-namespace",
		"rollcall-api.%2A.kv.get":            "unknown-namespace",
		"rollcall-api.Default.kv.get":        "unknown-namespace",
		"rollcall-api.default.kv.gett":       "unknown-path",
		"rollcall-api.default.kv.>":          "unknown-path",
		"rollcall-api.default":               "unknown-path",
		"rollcall-api.default.snapshot":      "unknown-path",
		"rollcall-api._system.kv.put":        "reserved-namespace",
		"rollcall-api.default.members.list":  "unknown-path",
		"rollcall-api._system.members.lists": "unknown-path",
	} {
		m := request(t, nc, subject, `{"key":"a","value":""}`)
		if got := m.Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, code+": ") && !strings.Contains(got, "field") {
			t.Errorf("%s: got %q, want %s", subject, got, code)
		}
	}
}

// TestDoorIsAService: what stock tools ask is answered, and in the shapes that they read.
func TestDoorIsAService(t *testing.T) {
	s := startServer(t, newLedgers(t), withDoor(gatewaytest.New("test")))
	nc := guest(t, s)
	request(t, nc, "rollcall-api.default.kv.put", `{"key":"a","value":"1"}`)
	request(t, nc, "rollcall-api.default.kv.put", `{"key":"a"}`)
	var ping micro.Ping
	decode(t, request(t, nc, "$SRV.PING", ""), &ping)
	if ping.Name != "rollcall" || ping.Version != "1.2.3" || ping.ID == "" || ping.Type != micro.PingResponseType {
		t.Errorf("got %+v", ping)
	}
	var info micro.Info
	decode(t, request(t, nc, "$SRV.INFO.rollcall."+ping.ID, ""), &info)
	if info.Type != micro.InfoResponseType || info.Description == "" || info.ID != ping.ID {
		t.Errorf("got %+v", info)
	}
	endpoints := map[string]string{}
	for _, e := range info.Endpoints {
		endpoints[e.Name] = e.Subject
	}
	if len(endpoints) < 30 || endpoints["kv-put"] != "rollcall-api.*.kv.put" || endpoints["kv-put-tree"] != "rollcall-api.*.kv.put-tree" {
		t.Errorf("got endpoints %v", endpoints)
	}
	// The answer leaves before it is counted.
	eventually(t, "both requests are counted", func() bool {
		var stats micro.Stats
		decode(t, request(t, nc, "$SRV.STATS.rollcall", ""), &stats)
		for _, e := range stats.Endpoints {
			if e.Name == "kv-put" {
				return stats.Type == micro.StatsResponseType && e.NumRequests == 2 && e.NumErrors == 1 && e.LastError == "400: invalid-body" && e.ProcessingTime > 0
			}
		}
		return false
	})
}

func decode(t testing.TB, m *nats.Msg, into any) {
	t.Helper()
	if err := json.Unmarshal(m.Data, into); err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
}

func TestServiceVersions(t *testing.T) {
	for given, want := range map[string]string{
		"1.2.3": "1.2.3", "v1.2.3-rc.1+meta": "1.2.3-rc.1+meta", "": "0.0.0", "(devel)": "0.0.0", "v1.2": "0.0.0",
		"v0.0.0-20260102030405-0123456789ab+dirty": "0.0.0-20260102030405-0123456789ab+dirty", "1.2.3 x": "0.0.0", "01.2.3": "0.0.0",
	} {
		if got := semantic(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

// TestDoorPipelines: many requests are under way on one connection, and each is answered once, by its own answer.
func TestDoorPipelines(t *testing.T) {
	const requests, window = 10_000, 1000
	b := gatewaytest.New("test")
	s := startServer(t, newLedgers(t), withDoor(b))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := make(chan *nats.Msg, requests)
	if _, err := nc.ChanSubscribe(inbox+".*", answers); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	revisions := map[string]bool{}
	take := func() {
		m := receive(t, answers)
		if !strings.HasPrefix(m.Header.Get(headerStatus), "20") || seen[m.Subject] || revisions[string(m.Data)] {
			t.Fatalf("%s was answered %v %s", m.Subject, m.Header, m.Data)
		}
		seen[m.Subject], revisions[string(m.Data)] = true, true
	}
	for i := range requests {
		if i >= window {
			take()
		}
		if err := nc.PublishRequest("rollcall-api.default.kv.put", fmt.Sprintf("%s.%d", inbox, i), fmt.Appendf(nil, `{"key":"k/%d","value":"v"}`, i%10)); err != nil {
			t.Fatal(err)
		}
	}
	for range window {
		take()
	}
	if head, err := b.Head(event.Default); err != nil || head != 1+requests {
		t.Errorf("got %d revisions (%v), want %d", head, err, 1+requests)
	}
}

// TestDoorDoesNotWait: a request that takes its time holds up no other.
func TestDoorDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	s := startServer(t, newLedgers(t), withDo(func(_ context.Context, c gateway.Call) gateway.Reply {
		if c.Operation == "kv.put" {
			<-release
		}
		return gateway.Reply{Status: http.StatusOK}
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	slow := subscribe(t, nc, inbox)
	if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, nil); err != nil {
		t.Fatal(err)
	}
	request(t, nc, "rollcall-api.default.kv.get", "")
	if len(slow) != 0 {
		t.Error("the slow request was answered first")
	}
	close(release)
	receive(t, slow)
}

// TestDoorIsBounded: what is too much is refused at once, and taken again afterwards.
func TestDoorIsBounded(t *testing.T) {
	release := make(chan struct{})
	var under atomic.Int64
	s := startServer(t, newLedgers(t), withDo(func(context.Context, gateway.Call) gateway.Reply {
		under.Add(1)
		<-release
		return gateway.Reply{Status: http.StatusOK}
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := subscribe(t, nc, inbox)
	for range requestsMax + 10 {
		if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		m := receive(t, answers)
		if got := m.Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, "busy: ") || m.Header.Get("Retry-After") != "1" {
			t.Fatalf("got %v %s", m.Header, m.Data)
		}
	}
	if got := s.Stats().Refused; got != 10 {
		t.Errorf("counted %d refusals, want 10", got)
	}
	eventually(t, "all others are under way", func() bool { return under.Load() == requestsMax })
	close(release)
	for range requestsMax {
		if m := receive(t, answers); m.Header.Get(headerStatus) != "200" {
			t.Fatalf("got %v %s", m.Header, m.Data)
		}
	}
	if m := request(t, nc, "rollcall-api.default.kv.get", ""); m.Header.Get(headerStatus) != "200" {
		t.Errorf("afterwards: got %v", m.Header)
	}
}

// TestDoorBoundsBytes: few requests can be too much as well.
func TestDoorBoundsBytes(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := startServer(t, newLedgers(t), withDo(func(_ context.Context, c gateway.Call) gateway.Reply {
		if len(c.Body) > 0 {
			<-release
		}
		return gateway.Reply{Status: http.StatusOK}
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := subscribe(t, nc, inbox)
	body := make([]byte, PayloadBytesMax)
	for range requestsBytesMax/PayloadBytesMax + 1 {
		if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, body); err != nil {
			t.Fatal(err)
		}
	}
	if got := receive(t, answers).Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, "busy: ") {
		t.Errorf("got %q", got)
	}
	if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, append(body, 0)); err == nil {
		t.Error("a message that is too large was sent")
	}
}

// TestDoorOnlyAnswersInboxes: neither a request nor a question about the service has anything said elsewhere, and a
// write whose answer cannot be given is not made.
func TestDoorOnlyAnswersInboxes(t *testing.T) {
	a := newArena(t, withDo(func(context.Context, gateway.Call) gateway.Reply {
		t.Error("a request was carried out")
		return gateway.Reply{Status: http.StatusOK, Body: []byte("forged")}
	}))
	replies := append([]string{"", "rollcall-api.default.kv.put", "$SRV.PING", "_INBOX", "_INBOX.*", "_INBOX.>", "_INBOX..a", "$SYS.REQ.USER.INFO"}, forged...)
	subjects := []string{"rollcall-api.default.kv.put", "$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.PING.rollcall"}
	for _, reply := range replies {
		for _, subject := range subjects {
			if err := a.attacker.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte(`{"key":"a","value":"forged"}`)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	request(t, a.attacker, "$SRV.PING", "") // whatever came before was looked at, or waits beside it
	eventually(t, "all of them are counted", func() bool {
		return a.server.Stats().Unanswerable >= uint64(len(subjects)*(len(replies)-3))
	})
	a.check()
}

// TestDoorCanSayNothingElse: the connection itself may publish to inboxes only.
func TestDoorCanSayNothingElse(t *testing.T) {
	a := newArena(t, withDoor(gatewaytest.New("test")))
	for _, subject := range append(forged, "rollcall-api.default.kv.put", "$SRV.PING") {
		nc, err := a.server.broker.connect(doorUser, "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := nc.LastError(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("publish to %s: %v", subject, err)
		}
		nc.Close()
	}
	a.check()
}

// TestDoorStops: what is under way ends, what comes is refused, and nobody waits for ever.
func TestDoorStops(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s := startServer(t, newLedgers(t), withDo(func(context.Context, gateway.Call) gateway.Reply {
		began <- struct{}{}
		<-release
		return gateway.Reply{Status: http.StatusOK, Body: []byte("done")}
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := subscribe(t, nc, inbox)
	if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, nil); err != nil {
		t.Fatal(err)
	}
	<-began
	var closed sync.WaitGroup
	closed.Go(s.Close)
	eventually(t, "it is stopping", s.door.stops)
	if got := request(t, nc, "rollcall-api.default.kv.put", "").Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, "stopping: ") {
		t.Errorf("got %q", got)
	}
	close(release)
	if m := receive(t, answers); string(m.Data) != "done" {
		t.Errorf("got %s", m.Data)
	}
	closed.Wait()
}

// TestDoorCutsOff: what does not end within the grace is ended.
func TestDoorCutsOff(t *testing.T) {
	began := make(chan struct{})
	s := startServer(t, newLedgers(t), func(c *Config) { c.DrainTime = time.Millisecond }, withDo(func(ctx context.Context, _ gateway.Call) gateway.Reply {
		close(began)
		<-ctx.Done()
		return gateway.Refuse(gateway.ProblemOf(ctx.Err()))
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := subscribe(t, nc, inbox)
	if err := nc.PublishRequest("rollcall-api.default.kv.put", inbox, nil); err != nil {
		t.Fatal(err)
	}
	<-began
	s.Close()
	if got := receive(t, answers).Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, "outcome-unknown: ") {
		t.Errorf("got %q", got)
	}
}

// TestDoorStopsUnderLoad: every request that was taken is answered once, with what became of it, or not at all when it
// came too late; and none is carried out twice.
func TestDoorStopsUnderLoad(t *testing.T) {
	b := gatewaytest.New("test")
	s := startServer(t, newLedgers(t), withDoor(b))
	nc := guest(t, s, nats.NoReconnect())
	inbox := nc.NewInbox()
	var done, refused atomic.Int64
	if _, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		switch m.Header.Get(headerStatus) {
		case "200", "201":
			done.Add(1)
		default: // refused, or by the NATS server itself: nobody takes requests any more
			refused.Add(1)
		}
	}); err != nil {
		t.Fatal(err)
	}
	var load sync.WaitGroup
	load.Go(func() {
		for i := 0; nc.PublishRequest("rollcall-api.default.kv.put", inbox, fmt.Appendf(nil, `{"key":"k/%d","value":"v"}`, i%10)) == nil; i++ {
			if i%100 == 0 {
				_ = nc.FlushTimeout(patience) // it ends when the server does
			}
		}
	})
	eventually(t, "some are carried out", func() bool { return done.Load() > 100 })
	s.Close()
	load.Wait()
	head, err := b.Head(event.Default)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all that was carried out is known", func() bool { return done.Load() == int64(head)-1 || nc.IsClosed() })
	if done.Load() > int64(head)-1 {
		t.Errorf("%d answers to %d writes; %d were refused", done.Load(), head-1, refused.Load())
	}
}

// TestDoorBoundsAnswers: so many large answers are in memory at once, each until it has left; others wait, and small ones
// for none of them.
func TestDoorBoundsAnswers(t *testing.T) {
	var room, holding, most atomic.Int64
	release := make(chan struct{})
	s := startServer(t, newLedgers(t), withDo(func(ctx context.Context, c gateway.Call) gateway.Reply {
		large := len(c.Body) > 0
		if !c.Room(ctx, large, false) && !c.Room(ctx, large, true) {
			return gateway.Reply{Status: http.StatusServiceUnavailable}
		}
		if large {
			now := holding.Add(1)
			for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
			}
			room.Add(1)
			<-release
			holding.Add(-1)
		}
		return gateway.Reply{Status: http.StatusOK}
	}))
	nc := guest(t, s)
	inbox := nc.NewInbox()
	answers := subscribe(t, nc, inbox)
	const asked = 4 * largeMax
	for range asked {
		if err := nc.PublishRequest("rollcall-api.default.kv.list", inbox, []byte("large")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all that have room are under way", func() bool { return room.Load() == largeMax })
	for range 2 * smallMax {
		if m := request(t, nc, "rollcall-api.default.kv.get", ""); m.Header.Get(headerStatus) != "200" {
			t.Fatalf("a small one: got %v", m.Header)
		}
	}
	close(release)
	for range asked {
		if m := receive(t, answers); m.Header.Get(headerStatus) != "200" {
			t.Errorf("got %v", m.Header)
		}
	}
	if n := most.Load(); n != largeMax {
		t.Errorf("%d were made at once, want %d", n, largeMax)
	}
	eventually(t, "all room is given back", func() bool { return len(s.door.large) == 0 && len(s.door.small) == 0 })
}
