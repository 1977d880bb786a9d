package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/nats-io/nats.go"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// journal collects a log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func startAlone(t *testing.T, to *journal) (*Server, Config) {
	t.Helper()
	c := Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: Duration(10 * time.Millisecond), RequestTimeout: Duration(time.Minute), // a busy machine may take long
		Logger: slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	s, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func httpGet(t *testing.T, s *Server, path string) (status int, body string) {
	t.Helper()
	answer, err := http.Get("http://" + s.Endpoints().HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func dnsCode(t *testing.T, s *Server, network string) int {
	t.Helper()
	q := new(miekg.Msg)
	q.SetQuestion("default.rollcall.internal.", miekg.TypeSOA)
	r, _, err := (&miekg.Client{Net: network, Timeout: time.Minute}).Exchange(q, s.Endpoints().DNS)
	if err != nil {
		t.Fatal(err)
	}
	return r.Rcode
}

// TestQuarantine lets a running server find that it is the odd one: it stops answering at every door, leaves Raft, says
// why wherever it is asked, and does not start again on the same state.
func TestQuarantine(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	var said journal
	s, c := startAlone(t, &said)
	cut := make(chan struct{})
	nc, err := nats.Connect(s.Endpoints().NATS, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(cut) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stream, err := http.NewRequest(http.MethodGet, "http://"+s.Endpoints().HTTP+"/v1/default/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream.Header.Set("Accept", "text/event-stream")
	live, err := http.DefaultClient.Do(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = live.Body.Close() }()

	// Whoever is not the odd one goes on.
	s.compares.round(context.Background(), alwaysOdd()[:1])
	if status, _ := httpGet(t, s, "/v1/default/kv"); status != http.StatusOK || s.quarantined.Load() != nil {
		t.Fatalf("status %d after a difference without a majority", status)
	}
	if !strings.Contains(said.String(), "no majority says which is right") {
		t.Errorf("nobody said that the states differ:\n%s", said.String())
	}
	if status, metrics := httpGet(t, s, "/metrics"); status != http.StatusOK || !strings.Contains(metrics, `rollcall_state_differs{namespace="default"} 1`) {
		t.Errorf("metrics: %d", status)
	}

	s.compares.round(context.Background(), alwaysOdd())
	for _, path := range []string{"/v1/default/kv", "/v1/default/kv/k?consistency=stale", "/openapi.json", "/v1/_system/members"} {
		if status, body := httpGet(t, s, path); status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"state-diverged"`) || !strings.Contains(body, "--join") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if got := dnsCode(t, s, network); got != miekg.RcodeServerFailure {
			t.Errorf("DNS by %s: %s, want SERVFAIL", network, miekg.RcodeToString[got])
		}
	}
	s.isolating.Wait()
	if _, err := io.ReadAll(live.Body); err != nil {
		t.Errorf("the live stream did not end but broke off: %v", err)
	}
	select {
	case <-cut:
	case <-time.After(time.Minute):
		t.Error("the NATS client was not cut off")
	}
	if conn, err := net.Dial("tcp", s.Endpoints().NATS); err == nil {
		t.Error("NATS goes on listening", conn.Close())
	}
	if err := s.log.Barrier(context.Background(), systemGroup); !errors.Is(err, log.ErrClosed) && !errors.Is(err, log.ErrUnavailable) {
		t.Errorf("Raft goes on: %v", err)
	}
	if leader := s.log.Leader(systemGroup); leader != 0 {
		t.Errorf("replica %d leads as far as this server knows", leader)
	}
	if status, body := httpGet(t, s, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "quarantined") || s.Ready() {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := httpGet(t, s, "/livez"); status != http.StatusOK {
		t.Errorf("/livez: %d", status)
	}
	if status, metrics := httpGet(t, s, "/metrics"); status != http.StatusOK || !strings.Contains(metrics, "rollcall_quarantined 1") {
		t.Errorf("metrics: %d", status)
	}
	for _, path := range []string{pathState, pathDigest + "?namespace=default&revision=0"} {
		err := askJSON(context.Background(), http.DefaultClient, s.Endpoints().Raft, http.MethodGet, path, nil, &struct{}{})
		if err == nil || !strings.Contains(err.Error(), "state-diverged") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if !strings.Contains(said.String(), "THIS SERVER STOPS ANSWERING") {
		t.Errorf("it is not in the log:\n%s", said.String())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again, err := Start(context.Background(), c)
	if err == nil {
		t.Fatal("it starts again", again.Close())
	}
	for _, want := range []string{quarantineFile, "majority", "--join", c.Data} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal says nothing of %q: %v", want, err)
		}
	}
	if err := os.Remove(filepath.Join(c.Data, quarantineFile)); err != nil {
		t.Fatal(err)
	}
	if again, err = Start(context.Background(), c); err != nil {
		t.Fatal("it does not start without the file: ", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamage goes on where nobody else could, and stops where others can.
func TestDamage(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	var said journal
	s, _ := startAlone(t, &said)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	damage := log.Damage{Group: 1, Ledger: event.Default, Err: machine.ErrDamaged}
	s.damaged(damage)
	if s.quarantined.Load() != nil || !strings.Contains(said.String(), "the stored state is damaged") {
		t.Errorf("a server that is alone stopped, or said nothing:\n%s", said.String())
	}
	if _, metrics := httpGet(t, s, "/metrics"); !strings.Contains(metrics, `rollcall_state_damaged_total{namespace="default"} 1`) {
		t.Error("it is not in the metrics")
	}
	for _, c := range []struct {
		name   string
		voters []string // besides this server
		alive  int
		want   bool
	}{
		{"one other", []string{"b"}, 1, false},
		{"two others", []string{"b", "c"}, 2, true},
		{"two others, one gone", []string{"b", "c"}, 1, false},
		{"four others, one gone", []string{"b", "c", "d", "e"}, 3, true},
	} {
		members := []event.Member{{Name: s.config.Name, Replica: s.identity.Replica, Voter: true}}
		var p peers
		for i, name := range c.voters {
			members = append(members, event.Member{Name: name, Replica: uint64(i + 10), Voter: true})
			if i < c.alive {
				p.note(state{Name: name, Replica: uint64(i + 10), Ready: true})
			}
		}
		if got := p.dispense(members, s.identity.Replica); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestScrubSettings: nothing said means the default, and zero, which is something said, means never.
func TestScrubSettings(t *testing.T) {
	zero, some := Size(0), Size(7)
	for _, c := range []struct {
		name string
		rate *Size
		want int // of package log, where zero would be the default
	}{
		{"nothing said", nil, DefaultScrubRate},
		{"never", &zero, -1},
		{"some", &some, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{ScrubRate: c.rate}
			if err := config.Check(); err != nil {
				t.Fatal(err)
			}
			if got := config.scrubBytes(); got != c.want || time.Duration(config.ScrubEvery) != DefaultScrubEvery {
				t.Errorf("got %d bytes a second with rests of %s, want %d", got, time.Duration(config.ScrubEvery), c.want)
			}
		})
	}
}
