package chaos

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is clients at work, and followers.
type load struct {
	cluster   *cluster
	record    *record
	followers *followers
	broken    bool // the servers are wrong on purpose
	stop      context.CancelFunc
	wg        sync.WaitGroup
}

// begin lets n clients loose on a cluster. Change may make them other than usual.
func begin(c *cluster, n int, chance int64, change func(*client)) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{cluster: c, record: newRecord(), stop: stop}
	l.followers = follow(c, l.record)
	keyed := takesKeys(c.servers[0])
	for i := range n {
		one := newClient(c, l.record, i, chance)
		one.keyed = keyed
		if change != nil {
			change(one)
		}
		l.wg.Go(func() { one.run(ctx) })
	}
	if keepsLeases(c.servers[0]) {
		for i := range holders {
			l.wg.Go(func() { newClient(c, l.record, n+i, chance).hold(ctx) })
		}
	}
	if registers(c.servers[0]) {
		for i := range beaters {
			l.wg.Go(func() { newClient(c, l.record, n+holders+i, chance).beat(ctx) })
		}
		l.wg.Go(func() { newClient(c, l.record, n+holders+beaters, chance).look(ctx) })
	}
	return l
}

// holders is how many clients keep sessions alive, besides those that read and write.
const holders = 3

// beaters is how many clients report on instances.
const beaters = 3

// keepsLeases tells whether a server has sessions.
func keepsLeases(s *server) bool {
	b, err := get(s, "/openapi.json")
	return err == nil && strings.Contains(string(b), "sessions.keepalive")
}

// noSessions tells whether every session has ended.
func (c *cluster) noSessions() bool {
	b, err := get(c.servers[0], "/v1/default/sessions")
	return err == nil && strings.Contains(string(b), `"sessions":[]`)
}

// takesKeys tells whether a server takes idempotency keys.
func takesKeys(s *server) bool {
	b, err := get(s, "/openapi.json")
	return err == nil && strings.Contains(string(b), "Idempotency-Key")
}

// end stops the clients, waits until the cluster is well, and judges.
func (l *load) end(t *testing.T) verdict {
	t.Helper()
	l.stop()
	l.wg.Wait()
	if err := l.cluster.awaitReady(); err != nil {
		t.Errorf("RecoversInTime: %v", err)
	}
	if keepsLeases(l.cluster.servers[0]) { // they end by themselves now, and the ledger is to stand still
		patience := time.Minute
		if l.broken {
			patience = 5 * time.Second // whose fold leaves out an end never comes to it
		}
		if err := eventually("no session left", patience, l.cluster.noSessions); err != nil && !l.broken {
			t.Error(err)
		}
		if err := eventually("no instance left", patience, l.cluster.noBeats); err != nil && !l.broken {
			t.Error(err)
		}
	}
	v := judge(l.cluster, l.record, l.followers)
	l.cluster.logf("%s", l.record.summary())
	return v
}
