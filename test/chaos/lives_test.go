package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/test/check"
)

// mortal is the namespace that is deleted and made again.
const mortal = "mortal"

// lives is a writer that makes a namespace, writes to it and deletes it, over and over, and those who follow it by its name,
// through all its lives.
type lives struct {
	*client
	followers *followers
	patience  time.Duration
	calm      atomic.Bool // nothing is wrong: everyone must hear of an end before the next life begins

	told    [][]uint64 // by life: the revisions of acknowledged writes
	written atomic.Int64
	ended   atomic.Int64 // lives whose end everyone has heard of, in a calm
	deaf    error        // not everyone has
}

func newLives(c *cluster, chance int64) *lives {
	ctx, stop := context.WithCancel(context.Background())
	l := &lives{client: newClient(c, newRecord(), 0, chance), followers: &followers{stop: stop, patience: time.Minute}, patience: time.Minute}
	l.calm.Store(true)
	add := func(name string, pick func() *server, filter string, do func(*follower, context.Context) error) {
		l.followers.add(ctx, &follower{name: mortal, pick: pick, got: check.Subscription{Name: name, Filter: filter, From: 1}}, do)
	}
	for _, s := range c.servers {
		one := func() *server { return s }
		add("stream of "+s.name, one, "", (*follower).stream)
		add("stream of keys of "+s.name, one, "kv.>", (*follower).stream)
		add("NATS of "+s.name, one, "", (*follower).plain)
		add("NATS of keys of "+s.name, one, "kv.>", (*follower).plain)
		add("JetStream of "+s.name, one, "", (*follower).jetstream)
	}
	add("library over http", nil, "", library(c, "http"))
	add("library over nats", nil, "", library(c, "nats"))
	return l
}

// run goes on with one life after the other until ctx ends, and leaves one that lives.
func (l *lives) run(ctx context.Context) {
	for l.deaf == nil {
		l.until("made", http.MethodPut, func(a reply) bool { return a.status/100 == 2 })
		l.write()
		if ctx.Err() != nil {
			return
		}
		calm := l.calm.Load()
		if calm {
			l.deaf = l.reached()
		}
		before := l.gone()
		l.until("deleted", http.MethodDelete, func(a reply) bool { return a.status/100 == 2 || a.code == "unknown-namespace" })
		if calm && l.calm.Load() && l.deaf == nil {
			l.deaf = l.heard(before)
			l.ended.Add(1)
		}
	}
}

// until asks one server after the other to make the namespace or to delete it, until that is so.
func (l *lives) until(what, method string, done func(reply) bool) {
	err := eventually(what, recovery, func() bool {
		a, err := l.ask(l.any(), request{method: method, path: "/v1/_system/namespaces/" + mortal})
		return err == nil && done(a)
	})
	if err != nil {
		l.cluster.t.Error(err)
	}
}

func (l *lives) any() *server { return l.cluster.servers[l.random.IntN(len(l.cluster.servers))] }

// write fills a life: with keys that the one before had too, and some of which go.
func (l *lives) write() {
	l.told = append(l.told, nil)
	for n := range 5 + l.random.IntN(15) {
		o := check.Operation{ID: fmt.Sprintf("life%d-%d", len(l.told), n)}
		w := check.Write{Key: fmt.Sprintf("k%d", n%7), Value: o.ID}
		q := request{method: http.MethodPut, body: w.Value, headers: map[string]string{"Rollcall-Reason": o.ID}}
		if n%5 == 4 {
			w.Delete, w.Value, q.method = true, "", http.MethodDelete
		}
		q.path = "/v1/" + mortal + "/kv/" + w.Key
		o.Writes = []check.Write{w}
		o.Call = l.record.now()
		a, err := l.ask(l.any(), q)
		var code string
		o.Outcome, code = outcome(a, err)
		o.Return = l.record.now()
		if o.Outcome == check.OK {
			o.Revision = a.revision
			l.told[len(l.told)-1] = append(l.told[len(l.told)-1], o.Revision)
			l.written.Add(1)
		}
		l.record.operation(o, "write "+code)
	}
}

// newest is the highest revision that was acknowledged in this life; zero where none was.
func (l *lives) newest() uint64 {
	if now := l.told[len(l.told)-1]; len(now) > 0 {
		return slices.Max(now)
	}
	return 0
}

// reached waits until everyone has what was written.
func (l *lives) reached() error {
	return l.all("reached what was written", func(f *follower) bool { return f.next() > l.newest() })
}

// gone counts how often each follower was told that there is no such namespace.
func (l *lives) gone() map[*follower]int {
	all := map[*follower]int{}
	for _, f := range l.followers.streams {
		f.mu.Lock()
		all[f] = f.counts.gone + len(f.got.Ends)
		f.mu.Unlock()
	}
	return all
}

// heard waits until everyone knows that the namespace has ended.
func (l *lives) heard(before map[*follower]int) error {
	return l.all("heard of the end", func(f *follower) bool { return l.gone()[f] > before[f] })
}

func (l *lives) all(what string, holds func(*follower) bool) error {
	err := eventually("that everyone has "+what, l.patience, func() bool {
		return !slices.ContainsFunc(l.followers.streams, func(f *follower) bool { return !holds(f) })
	})
	if err != nil {
		for _, f := range l.followers.streams {
			if !holds(f) {
				err = fmt.Errorf("%w: %s, at %d, has not", err, f.got.Name, f.next()-1)
			}
		}
	}
	return err
}

// judge holds what everyone got to the ledger, in which all lives are.
func (l *lives) judge(t *testing.T) verdict {
	t.Helper()
	entries, ledger, err := readLedger(l.cluster.servers[0], mortal)
	if err != nil || len(ledger) == 0 {
		t.Fatalf("a ledger of %d events: %v", len(ledger), err)
	}
	all := check.Lives(ledger)
	lived := slices.Concat(all...)
	got, err := l.followers.end(lived)
	v := verdict{"FollowersCatchUp": err, "EndsHeard": l.deaf}
	watches(v, got, lived, ledger[len(ledger)-1].Revision)
	v["PreviousRight"], v["CreationRight"] = nil, nil // of each life, for a key begins anew in it
	for n, life := range all {
		name := fmt.Sprintf("life %d", n+1)
		v["PreviousRight"] = errors.Join(v["PreviousRight"], named(name, check.PreviousRight(life)))
		v["CreationRight"] = errors.Join(v["CreationRight"], named(name, check.CreationRight(life)))
	}
	v["LivesWhole"] = check.LivesWhole(ledger)
	v["EndsTrue"] = check.EndsTrue(got, all)
	v["AcknowledgedInLife"] = check.AcknowledgedInLife(l.told, all)
	v["RevisionsContiguous"] = check.RevisionsContiguous(entries)
	for i := range entries { // what emptying removes, no client asked for
		if strings.HasPrefix(entries[i].ID, "the namespace") {
			entries[i].ID = ""
		}
	}
	v["NoAcknowledgedWriteLost"] = check.NoAcknowledgedWriteLost(l.record.history, entries)
	l.cluster.logf("%d lives, %d events, %d writes acknowledged, %d ends heard of by everyone", len(all), len(ledger), l.written.Load(), l.ended.Load())
	return v
}

// toldAtDoors counts by door how often a follower was told of an end over a connection that it had.
func toldAtDoors(f *followers) map[string]int {
	told := map[string]int{}
	for _, one := range f.streams {
		door, _, _ := strings.Cut(one.got.Name, " of ")
		told[door] += len(one.got.Ends)
	}
	return told
}

// TestNamespaceLives makes a namespace, deletes it and makes it again under the same name, while servers are killed, paused and cut
// off, and their followers with them. Who follows it at any door gets all of each life, hears of its end, and gets nothing of how it
// was emptied. When nothing is wrong, everyone hears of an end before the next life begins.
func TestNamespaceLives(t *testing.T) {
	if !*all {
		t.Skip("-all has namespaces come and go: see make chaos")
	}
	const chance = 1
	names := []string{"kill", "pause", "cut off", "clients held up"}
	c := newCluster(t, 3)
	c.relayed(0)
	l := newLives(c, chance)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	over := make(chan struct{})
	go func() { defer close(over); l.run(ctx) }()
	heard := func(n int64) {
		err := eventually("lives that end in a calm", 2*time.Minute, func() bool {
			select {
			case <-over:
				t.Fatal(l.deaf)
			default:
			}
			return l.ended.Load() >= n
		})
		if err != nil {
			t.Error(err)
		}
	}
	heard(2)
	l.calm.Store(false)
	trouble := newTrouble(c, chance)
	for _, m := range misfortunes() {
		for range count(names, m.name) {
			trouble.once(m)
		}
	}
	l.calm.Store(true)
	heard(l.ended.Load() + 1)
	stop()
	<-over
	for _, err := range trouble.errs {
		t.Error(err)
	}
	l.judge(t).report(t)
	told := toldAtDoors(l.followers)
	c.logf("told of ends: %v", told)
	for _, door := range []string{"stream", "NATS", "JetStream", "library over http", "library over nats"} {
		if told[door] == 0 {
			t.Errorf("nobody was told of an end at %s: that shows nothing", door)
		}
	}
}

func count(in []string, name string) (n int) {
	for _, s := range in {
		if s == name {
			n++
		}
	}
	return n
}

// TestEndsAreJudged has a server keep an end from everyone: who waits for it does so in vain, and the end is missing.
func TestEndsAreJudged(t *testing.T) {
	if !*all {
		t.Skip("-all has namespaces come and go: see make chaos")
	}
	c := newCluster(t, 1)
	c.relayed(0)
	l := newLives(c, 1)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	over := make(chan struct{})
	go func() { defer close(over); l.run(ctx) }()
	if err := eventually("a life that ends in a calm", time.Minute, func() bool { return l.ended.Load() > 0 }); err != nil {
		t.Error(err)
	}
	stop()
	<-over
	if l.deaf != nil {
		t.Fatal(l.deaf)
	}
	if err := c.servers[0].obey("broken " + fault.LoseEnd); err != nil {
		t.Fatal(err)
	}
	l.patience, l.followers.patience = 3*time.Second, 3*time.Second
	l.run(context.Background()) // until not everyone hears of an end
	if err := c.servers[0].obey(); err != nil {
		t.Fatal(err)
	}
	l.until("made", http.MethodPut, func(a reply) bool { return a.status/100 == 2 })
	l.write()
	v := l.judge(t)
	for _, checker := range []string{"EndsHeard", "SubscribersMissNothing"} {
		if v[checker] == nil {
			t.Errorf("%s did not notice that nobody was told of an end", checker)
		} else {
			t.Logf("%s noticed: %.300v", checker, v[checker])
		}
	}
}
