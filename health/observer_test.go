package health_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func (w *world) fault(server, id string) string {
	return w.nodes[server].checker.Observations(event.Default, "web")[gateway.CheckKey{ID: id, Check: "c"}].Fault
}

// TestBlindServerIsNotBelieved has everything fail for one server of three, for a while.
func TestBlindServerIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 60
		w := newWorld(t, 1, "a", "b", "c")
		w.registerAll(n, every(10*time.Second))
		time.Sleep(time.Minute)
		head := w.head()
		mine := ""
		for i := range n {
			if id := fmt.Sprintf("i%d", i); w.owner(id+"/c") == "b" {
				mine = id
			}
		}
		w.setBlind("b", true)
		w.await(12*time.Second, "suspect", func() bool { return w.nodes["b"].checker.Counts().Suspect })
		w.await(10*time.Second, "given away", func() bool { return w.nodes["b"].checker.Counts().Targets == 0 })
		w.awaitLooked(20*time.Second, n, "b")
		w.set(mine, event.Critical) // now it is true of one of them
		w.await(12*time.Second, "critical", func() bool { return w.status(mine) == event.Critical })
		time.Sleep(10 * time.Minute) // it comes back, and is still blind
		if now := w.head(); now != head+1 {
			t.Errorf("%d events", now-head)
		}
		w.setBlind("b", false)
		w.await(10*time.Minute, "trusted again", func() bool { return w.nodes["b"].checker.Counts().Targets > n/6 })
		time.Sleep(time.Minute)
		if c := w.nodes["b"].checker.Counts(); c.Suspect || c.Held > 0 || w.head() != head+1 {
			t.Errorf("%+v, %d events", c, w.head()-head)
		}
	})
}

// TestFewThatFailAreReportedAtOnce has a third of the targets fail at the same time.
func TestFewThatFailAreReportedAtOnce(t *testing.T) {
	for _, servers := range [][]string{{"a"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprint(len(servers)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, servers...)
				w.registerAll(60, every(10*time.Second))
				time.Sleep(time.Minute)
				for i := range 12 {
					w.set(fmt.Sprintf("i%d", 5*i), event.Critical)
				}
				w.await(11*time.Second, "reported", func() bool { return w.count(event.Critical) == 12 })
			})
		})
	}
}

// TestAllFailInTruth has all targets fail, as all servers see: it is reported, a little later, and said meanwhile.
func TestAllFailInTruth(t *testing.T) {
	for _, servers := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprint(len(servers)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 30
				w := newWorld(t, 1, servers...)
				w.registerAll(n, every(5*time.Second))
				for i := range n {
					w.set(fmt.Sprintf("i%d", i), event.Critical)
				}
				w.await(10*time.Second, "suspect", func() bool { return w.nodes["a"].checker.Counts().Suspect })
				if len(servers) == 1 {
					time.Sleep(6 * time.Second)
					if w.count(event.Critical) > 0 || w.nodes["a"].checker.Counts().Held != n || w.fault("a", "i0") == "" {
						t.Errorf("%d are reported, %d held; %q", w.count(event.Critical), w.nodes["a"].checker.Counts().Held, w.fault("a", "i0"))
					}
				}
				t.Logf("reported after %s", w.await(30*time.Second, "reported", func() bool { return w.count(event.Critical) == n }))
				for i := range n {
					w.set(fmt.Sprintf("i%d", i), event.Passing)
				}
				w.await(15*time.Second, "passing", func() bool { return w.count(event.Passing) == n })
			})
		})
	}
}

// TestTwoTargetsAreNoMajority has all of two targets fail: nobody can tell whose fault that is.
func TestTwoTargetsAreNoMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.registerAll(2, every(5*time.Second))
		w.set("i0", event.Critical)
		w.set("i1", event.Critical)
		w.await(6*time.Second, "reported", func() bool { return w.count(event.Critical) == 2 })
	})
}

// TestNoNetworkForASecond has everything fail for a moment where there is one server: nothing is reported.
func TestNoNetworkForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.registerAll(30, every(time.Second))
		head := w.head()
		w.setBlind("a", true)
		time.Sleep(4 * time.Second)
		w.setBlind("a", false)
		time.Sleep(time.Hour)
		if c := w.nodes["a"].checker.Counts(); w.head() != head || c.Suspect || c.Held > 0 {
			t.Errorf("%d events, %+v", w.head()-head, c)
		}
	})
}
