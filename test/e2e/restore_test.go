package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const jump = 1_000_000

// snapshotted is a snapshot that was taken under writes, and what was known then.
type snapshotted struct {
	file   string
	before map[string]string // acknowledged before the snapshot was asked for: by "namespace/key"
	heads  map[string]uint64 // the highest revision that the old cluster ever showed, by namespace
	info   struct {
		SHA256  string
		Cluster string
		Ledgers []struct {
			Namespace, Root  string
			Revision, Events uint64
		}
	}
}

// takeSnapshot fills a server, takes a snapshot while writers write, and has them go on afterwards.
func takeSnapshot(t *testing.T) snapshotted {
	t.Helper()
	data := t.TempDir()
	p := start(t, data)
	s := snapshotted{file: filepath.Join(t.TempDir(), "s.snapshot"), before: map[string]string{}, heads: map[string]uint64{}}
	var mu sync.Mutex
	see := func(namespace string, r response) {
		revision, err := strconv.ParseUint(r.header.Get("Rollcall-Revision"), 10, 64)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		s.heads[namespace] = max(s.heads[namespace], revision)
	}
	see("_system", p.do("PUT", "/v1/_system/namespaces/blue", ""))
	namespaces := []string{"default", "blue"}
	for _, namespace := range namespaces {
		for i := range 200 {
			key, value := fmt.Sprintf("before/%d", i), fmt.Sprintf("%s %d", namespace, i)
			p.do("PUT", "/v1/"+namespace+"/kv/"+key, value).want(t, http.StatusCreated)
			s.before[namespace+"/kv/"+key] = value
		}
	}
	var stop atomic.Bool
	var during atomic.Int64
	var wg sync.WaitGroup
	for _, namespace := range namespaces {
		for w := range 4 {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					r, err := p.try("PUT", fmt.Sprintf("/v1/%s/kv/during/%d", namespace, w), fmt.Sprint(i))
					if err != nil || r.status >= 300 {
						t.Errorf("a write failed while a snapshot was taken: %v %v", r, err)
						return
					}
					see(namespace, r)
					during.Add(1)
				}
			})
		}
	}
	reach(t, &during, 100)
	if out, status := command(t, "snapshot", "save", s.file, "--server", "http://"+p.HTTP); status != 0 {
		t.Fatalf("save: status %d: %s", status, out)
	}
	reach(t, &during, during.Load()+100)
	stop.Store(true)
	wg.Wait()
	see("_system", p.do("PUT", "/v1/_system/namespaces/lost", "")) // after the snapshot
	see("lost", p.do("PUT", "/v1/lost/kv/k", "v"))
	out, status := command(t, "snapshot", "inspect", "--json", s.file)
	if status != 0 {
		t.Fatalf("inspect: status %d: %s", status, out)
	}
	if err := json.Unmarshal([]byte(out), &s.info); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "snapshot", "save", s.file, "--server", "http://"+p.HTTP); status != 1 {
		t.Errorf("a file was replaced without --force: status %d: %s", status, out)
	}
	if out, status := command(t, "snapshot", "save", "-", "--server", "http://"+p.HTTP); status != 0 || !strings.HasPrefix(out, "rollcall backup 1\n") {
		t.Errorf("save to standard output: status %d, %d bytes", status, len(out))
	}
	p.stop()
	return s
}

// reach waits until a number has been reached.
func reach(t *testing.T, n *atomic.Int64, want int64) {
	t.Helper()
	for ctx := deadline(t); n.Load() < want; {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d of %d in %s", n.Load(), want, patience)
		}
	}
}

// restore makes a data folder of a snapshot.
func restore(t *testing.T, s snapshotted) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if out, status := command(t, "snapshot", "restore", s.file, "--data", data, "--raft", "127.0.0.1:0"); status != 0 {
		t.Fatalf("restore: status %d: %s", status, out)
	}
	return data
}

// TestRestore restores a snapshot that was taken under writes: what was acknowledged before is there, revisions never
// fall below any that was shown, and every door lives with the jump.
func TestRestore(t *testing.T) {
	s := takeSnapshot(t)
	data := restore(t, s)
	p := start(t, data)
	for path, want := range s.before {
		if r := p.do("GET", "/v1/"+path, ""); r.status != http.StatusOK || r.body != want {
			t.Fatalf("%s was acknowledged as %q before the snapshot and is %d %q", path, want, r.status, r.body)
		}
	}
	var cluster string
	for _, l := range s.info.Ledgers {
		cluster = s.checkLedger(t, p, l.Namespace, l.Revision, l.Events)
	}
	if cluster == s.info.Cluster {
		t.Errorf("the cluster is still %s", cluster)
	}
	// A namespace that the snapshot does not know may have been used: its numbers do not begin anew either.
	p.do("PUT", "/v1/_system/namespaces/lost", "").want(t, http.StatusCreated)
	lost := uint64(p.do("PUT", "/v1/lost/kv/k", "again").want(t, http.StatusCreated)["revision"].(float64))
	if lost <= s.heads["lost"] || lost != jump+2 {
		t.Errorf("the namespace that was lost goes on at %d; the old cluster had shown %d", lost, s.heads["lost"])
	}
	if out, status := command(t, "log", "--server", "http://"+p.HTTP); status != 0 || !strings.Contains(out, "restore     namespace default") {
		t.Errorf("log: status %d: %s", status, out)
	}
	s.join(t, p)
	p.stop()
	if out, status := command(t, "verify", "--data", data); status != 0 {
		t.Fatalf("verify: status %d: %s", status, out)
	}
	p = start(t, data) // it goes on as any other, and is restored once
	for _, l := range s.info.Ledgers {
		s.checkLedger(t, p, l.Namespace, l.Revision, l.Events)
	}
	p.kill()
	again := filepath.Join(t.TempDir(), "again.snapshot")
	p = start(t, data)
	if out, status := command(t, "snapshot", "save", again, "--server", "http://"+p.HTTP); status != 0 {
		t.Errorf("a snapshot of a restored cluster: status %d: %s", status, out)
	}
}

// join has another server join the restored one: it has everything, to the Merkle root. Then it leaves again, so that
// the first has its quorum by itself.
func (s snapshotted) join(t *testing.T, p *process) {
	t.Helper()
	data := t.TempDir()
	b := start(t, data, "--name", "joined", "--join", "http://"+p.HTTP)
	for path, want := range s.before {
		if r := b.do("GET", "/v1/"+path, ""); r.status != http.StatusOK || r.body != want {
			t.Fatalf("the server that joined has %d %q for %s, want %q", r.status, r.body, path, want)
		}
	}
	for _, l := range s.info.Ledgers {
		s.checkLedger(t, b, l.Namespace, l.Revision, l.Events)
	}
	if out, status := command(t, "members", "remove", "joined", "--server", "http://"+p.HTTP); status != 0 {
		t.Errorf("remove: status %d: %s", status, out)
	}
	select {
	case err := <-b.exited:
		t.Logf("the server that was removed ended: %v", err)
	case <-time.After(patience):
		t.Fatal("a server that was removed runs on")
	}
	if out, status := command(t, "verify", "--data", data); status != 0 {
		t.Errorf("verify the server that joined: status %d: %s", status, out)
	}
}

// checkLedger looks at the jump of a ledger through every door, and gives the cluster that it belongs to now.
func (s snapshotted) checkLedger(t *testing.T, p *process, namespace string, from, events uint64) string {
	t.Helper()
	at := from + jump + 1
	replay := p.do("GET", fmt.Sprintf("/v1/%s/events?to=%d", namespace, at), "")
	lines := strings.Split(strings.TrimSuffix(replay.body, "\n"), "\n")
	var e struct {
		Type, Revision, Source string
		Data                   struct {
			Namespace, Cluster, Snapshot string
			FromCluster                  string `json:"from_cluster"`
			From                         uint64
			SkippedTo                    uint64 `json:"skipped_to"`
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
		t.Fatal(err)
	}
	if uint64(len(lines)) != events+1 || e.Type != "rollcall.namespace.restored" || e.Revision != fmt.Sprint(at) ||
		e.Data.From != from || e.Data.SkippedTo != at-1 || e.Data.Snapshot != s.info.SHA256 || e.Data.FromCluster != s.info.Cluster ||
		!strings.Contains(e.Source, e.Data.Cluster) {
		t.Errorf("%s: %d lines after %d events, the last: %s", namespace, len(lines), events, lines[len(lines)-1])
	}
	if at <= s.heads[namespace] {
		t.Errorf("%s goes on at %d; the old cluster had shown %d", namespace, at, s.heads[namespace])
	}
	if namespace == "_system" {
		return e.Data.Cluster
	}
	// In the middle of what is left out: the last state before it, by number, and everything after, by waiting.
	gap := from + jump/2
	r := p.do("GET", fmt.Sprintf("/v1/%s/kv/before/7?at=%d", namespace, gap), "")
	if r.status != http.StatusOK || r.header.Get("Rollcall-Revision") != fmt.Sprint(from) {
		t.Errorf("%s at %d: %d with %v", namespace, gap, r.status, r.header)
	}
	r = p.do("GET", fmt.Sprintf("/v1/%s/kv/before/7?min-revision=%d", namespace, gap), "")
	if shown, err := strconv.ParseUint(r.header.Get("Rollcall-Revision"), 10, 64); err != nil || shown < at {
		t.Errorf("%s from %d on: %d with %v", namespace, gap, r.status, r.header)
	}
	if r := p.do("GET", fmt.Sprintf("/v1/%s/events?to=%d", namespace, gap), ""); uint64(strings.Count(r.body, "\n")) != events {
		t.Errorf("%s: a replay to %d has %d events, want %d", namespace, gap, strings.Count(r.body, "\n"), events)
	}
	ids := streamOf(t, p, namespace, fmt.Sprint(gap), 1)
	if ids[0] != fmt.Sprint(at) {
		t.Errorf("%s: a stream behind %d begins at %v, want %d", namespace, gap, ids, at)
	}
	r = p.do("PUT", "/v1/"+namespace+"/kv/after", "x")
	next, err := strconv.ParseUint(r.header.Get("Rollcall-Revision"), 10, 64)
	if err != nil || next <= at {
		t.Errorf("%s: a write got %d with %v", namespace, r.status, r.header)
	}
	consumeFrom(t, p, namespace, at, next)
	return e.Data.Cluster
}

// consumeFrom reads a stream with a stock ordered consumer that asks for the beginning: it begins at first, and has no
// gap up to last.
func consumeFrom(t *testing.T, p *process, namespace string, first, last uint64) {
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
	consumer, err := js.OrderedConsumer(deadline(t), "rollcall_"+namespace, jetstream.OrderedConsumerConfig{
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
	for want := first; want <= last; want++ {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatalf("%s: waiting for revision %d of %d: %v", namespace, want, last, err)
		}
		if got := m.Headers().Get("Rollcall-Revision"); got != fmt.Sprint(want) {
			t.Fatalf("%s: got revision %s, want %d", namespace, got, want)
		}
	}
}

// TestRestoreKilled kills a restored server again and again before its first start is over. In the end every ledger
// was restored once.
func TestRestoreKilled(t *testing.T) {
	s := takeSnapshot(t)
	data := restore(t, s)
	for round := range 8 {
		p := launch(t, data)
		select {
		case err := <-p.exited:
			t.Fatalf("the server ended by itself: %v\n%s", err, p.output)
		case <-time.After(time.Duration(60*(round+1)) * time.Millisecond):
		}
		p.kill()
	}
	p := start(t, data)
	for _, l := range s.info.Ledgers {
		s.checkLedger(t, p, l.Namespace, l.Revision, l.Events)
	}
	p.stop()
	if out, status := command(t, "verify", "--data", data); status != 0 {
		t.Fatalf("verify: status %d: %s", status, out)
	}
}

// TestRestoreRefuses gives restore what it must not take: it leaves nothing behind.
func TestRestoreRefuses(t *testing.T) {
	s := takeSnapshot(t)
	whole, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": whole[:len(whole)/2], "without its end": whole[:len(whole)-1],
		"longer": append(bytes.Clone(whole), 0), "a flipped bit": flipped, "something else": []byte("rollcall snapshot 1\n"),
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(t.TempDir(), "data")
		if out, status := command(t, "snapshot", "restore", bad, "--data", data); status != 1 {
			t.Errorf("%s: status %d: %s", name, status, out)
		}
		if _, err := os.Stat(data); !os.IsNotExist(err) {
			t.Errorf("%s: it left %s: %v", name, data, err)
		}
	}
	data := restore(t, s)
	if out, status := command(t, "snapshot", "restore", s.file, "--data", data); status != 1 {
		t.Errorf("a folder that is in use: status %d: %s", status, out)
	}
	// A folder whose identity is missing is no new server's.
	if err := os.Remove(filepath.Join(data, "server.json")); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "serve", "--data", data, "--http", "127.0.0.1:0", "--raft", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--dns", "127.0.0.1:0"); status != 1 {
		t.Errorf("ledgers without an identity: status %d: %s", status, out)
	}
}
