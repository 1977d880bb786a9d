package health_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/health"
	"github.com/rollcall/rollcall/log/event"
)

// TestOnlyChangesAreEvents looks for an hour at targets that say something else each time.
func TestOnlyChangesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b", "c")
		w.registerAll(10, every(10*time.Second))
		head := w.head()
		time.Sleep(time.Hour)
		if now := w.head(); now != head {
			t.Errorf("%d events", now-head)
		}
		total := w.looked("a") + w.looked("b") + w.looked("c")
		if want := 10 * 360; total < want-20 || total > want+60 {
			t.Errorf("%d looks in an hour, want about %d", total, want)
		}
		w.set("i3", event.Critical)
		w.await(11*time.Second, "critical", func() bool { return w.status("i3") == event.Critical })
		if now := w.head(); now != head+1 {
			t.Errorf("%d events", now-head)
		}
		seen := w.nodes[w.owner("i3/c")].checker.Observations(event.Default, "web")[gateway.CheckKey{ID: "i3", Check: "c"}]
		if seen.Status != event.Critical || !strings.Contains(seen.Output, "saw critical") || seen.Server != w.owner("i3/c") || seen.Fault != "" {
			t.Errorf("%+v", seen)
		}
	})
}

// TestFirstLookIsAtOnce registers when the cluster has been there for a while.
func TestFirstLookIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b", "c")
		time.Sleep(time.Minute)
		for i := range 30 {
			w.register(fmt.Sprintf("i%d", i), every(time.Hour))
		}
		if took := w.await(time.Minute, "all passing", func() bool { return w.count(event.Passing) == 30 }); took > 50*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		// Then they are spread over their interval.
		time.Sleep(3 * time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		first, last := time.Now(), time.Time{}
		for _, s := range w.last {
			if s.at.Before(first) {
				first = s.at
			}
			if s.at.After(last) {
				last = s.at
			}
		}
		if last.Sub(first) < 30*time.Minute {
			t.Errorf("all looks of an hour are within %s", last.Sub(first))
		}
	})
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		check := every(time.Second)
		check.SuccessThreshold, check.FailureThreshold = 3, 2
		w.register("i1", check)
		time.Sleep(10 * time.Second)
		if w.status("i1") != event.Passing {
			t.Fatal("it does not pass")
		}
		head := w.head()
		flap := func(states string) {
			for _, s := range states {
				w.set("i1", map[rune]event.Status{'p': event.Passing, 'w': event.Warning, 'c': event.Critical}[s])
				time.Sleep(time.Second)
			}
		}
		step := func(states string, want event.Status, events event.Revision) {
			t.Helper()
			flap(states)
			if s := w.status("i1"); s != want || w.head() != head+events {
				t.Errorf("after %s it is %s, and there are %d events; want %s and %d", states, s, w.head()-head, want, events)
			}
			head = w.head()
		}
		step("pcpcpcpcp", event.Passing, 0) // it flaps
		step("cc", event.Critical, 1)
		step("ppcppcwpc", event.Critical, 0)
		step("wpp", event.Warning, 1) // all of three were at least that good
		step("pp", event.Warning, 0)
		step("p", event.Passing, 1)
		step("wc", event.Warning, 1)
		step("cc", event.Critical, 1)
	})
}

// TestReportsAreNotLost has commands fail, and their answers get lost.
func TestReportsAreNotLost(t *testing.T) {
	for name, f := range map[string]gatewaytest.Faults{
		"no quorum":       {Submit: gateway.ErrUnavailable},
		"outcome unknown": {Applied: gateway.ErrOutcomeUnknown},
		"unwritten":       {Submit: gateway.ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "a")
				w.registerAll(1, every(time.Minute))
				head := w.head()
				w.SetFaults(f)
				w.set("i0", event.Critical)
				time.Sleep(5 * time.Minute)
				w.SetFaults(gatewaytest.Faults{})
				w.await(2*time.Second, "critical", func() bool { return w.status("i0") == event.Critical })
				if now := w.head(); now != head+1 {
					t.Errorf("%d events", now-head)
				}
			})
		})
	}
}

// TestRegistrationsChange has checks change, vanish and come back while they are looked at.
func TestRegistrationsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.slow = 900 * time.Millisecond
		w.registerAll(1, every(time.Hour))
		other := every(time.Hour)
		other.TCP = &event.TCPCheck{Address: "127.0.0.1:81"}
		w.register("i0", other)
		if w.status("i0") != event.Critical {
			t.Fatal("another target has the status of the one before")
		}
		w.await(2*time.Second, "passing", func() bool { return w.status("i0") == event.Passing })
		head := w.head()
		other.Interval = event.Time(time.Second) // the same target, and more often
		w.register("i0", other)
		w.set("i0", event.Critical)
		w.await(3*time.Second, "critical", func() bool { return w.status("i0") == event.Critical })
		if w.head() != head+2 {
			t.Errorf("%d events", w.head()-head)
		}
		ttl := event.Check{ID: "ttl", TTL: event.Time(time.Hour)}
		w.register("i0", ttl)
		time.Sleep(2 * time.Second)
		looks := w.looked("a")
		time.Sleep(time.Minute)
		if now := w.looked("a"); now != looks {
			t.Errorf("%d looks at what is registered no longer", now-looks)
		}
		w.MustSubmit(event.Default, commands.DeregisterInstance{Service: "web", ID: "i0"})
		time.Sleep(time.Second)
		if n := w.nodes["a"].checker.Counts().Targets; n != 0 {
			t.Errorf("%d targets", n)
		}
	})
}

// TestIntervalChangesBeforeTheFirstLook: whoever has taken a target over need not have looked at it yet to hear that it is to be
// looked at more often.
func TestIntervalChangesBeforeTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.registerAll(8, every(24*time.Hour))
		id := ""
		for i := range 8 {
			if w.owner(fmt.Sprintf("i%d/c", i)) == "a" {
				id = fmt.Sprintf("i%d", i)
			}
		}
		w.crash("a")
		w.lead("b")
		w.await(time.Minute, "b has all", func() bool { return w.nodes["b"].checker.Counts().Targets == 8 })
		w.set(id, event.Critical)
		w.register(id, every(time.Second))
		if took := w.await(time.Hour, "critical", func() bool { return w.status(id) == event.Critical }); took > 1500*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

// TestAlias has checks take their status from other instances.
func TestAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		alias := func(id, service, of string) {
			w.MustSubmit(event.Default, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: id, Address: "::1", Checks: []event.Check{
				{ID: "c", Alias: &event.AliasTarget{Service: service, ID: of}, Interval: event.Time(time.Hour)},
			}}})
		}
		soon := func(id string, want event.Status) {
			t.Helper()
			if took := w.await(time.Minute, id+" is "+want.String(), func() bool { return w.status(id) == want }); took > 100*time.Millisecond {
				t.Errorf("%s is %s after %s", id, want, took)
			}
		}
		db := func(id string) commands.RegisterInstance {
			return commands.RegisterInstance{Instance: event.Instance{Service: "db", ID: id, Node: "n" + id, Address: "::1", Checks: []event.Check{every(time.Second)}}}
		}
		time.Sleep(10 * time.Second)
		alias("all", "db", "")
		alias("one", "db", "1")
		alias("loop", "web", "loop")
		soon("all", event.Critical) // there is none
		w.MustSubmit(event.Default, db("1"), db("2"))
		w.await(3*time.Second, "passing", func() bool { return w.status("all") == event.Passing && w.status("one") == event.Passing })
		w.set("2", event.Warning)
		w.await(2*time.Second, "warning", func() bool { return w.status("all") == event.Warning })
		if w.status("one") != event.Passing {
			t.Error("one goes by the other")
		}
		w.MustSubmit(event.Default, commands.SetNodeMaintenance{Node: "n2", Enabled: true})
		soon("all", event.Passing) // it is kept out of use
		w.MustSubmit(event.Default, commands.SetInstanceMaintenance{Service: "db", ID: "1", Enabled: true})
		soon("all", event.Critical)
		soon("one", event.Critical)
		w.MustSubmit(event.Default, commands.SetInstanceMaintenance{Service: "db", ID: "1"}, commands.DeregisterInstance{Service: "db", ID: "2"})
		soon("all", event.Passing)
		w.MustSubmit(event.Default, commands.DeregisterInstance{Service: "db", ID: "1"})
		soon("all", event.Critical)
		soon("one", event.Critical)
		head := w.head()
		time.Sleep(3 * time.Hour)
		if w.head() != head {
			t.Errorf("%d events while nothing changes", w.head()-head)
		}
	})
}

// TestTargetsThatHangHinderNobody has many more targets that do not answer than may be looked at at a time.
func TestTargetsThatHangHinderNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "z")
		w.start("a", health.Config{Looks: 20})
		w.crash("z")
		w.lead("a")
		check := every(10 * time.Second)
		check.Timeout = event.Time(8 * time.Second)
		check.Initial = event.Passing
		const n = 300
		w.mu.Lock()
		for i := range n {
			w.stuck[fmt.Sprintf("i%d", i)] = i%2 == 0
		}
		w.mu.Unlock()
		for i := range n {
			w.register(fmt.Sprintf("i%d", i), check)
		}
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		w.last = map[string]seen{}
		w.mu.Unlock()
		time.Sleep(11 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		fresh := 0
		for i := 1; i < n; i += 2 {
			if _, ok := w.last[fmt.Sprintf("i%d/c", i)]; ok {
				fresh++
			}
		}
		if fresh != n/2 {
			t.Errorf("%d of %d targets that answer were looked at in time", fresh, n/2)
		}
		if w.most > 20+16 { // and witnesses
			t.Errorf("%d looks at a time", w.most)
		}
	})
}

// TestWhatHangsStopsNoLooks has a few registrants whose targets take all the time that they may: from the beginning, after
// they passed, and when all targets are new to the server. Those of others are looked at all the while.
func TestWhatHangsStopsNoLooks(t *testing.T) {
	for _, passes := range []bool{false, true} {
		t.Run(fmt.Sprintf("passed before %t", passes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "z")
				w.start("a", health.Config{Looks: 64})
				w.crash("z")
				w.lead("a")
				const n, fine = 20, 80 // else the server may suspect itself
				w.registerAll(fine, every(10*time.Second))
				time.Sleep(time.Minute)
				hang := func(stuck bool) {
					w.mu.Lock()
					defer w.mu.Unlock()
					for i := range n {
						w.stuck[fmt.Sprintf("i%d", 1000+i)] = stuck
					}
				}
				hang(!passes)
				checks := make([]event.Check, 16)
				for i := range checks {
					checks[i] = every(time.Second)
					checks[i].ID, checks[i].Timeout = fmt.Sprint("h", i), event.Time(time.Minute)
				}
				for i := range n {
					w.register(fmt.Sprintf("i%d", 1000+i), checks...)
				}
				if passes {
					w.await(time.Minute, "passing", func() bool { return w.count(event.Passing) == fine+n*len(checks) })
					hang(true)
				}
				within := func(limit time.Duration, id string, want event.Status) {
					t.Helper()
					took := w.await(time.Hour, id+" "+want.String(), func() bool { return w.status(id) == want })
					if took > limit {
						t.Errorf("%s is %s after %s, want at most %s", id, want, took, limit)
					}
				}
				fresh := 0
				others := func() { // a look within the interval, and one at witnesses, of which some hang
					t.Helper()
					w.set("i3", event.Critical)
					within(14*time.Second, "i3", event.Critical)
					w.set("i3", event.Passing)
					within(14*time.Second, "i3", event.Passing)
					fresh++
					id := fmt.Sprintf("i20%d", fresh)
					w.register(id, every(10*time.Second))
					within(30*time.Second, id, event.Passing)
				}
				others()
				time.Sleep(10 * time.Minute)
				others()
				w.set("i5", event.Critical)
				within(14*time.Second, "i5", event.Critical)
				w.lead("")
				time.Sleep(5 * time.Second) // the lease runs out
				w.set("i3", event.Critical) // as the ledger says passing, it is among the first
				w.set("i5", event.Passing)
				w.lead("a")
				time.Sleep(health.Lease + health.Lease/10)
				within(14*time.Second, "i3", event.Critical)
				within(30*time.Second, "i5", event.Passing)
				others()
				hang(false)
				time.Sleep(3 * time.Minute)
				if got, want := w.count(event.Passing), fine+fresh+n*len(checks); got != want {
					t.Errorf("%d checks pass when nothing hangs, want %d", got, want)
				}
				if w.nodes["a"].checker.Counts().Suspect {
					t.Error("the server takes for its own fault what others do")
				}
			})
		})
	}
}

// TestSlowTargetsAreAwaited has targets that take longer than what nobody knows may, among many that hang.
func TestSlowTargetsAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "z")
		w.start("a", health.Config{Looks: 16})
		w.crash("z")
		w.lead("a")
		w.mu.Lock()
		w.slow = 2500 * time.Millisecond // more would be too much for a witness
		w.mu.Unlock()
		check := every(20 * time.Second)
		check.Timeout = event.Time(6 * time.Second)
		w.registerAll(10, check)
		w.mu.Lock()
		for i := range 40 {
			w.stuck[fmt.Sprintf("i%d", 100+i)] = true
		}
		w.mu.Unlock()
		for i := range 40 {
			w.register(fmt.Sprintf("i%d", 100+i), check)
		}
		head := w.head()
		time.Sleep(10 * time.Minute)
		if now := w.head(); now != head {
			t.Errorf("%d events", now-head)
		}
		w.set("i4", event.Critical)
		w.await(time.Minute, "critical", func() bool { return w.status("i4") == event.Critical })
		w.set("i4", event.Passing)
		w.await(3*time.Minute, "passing", func() bool { return w.status("i4") == event.Passing })
	})
}

// TestNamespaceComesBack has a namespace vanish while it is read, and be there again before that read is over.
func TestNamespaceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.registerAll(3, every(time.Second))
		hide := func(hidden bool) {
			w.mu.Lock()
			w.hidden[event.Default] = hidden
			w.mu.Unlock()
			time.Sleep(time.Second)
		}
		targets := func() int { return w.nodes["a"].checker.Counts().Targets }
		hide(true)
		w.await(time.Second, "let go", func() bool { return targets() == 0 })
		late := make(chan struct{})
		w.mu.Lock()
		w.late = late
		w.mu.Unlock()
		hide(false) // it is read
		hide(true)
		w.mu.Lock()
		w.late = nil
		w.mu.Unlock()
		hide(false)
		close(late) // only now the first read ends
		w.await(10*time.Second, "taken", func() bool { return targets() == 3 })
		time.Sleep(time.Minute)
		w.lead("") // the lease runs out, and everything is let go and taken again: nothing is forgotten
		time.Sleep(2 * health.Lease)
		w.lead("a")
		w.await(20*time.Second, "taken", func() bool { return targets() == 3 })
		w.set("i1", event.Critical)
		w.await(3*time.Second, "critical", func() bool { return w.status("i1") == event.Critical })
	})
}

// TestAliasesOfABusyService has much happen in a service of which there are many aliases, half of them its own instances.
func TestAliasesOfABusyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		const n = 100
		alias := event.Check{ID: "c", Alias: &event.AliasTarget{Service: "db"}, Interval: event.Time(time.Hour)}
		report := func(id int, s event.Status) {
			w.MustSubmit(event.Default, commands.ReportStatus{Service: "db", ID: fmt.Sprint(id), Check: "ttl", Status: s})
		}
		for i := range n {
			w.MustSubmit(event.Default, commands.RegisterInstance{Instance: event.Instance{
				Service: "db", ID: fmt.Sprint(i), Address: "::1", Checks: []event.Check{{ID: "ttl", TTL: event.Time(24 * time.Hour)}},
			}})
			report(i, event.Passing)
			w.register(fmt.Sprintf("i%d", i), alias)
			w.MustSubmit(event.Default, commands.RegisterInstance{Instance: event.Instance{
				Service: "db", ID: fmt.Sprintf("own%d", i), Address: "::1", Checks: []event.Check{{ID: "c", Alias: alias.Alias, Initial: event.Passing, Interval: alias.Interval}},
			}})
		}
		passing := func() bool { return w.count(event.Passing) == n }
		w.await(time.Minute, "passing", passing)
		w.mu.Lock()
		w.reads = 0
		w.mu.Unlock()
		for i := range n {
			report(i, event.Warning)
			time.Sleep(10 * time.Millisecond)
			report(i, event.Passing)
		}
		report(7, event.Critical)
		if took := w.await(time.Minute, "critical", func() bool { return w.count(event.Critical) == n }); took > 100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		w.mu.Lock()
		reads := w.reads
		w.mu.Unlock()
		if reads > 40 {
			t.Errorf("the state was read %d times for what happened in a second", reads)
		}
		report(7, event.Passing)
		time.Sleep(time.Minute) // aliases of their own service hold one another down, as they always did
		own := func() (s event.Status) {
			_ = w.View(t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
				c, _ := v.Health("db", "own3").Check("c")
				s = c.Status
				return nil
			})
			return s
		}
		if own() != event.Critical || w.count(event.Critical) != n {
			t.Errorf("own3 is %s, %d aliases are critical", own(), w.count(event.Critical))
		}
		for i := range n { // but none holds itself down
			if i != 3 {
				w.MustSubmit(event.Default, commands.DeregisterInstance{Service: "db", ID: fmt.Sprintf("own%d", i)})
			}
		}
		w.await(time.Second, "passing", func() bool { return own() == event.Passing && passing() })
	})
}
