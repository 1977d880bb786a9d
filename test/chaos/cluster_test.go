package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// cluster is a number of servers that know one another.
type cluster struct {
	t       *testing.T
	servers []*server
	began   time.Time
}

// newCluster starts n servers with directives for all of them, and waits until they are ready.
func newCluster(t *testing.T, n int, directives ...string) *cluster {
	t.Helper()
	folder, err := os.MkdirTemp("", "rc") //nolint:usetesting // a socket has a path that must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	c := &cluster{t: t, began: time.Now()}
	var founders []string
	for i := range n {
		s := newServer(t, string(rune('a'+i)), folder)
		c.servers = append(c.servers, s)
		founders = append(founders, s.name+"="+s.raft)
	}
	for _, s := range c.servers {
		if n > 1 {
			s.flags = []string{"--bootstrap", strings.Join(founders, ",")}
			if s == c.servers[1] { // who is away for longer than this has to ask the ledger
				s.flags = append(s.flags, "--window-age", "1s")
			}
		}
		s.start(directives...)
	}
	if err := c.awaitReady(); err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually awaits a condition.
func eventually(what string, within time.Duration, holds func() bool) error {
	for deadline := time.Now().Add(within); !holds(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: not %s", within, what)
		}
	}
	return nil
}

// recovery is how long a cluster may take until all servers are ready, after the last fault was healed.
const recovery = 60 * time.Second

// awaitReady returns when every server is ready. One that has ended by itself is an error.
func (c *cluster) awaitReady() error {
	var ended []string
	err := eventually("every server ready", recovery, func() bool {
		ended = nil
		for _, s := range c.servers {
			if s.ended() {
				ended = append(ended, s.name)
			}
		}
		return len(ended) > 0 || !slices.ContainsFunc(c.servers, func(s *server) bool { return !s.ready() })
	})
	if len(ended) > 0 {
		return fmt.Errorf("servers %v ended by themselves", ended)
	}
	return err
}

// whole tells whether every server votes in every group: one that was wiped comes back as another replica, which has no vote
// until it has caught up, and to lose a second server before that is to lose the quorum.
func (c *cluster) whole() bool {
	var all struct {
		Groups []group `json:"groups"`
	}
	err := getJSON(c.servers[0], "/v1/_system/groups", &all)
	for _, g := range all.Groups {
		if len(g.Members) != len(c.servers) {
			return false
		}
	}
	return err == nil && len(all.Groups) > 0
}

// logf says what is done to the cluster, and when.
func (c *cluster) logf(format string, args ...any) {
	c.t.Logf("%7.2fs %s", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// group is what a server says of one group.
type group struct {
	Leader     string   `json:"leader"`
	Members    []string `json:"members"`
	Namespaces []string `json:"namespaces"`
}

// leader is the server that leads the group of the namespace "default", as one server sees it; nil where it knows none.
func (c *cluster) leader(by *server) *server {
	var all struct {
		Groups []group `json:"groups"`
	}
	if err := getJSON(by, "/v1/_system/groups", &all); err != nil {
		return nil
	}
	for _, g := range all.Groups {
		if slices.Contains(g.Namespaces, "default") {
			for _, s := range c.servers {
				if s.name == g.Leader {
					return s
				}
			}
		}
	}
	return nil
}

// getJSON asks a server once.
func getJSON(s *server, path string, to any) error {
	b, err := get(s, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

func get(s *server, path string) ([]byte, error) {
	answer, err := (&http.Client{Timeout: 30 * time.Second}).Get("http://" + s.http + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s from %s: %s: %s", path, s.name, answer.Status, b)
	}
	return b, err
}
