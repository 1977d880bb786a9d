package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestRepeatsAcrossADeath has writers make new keys, each under an idempotency key, while the leader is killed. Whoever
// gets no answer, or an uncertain one, asks another server again: the answer is that the key was made, and it was made
// once. A repeat of all of it afterwards changes nothing.
func TestRepeatsAcrossADeath(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	leader := c.servers["a"].leader("default")
	names := []string{"a", "b", "c"}
	var made atomic.Int64
	var again atomic.Int64 // attempts behind the first
	var revisions sync.Map // by key
	create := func(key string, first int) (revision string) {
		for i := first; ; i++ {
			r, err := c.servers[names[i%len(names)]].try("PUT", "/v1/default/kv/"+key, key, "Idempotency-Key: "+key, "If-None-Match: *")
			switch {
			case err == nil && r.status == http.StatusCreated:
				return r.header.Get("Rollcall-Revision")
			case err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout:
				t.Errorf("create %s, attempt %d: %d %s", key, i-first+1, r.status, r.body)
				return ""
			}
			again.Add(1)
		}
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("%d/%d", w, i)
				revisions.Store(key, create(key, w))
				made.Add(1)
			}
		})
	}
	await := func(n int64) {
		t.Helper()
		awaitThat(t, fmt.Sprintf("%d keys", n), func() bool { return made.Load() >= n })
	}
	await(200)
	c.servers[leader].kill()
	await(made.Load() + 200)
	close(stop)
	wg.Wait()
	t.Logf("%d keys were made, %d attempts were made again", made.Load(), again.Load())
	c.start(leader)
	revisions.Range(func(key, revision any) bool {
		if got := create(key.(string), 1); got != revision {
			t.Errorf("%s was made at revision %s, and a repeat says %s", key, revision, got)
		}
		return true
	})
	replay := c.servers[leader].read("/v1/default/events?from=2")
	if events := int64(strings.Count(replay.body, "\n")); events != made.Load() {
		t.Errorf("%d events for %d keys", events, made.Load())
	}
	system := c.servers["a"].read("/v1/_system/events").body
	if n := strings.Count(system, `"type":"rollcall.cluster.version"`); n != 1 || strings.Contains(system, "rollcall.member.version") {
		t.Errorf("a new cluster comes to its version once, and knows what its founders know:\n%s", system)
	}
	for name, p := range c.servers {
		p.stop()
		if out, status := command(t, "verify", "--data", c.data[name]); status != 0 {
			t.Errorf("verify on %s: status %d: %s", name, status, out)
		}
	}
}
