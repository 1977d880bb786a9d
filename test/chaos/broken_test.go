package chaos

import (
	"testing"
	"time"

	"github.com/rollcall/rollcall/fault"
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
		{name: fault.LoseEvent, servers: 1, checker: "SubscribersMissNothing"},
		{name: fault.HalfCommit, servers: 1, checker: "SubscribersMissNothing"},
		{name: fault.HalfCommit, servers: 1, checker: "BookmarksTrue"},
		{name: fault.RepeatEvent, servers: 1, checker: "SubscribersInOrder"},
	} {
		t.Run(c.name+" "+c.checker, func(t *testing.T) {
			if c.servers > 1 && !*all {
				t.Skip("-all has several servers be wrong as well: see make chaos")
			}
			cluster := newCluster(t, c.servers)
			l := begin(cluster, 4, 1, nil)
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
			_ = eventually("much written", 6*time.Second, func() bool {
				return l.record.acknowledged() >= 250 || cluster.servers[0].ended()
			})
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

// stays are the directives that must go on to the end: what is wrong in a subscription is noticed where it ends.
func stays(name string) []string {
	switch name {
	case fault.LoseEvent, fault.HalfCommit, fault.RepeatEvent:
		return []string{"broken " + name}
	}
	return nil
}

// TestForgetfulClient repeats writes under another idempotency key each time: then they have two effects, and two answers.
func TestForgetfulClient(t *testing.T) {
	l := begin(newCluster(t, 1), 4, 4, func(c *client) { c.forgets = true })
	if err := eventually("much written", 20*time.Second, func() bool { return l.record.acknowledged() >= 200 }); err != nil {
		t.Error(err)
	}
	v := l.end(t)
	for _, checker := range []string{"NoAcknowledgedWriteLost", "RepeatsAgree"} {
		if v[checker] == nil {
			t.Errorf("%s did not notice that repeats were none", checker)
		}
	}
}
