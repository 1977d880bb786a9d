package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// Servers that applied the same entries hold the same bytes: that is what everything here rests on, and a mistake in a
// fold, a bad memory module or a disk could break it without anybody noticing. So each server takes the digest of every
// ledger once a second and asks every other server for its own at the same revision. Where a majority of those that
// vote agree with one another and not with this server, this server is the odd one: it stops answering (quarantine.go).
// Where there is no such majority nobody can tell who is right: it is said loudly, and everybody goes on.

const (
	compareEvery = time.Second
	// compareAgain is after how many rounds a ledger that did not change is compared again.
	compareAgain = 60
	// compareAtOnce bounds how many namespaces are compared at the same time.
	compareAtOnce = 8
)

// digestPeer is another server, as one that is asked for digests.
type digestPeer struct {
	name  string
	voter bool
	ask   func(ctx context.Context, namespace string, at event.Revision) (d machine.Digest, known bool, err error)
}

// said is what a server says that a namespace comes to, at the revision in question.
type said struct {
	name   string
	voter  bool
	known  bool // false: it could not be asked, or does not know
	digest machine.Digest
}

// verdict is what the digests of one namespace at one revision mean for this server.
type verdict int

const (
	unknown verdict = iota // nobody else could say
	equal                  // whoever could say has the same
	other                  // some differ, and this server agrees with a majority
	split                  // some differ, and no majority agrees with one another
	odd                    // a majority agrees with one another, and not with this server
)

// judge compares what this server has with what the others say, and names those that differ. All servers of the cluster
// are among the others, also those that could not be asked: they count for what a majority is.
func judge(own said, others []said) (v verdict, differ []string) {
	voters, votes := 0, map[machine.Digest]int{}
	asked := 0
	for _, s := range append([]said{own}, others...) {
		if s.voter {
			voters++
		}
		if !s.known {
			continue
		}
		asked++
		if s.voter {
			votes[s.digest]++
		}
		if s.digest != own.digest {
			differ = append(differ, s.name)
		}
	}
	slices.Sort(differ)
	majority := voters/2 + 1
	switch {
	case asked == 1:
		return unknown, nil
	case len(differ) == 0:
		return equal, nil
	case votes[own.digest] >= majority:
		return other, differ
	}
	for _, n := range votes { // of which one can have the majority, and it is not this server's
		if n >= majority {
			return odd, differ
		}
	}
	return split, differ
}

// comparer compares this server's digests with those of others.
type comparer struct {
	name       string
	voter      func() bool
	namespaces func() []string
	own        func(namespace string, at event.Revision) (machine.Digest, bool, error)
	peers      func() []digestPeer
	// diverged is told that this server is the odd one.
	diverged func(namespace string, own said, others []said)
	logger   *slog.Logger
	pause    func(context.Context, time.Duration) error

	mu    sync.Mutex
	state map[string]compared // by namespace
}

// compared is the last that came of comparing a namespace.
type compared struct {
	revision event.Revision // the last one that was found equal to somebody's
	by       string         // all of whom had the same then; empty where somebody did not
	rounds   int            // since then
	differs  bool           // somebody has something else
}

// run compares until ctx ends.
func (c *comparer) run(ctx context.Context) {
	for c.pause(ctx, compareEvery) == nil {
		c.round(ctx, c.peers())
	}
}

// round compares every namespace once.
func (c *comparer) round(ctx context.Context, peers []digestPeer) {
	if len(peers) == 0 {
		return
	}
	for some := range slices.Chunk(c.namespaces(), compareAtOnce) {
		var wg sync.WaitGroup
		for _, namespace := range some {
			wg.Go(func() { c.compare(ctx, namespace, peers) })
		}
		wg.Wait()
	}
}

func (c *comparer) compare(ctx context.Context, namespace string, peers []digestPeer) {
	digest, known, err := c.own(namespace, 0)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, log.ErrNoLedger) && !errors.Is(err, machine.ErrClosed) {
			c.logger.Error("cannot tell what a namespace comes to", "namespace", namespace, "error", err)
		}
		return
	}
	if !known || c.settled(namespace, digest.Revision, peers) {
		return
	}
	own := said{name: c.name, voter: c.voter(), known: true, digest: digest}
	others := make([]said, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			d, known, err := p.ask(ctx, namespace, digest.Revision)
			// Who cannot be reached is told elsewhere. An answer about another revision answers nothing.
			known = known && err == nil && d.Revision == digest.Revision
			others[i] = said{name: p.name, voter: p.voter, known: known, digest: d}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		c.note(namespace, own, others)
	}
}

// note says and remembers what came of comparing a namespace.
func (c *comparer) note(namespace string, own said, others []said) {
	v, differ := judge(own, others)
	c.mu.Lock()
	if c.state == nil {
		c.state = map[string]compared{}
	}
	last := c.state[namespace]
	switch v {
	case unknown:
	case equal:
		last = compared{revision: own.digest.Revision, by: nameList(others)}
	case other, split, odd:
		last.differs, last.by = true, ""
	}
	c.state[namespace] = last
	c.mu.Unlock()
	attributes := []any{"namespace", namespace, "revision", own.digest.Revision, "own", own.digest, "differ", strings.Join(differ, ",")}
	switch v {
	case other:
		c.logger.Error("another server's state differs from this one's and a majority's", attributes...)
	case split:
		c.logger.Error("servers' states differ, and no majority says which is right: run rollcall verify on copies of their data folders", attributes...)
	case odd:
		c.diverged(namespace, own, others)
	case unknown, equal:
	}
}

// settled tells whether everybody had the same at this revision already, a short while ago.
func (c *comparer) settled(namespace string, at event.Revision, peers []digestPeer) bool {
	var all []said
	for _, p := range peers {
		all = append(all, said{name: p.name, known: true})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.state[namespace]
	if !ok || last.revision != at || last.by != nameList(all) || last.rounds >= compareAgain {
		return false
	}
	last.rounds++
	c.state[namespace] = last
	return true
}

// results gives the last that came of comparing each namespace.
func (c *comparer) results() map[string]compared {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.state)
}

// nameList are those of who knows, in one order.
func nameList(of []said) string {
	var all []string
	for _, s := range of {
		if s.known {
			all = append(all, s.name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}
