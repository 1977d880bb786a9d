package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/server"
	"github.com/rollcall/rollcall/test/check"
)

// plan is what a simulation is to do. The same seed makes the same choices; who gets to run first is the scheduler's, so
// two runs of a plan are alike and not equal.
type plan struct {
	seed            uint64
	servers         int
	clients         int
	harm            time.Duration // how long the phase with faults lasts
	calm            time.Duration // between two faults at most
	think           time.Duration // between two requests of a client, on average
	snapshotEntries uint64
	verbose         bool

	harms []harm // all of them where there are none

	// What a test breaks on purpose, to see that the checkers notice.
	broken         func(*host) machine.Domain // the domain of a server, instead of ours
	carelessReads  bool                       // linearizable reads ask nobody
	impatientReads bool                       // reads do not wait for the revision that they are to see
	boast          bool                       // what is not known is called a success
	amnesia        bool                       // a crash takes everything, and the server comes back as who it was
	gap            bool                       // whoever reads the ledger misses an event
	cutForGood     bool                       // the first server stays cut off
}

func (p plan) domain(h *host) machine.Domain {
	if p.broken != nil {
		return p.broken(h)
	}
	return server.Domain{}
}

func (p plan) random(who string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(who)) // a hash takes everything
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

// result is what a simulation came to.
type result struct {
	history []check.Operation
	ledger  []check.Entry
	samples []check.Sample
	digests []check.Digest
	faults  []error // of the servers, and of progress that was not made
	virtual time.Duration
	real    time.Duration
	counts  *counts
	network *network
	lives   int

	patience time.Duration // of the search for an order
}

// simulate carries out a plan, in a bubble of its own.
func simulate(t *testing.T, p plan) *result {
	t.Helper()
	began := time.Now()
	r := &result{}
	stuck := newWatchdog(t.Name())
	defer stuck.stop()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c, err := founded(p, newLogger(p.verbose), stuck)
		defer c.close()
		if err != nil {
			t.Fatal(err)
		}
		c.live()
		c.recover()
		r.ledger = c.finish()
		r.virtual = time.Since(began)
		r.history, r.samples, r.digests, r.faults = c.record.history, c.record.samples, c.record.digests, c.record.faults
		r.counts, r.network = &c.counts, c.network
		for _, s := range c.servers {
			r.lives += s.lives
		}
	})
	r.real = time.Since(began)
	return r
}

// live is the phase with faults: nothing is promised but safety.
func (c *cluster) live() {
	ctx, cancel := context.WithTimeout(context.Background(), c.plan.harm)
	defer cancel()
	var wg sync.WaitGroup
	for i := range c.plan.clients {
		wg.Go(func() { newClient(c, i+1).run(ctx) })
	}
	wg.Go(func() { c.watch(ctx) })
	wg.Go(func() { c.reconcile(ctx, c.plan.random("reconcile")) })
	f := &faults{cluster: c, random: c.plan.random("faults")}
	wg.Go(func() { f.run(ctx) })
	wg.Wait()
}

// How long a cluster may take, when all faults are over, until it has the members that it should have, and a server until
// it takes a write.
const (
	memberTime = 3 * time.Minute
	writeTime  = 30 * time.Second
)

// recover is the phase without faults: there must be progress on every server, in bounded time.
func (c *cluster) recover() {
	c.network.heal()
	if c.plan.cutForGood {
		c.network.isolate(c.servers[0].name, c.servers)
	}
	for _, s := range c.servers {
		s.control.Lock()
		s.disk.setSlow(0)
		s.up()
		s.control.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), memberTime)
	defer cancel()
	if !eventually(ctx, time.Second, func() bool { return c.settled(ctx) }) {
		c.fault(fmt.Errorf("%s after the last fault the membership is not what it should be: %s", memberTime, c.describe()))
	}
	writer := newClient(c, 0)
	for _, s := range c.servers {
		l := s.alive()
		if l == nil {
			c.fault(fmt.Errorf("%s does not run though nothing keeps it", s.name))
			continue
		}
		began := time.Now()
		for writer.write(l, writer.command()).Outcome > check.Refused {
			wait(context.Background(), tick)
			if time.Since(began) > writeTime {
				c.fault(fmt.Errorf("%s after the last fault %s takes no write", writeTime, s.name))
				break
			}
		}
		writer.readAs(l, check.Operation{})
	}
}

// finish waits until all servers have everything, stops them, and takes the ledger and the digests of all that they keep.
func (c *cluster) finish() (entries []check.Entry) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range c.servers {
		l := s.alive()
		if l == nil {
			continue
		}
		if err := l.log.Barrier(ctx, group); err != nil {
			c.fault(fmt.Errorf("%s does not become current: %w", s.name, err))
		}
		c.sample(l, true)
	}
	c.close()
	all := make([][]check.Entry, len(c.servers))
	for i, s := range c.servers {
		var err error
		if all[i], err = s.examine(); err != nil {
			c.fault(fmt.Errorf("examine %s: %w", s.name, err))
		}
		if len(all[i]) > len(entries) {
			entries = all[i]
		}
	}
	// An entry whose proposer has given up may be committed while the servers stop: then some have it and some do not.
	for i, s := range c.servers {
		for j, e := range all[i] {
			if e != entries[j] {
				c.record.digest(check.Digest{Server: s.name, Of: "event", Revision: e.Revision, Sum: fmt.Sprint(e)})
				c.record.digest(check.Digest{Server: "the others", Of: "event", Revision: e.Revision, Sum: fmt.Sprint(entries[j])})
			}
		}
	}
	if c.plan.gap && len(entries) > 1 {
		entries = slices.Delete(entries, len(entries)/2, len(entries)/2+1)
	}
	return entries
}

// examine looks at what a stopped server keeps: the rows are what the events fold into, and the bytes are noted, to be
// compared with the other servers'.
func (s *host) examine() (entries []check.Entry, err error) {
	config := machine.Config{
		Dir: folder + "/groups/1", Marker: folder + "/raft/synced-1", Existing: true,
		Store: store.Options{FS: s.disk.state}, Domain: server.Domain{},
	}
	if _, err := machine.Verify(context.Background(), config, ""); err != nil {
		s.cluster.fault(fmt.Errorf("%s: %w: %w", s.name, errNotTheFold, err))
	}
	m, err := machine.New(config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var b bytes.Buffer
	snapshot, err := m.PrepareSnapshot()
	if err != nil {
		return nil, err
	}
	if err := m.SaveSnapshot(snapshot, &b, nil); err != nil {
		return nil, err
	}
	l, _ := m.Ledger(ledger)
	s.cluster.record.digest(check.Digest{
		Server: s.name, Of: fmt.Sprintf("whole state after entry %d", m.Applied()),
		Revision: uint64(l.Head.Revision), Sum: fmt.Sprintf("%x", sha256.Sum256(b.Bytes())),
	})
	err = m.Read(func(db *store.DB) error {
		for next := event.Revision(1); next <= l.Head.Revision; {
			events, err := db.Events(l.ID, next, l.Head.Revision, store.Chunk{Events: 1000, Bytes: 1 << 30})
			if err != nil {
				return err
			}
			for _, e := range events {
				entries = append(entries, entry(e))
				next = e.Revision + 1
			}
		}
		return nil
	})
	return entries, err
}

// errNotTheFold is why a server's rows, hashes or events are not what they should be.
var errNotTheFold = errors.New("the state is not the fold of its ledger")

func entry(e event.Event) check.Entry {
	out := check.Entry{Revision: uint64(e.Revision), Commit: uint64(e.Commit), ID: e.Reason}
	switch b := e.Body.(type) {
	case event.KeySet:
		out.Write = check.Write{Key: b.Key, Value: string(b.Value)}
	case event.KeyDeleted:
		out.Write = check.Write{Key: b.Key, Delete: true}
	}
	return out
}
