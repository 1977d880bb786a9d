package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// targets are instances of a service, all of them paths of one HTTP server.
type targets struct {
	url string

	mu    sync.Mutex
	down  map[string]bool      // by instance
	next  map[string]string    // by instance: what it is in its next looks, "+" or "-", before that counts
	blind string               // the server for which everything fails
	asked map[string]time.Time // by instance: when it was last asked
	by    map[string]string    // and by which server
}

var checkerName = regexp.MustCompile(`^rollcall-check \((.*)\)$`)

func newTargets(t *testing.T) *targets {
	t.Helper()
	all := &targets{down: map[string]bool{}, next: map[string]string{}, asked: map[string]time.Time{}, by: map[string]string{}}
	s := httptest.NewServer(all)
	t.Cleanup(s.Close)
	all.url = s.URL
	return all
}

// ServeHTTP implements http.Handler.
func (x *targets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/")
	by := checkerName.FindStringSubmatch(r.UserAgent())[1]
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked[id], x.by[id] = time.Now(), by
	down := x.down[id]
	if next := x.next[id]; next != "" {
		down, x.next[id] = next[0] == '-', next[1:]
	}
	if down || x.blind == by {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = fmt.Fprintf(w, "asked at %s", time.Now())
}

func (x *targets) set(down bool, ids ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		x.down[id] = down
	}
}

func (x *targets) register(p *process, id, more string) {
	p.t.Helper()
	p.write("PUT", "/v1/default/services/web/instances/"+id, fmt.Sprintf(`{"address":"127.0.0.1","port":80,
		"checks":[{"id":"http","interval":"500ms","timeout":"30s","http":{"url":"%s/%s"}%s}]}`, x.url, id, more)).want(p.t, http.StatusCreated)
}

// registerAll registers n instances, and gives their ids when all pass.
func (x *targets) registerAll(p *process, n int) (ids []string) {
	p.t.Helper()
	for i := range n {
		ids = append(ids, fmt.Sprintf("w%d", i))
		x.register(p, ids[i], "")
	}
	p.awaitStatuses("passing", n)
	return ids
}

// awaitLooked awaits that every instance is asked again, by another server than one, and gives how long that took.
func (x *targets) awaitLooked(t *testing.T, without string, ids []string) time.Duration {
	t.Helper()
	began := time.Now()
	awaitThat(t, "looked at by others than "+without, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, id := range ids {
			if x.asked[id].Before(began) || x.by[id] == without {
				return false
			}
		}
		return true
	})
	return time.Since(began)
}

// share is what a server looks at, as the targets see it.
func (x *targets) share(server string) (ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, by := range x.by {
		if by == server {
			ids = append(ids, id)
		}
	}
	return ids
}

// statuses counts the instances by their status.
func (p *process) statuses() map[string]int {
	p.t.Helper()
	all := map[string]int{}
	r, err := p.try("GET", "/v1/default/services/web", "")
	if err != nil || r.status != http.StatusOK {
		return all
	}
	for _, i := range r.want(p.t, http.StatusOK)["instances"].([]any) {
		all[i.(map[string]any)["status"].(string)]++
	}
	return all
}

func (p *process) awaitStatuses(status string, n int) {
	p.t.Helper()
	awaitThat(p.t, fmt.Sprintf("%d %s", n, status), func() bool { return p.statuses()[status] == n })
}

// check gives the check of an instance, as a server shows it.
func (p *process) check(id string) map[string]any {
	p.t.Helper()
	i := p.read("/v1/default/services/web/instances/"+id).want(p.t, http.StatusOK)
	return i["checks"].([]any)[0].(map[string]any)
}

// changes counts the changes of status in the ledger.
func (p *process) changes() int {
	p.t.Helper()
	return strings.Count(p.read("/v1/default/events?subject=service.>").body, `"rollcall.service.status"`)
}

// metric gives a metric, which is named with its labels.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	for line := range strings.Lines(p.do("GET", "/metrics", "").body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return v
		}
	}
	p.t.Fatalf("there is no metric %s", name)
	return 0
}

// TestFlappingTarget has a target change its mind more often than its thresholds take it to be.
func TestFlappingTarget(t *testing.T) {
	p := start(t, t.TempDir())
	x := newTargets(t)
	x.register(p, "w", `,"success_threshold":2,"failure_threshold":3`)
	p.awaitStatuses("passing", 1)
	if n := p.changes(); n != 1 {
		t.Fatalf("%d changes", n)
	}
	x.mu.Lock()
	x.next["w"] = "-+--++--+--++" // twice down at most
	x.mu.Unlock()
	awaitThat(t, "the end of its flapping", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.next["w"] == ""
	})
	x.awaitLooked(t, "", []string{"w"}) // so that what came before was taken in
	if n := p.changes(); n != 1 {
		t.Errorf("%d changes while it flaps", n)
	}
	x.set(true, "w")
	p.awaitStatuses("critical", 1)
	x.set(false, "w")
	p.awaitStatuses("passing", 1)
	if n := p.changes(); n != 3 {
		t.Errorf("%d changes", n)
	}
}

// TestCheckerKilled kills the servers that look, the one that says who looks at what among them.
func TestCheckerKilled(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	x := newTargets(t)
	ids := x.registerAll(c.servers["a"], 24)
	for _, name := range []string{"a", "b", "c"} {
		awaitThat(t, name+" has a share", func() bool { return c.servers[name].metric("rollcall_checks") > 0 })
	}
	changes := c.servers["a"].changes()
	leader := c.servers["a"].leader("_system")
	other := map[string]string{"a": "b", "b": "c", "c": "a"}[leader]
	for _, victim := range []string{other, leader} {
		witness := map[string]string{"a": "b", "b": "c", "c": "a"}[victim]
		share := x.share(victim)
		c.servers[victim].kill()
		t.Logf("%s looked at %d targets, which were taken over after %s", victim, len(share), x.awaitLooked(t, victim, share))
		x.awaitLooked(t, victim, ids)
		x.set(true, share...)
		c.servers[witness].awaitStatuses("critical", len(share))
		x.set(false, share...)
		c.servers[witness].awaitStatuses("passing", len(ids))
		changes += 2 * len(share)
		c.start(victim)
		awaitThat(t, victim+" has a share again", func() bool { return c.servers[victim].metric("rollcall_checks") > 0 })
	}
	if n := c.servers["a"].changes(); n != changes {
		t.Errorf("%d changes, want %d", n, changes)
	}
}

// TestCheckerPaused has a server stand still while its targets change. When it goes on, what it knew is old, and it says
// nothing of it.
func TestCheckerPaused(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	x := newTargets(t)
	ids := x.registerAll(c.servers["a"], 24)
	leader := c.servers["a"].leader("_system")
	victim := map[string]string{"a": "b", "b": "c", "c": "a"}[leader]
	awaitThat(t, victim+" has a share", func() bool { return len(x.share(victim)) > 0 })
	share, changes := x.share(victim), c.servers[leader].changes()
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := c.servers[victim].cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	t.Logf("taken over after %s", x.awaitLooked(t, victim, share))
	x.set(true, share[0])
	c.servers[leader].awaitStatuses("critical", 1)
	signal(syscall.SIGCONT)
	awaitThat(t, victim+" looks again", func() bool { return len(x.share(victim)) > 0 && c.servers[victim].metric("rollcall_checks") > 0 })
	x.awaitLooked(t, "", ids)
	if n := c.servers[leader].changes(); n != changes+1 {
		t.Errorf("%d changes, want 1", n-changes)
	}
}

// TestObserverAtFault has everything fail for one server of three.
func TestObserverAtFault(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	x := newTargets(t)
	ids := x.registerAll(c.servers["a"], 24)
	awaitThat(t, "b has a share", func() bool { return len(x.share("b")) >= 3 })
	x.awaitLooked(t, "", ids)
	changes := c.servers["a"].changes()
	x.mu.Lock()
	x.blind = "b"
	x.mu.Unlock()
	var suspects, held bool // which both end when others look
	awaitThat(t, "b suspects itself, and a says so", func() bool {
		for _, id := range ids {
			suspects = suspects || c.servers["b"].metric("rollcall_checks_suspect") == 1
			if shown := c.servers["a"].check(id); shown["fault"] != nil && shown["status"] == "passing" && shown["server"] == "b" {
				held = true
			}
			if suspects && held {
				return true
			}
		}
		return false
	})
	for name, p := range c.servers { // each comes to know what the others saw, and that it counts
		for _, id := range ids {
			awaitThat(t, fmt.Sprintf("%s on %s seen by another one than b", id, name), func() bool {
				shown := p.check(id)
				output, _ := shown["output"].(string)
				return strings.HasPrefix(output, "HTTP/1.1 200 OK: asked at") && shown["fault"] == nil && shown["server"] != "b"
			})
		}
	}
	if n := c.servers["a"].changes(); n != changes {
		t.Errorf("%d changes by what only b saw", n-changes)
	}
}

// TestEverythingFails has one server see all of its targets fail: for a moment, which is not reported, and for good, which
// is, a little later.
func TestEverythingFails(t *testing.T) {
	p := start(t, t.TempDir())
	x := newTargets(t)
	ids := x.registerAll(p, 6)
	x.set(true, ids...)
	awaitThat(t, "all held", func() bool { return p.metric("rollcall_checks_held") == float64(len(ids)) })
	if fault, _ := p.check(ids[0])["fault"].(string); !strings.Contains(fault, "6 of 6 instances") {
		t.Errorf("fault %q", fault)
	}
	x.set(false, ids...)
	awaitThat(t, "none held", func() bool { return p.metric("rollcall_checks_held") == 0 })
	if n := p.changes(); n != len(ids) { // they became passing
		t.Errorf("%d changes", n-len(ids))
	}
	x.set(true, ids...)
	p.awaitStatuses("critical", len(ids))
}

// TestCommandChecks runs programs where that is allowed, and says so where it is not.
func TestCommandChecks(t *testing.T) {
	for _, c := range []struct {
		flags  []string
		status string
	}{{nil, "critical"}, {[]string{"--enable-command-checks"}, "passing"}} {
		p := start(t, t.TempDir(), c.flags...)
		p.do("PUT", "/v1/default/services/web/instances/w", `{"address":"127.0.0.1","checks":[
			{"id":"c","interval":"1s","timeout":"30s","command":{"args":["sh","-c","echo fine"]}}]}`).want(t, http.StatusCreated)
		awaitThat(t, "looked at", func() bool {
			return p.metric(`rollcall_check_looks_total{result="`+c.status+`"}`) > 0
		})
		p.awaitStatuses(c.status, 1)
		p.stop()
	}
}
