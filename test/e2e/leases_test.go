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
	const ttl = 3 * time.Second
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	alive := time.Now() // when the last request was made that was acknowledged: the whole TTL counts from later on
	session := a.do("POST", "/v1/default/sessions", `{"ttl":"3s","on_end":"delete"}`).want(t, http.StatusCreated)["id"].(string)
	a.do("PUT", "/v1/default/kv/held?session="+session, "v").want(t, http.StatusCreated)
	a.do("PUT", "/v1/default/services/web/instances/w1", fmt.Sprintf(`{"address":"10.0.0.7","port":80,"session":%q}`, session)).want(t, http.StatusCreated)
	a.do("PUT", "/v1/default/kv/tree/?ttl=3s", "").want(t, http.StatusCreated)
	a.do("PUT", "/v1/default/kv/tree/leaf", "v").want(t, http.StatusCreated)

	keepAlive := func(until time.Time) {
		t.Helper()
		for n := 0; time.Now().Before(until); n++ {
			for _, name := range []string{"a", "b", "c"} {
				call := time.Now()
				r, err := c.servers[name].try("PUT", "/v1/default/sessions/"+session+"/keepalive", "")
				switch {
				case err != nil || r.status == http.StatusServiceUnavailable || r.status == http.StatusGatewayTimeout:
				case r.status == http.StatusOK:
					alive = call
				default:
					t.Fatalf("%s after the last keepalive: %d %s", time.Since(alive), r.status, r.body)
				}
				if r, err := c.servers[name].try("PUT", "/v1/default/kv/tree/?refresh", ""); err == nil && r.status == http.StatusNotFound {
					t.Fatalf("the directory is gone: %s", r.body)
				}
			}
			<-time.After(100 * time.Millisecond) // between keepalives, as a client does
		}
	}
	keepAlive(time.Now().Add(ttl + time.Second))
	leader, _ := a.leads("default")
	c.servers[leader].kill()
	for name := range c.servers {
		if name != leader {
			a = c.servers[name]
		}
	}
	keepAlive(time.Now().Add(2 * ttl))
	expires, err := time.Parse(time.RFC3339Nano, a.do("GET", "/v1/default/sessions/"+session, "").want(t, http.StatusOK)["expires"].(string))
	if left := expires.Sub(alive); err != nil || left < ttl-time.Second || left > ttl+2*time.Second {
		t.Errorf("kept alive for %s it expires %s after that: %v", ttl, left, err)
	}
	awaitThat(t, "the session's end", func() bool {
		return a.do("GET", "/v1/default/sessions/"+session, "").status == http.StatusNotFound
	})
	awaitThat(t, "the directory's end", func() bool {
		return a.do("GET", "/v1/default/kv/tree/leaf", "").status == http.StatusNotFound
	})
	var ended []string
	commit := ""
	for line := range strings.Lines(a.do("GET", "/v1/default/events", "").body) {
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
			if late := e.Time.Sub(alive.Add(ttl)); late > 10*time.Second {
				t.Errorf("it ended %s late", late)
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
	if got := a.do("GET", "/v1/default/kv/held", ""); got.status != http.StatusNotFound {
		t.Errorf("what it held: %d %s", got.status, got.body)
	}
}
