package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/test/address"
)

// cluster is a number of servers that know one another.
type cluster struct {
	t         *testing.T
	bootstrap string
	raft      map[string]string // by name
	data      map[string]string
	servers   map[string]*process
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, raft: map[string]string{}, data: map[string]string{}, servers: map[string]*process{}}
	var parts []string
	for _, name := range names {
		c.raft[name], c.data[name] = address.Free(t), filepath.Join(t.TempDir(), name)
		parts = append(parts, name+"="+c.raft[name])
	}
	c.bootstrap = strings.Join(parts, ",")
	c.start(names...)
	return c
}

// start starts servers at the same time and waits until all are ready.
func (c *cluster) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.servers[name] = launch(c.t, c.data[name], c.flags(name)...)
	}
	for _, name := range names {
		c.servers[name].awaitReady()
	}
}

func (c *cluster) flags(name string) []string {
	return []string{"--name", name, "--raft", c.raft[name], "--bootstrap", c.bootstrap, "--raft-tick", "20ms", "--request-timeout", "3s"}
}

// awaitThat awaits a condition.
func awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: not %s", patience, what)
		}
	}
}

// put writes until it is accepted. A 504 may have been accepted before, which a plain put does not mind.
func (p *process) put(key, value string) float64 {
	p.t.Helper()
	var revision float64
	awaitThat(p.t, "accepted: "+key, func() bool {
		r, err := p.try("PUT", "/v1/default/kv/"+key, value)
		if err == nil && (r.status == http.StatusCreated || r.status == http.StatusOK) {
			revision = r.want(p.t, r.status)["revision"].(float64)
			return true
		}
		if err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout {
			p.t.Fatalf("put %s: %d %s", key, r.status, r.body)
		}
		return false
	})
	return revision
}

// roles are the members as a server lists them: "a voter alive".
func (p *process) roles() map[string]string {
	p.t.Helper()
	all := map[string]string{}
	r, err := p.try("GET", "/v1/_system/members", "")
	if err != nil || r.status != http.StatusOK {
		return all
	}
	for _, m := range r.want(p.t, http.StatusOK)["members"].([]any) {
		m := m.(map[string]any)
		all[m["name"].(string)] = fmt.Sprintf("%v %v", m["role"], m["alive"])
	}
	return all
}

// leads tells which server leads the group of a namespace.
func (p *process) leads(namespace string) (leader string, voters int) {
	p.t.Helper()
	r, err := p.try("GET", "/v1/_system/groups", "")
	if err != nil || r.status != http.StatusOK {
		return "", 0
	}
	for _, g := range r.want(p.t, http.StatusOK)["groups"].([]any) {
		g := g.(map[string]any)
		for _, n := range g["namespaces"].([]any) {
			if n == namespace {
				return g["leader"].(string), len(g["members"].([]any))
			}
		}
	}
	return "", 0
}

// leader awaits that a server knows which one leads the group of a namespace, and gives that one.
func (p *process) leader(namespace string) (leader string) {
	p.t.Helper()
	awaitThat(p.t, "known who leads "+namespace, func() bool {
		leader, _ = p.leads(namespace)
		return leader != ""
	})
	return leader
}

// elsewhere tells whether an answer says that there was no leader in time, as on a machine that does other things too.
func elsewhere(r response) bool {
	return r.status == http.StatusServiceUnavailable || r.status == http.StatusGatewayTimeout
}

// read reads until somebody can be asked.
func (p *process) read(path string) (r response) {
	p.t.Helper()
	awaitThat(p.t, "read: "+path, func() bool {
		r = p.do("GET", path, "")
		return !elsewhere(r)
	})
	return r
}

var written atomic.Int64

// write makes a request until somebody can be asked. It has an idempotency key, so that what was done by an attempt whose
// outcome is not known is done once, and answered as it was then.
func (p *process) write(method, path, body string) (r response) {
	p.t.Helper()
	key := fmt.Sprint("Idempotency-Key: write-", written.Add(1))
	awaitThat(p.t, "written: "+path, func() bool {
		r = p.do(method, path, body, key)
		return !elsewhere(r)
	})
	return r
}

// TestAnyServerTakesAnyRequest writes on each server and reads on each, linearizably and at the write's revision.
func TestAnyServerTakesAnyRequest(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	for writer, w := range c.servers {
		revision := w.put("from/"+writer, writer)
		for reader, r := range c.servers {
			if got := r.read("/v1/default/kv/from/" + writer); got.status != http.StatusOK || got.body != writer {
				t.Errorf("written on %s, read on %s: %d %q", writer, reader, got.status, got.body)
			}
			path := fmt.Sprintf("/v1/default/kv/from/%s?consistency=stale&min-revision=%.0f", writer, revision)
			if got := r.read(path); got.body != writer || got.header.Get("Rollcall-Staleness") == "" {
				t.Errorf("written on %s, stale on %s at revision %.0f: %d %q, staleness %q", writer, reader, revision, got.status, got.body, got.header.Get("Rollcall-Staleness"))
			}
		}
	}
	c.servers["b"].write("PUT", "/v1/_system/namespaces/blue", "").want(t, http.StatusCreated)
	c.servers["c"].write("PUT", "/v1/blue/kv/x", "1").want(t, http.StatusCreated)
	c.servers["a"].write("PUT", "/v1/_system/namespaces/green", "").want(t, http.StatusCreated)
	if got := c.servers["b"].read("/v1/green/kv?prefix="); got.status != http.StatusOK {
		t.Errorf("a namespace made on a, read on b: %d %s", got.status, got.body)
	}
}

// TestLeaderKilledUnderWriters kills the leader with SIGKILL while writers write on the others. Nothing acknowledged is
// lost, and the server that comes back has all of it.
func TestLeaderKilledUnderWriters(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	leader := c.servers["a"].leader("default")
	var acknowledged sync.Map
	var count atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for name, p := range c.servers {
		if name == leader {
			continue
		}
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprintf("%s/%d/%d", name, w, i)
					r, err := p.try("PUT", "/v1/default/kv/"+key, key)
					switch {
					case err != nil:
						t.Errorf("put %s on a server that lives: %v", key, err)
						return
					case r.status/100 == 2:
						acknowledged.Store(key, true)
						count.Add(1)
					case r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout:
						t.Errorf("put %s: %d %s", key, r.status, r.body)
						return
					}
				}
			})
		}
	}
	await := func(n int64) {
		t.Helper()
		awaitThat(t, fmt.Sprintf("%d writes", n), func() bool { return count.Load() >= n })
	}
	await(200)
	c.servers[leader].kill()
	await(count.Load() + 200)
	c.start(leader)
	await(count.Load() + 200)
	close(stop)
	wg.Wait()
	for name, p := range c.servers {
		have := map[string]bool{}
		for after, more := "", true; more; {
			page := p.read("/v1/default/kv?prefix=&keys=true&after="+url.QueryEscape(after)).want(t, http.StatusOK)
			for _, e := range page["entries"].([]any) {
				have[e.(string)] = true
			}
			after, more = page["next"].(string)
		}
		acknowledged.Range(func(key, _ any) bool {
			if !have[key.(string)] {
				t.Errorf("%s was acknowledged and is not on %s", key, name)
			}
			return true
		})
	}
	roots := map[string]string{}
	for name, p := range c.servers {
		p.stop()
		out, status := command(t, "verify", "--data", c.data[name], "--json")
		if status != 0 {
			t.Errorf("verify on %s: status %d: %s", name, status, out)
		}
		roots[name] = out
	}
	if roots["a"] != roots["b"] || roots["b"] != roots["c"] {
		t.Errorf("the servers differ:\n%s%s%s", roots["a"], roots["b"], roots["c"])
	}
}

// TestWithoutQuorum leaves one of three servers alone: it refuses what needs the others, in time, and goes on with what
// does not, saying how old it is; the same after a restart.
func TestWithoutQuorum(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	doors := []string{"--http", address.Free(t), "--dns", address.Free(t)} // at which a is found again
	c.servers["a"].stop()
	c.servers["a"] = start(t, c.data["a"], append(c.flags("a"), doors...)...)
	a := c.servers["a"]
	a.write("PUT", "/v1/default/services/web/instances/w1", `{"address":"10.0.0.7","port":80}`).want(t, http.StatusCreated)
	revision := a.put("k", "v")
	c.servers["b"].kill()
	c.servers["c"].kill()
	alone := func() {
		t.Helper()
		began := time.Now()
		put := a.do("PUT", "/v1/default/kv/k", "w")
		if put.status != http.StatusServiceUnavailable && put.status != http.StatusGatewayTimeout {
			t.Errorf("a put without a quorum: %d %s", put.status, put.body)
		}
		if get := a.do("GET", "/v1/default/kv/k", ""); get.status != http.StatusServiceUnavailable {
			t.Errorf("a linearizable read without a quorum: %d %s", get.status, get.body)
		}
		if took := time.Since(began); took > time.Minute { // of 3 s each, and what a busy machine adds
			t.Errorf("two refusals took %s", took)
		}
		stale := a.do("GET", "/v1/default/kv/k?consistency=stale", "")
		if stale.body != "v" || stale.header.Get("Rollcall-Revision") != fmt.Sprintf("%.0f", revision) {
			t.Errorf("a stale read without a quorum: %d %q at %s", stale.status, stale.body, stale.header.Get("Rollcall-Revision"))
		}
		if age, err := strconv.Atoi(stale.header.Get("Rollcall-Staleness")); err != nil || age < 100 {
			t.Errorf("a stale read without a quorum says that it is %d ms old: %v", age, err)
		}
		if got, err := lookUp(a.DNS, "web.service.rollcall.internal."); err != nil || got != "10.0.0.7" {
			t.Errorf("DNS without a quorum: %q, %v", got, err)
		}
		if ready := a.do("GET", "/readyz", ""); ready.status != http.StatusServiceUnavailable {
			t.Errorf("it is ready without a quorum: %d", ready.status)
		}
	}
	awaitThat(t, "the leader gone", func() bool { return a.do("GET", "/readyz", "").status == http.StatusServiceUnavailable })
	alone()
	a.kill()
	c.servers["a"] = launch(t, c.data["a"], append(c.flags("a"), doors...)...)
	c.servers["a"].HTTP, c.servers["a"].DNS = a.HTTP, a.DNS
	a = c.servers["a"]
	awaitThat(t, "the doors open without a quorum", func() bool {
		r, err := a.try("GET", "/v1/default/kv/k?consistency=stale", "")
		return err == nil && r.status == http.StatusOK
	})
	alone()
	c.start("b")
	awaitThat(t, "ready again", func() bool { return a.do("GET", "/readyz", "").status == http.StatusOK })
	a.put("k", "z")
}

func lookUp(server, name string) (string, error) {
	question := new(miekg.Msg)
	question.SetQuestion(name, miekg.TypeA)
	reply, err := exchange(question, server)
	if err != nil || len(reply.Answer) == 0 {
		return "", err
	}
	return reply.Answer[0].(*miekg.A).A.String(), nil
}

// exchange asks a DNS server, which may take its time.
func exchange(question *miekg.Msg, server string) (*miekg.Msg, error) {
	reply, _, err := (&miekg.Client{Timeout: patience}).Exchange(question, server)
	return reply, err
}

// TestMembersComeAndGo has a server join, one be wiped and come back, one be removed, and a removal that would cost the
// quorum be refused.
func TestMembersComeAndGo(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	for i := range 20 {
		a.put(fmt.Sprintf("k%d", i), "v")
	}
	// d joins, without a vote until it is promoted.
	c.data["d"], c.raft["d"] = filepath.Join(t.TempDir(), "d"), address.Free(t)
	d := start(t, c.data["d"], "--name", "d", "--raft", c.raft["d"], "--join", "http://"+a.HTTP, "--non-voter", "--raft-tick", "20ms")
	if got := d.read("/v1/default/kv/k7"); got.body != "v" {
		t.Errorf("read on the server that joined: %d %q", got.status, got.body)
	}
	awaitThat(t, "d is seen as a non-voter", func() bool { return a.roles()["d"] == "non-voter true" })
	if out, status := command(t, "members", "promote", "d", "--server", "http://"+a.HTTP); status != 0 {
		t.Errorf("promote: %d %s", status, out)
	}
	awaitThat(t, "four voters", func() bool { _, voters := a.leads("default"); return voters == 4 })
	// c is wiped: it comes back as another replica.
	c.servers["c"].kill()
	if err := os.RemoveAll(c.data["c"]); err != nil {
		t.Fatal(err)
	}
	c.start("c")
	if got := c.servers["c"].read("/v1/default/kv/k7"); got.body != "v" {
		t.Errorf("read on the server that was wiped: %d %q", got.status, got.body)
	}
	awaitThat(t, "four voters again", func() bool { _, voters := a.leads("default"); return voters == 4 })
	log := a.read("/v1/_system/events?subject=member.c").body
	if strings.Count(log, "rollcall.member.add") != 2 || strings.Count(log, "rollcall.member.remove") != 1 || !strings.Contains(log, `"replica":5`) {
		t.Errorf("the ledger of the server that was wiped:\n%s", log)
	}
	// b is removed, and stops by itself.
	if out, status := command(t, "members", "remove", "b", "--server", "http://"+a.HTTP); status != 0 {
		t.Errorf("remove: %d %s", status, out)
	}
	select {
	case err := <-c.servers["b"].exited:
		if err == nil || !strings.Contains(c.servers["b"].output.String(), "was removed from its cluster") {
			t.Errorf("b ended with %v:\n%s", err, c.servers["b"].output)
		}
	case <-time.After(patience):
		t.Fatal("b goes on after it was removed")
	}
	awaitThat(t, "three voters", func() bool { _, voters := a.leads("default"); return voters == 3 })
	// Without d, a and c are left; c is dead: a alone would be no quorum.
	c.servers["c"].kill()
	awaitThat(t, "c is seen to be dead", func() bool { return a.roles()["c"] == "voter false" })
	var refused response
	awaitThat(t, "a removal decided", func() bool {
		refused = a.do("DELETE", "/v1/_system/members/d", "")
		return !elsewhere(refused)
	})
	if refused.status != http.StatusConflict || !strings.Contains(refused.body, "quorum-at-risk") {
		t.Errorf("a removal that costs the quorum: %d %s", refused.status, refused.body)
	}
	a.put("last", "v")
	// An empty folder under a name and address of the cluster, alone: it must not found a second one.
	if got := a.read("/v1/default/kv/last"); got.body != "v" {
		t.Errorf("%d %q", got.status, got.body)
	}
}

// TestRollingRestart stops and starts one server after the other while clients write, which retry on another server
// what was refused or broke off: none fails for long, and each server hands its groups over when it is asked to stop.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	var mu sync.Mutex
	current := maps.Clone(c.servers)
	names := []string{"a", "b", "c"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var writes, worst atomic.Int64
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				for attempt := 0; ; attempt++ {
					mu.Lock()
					p := current[names[(w+attempt)%3]]
					mu.Unlock()
					r, err := p.try("PUT", fmt.Sprintf("/v1/default/kv/%d/%d", w, i), "v")
					if err == nil && r.status/100 == 2 {
						break
					}
					if err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout {
						t.Errorf("put: %d %s", r.status, r.body)
						return
					}
					if time.Since(began) > time.Minute {
						t.Errorf("a put failed on every server for a minute; last: %v %v", r.status, err)
						return
					}
				}
				writes.Add(1)
				for took := int64(time.Since(began)); ; {
					old := worst.Load()
					if took <= old || worst.CompareAndSwap(old, took) {
						break
					}
				}
			}
		})
	}
	for _, name := range names {
		before := writes.Load()
		awaitThat(t, "writes go on", func() bool { return writes.Load() > before+50 })
		c.servers[name].stop()
		c.start(name)
		mu.Lock()
		current[name] = c.servers[name]
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	t.Logf("%d writes, the slowest %s with its retries", writes.Load(), time.Duration(worst.Load()).Round(time.Millisecond))
}
