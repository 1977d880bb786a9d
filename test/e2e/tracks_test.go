package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is what an event says, as far as it matters here.
type told struct {
	Type, Subject, Reason string
	Time                  time.Time
}

// spoken gives the events of a namespace that are of a type.
func spoken(t *testing.T, p *process, namespace, kind string) (all []told) {
	t.Helper()
	for line := range strings.Lines(p.read("/v1/" + namespace + "/events").body) {
		var e told
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == kind {
			all = append(all, e)
		}
	}
	return all
}

// TestTrackExpires makes a track from another namespace, renews it through any server while the one that keeps its time is
// killed, and then no longer. It must not end before its TTL has passed since the last renewal that was acknowledged, and
// then with everything in it, everywhere, also on the server that comes back.
func TestTrackExpires(t *testing.T) {
	whileFast(t, trackExpires)
}

func trackExpires(t *testing.T, ttl time.Duration) bool {
	t.Helper()
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	a.write("PUT", "/v1/default/kv/app/color", "green").want(t, http.StatusCreated)
	a.write("PUT", "/v1/default/kv/app/leased?ttl=1h", "x").want(t, http.StatusCreated)
	a.write("PUT", "/v1/default/services/web/instances/w1", `{"address":"10.0.0.7","port":80}`).want(t, http.StatusCreated)
	// It lives for long enough to look at all of it first.
	a.write("PUT", "/v1/_system/namespaces/blue", `{"from":"default","ttl":"1h"}`).want(t, http.StatusCreated)
	for name, p := range c.servers {
		if got := p.read("/v1/blue/kv/app/color"); got.status != http.StatusOK || got.body != "green" {
			t.Errorf("%s has of what it was made from: %d %s", name, got.status, got.body)
		}
		if got := p.read("/v1/blue/kv/app/leased"); got.status != http.StatusNotFound {
			t.Errorf("%s has what ends with a lease: %d %s", name, got.status, got.body)
		}
		if got := p.read("/v1/blue/services").want(t, http.StatusOK); len(got["services"].([]any)) > 0 {
			t.Errorf("%s has services of it: %v", name, got)
		}
	}
	a.write("PUT", "/v1/blue/services/web/instances/w2", `{"address":"10.0.0.8","port":80}`).want(t, http.StatusCreated)
	const inDNS = "web.service.blue.rollcall.internal."
	for name, p := range c.servers {
		awaitThat(t, "DNS of "+name, func() bool { got, err := lookUp(p.DNS, inDNS); return err == nil && got == "10.0.0.8" })
	}

	const blue = "/v1/_system/namespaces/blue"
	if detail := a.read(blue).want(t, http.StatusOK); detail["from"] != "default" {
		t.Errorf("it was made from %v", detail["from"])
	}
	leases := held{blue: time.Now()}
	short := fmt.Sprintf(`{"ttl":%q}`, ttl)
	if r := a.write("PUT", blue, short); r.status != http.StatusOK {
		t.Fatalf("a shorter TTL: %d %s", r.status, r.body)
	}
	renew := func(until time.Time) (fast bool) {
		t.Helper()
		for n := 0; time.Now().Before(until); n++ {
			for _, name := range []string{"a", "b", "c"} {
				path, body := blue, short
				if n%2 == 0 {
					path, body = path+"?refresh", ""
				}
				if !leases.renew(c.servers[name], blue, ttl, path, body) {
					return false
				}
			}
			<-time.After(100 * time.Millisecond) // between renewals, as a client does
		}
		return true
	}
	if !renew(time.Now().Add(ttl + time.Second)) {
		return false
	}
	leader := a.leader("blue")
	c.servers[leader].kill()
	for name := range c.servers {
		if name != leader {
			a = c.servers[name]
		}
	}
	if !renew(time.Now().Add(2*ttl)) || !a.expires(blue, leases[blue], ttl) {
		return false
	}
	awaitThat(t, "the track's end", func() bool { return a.do("GET", "/v1/blue/kv/app/color", "").status == http.StatusNotFound })
	if early := ttl - time.Since(leases[blue]); early > 0 {
		t.Errorf("it ended %s early", early)
	}
	awaitThat(t, "_system telling of it", func() bool { return len(spoken(t, a, "_system", "rollcall.namespace.delete")) > 0 })
	told := spoken(t, a, "_system", "rollcall.namespace.delete")
	if len(told) != 1 || told[0].Subject != "namespace.blue" || told[0].Reason != "nobody renewed it in time" {
		t.Errorf("_system tells %+v", told)
	}
	c.start(leader)
	for name, p := range c.servers {
		awaitThat(t, name+" without it", func() bool {
			got, err := lookUp(p.DNS, inDNS)
			return err == nil && got == "" && p.do("GET", "/v1/blue/services/web", "").status == http.StatusNotFound &&
				!strings.Contains(p.do("GET", "/v1/_system/namespaces", "").body, "blue")
		})
	}
	return true
}

// TestDeleteUnderWriters deletes a namespace while every server takes writes to it. Nothing that is asked for after the
// answer to that is acknowledged; the one that is made anew is empty, and its revisions are higher than any before.
func TestDeleteUnderWriters(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	for round := range 3 {
		awaitThat(t, "the namespace", func() bool {
			r := a.do("PUT", "/v1/_system/namespaces/blue", "")
			if r.status != http.StatusCreated && r.status != http.StatusConflict && !elsewhere(r) {
				t.Fatalf("%d %s", r.status, r.body)
			}
			return r.status == http.StatusCreated || r.status == http.StatusOK
		})
		var (
			writers sync.WaitGroup
			mu      sync.Mutex
			deleted time.Time // when that was acknowledged
			highest float64
			written int
		)
		for name, p := range c.servers {
			for w := range 4 {
				writers.Go(func() {
					for i := 0; ; i++ {
						asked := time.Now()
						r, err := p.try("PUT", fmt.Sprintf("/v1/blue/kv/%s/%d/%d", name, w, i), "v")
						mu.Lock()
						over := !deleted.IsZero() && asked.After(deleted)
						switch {
						case err != nil: // the test is over
							over = true
						case r.status == http.StatusCreated && over:
							t.Errorf("round %d: asked for %s after the deletion, it was acknowledged: %s", round, asked.Sub(deleted), r.body)
						case r.status == http.StatusCreated:
							var v struct{ Revision float64 }
							if err := json.Unmarshal([]byte(r.body), &v); err != nil {
								t.Error(err)
							}
							highest, written = max(highest, v.Revision), written+1
						case r.status != http.StatusNotFound && !elsewhere(r):
							t.Errorf("round %d: %d %s", round, r.status, r.body)
						}
						mu.Unlock()
						if over {
							return
						}
					}
				})
			}
		}
		awaitThat(t, "some writes", func() bool { mu.Lock(); defer mu.Unlock(); return written > 300 })
		by := c.servers[[]string{"a", "b", "c"}[round]]
		remove := func(reason string) {
			t.Helper()
			awaitThat(t, "the deletion", func() bool {
				r := by.do("DELETE", "/v1/_system/namespaces/blue", "", "Rollcall-Reason: "+reason, "Idempotency-Key: "+reason)
				if r.status != http.StatusOK && !elsewhere(r) {
					t.Fatalf("%s: %d %s", reason, r.status, r.body)
				}
				return r.status == http.StatusOK
			})
		}
		remove(fmt.Sprint("round ", round))
		mu.Lock()
		deleted = time.Now()
		mu.Unlock()
		for name, p := range c.servers {
			if r := p.read("/v1/blue/kv"); r.status != http.StatusNotFound {
				t.Errorf("round %d: %s still shows it: %d %s", round, name, r.status, r.body)
			}
			if r := p.read("/v1/_system/namespaces"); strings.Contains(r.body, "blue") {
				t.Errorf("round %d: %s still lists it: %s", round, name, r.body)
			}
		}
		writers.Wait()
		awaitThat(t, "the next one", func() bool {
			r := by.do("PUT", "/v1/_system/namespaces/blue", "")
			return r.status == http.StatusCreated || r.status == http.StatusOK
		})
		for name, p := range c.servers {
			r := p.read("/v1/blue/kv").want(t, http.StatusOK)
			if len(r["entries"].([]any)) > 0 || r["revision"].(float64) <= highest {
				t.Errorf("round %d: %s has %v; the highest revision was %v", round, name, r, highest)
			}
		}
		remove(fmt.Sprint("the next of round ", round))
	}
	if told := spoken(t, a, "_system", "rollcall.namespace.delete"); len(told) != 6 || told[0].Reason != "round 0" {
		t.Errorf("_system tells %+v", told)
	}
}
