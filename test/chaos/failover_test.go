package chaos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFailover measures how long it takes from the end of a leader to the next accepted write of a client that tries one
// server after the other. -failovers says how often.
func TestFailover(t *testing.T) {
	if *rounds == 0 {
		t.Skip("-failovers N measures")
	}
	c := newCluster(t, 3)
	for _, end := range []struct {
		name string
		do   func(leader *server) (heal func())
	}{
		{"SIGKILL", func(s *server) func() { s.kill(); return func() { s.start() } }},
		{"SIGSTOP", func(s *server) func() {
			s.signal(syscall.SIGSTOP)
			return func() { s.signal(syscall.SIGCONT) }
		}},
		{"cut off", newTrouble(c, 1).cutOff},
	} {
		var took []time.Duration
		for i := range *rounds {
			took = append(took, failover(t, c, end.do, fmt.Sprintf("failover/%d", i)))
		}
		slices.Sort(took)
		t.Logf("%s of the leader, %d times: next accepted write after %s at best, %s in the median, %s at worst",
			end.name, len(took), took[0], took[len(took)/2], took[len(took)-1])
	}
}

// failover ends the leader and gives the time until the next write is accepted.
func failover(t *testing.T, c *cluster, end func(*server) func(), key string) time.Duration {
	t.Helper()
	if err := c.awaitReady(); err != nil {
		t.Fatal(err)
	}
	var leader *server
	err := eventually("a leader, and a write accepted", recovery, func() bool {
		leader = c.leader(c.servers[0])
		return leader != nil && put(c.servers[0], key+"/before", time.Second)
	})
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(c.servers), func(s *server) bool { return s == leader })
	heal := end(leader)
	began := time.Now()
	// A client does not know who lives, so it asks the dead one first. It leaves who hangs for the next one.
	const patience = 300 * time.Millisecond
	for i := 0; ; i++ {
		s := leader
		if i%3 != 0 {
			s = others[i%3-1]
		}
		if put(s, fmt.Sprintf("%s/after/%d", key, i), patience) {
			break
		}
	}
	took := time.Since(began).Round(time.Millisecond)
	heal()
	return took
}

// put tells whether a write was accepted in time.
func put(s *server, key string, within time.Duration) bool {
	r, err := http.NewRequest(http.MethodPut, "http://"+s.http+"/v1/default/kv/"+key, strings.NewReader("v"))
	if err != nil {
		return false
	}
	answer, err := (&http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode/100 == 2
}
