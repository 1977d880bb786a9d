package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestLeasesOutliveTheirTimekeeper keeps a session alive through any server while the one that keeps the time is killed.
// It must not end before its TTL has passed since the last keepalive that was acknowledged; then it ends, with what it
// holds, in one commit, and DNS shows it.
func TestLeasesOutliveTheirTimekeeper(t *testing.T) {
	whileFast(t, leasesOutlive)
}

// whileFast has a test of leases begin again with twice the TTL where the machine stood still for a whole one: then they end
// rightly, which shows nothing. The test says whether that was so.
func whileFast(t *testing.T, test func(t *testing.T, ttl time.Duration) (fast bool)) {
	t.Helper()
	for ttl := 3 * time.Second; ; ttl *= 2 {
		fast := false
		t.Run(ttl.String(), func(t *testing.T) { fast = test(t, ttl) })
		switch {
		case fast || t.Failed():
			return
		case ttl > time.Minute:
			t.Fatalf("nothing could be renewed within %s", ttl)
		}
	}
}

// held are leases: when the last request was made that was acknowledged. The whole TTL counts from later on.
type held map[string]time.Time

// renew makes a request and notes that it was acknowledged, if so. It tells whether the lease is there, which it must be before
// its TTL has passed.
func (h held) renew(p *process, lease string, ttl time.Duration, path, body string) bool {
	p.t.Helper()
	call := time.Now()
	switch r, err := p.try("PUT", path, body); {
	case err != nil || elsewhere(r):
	case r.status == http.StatusOK:
		h[lease] = call
	case time.Since(h[lease]) < ttl:
		p.t.Fatalf("%s after the last renewal: %d %s", time.Since(h[lease]), r.status, r.body)
	default:
		return false
	}
	return true
}

// expires checks when a lease ends, as a server shows it, which was renewed last at a time; false where the machine stood still
// meanwhile.
func (p *process) expires(path string, renewed time.Time, ttl time.Duration) (fast bool) {
	p.t.Helper()
	var shown string
	var began time.Time
	awaitThat(p.t, "shown when it ends", func() bool {
		began = time.Now()
		r := p.read(path)
		if fast = time.Since(renewed) < ttl; !fast {
			return true
		}
		shown, _ = r.want(p.t, http.StatusOK)["expires"].(string) // left out while nobody can be asked who keeps the time
		return shown != ""
	})
	if !fast {
		return false
	}
	at, err := time.Parse(time.RFC3339Nano, shown)
	if err != nil || at.Sub(renewed) < ttl-time.Second || time.Until(at) > ttl {
		p.t.Errorf("%s, renewed %s before for %s, expires at %s: %v", path, began.Sub(renewed), ttl, shown, err)
	}
	return true
}

func leasesOutlive(t *testing.T, ttl time.Duration) bool {
	t.Helper()
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	leases := held{}
	began := time.Now()
	session := a.write("POST", "/v1/default/sessions", fmt.Sprintf(`{"ttl":%q,"on_end":"delete"}`, ttl)).want(t, http.StatusCreated)["id"].(string)
	lives := "/v1/default/sessions/" + session + "/keepalive"
	const refresh = "/v1/default/kv/tree/?refresh"
	leases[lives], leases[refresh] = began, began
	for _, made := range [][2]string{
		{"/v1/default/kv/held?session=" + session, "v"},
		{"/v1/default/services/web/instances/w1", fmt.Sprintf(`{"address":"10.0.0.7","port":80,"session":%q}`, session)},
		{"/v1/default/kv/tree/?ttl=" + ttl.String(), ""},
		{"/v1/default/kv/tree/leaf", "v"},
	} {
		r := a.write("PUT", made[0], made[1])
		if time.Since(began) >= ttl {
			return false
		}
		r.want(t, http.StatusCreated)
	}

	keepAlive := func(until time.Time) (fast bool) {
		t.Helper()
		for time.Now().Before(until) {
			for _, name := range []string{"a", "b", "c"} {
				for lease := range leases {
					if !leases.renew(c.servers[name], lease, ttl, lease, "") {
						return false
					}
				}
			}
			<-time.After(100 * time.Millisecond) // between keepalives, as a client does
		}
		return true
	}
	if !keepAlive(time.Now().Add(ttl + time.Second)) {
		return false
	}
	leader := a.leader("default")
	c.servers[leader].kill()
	for name := range c.servers {
		if name != leader {
			a = c.servers[name]
		}
	}
	if !keepAlive(time.Now().Add(2*ttl)) || !a.expires("/v1/default/sessions/"+session, leases[lives], ttl) {
		return false
	}
	alive := leases[lives]
	awaitThat(t, "the session's end", func() bool {
		return a.do("GET", "/v1/default/sessions/"+session, "").status == http.StatusNotFound
	})
	awaitThat(t, "the directory's end", func() bool {
		return a.do("GET", "/v1/default/kv/tree/leaf", "").status == http.StatusNotFound
	})
	var ended []string
	commit := ""
	for line := range strings.Lines(a.read("/v1/default/events").body) {
		var e struct {
			Type, Subject, Commit string
			Time                  time.Time
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "rollcall.session.expire" {
			commit = e.Commit
			if early := alive.Add(ttl).Sub(e.Time); early > 0 {
				t.Errorf("it ended %s early", early)
			}
		}
		if e.Commit == commit {
			ended = append(ended, e.Type+" "+e.Subject)
		}
	}
	want := "[rollcall.session.expire session." + session + " rollcall.kv.expire kv.held rollcall.service.expire service.web.w1]"
	if got := fmt.Sprint(ended); !strings.HasPrefix(got, want[:len(want)-1]) {
		t.Errorf("its end was %s, want %s", got, want)
	}
	awaitThat(t, "gone from DNS", func() bool {
		got, err := lookUp(a.DNS, "web.service.rollcall.internal.")
		return err == nil && got == ""
	})
	if got := a.read("/v1/default/kv/held"); got.status != http.StatusNotFound {
		t.Errorf("what it held: %d %s", got.status, got.body)
	}
	return true
}
