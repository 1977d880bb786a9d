package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/test/check"
)

// TestCheckersNotice breaks servers on purpose, each time in one way, and demands that the checker that is there for it
// reports it. What else is reported does not matter: one fault breaks several guarantees.
func TestCheckersNotice(t *testing.T) {
	for _, c := range []struct {
		name    string // what is wrong
		servers int
		one     bool     // it is wrong on one server only
		more    []string // directives for the same servers
		checker string
		enough  func(*load) bool // what has to have happened besides, where that is a matter of luck
	}{
		{name: fault.StaleReads, servers: 3, one: true, more: []string{"delay commit.before 40ms"}, checker: "RealTimeOrder"},
		{name: fault.StaleReads, servers: 3, one: true, more: []string{"delay commit.before 40ms"}, checker: "KeysLinearizable"},
		{name: fault.AckBeforeCommit, servers: 1, more: []string{"crash propose.before 150"}, checker: "NoAcknowledgedWriteLost"},
		{name: fault.DropRow, servers: 1, checker: "ReadsMatchLedger"},
		{name: fault.DropRow, servers: 3, one: true, checker: "VerifyPasses"},
		{name: fault.DropRow, servers: 1, checker: "WritesMatchLedger"},
		{name: fault.RevisionGap, servers: 1, checker: "RevisionsContiguous"},
		{name: fault.RevisionReuse, servers: 1, checker: "RevisionsContiguous"},
		{name: fault.RevisionFalls, servers: 1, checker: "RevisionsNeverFall"},
		{name: fault.OtherBytes, servers: 3, one: true, checker: "ServersEqual"},
		{name: fault.MinRevision, servers: 3, one: true, more: []string{"delay commit.before 40ms"}, checker: "MinRevisionHonoured"},
		{name: fault.LoseEvent, servers: 1, checker: "SubscribersMissNothing", enough: passedOver},
		{name: fault.HalfCommit, servers: 1, checker: "SubscribersMissNothing"},
		{name: fault.HalfCommit, servers: 1, checker: "BookmarksTrue", enough: markedInside},
		{name: fault.RepeatEvent, servers: 1, checker: "SubscribersInOrder"},
		{name: fault.LeasesEarly, servers: 1, checker: "LeasesLastTheirTime", enough: leaseLost},
		{name: fault.NamesBehind, servers: 1, checker: "DNSShowsOnlyUsable", enough: lookedAtCritical},
		{name: fault.FeedStops, servers: 1, checker: "FollowersCatchUp"},
		{name: fault.ReplayBreaks, servers: 1, checker: "LedgerReadable"},
		{name: fault.SplitCommit, servers: 1, checker: "CommitsWhole"},
		{name: fault.LoseLive, servers: 1, checker: "SubscribersMissNothing"},
		{name: fault.LoseLive, servers: 1, checker: "BookmarksTrue", enough: toldByNATS},
		{name: fault.LoseMatch, servers: 1, checker: "FilterRight"},
		{name: fault.PassOther, servers: 1, checker: "FilterRight"},
		{name: fault.ResumeLate, servers: 1, checker: "ResumesExact"},
		{name: fault.BookmarkEarly, servers: 1, checker: "BookmarksTrue"},
		{name: fault.BookmarksStand, servers: 1, checker: "BookmarksAdvance"},
		{name: fault.PreviousWrong, servers: 1, checker: "PreviousRight"},
		{name: fault.VersionGoesOn, servers: 1, checker: "CreationRight"},
	} {
		t.Run(c.name+" "+c.checker, func(t *testing.T) {
			if c.servers > 1 && !*all {
				t.Skip("-all has several servers be wrong as well: see make chaos")
			}
			t.Parallel() // each waits most of the time
			cluster := newCluster(t, c.servers)
			l := begin(cluster, 4, 1, nil)
			l.broken = true
			l.followers.patience = 3 * time.Second // some never get there
			for i, s := range cluster.servers {
				if c.one && i != len(cluster.servers)-1 {
					continue
				}
				if err := s.obey(append(c.more, "broken "+c.name)...); err != nil {
					t.Fatal(err)
				}
			}
			// Enough has happened after a while, or the server has died as it was told.
			_ = eventually("much written", 30*time.Second, func() bool {
				return l.record.acknowledged() >= 250 || cluster.servers[0].ended()
			})
			if c.enough != nil {
				if err := eventually("what is to be noticed", 3*time.Minute, func() bool { return c.enough(l) }); err != nil {
					t.Error(err)
				}
			}
			for _, s := range cluster.servers {
				if s.ended() {
					s.start()
				} else if err := s.obey(stays(c.name)...); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.end(t)[c.checker]; err == nil {
				t.Errorf("%s did not notice %s", c.checker, c.name)
			} else {
				t.Logf("%s noticed: %.300v", c.checker, err)
			}
		})
	}
}

// passedOver tells whether a subscriber to everything was given an event that does not follow on the one before. The servers notice most
// gaps before they hand them on, as long as they are not quite up to date.
func passedOver(l *load) bool {
	return slices.ContainsFunc(l.followers.streams, func(f *follower) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.got.Filter != "" {
			return false
		}
		for i := 1; i < len(f.got.Events); i++ {
			if f.got.Events[i].Revision > f.got.Events[i-1].Revision+1 {
				return true
			}
		}
		return false
	})
}

// markedInside tells whether a subscriber was given a bookmark while it had but a part of a commit. Half a commit is told to each of them all
// the time, but most commits are of one event, and bookmarks come only now and then.
func markedInside(l *load) bool {
	return slices.ContainsFunc(l.followers.streams, func(f *follower) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.ContainsFunc(f.got.Complete, func(b check.Bookmark) bool {
			if b.Had == 0 {
				return false
			}
			last := f.got.Events[b.Had-1]
			return b.Revision >= last.Revision && last.Revision != last.Commit
		})
	})
}

// leaseLost tells whether a holder was told that its session is gone. That takes longer than the writes do.
func leaseLost(l *load) bool {
	l.record.mu.Lock()
	defer l.record.mu.Unlock()
	return slices.ContainsFunc(l.record.leases, func(lease check.Lease) bool { return lease.Gone })
}

// lookedAtCritical tells whether DNS was asked often, which instances report to be critical meanwhile.
func lookedAtCritical(l *load) bool {
	l.record.mu.Lock()
	defer l.record.mu.Unlock()
	return len(l.record.looks) > 300
}

// stays are the directives that must go on to the end: what is wrong in a subscription is noticed where it ends.
func stays(name string) []string {
	switch name {
	case fault.LoseEvent, fault.HalfCommit, fault.RepeatEvent, fault.FeedStops, fault.ReplayBreaks, fault.BookmarksStand:
		return []string{"broken " + name}
	}
	return nil
}

// TestForgetfulClient repeats writes under another idempotency key each time: then they have two effects, and two answers.
func TestForgetfulClient(t *testing.T) {
	l := begin(newCluster(t, 1), 4, 4, func(c *client) { c.forgets = true })
	if err := eventually("much written", 2*time.Minute, func() bool { return l.record.acknowledged() >= 200 }); err != nil {
		t.Error(err)
	}
	v := l.end(t)
	for _, checker := range []string{"NoAcknowledgedWriteLost", "RepeatsAgree"} {
		if v[checker] == nil {
			t.Errorf("%s did not notice that repeats were none", checker)
		}
	}
}

// toldByNATS tells whether a plain subscriber was told for a while how far it is.
func toldByNATS(l *load) bool {
	return slices.ContainsFunc(l.followers.streams, func(f *follower) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.got.Name == "NATS of a" && len(f.got.Complete) >= 6
	})
}
