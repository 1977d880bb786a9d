package chaos

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched are targets that know who looks at them.
type watched struct {
	t *testing.T

	mu   sync.Mutex
	now  map[string]string // by target: who looks at it at this moment
	last map[string]string // and who did last
	at   map[string]time.Time
	by   map[string]time.Time // by server: when it looked last
}

// ServeHTTP implements http.Handler.
func (x *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, by := r.URL.Path[1:], r.UserAgent()
	x.mu.Lock()
	if other := x.now[id]; other != "" && other != by {
		x.t.Errorf("%s looks at %s, while %s does", by, id, other)
	}
	x.now[id], x.last[id], x.at[id], x.by[by] = by, by, time.Now(), time.Now()
	x.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	<-time.After(20 * time.Millisecond) // so that two looks meet
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.now, id)
}

// taken tells whether every target was looked at since an instant, by others than one server.
func (x *watched) taken(n int, since time.Time, without string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range n {
		if id := fmt.Sprintf("w%d", i); x.at[id].Before(since) || x.last[id] == without {
			return false
		}
	}
	return true
}

func (x *watched) looked(server string) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.by[server]
}

// TestCheckersCutOff cuts one server after the other off from the rest, while all of them reach the targets: each target is
// looked at by one server at a time, and by another one soon after its own was cut off.
func TestCheckersCutOff(t *testing.T) {
	const n = 24
	c := newCluster(t, 3)
	if err := c.awaitReady(); err != nil {
		t.Fatal(err)
	}
	x := &watched{t: t, now: map[string]string{}, last: map[string]string{}, at: map[string]time.Time{}, by: map[string]time.Time{}}
	target := httptest.NewServer(x)
	defer target.Close()
	for i := range n {
		body := fmt.Sprintf(`{"address":"127.0.0.1","checks":[{"id":"c","interval":"200ms","timeout":"1s","http":{"url":"%s/w%d"}}]}`, target.URL, i)
		err := eventually("registered", recovery, func() bool {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("http://%s/v1/default/services/web/instances/w%d", c.servers[0].http, i), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				return false
			}
			_ = answer.Body.Close()
			return answer.StatusCode/100 == 2
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cut := newTrouble(c, 1).cutOff
	for _, s := range c.servers {
		name := "rollcall-check (" + s.name + ")"
		began := time.Now()
		if err := eventually(s.name+" has a share", recovery, func() bool { return x.looked(name).After(began) }); err != nil {
			t.Fatal(err)
		}
		heal := cut(s)
		began = time.Now()
		err := eventually("its targets are with others", recovery, func() bool { return x.taken(n, began, name) })
		t.Logf("%s was cut off: it looked on for %s, and others looked at all after %s", s.name, x.looked(name).Sub(began).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if lease := 3 * time.Second; x.looked(name).Sub(began) > lease+500*time.Millisecond {
			t.Errorf("%s looked for longer than its lease", s.name)
		}
		heal()
		if err != nil {
			t.Fatal(err)
		}
	}
}
