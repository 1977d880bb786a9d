package chaos

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/test/check"
)

// holdClients has nothing pass between a server and those who follow it, sometimes for longer than they bear with.
func (t *trouble) holdClients(s *server) func() {
	return t.hold(s, weather{holdUp: true, holdDown: true})
}

// holdClientsOneWay has a server not hear its followers, or them not hear it.
func (t *trouble) holdClientsOneWay(s *server) func() {
	deaf := t.random.IntN(2) == 0
	return t.hold(s, weather{holdUp: deaf, holdDown: !deaf})
}

// hold has relays keep what they are given. Afterwards they pass it on, or have forgotten the connections.
func (t *trouble) hold(s *server, w weather) func() {
	hit := t.relays(s)
	for _, one := range hit {
		one.doors.set(w)
	}
	t.wait(100, 4000)
	lost := t.random.IntN(2) == 0
	return func() {
		for _, one := range hit {
			if lost {
				one.doors.forget()
			}
			one.doors.set(weather{})
		}
	}
}

// resetClients ends the connections of those who follow a server, and lets nobody connect.
func (t *trouble) resetClients(s *server) func() { return t.change(s, weather{refuse: true}) }

// slowClients has a few bytes pass at a time.
func (t *trouble) slowClients(s *server) func() { return t.change(s, weather{slow: true}) }

func (t *trouble) change(s *server, w weather) func() {
	hit := t.relays(s)
	for _, one := range hit {
		one.doors.set(w)
	}
	return func() {
		for _, one := range hit {
			one.doors.set(weather{})
		}
	}
}

// relays are whose relays are hit: those of one server, and now and then of all.
func (t *trouble) relays(s *server) []*server {
	if t.random.IntN(3) == 0 {
		return t.servers
	}
	return []*server{s}
}

// bearWith is how long followers bear with a connection that brings nothing, where a test waits for that. A stock client's own
// keepalive takes longer: two minutes and more of nats.go, and none of an EventSource. Whoever must notice sooner sets it, as
// docs/recipes.md does; the servers' bookmarks come every 500 ms here.
const bearWith = time.Second

// beginCut lets two clients loose on a cluster, which followers reach through relays alone.
func beginCut(c *cluster, add func(ctx context.Context, all *followers)) *load {
	ctx, stop := context.WithCancel(context.Background())
	following, still := context.WithCancel(context.Background())
	c.relayed(bearWith)
	l := &load{cluster: c, record: newRecord(), followers: &followers{stop: still, patience: 3 * time.Minute}, stop: stop}
	add(following, l.followers)
	for i := range 2 {
		l.wg.Go(func() { newClient(c, l.record, i, 1).run(ctx) })
	}
	return l
}

// await fails a test where something does not come to be.
func (l *load) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if err := eventually(what, 3*time.Minute, holds); err != nil {
		for _, f := range l.followers.streams {
			t.Logf("%s is at %d", f.got.Name, f.next()-1)
		}
		t.Fatal(err)
	}
}

// newest is the highest revision that a client was told.
func (l *load) newest() (revision uint64) {
	l.record.mu.Lock()
	defer l.record.mu.Unlock()
	for _, o := range l.record.history {
		if o.IsWrite() && o.Outcome == check.OK {
			revision = max(revision, o.Revision)
		}
	}
	return revision
}

// catchUp waits until more was written, and some followers have it.
func (l *load) catchUp(t *testing.T, which func(*follower) bool) {
	t.Helper()
	const more = 20
	before := l.newest()
	l.await(t, "more written", func() bool { return l.newest() >= before+more })
	l.await(t, "followers who have what was written", func() bool {
		return !slices.ContainsFunc(l.followers.streams, func(f *follower) bool { return which(f) && f.next() <= before+more })
	})
}

// ends counts the connections that ended, by follower.
func (l *load) ends() map[*follower]int {
	all := map[*follower]int{}
	for _, f := range l.followers.streams {
		f.mu.Lock()
		all[f] = f.counts.broke
		f.mu.Unlock()
	}
	return all
}

// notice waits until some followers have given up the connections that they had.
func (l *load) notice(t *testing.T, before map[*follower]int, which func(*follower) bool) {
	t.Helper()
	l.await(t, "followers who notice", func() bool {
		now := l.ends()
		return !slices.ContainsFunc(slices.Collect(maps.Keys(now)), func(f *follower) bool { return which(f) && now[f] == before[f] })
	})
}

// The followers that something concerns.
func everyone(f *follower) bool  { return f.got.Filter == "" } // others may not be told of each revision
func libraries(f *follower) bool { return f.pick == nil && everyone(f) }
func ownWork(f *follower) bool   { return f.pick != nil } // the library breaks and resumes inside
func onNATS(f *follower) bool    { return ownWork(f) && !strings.HasPrefix(f.got.Name, "stream") }

func on(s *server) func(*follower) bool {
	return func(f *follower) bool { return ownWork(f) && f.pick() == s }
}

// watched stops the clients, and judges what followers got.
func (l *load) watched(t *testing.T) (got []check.Subscription, ledger []check.Delivery, v verdict) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	entries, ledger, err := readLedger(l.cluster.servers[0], "default")
	if err != nil || len(entries) == 0 {
		t.Fatalf("a ledger of %d events: %v", len(entries), err)
	}
	got, err = l.followers.end(ledger)
	v = verdict{"FollowersCatchUp": err}
	watches(v, got, ledger, ledger[len(ledger)-1].Revision)
	return got, ledger, v
}

// TestClientsCutOff cuts followers off from servers that are well, in each way that a network can, through every door: they notice,
// resume, and get each event once. The library, which knows all servers, goes on with another one meanwhile.
func TestClientsCutOff(t *testing.T) {
	c := newCluster(t, 3)
	l := beginCut(c, func(ctx context.Context, all *followers) {
		for _, s := range c.servers {
			one := func() *server { return s }
			for name, do := range map[string]func(*follower, context.Context) error{"stream": (*follower).stream, "JetStream": (*follower).jetstream, "NATS": (*follower).plain} {
				for _, filter := range []string{"", busySubject} {
					all.add(ctx, &follower{pick: one, got: check.Subscription{Name: name + " of " + s.name + " " + filter, Filter: filter, From: 1}}, do)
				}
			}
		}
		for _, scheme := range []string{"http", "nats"} {
			for _, filter := range []string{"", busySubject} {
				all.add(ctx, &follower{got: check.Subscription{Name: "library over " + scheme + " " + filter, Filter: filter, From: 1}}, library(c, scheme))
			}
		}
	})
	l.catchUp(t, everyone)
	for i, s := range c.servers {
		c.logf("%s passes nothing", s.name)
		before := l.ends()
		s.doors.set(weather{holdUp: true, holdDown: true})
		l.notice(t, before, on(s))
		l.catchUp(t, libraries)
		if i%2 == 0 {
			s.doors.forget()
		}
		s.doors.set(weather{})
		l.catchUp(t, everyone)
	}
	every := func(w weather) {
		for _, s := range c.servers {
			s.doors.set(w)
		}
	}
	for _, cut := range []struct {
		name    string
		weather weather
		notice  func(*follower) bool // who must; nil where nobody need
	}{
		{"nobody connects", weather{refuse: true}, ownWork},
		{"servers do not hear", weather{holdUp: true}, onNATS},
		{"servers are not heard", weather{holdDown: true}, ownWork},
		{"a little at a time", weather{slow: true}, nil},
	} {
		c.logf("%s", cut.name)
		before := l.ends()
		every(cut.weather)
		if cut.notice != nil {
			l.notice(t, before, cut.notice)
		} else {
			written := l.newest()
			l.await(t, "more written", func() bool { return l.newest() >= written+20 })
		}
		every(weather{})
		l.catchUp(t, everyone)
	}
	c.logf("%d events", l.newest())
	_, _, v := l.watched(t)
	v.report(t)
}

// TestCutsAreJudged has followers resume one revision too late after a cut, at each door that they resume at by themselves, and the
// server do so to the library, over HTTP and NATS: SubscribersMissNothing and ResumesExact report those and no others.
func TestCutsAreJudged(t *testing.T) {
	c := newCluster(t, 1)
	one := func() *server { return c.servers[0] }
	l := beginCut(c, func(ctx context.Context, all *followers) {
		for name, do := range map[string]func(*follower, context.Context) error{"stream": (*follower).stream, "JetStream": (*follower).jetstream, "NATS": (*follower).plain} {
			for _, wrong := range []bool{false, true} {
				all.add(ctx, &follower{pick: one, habits: habits{skips: wrong}, got: check.Subscription{Name: name, From: 1}}, do)
			}
		}
		all.add(ctx, &follower{got: check.Subscription{Name: "library over http", From: 1}}, library(c, "http"))
		all.add(ctx, &follower{got: check.Subscription{Name: "library over nats", From: 1}}, library(c, "nats"))
	})
	l.catchUp(t, everyone)
	if err := c.servers[0].obey("broken " + fault.ResumeLate); err != nil {
		t.Fatal(err)
	}
	before := l.ends()
	c.servers[0].doors.set(weather{refuse: true})
	l.notice(t, before, ownWork)
	l.catchUp(t, func(*follower) bool { return false })
	c.servers[0].doors.set(weather{})
	l.catchUp(t, everyone)
	got, ledger, _ := l.watched(t)
	for i, f := range l.followers.streams {
		wrong := f.habits.skips || strings.HasPrefix(f.got.Name, "library")
		one := got[i : i+1]
		if err := check.SubscribersMissNothing(one, ledger); (err != nil) != wrong {
			t.Errorf("%s, which is wrong: %t: SubscribersMissNothing said %v", f.got.Name, wrong, err)
		}
		if err := check.ResumesExact(one, ledger); (err != nil) != wrong {
			t.Errorf("%s, which is wrong: %t: ResumesExact said %v", f.got.Name, wrong, err)
		}
	}
}
