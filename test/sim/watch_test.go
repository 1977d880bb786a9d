package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/test/check"
)

// watch looks at all servers now and then: where they end, and whether they have the same rows at the same revision.
func (c *cluster) watch(ctx context.Context) {
	for round := 0; wait(ctx, time.Second); round++ {
		c.current(ctx, c.servers[round%len(c.servers)])
		var lives []*life
		common := uint64(math.MaxUint64)
		for _, s := range c.servers {
			l := s.alive()
			if l == nil {
				continue
			}
			if revision, ok := c.sample(l, false); ok {
				lives, common = append(lives, l), min(common, revision)
			}
		}
		if round%3 == 0 {
			for _, l := range lives {
				c.digest(l, common)
			}
		}
	}
}

// current has one server make sure that it is current, and notes where it ends then.
func (c *cluster) current(ctx context.Context, s *host) {
	l := s.alive()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if l.log.Barrier(ctx, group) == nil {
		c.sample(l, true)
	}
}

// sample notes where a server ends, and after a barrier that it was current.
func (c *cluster) sample(l *life, current bool) (uint64, bool) {
	head, err := l.log.Head(group, ledger)
	if err != nil || l.dead.Load() {
		return 0, false
	}
	c.record.sample(check.Sample{Server: l.name(), Life: l.n, Current: current, Revision: uint64(head.Revision)})
	return uint64(head.Revision), true
}

// name is the server's, and the replica's number: a wiped server has no past.
func (l *life) name() string { return fmt.Sprintf("%s as replica %d", l.server.name, l.replica) }

// digest notes the hash of a server's rows as they were at a revision.
func (c *cluster) digest(l *life, at uint64) {
	choose := func(*store.DB, store.Ledger) (event.Revision, error) { return event.Revision(at), nil }
	sum := sha256.New()
	err := l.log.View(group, ledger, choose, func(rows store.Reader, _ event.Revision) error {
		for table := store.TableKV; table <= store.TableMembers; table++ {
			for key, row := range rows.Scan(table, nil, nil) {
				fmt.Fprintf(sum, "%d %q %q\n", table, key, row)
			}
		}
		return nil
	})
	if err == nil && !l.dead.Load() {
		c.record.digest(check.Digest{Server: l.name(), Of: "rows", Revision: at, Sum: fmt.Sprintf("%x", sum.Sum(nil))})
	}
}
