package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestFirstFiveMinutes is what somebody tries who has just started a server: every door shows the same change.
func TestFirstFiveMinutes(t *testing.T) {
	p := start(t, t.TempDir())
	nc, err := nats.Connect("nats://" + p.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	live, err := nc.SubscribeSync("rollcall.default.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	put := p.do("PUT", "/v1/default/kv/app/greeting", "hello", "Content-Type: text/plain", "Rollcall-Reason: first try")
	revision := put.want(t, http.StatusCreated)["revision"].(float64)
	get := p.do("GET", "/v1/default/kv/app/greeting", "")
	get.want(t, http.StatusOK)
	if get.body != "hello" || get.header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(revision)) || get.header.Get("Content-Type") != "text/plain" {
		t.Errorf("got %q with %v", get.body, get.header)
	}
	message, err := live.NextMsgWithContext(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := message.Subject, "rollcall.default.kv.app.greeting"; got != want {
		t.Errorf("subject: got %q, want %q", got, want)
	}
	for name, want := range map[string]string{
		"Rollcall-Revision": fmt.Sprint(revision), "Rollcall-Commit": fmt.Sprint(revision),
		"Rollcall-Type": "rollcall.kv.put", "Rollcall-Key": "app/greeting",
	} {
		if got := message.Header.Get(name); got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
	var cloud struct {
		SpecVersion, ID, Type, Subject, Reason, Revision string
		Data                                             struct{ Key, Value string }
	}
	if err := json.Unmarshal(message.Data, &cloud); err != nil {
		t.Fatal(err)
	}
	if cloud.SpecVersion != "1.0" || cloud.Reason != "first try" || cloud.Data.Value != "hello" || cloud.ID != "default/"+cloud.Revision {
		t.Errorf("event: %s", message.Data)
	}
	guest(t, p)
}

// guest checks that a client of NATS can listen and nothing else.
func guest(t *testing.T, p *process) {
	t.Helper()
	refused := make(chan error, 10)
	nc, err := nats.Connect("nats://"+p.NATS, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("rollcall.default.kv.forged", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !strings.Contains(err.Error(), "ermissions") {
			t.Errorf("publishing was refused with %v", err)
		}
	case <-time.After(patience):
		t.Error("publishing was not refused")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := js.DeleteStream(ctx, "rollcall_default"); err == nil {
		t.Error("a guest deleted a stream")
	}
}

// lookup asks DNS and gives the answers' text, sorted.
func lookup(t *testing.T, p *process, name string, kind uint16) (*miekg.Msg, []string) {
	t.Helper()
	q := new(miekg.Msg).SetQuestion(name, kind)
	q.SetEdns0(1232, false)
	reply, err := exchange(q, p.DNS)
	if err != nil {
		t.Fatalf("%s %s: %v", name, miekg.TypeToString[kind], err)
	}
	var answers []string
	for _, rr := range reply.Answer {
		answers = append(answers, strings.Join(strings.Fields(rr.String())[3:], " "))
	}
	slices.Sort(answers)
	return reply, answers
}

// eventually waits until DNS shows a revision.
func eventually(t *testing.T, p *process, revision float64) {
	t.Helper()
	for ctx := deadline(t); ; {
		_, text := lookup(t, p, "_revision.rollcall.internal.", miekg.TypeTXT)
		if len(text) == 1 {
			if n, err := strconv.ParseFloat(strings.Trim(strings.Fields(text[0])[1], `"`), 64); err == nil && n >= revision {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("DNS shows %v, not revision %v", text, revision)
		}
	}
}

// TestDiscovery registers instances and finds them by HTTP and by DNS, with the stock resolver too.
func TestDiscovery(t *testing.T) {
	p := start(t, t.TempDir())
	var last float64
	for i := range 3 {
		body := fmt.Sprintf(`{"address":"10.0.0.%d","port":8080,"tags":["blue"],"meta":{"zone":"b"},"protocol":"http","version":"1.%d","node":"host-%d"}`, i+1, i, i)
		last = p.do("PUT", fmt.Sprintf("/v1/default/services/web/instances/web-%d", i+1), body).want(t, http.StatusCreated)["revision"].(float64)
	}
	eventually(t, p, last)
	reply, a := lookup(t, p, "web.service.rollcall.internal.", miekg.TypeA)
	if want := []string{"A 10.0.0.1", "A 10.0.0.2", "A 10.0.0.3"}; !slices.Equal(a, want) || !reply.Authoritative {
		t.Errorf("A: got %v, want %v", a, want)
	}
	reply, srv := lookup(t, p, "blue.web.service.rollcall.internal.", miekg.TypeSRV)
	if want := "SRV 1 1 8080 web-1.web.instance.rollcall.internal."; len(srv) != 3 || srv[0] != want || len(reply.Extra) != 4 {
		t.Errorf("SRV: got %v with %d additional, want three like %q with an address each", srv, len(reply.Extra), want)
	}
	if _, a := lookup(t, p, "web-2.web.instance.rollcall.internal.", miekg.TypeA); !slices.Equal(a, []string{"A 10.0.0.2"}) {
		t.Errorf("one instance: got %v", a)
	}
	if reply, _ := lookup(t, p, "nobody.service.rollcall.internal.", miekg.TypeA); reply.Rcode != miekg.RcodeNameError {
		t.Errorf("a service that does not exist: got %s", miekg.RcodeToString[reply.Rcode])
	}
	if reply, aaaa := lookup(t, p, "web.service.rollcall.internal.", miekg.TypeAAAA); reply.Rcode != miekg.RcodeSuccess || len(aaaa) != 0 || len(reply.Ns) != 1 {
		t.Errorf("a type that the name does not have: got %v", reply)
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.DNS)
	}}
	if hosts, err := resolver.LookupHost(deadline(t), "web.service.rollcall.internal"); err != nil || len(hosts) != 3 {
		t.Errorf("the standard library's resolver: got %v, %v", hosts, err)
	}
	last = p.do("DELETE", "/v1/default/services/web/instances/web-2", "").want(t, http.StatusOK)["revision"].(float64)
	eventually(t, p, last)
	if _, a := lookup(t, p, "web.service.rollcall.internal.", miekg.TypeA); !slices.Equal(a, []string{"A 10.0.0.1", "A 10.0.0.3"}) {
		t.Errorf("after one left: got %v", a)
	}
	services := p.do("GET", "/v1/default/services/web", "").want(t, http.StatusOK)
	if n := len(services["instances"].([]any)); n != 2 {
		t.Errorf("HTTP shows %d instances", n)
	}
}

// TestEventStream reads the ledger as lines and as a stream that is broken off and resumed: nothing is missing or
// comes twice.
func TestEventStream(t *testing.T) {
	p := start(t, t.TempDir(), "--bookmark-every", "50ms")
	for i := range 5 {
		p.do("PUT", fmt.Sprintf("/v1/default/kv/n/%d", i), fmt.Sprint(i)).want(t, http.StatusCreated)
	}
	replay := p.do("GET", "/v1/default/events?subject=kv.n.*", "")
	replay.want(t, http.StatusOK)
	if n := strings.Count(replay.body, "\n"); n != 5 {
		t.Errorf("replay has %d lines: %s", n, replay.body)
	}
	var ids []string
	lastID := ""
	for round := range 4 {
		ids = append(ids, stream(t, p, lastID, 2+round%2)...)
		lastID = ids[len(ids)-1]
		p.do("PUT", fmt.Sprintf("/v1/default/kv/n/%d", 5+3*round), "x").want(t, http.StatusCreated)
		p.do("PUT", fmt.Sprintf("/v1/default/kv/n/%d", 6+3*round), "x").want(t, http.StatusCreated)
		p.do("PUT", fmt.Sprintf("/v1/default/kv/n/%d", 7+3*round), "x").want(t, http.StatusCreated)
	}
	for i, id := range ids {
		if id != fmt.Sprint(i+1) {
			t.Fatalf("event %d has id %s; all: %v", i+1, id, ids)
		}
	}
}

// stream reads n events from the stream and then hangs up. It begins at the first revision, or behind lastID.
func stream(t *testing.T, p *process, lastID string, n int) (ids []string) {
	t.Helper()
	return streamOf(t, p, "default", lastID, n)
}

func streamOf(t *testing.T, p *process, namespace, lastID string, n int) (ids []string) {
	t.Helper()
	request, err := http.NewRequestWithContext(deadline(t), "GET", "http://"+p.HTTP+"/v1/"+namespace+"/events?from=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	id, bookmark := "", false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[len("id: "):]
		case line == "event: bookmark":
			bookmark = true
		case line == "":
			if id != "" && !bookmark {
				if ids = append(ids, id); len(ids) == n {
					return ids
				}
			}
			id, bookmark = "", false
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	return nil
}
