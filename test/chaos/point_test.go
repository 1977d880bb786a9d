package chaos

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/rollcall/rollcall/fault"
)

// TestEveryPoint has a server die at each point, under clients, and come back. What a single server passes is tried with
// one; for the others a server of three is wiped and takes a snapshot, or members change.
func TestEveryPoint(t *testing.T) {
	alone := map[string]int{ // and when
		fault.ProposeBefore: 60, fault.ProposeAfter: 60, fault.ApplyBefore: 60, fault.CommitBefore: 60, fault.CommitAfter: 60,
		fault.PublishAfter: 60, fault.SyncBefore: 1,
		fault.LogCompacted: 1, fault.MarkerBefore: 1, fault.MarkerAfter: 1, fault.FileRename: 1, fault.FileRenamed: 1,
	}
	t.Run("one server", func(t *testing.T) {
		l := begin(newCluster(t, 1), 4, 2, nil)
		for _, point := range fault.Points() {
			if after := alone[point]; after > 0 {
				diesAt(t, l.cluster, l.cluster.servers[0], point, after)
			}
		}
		l.end(t).report(t)
	})
	t.Run("three servers", func(t *testing.T) {
		if !*all {
			t.Skip("-all has three servers die as well: see make chaos")
		}
		l := begin(newCluster(t, 3), 3, 3, nil)
		trouble := newTrouble(l.cluster, 3)
		if err := eventually("a log that was compacted", recovery, func() bool { return l.record.acknowledged() > 400 }); err != nil {
			t.Fatal(err)
		}
		c := l.cluster.servers[2]
		for _, point := range []string{
			fault.SnapshotReceive, fault.SnapshotArrived, fault.SnapshotCurrent, fault.SnapshotSwapped, fault.SnapshotDone,
		} {
			trouble.wipe(c)
			c.start("crash " + point + " 1")
			died(t, l.cluster, c, point)
		}
		for _, point := range []string{
			fault.SnapshotTake, fault.SnapshotSave, fault.SnapshotSaved, fault.MemberBefore, fault.MemberAfter,
		} {
			helperDies(trouble, c, point)
		}
		s := l.cluster.leader(c)
		trouble.obey(s, "crash "+fault.TransferBefore+" 1")
		s.signal(syscall.SIGTERM) // which has it hand its groups over
		died(t, l.cluster, s, fault.TransferBefore)
		for _, err := range trouble.errs {
			t.Error(err)
		}
		l.end(t).report(t)
	})
}

// helperDies wipes a server, and has the first of the others that passes a point on its behalf die there.
func helperDies(trouble *trouble, wiped *server, point string) {
	t := trouble.t
	t.Helper()
	others := trouble.servers[:2]
	for _, s := range others {
		trouble.obey(s, "crash "+point+" 1")
	}
	trouble.wipe(wiped)()
	err := eventually("a server dead at "+point, recovery, func() bool {
		return others[0].killed() || others[1].killed()
	})
	if err != nil {
		t.Error(err)
	}
	for _, s := range others {
		s.kill()
		s.start()
	}
	if err := trouble.awaitReady(); err != nil {
		t.Fatalf("after a server died at %s: %v", point, err)
	}
	trouble.logf("a server died at %s, and all is well", point)
}

// diesAt has a server die at a point, and come back.
func diesAt(t *testing.T, c *cluster, s *server, point string, after int) {
	t.Helper()
	if err := s.obey(fmt.Sprintf("crash %s %d", point, after)); err != nil {
		t.Fatal(err)
	}
	died(t, c, s, point)
}

// died waits until a server has died at a point, starts it, and waits until all is well.
func died(t *testing.T, c *cluster, s *server, point string) {
	t.Helper()
	if err := eventually(s.name+" dead at "+point, recovery, s.ended); err != nil {
		t.Fatal(err)
	}
	if !s.killed() {
		t.Errorf("%s did not die at %s: it ended otherwise", s.name, point)
	}
	s.start()
	if err := c.awaitReady(); err != nil {
		t.Fatalf("after %s died at %s: %v", s.name, point, err)
	}
	c.logf("%s died at %s, and is back", s.name, point)
}
