package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/test/address"
)

// TestKillNine kills the server while writers write, three times over. Everything that was acknowledged is there
// afterwards, revisions go on without gap, an ordered consumer gets every event once and in order, and the views are
// what the ledger says.
func TestKillNine(t *testing.T) {
	data := t.TempDir()
	var acknowledged sync.Map
	written := 0
	for round := range 3 {
		p := start(t, data)
		written += writeUntilKilled(t, p, round, &acknowledged)
	}
	p := start(t, data)
	acknowledged.Range(func(key, value any) bool {
		get := p.do("GET", "/v1/default/kv/"+key.(string), "")
		if get.status != http.StatusOK || get.body != value.(string) {
			t.Errorf("%s was acknowledged as %q and is now %d %q", key, value, get.status, get.body)
		}
		return true
	})
	head := p.do("PUT", "/v1/default/kv/last", "x").want(t, http.StatusCreated)["revision"].(float64)
	if head < float64(written) {
		t.Errorf("revision %v after %d acknowledged writes", head, written)
	}
	consume(t, p, uint64(head))
	p.stop()
	if out, status := command(t, "verify", "--data", data); status != 0 {
		t.Errorf("verify: status %d: %s", status, out)
	}
}

// writeUntilKilled has several writers write; when a good number is acknowledged the server is killed under them.
func writeUntilKilled(t *testing.T, p *process, round int, acknowledged *sync.Map) int {
	t.Helper()
	const writers, enough = 8, 300
	var count atomic.Int64
	var wg sync.WaitGroup
	killed, reached := make(chan struct{}), make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				key, value := fmt.Sprintf("r%d/w%d/%d", round, w, i), fmt.Sprintf("v%d", i)
				r, err := p.try("PUT", "/v1/default/kv/"+key, value)
				if err != nil || r.status != http.StatusCreated {
					select {
					case <-killed:
					case <-time.After(patience):
						t.Errorf("a write failed before the server was killed: %v %v", r, err)
					}
					return
				}
				acknowledged.Store(key, value)
				if count.Add(1) == enough {
					close(reached)
				}
			}
		})
	}
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatalf("only %d writes were acknowledged in %s", count.Load(), patience)
	}
	p.kill()
	close(killed)
	wg.Wait()
	return int(count.Load())
}

// consume reads the whole stream from its first sequence with a stock ordered consumer.
func consume(t *testing.T, p *process, head uint64) {
	t.Helper()
	nc, err := nats.Connect("nats://" + p.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(deadline(t), "rollcall_default", jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for want := uint64(1); want <= head; want++ {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatalf("waiting for revision %d of %d: %v", want, head, err)
		}
		at, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if at.Sequence.Stream != want || m.Headers().Get("Rollcall-Revision") != fmt.Sprint(want) {
			t.Fatalf("got sequence %d with revision %s, want %d", at.Sequence.Stream, m.Headers().Get("Rollcall-Revision"), want)
		}
	}
}

// TestRestart stops the server cleanly; it comes back under the Raft address that it had, and refuses to be another.
func TestRestart(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	p.do("PUT", "/v1/default/kv/k", "v").want(t, http.StatusCreated)
	raft := p.Raft
	if out, status := command(t, "serve", "--data", data, "--http", "127.0.0.1:0", "--raft", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--dns", "127.0.0.1:0"); status != 1 {
		t.Errorf("a second server on the same folder: status %d: %s", status, out)
	}
	p.do("GET", "/v1/default/kv/k", "").want(t, http.StatusOK)
	p.stop()
	p = start(t, data)
	if p.Raft != raft {
		t.Errorf("Raft listens at %s after the restart, before at %s", p.Raft, raft)
	}
	if r := p.do("GET", "/v1/default/kv/k", ""); r.body != "v" {
		t.Errorf("got %q", r.body)
	}
	p.stop()
	for name, flags := range map[string][]string{
		"another name":    {"--name", "other"},
		"other groups":    {"--groups", "7"},
		"beyond loopback": {"--http", "0.0.0.0:0"},
		"no port":         {"--dns", "127.0.0.1"},
		"an unknown flag": {"--no-such-flag"},
	} {
		p := launch(t, data, flags...)
		select {
		case err := <-p.exited:
			if err == nil {
				t.Errorf("%s was taken", name)
			}
		case <-time.After(patience):
			t.Errorf("%s: the server runs", name)
			p.kill()
		}
	}
}

// TestNothingGoesBack kills a server that has been here before and watches its doors while it comes back: no answer may
// show a revision below one that was shown, and no event may come live for a second time.
func TestNothingGoesBack(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	p.put("first", "v")
	p.stop() // now Pebble has the namespaces, and the doors could open at once
	fixed := []string{"--http", address.Free(t), "--nats", address.Free(t), "--dns", address.Free(t)}
	p = start(t, data, fixed...)
	var mu sync.Mutex
	seen := map[string]int{}
	nc, err := nats.Connect("nats://"+p.NATS, nats.ReconnectWait(2*time.Millisecond), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = nc.Subscribe("rollcall.default.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		seen[m.Header.Get("Rollcall-Revision")]++
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var head float64
		for i := range 25 {
			head = p.put(fmt.Sprintf("k%d", i), "v")
		}
		p.kill()
		next := launch(t, data, fixed...)
		next.HTTP, next.NATS, next.DNS = p.HTTP, p.NATS, p.DNS
		answers := 0
		for p = next; answers < 50; {
			r, err := p.try("GET", "/v1/default/kv/first?consistency=stale", "")
			if err != nil {
				<-time.After(time.Millisecond)
				continue
			}
			answers++
			if got := r.header.Get("Rollcall-Revision"); r.status != http.StatusOK || got < fmt.Sprintf("%.0f", head) && len(got) <= len(fmt.Sprintf("%.0f", head)) {
				t.Fatalf("after revision %.0f was shown, the server that came back shows %s (%d)", head, got, r.status)
			}
		}
		p.awaitReady()
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for revision, n := range seen {
		if n > 1 {
			t.Errorf("revision %s came live %d times", revision, n)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing came live")
	}
}
