package health_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/health"
	"github.com/rollcall/rollcall/log/event"
)

// takeOver is within what time a target is looked at again whose server is gone: until its lease has run out, and others
// have heard of it.
const takeOver = health.Lease + health.Lease/10 + 1500*time.Millisecond

// awaitLooked awaits that each of n targets is looked at, and gives how long that took.
func (w *world) awaitLooked(limit time.Duration, n int, without string) time.Duration {
	w.t.Helper()
	since := time.Now()
	return w.await(limit, "all looked at", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range n {
			s := w.last[fmt.Sprintf("i%d/c", i)]
			if s.at.Before(since) || s.by == without {
				return false
			}
		}
		return true
	})
}

// TestTakenOver kills, cuts off, and stops the servers that look.
func TestTakenOver(t *testing.T) {
	const n = 60
	for name, end := range map[string]func(w *world){
		"killed": func(w *world) { w.crash("b") },
		"cut":    func(w *world) { w.isolate("b", true) },
		"leader killed": func(w *world) {
			w.crash("b")
			w.lead("")
			time.Sleep(time.Second)
			w.lead("c")
		},
		"leader cut": func(w *world) {
			w.isolate("b", true)
			w.lead("c")
		},
		"leader changes": func(w *world) { w.lead("c") },
		"stopped": func(w *world) {
			w.lead("a")
			time.Sleep(10 * time.Second)
			w.nodes["b"].kill()
			<-w.nodes["b"].done
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "a", "b", "c")
				if name == "leader killed" || name == "leader cut" || name == "leader changes" {
					w.lead("b")
				}
				w.registerAll(n, every(time.Second))
				shares := map[string]int{}
				for i := range n {
					shares[w.owner(fmt.Sprintf("i%d/c", i))]++
				}
				for _, server := range []string{"a", "b", "c"} {
					if shares[server] < n/6 {
						t.Errorf("the shares are %v", shares)
					}
				}
				without := "b"
				if name == "leader changes" {
					without = ""
				}
				end(w)
				took := w.awaitLooked(time.Minute, n, without)
				t.Logf("taken over after %s", took)
				if limit := takeOver + time.Second; took > limit {
					t.Errorf("taken over after %s, want at most %s", took, limit)
				}
				if name == "stopped" && took > 2500*time.Millisecond {
					t.Errorf("a server that was stopped kept its targets for %s", took)
				}
				if name == "cut" || name == "leader cut" {
					w.isolate("b", false)
					w.await(15*time.Second, "b looks again", func() bool {
						looks := false
						for i := range n {
							looks = looks || w.owner(fmt.Sprintf("i%d/c", i)) == "b"
						}
						return looks
					})
				}
			})
		})
	}
}

// elect has the others elect another leader, where the one that leads is cut off.
func (w *world) elect(names []string) {
	w.mu.Lock()
	led := w.cut[w.leader]
	w.mu.Unlock()
	for _, name := range names {
		w.mu.Lock()
		cut := w.cut[name]
		w.mu.Unlock()
		if led && !cut {
			w.lead(name)
			return
		}
	}
}

// TestOneServerLooks has three servers, which look slowly, die, are cut off, come back and lead one after the other, while
// questions and answers get lost. The prober sees to it that nobody looks at what another one looks at.
func TestOneServerLooks(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 12
				w := newWorld(t, seed, "a", "b", "c")
				w.mu.Lock()
				w.lossy, w.slow = true, 4*time.Second
				w.mu.Unlock()
				check := every(2 * time.Second)
				check.Timeout, check.Initial = event.Time(5*time.Second), event.Passing
				for i := range n {
					w.register(fmt.Sprintf("i%d", i), check)
				}
				names := []string{"a", "b", "c"}
				for range 100 {
					time.Sleep(w.delay(8 * time.Second))
					name := names[int(w.delay(3))]
					switch w.delay(6) {
					case 0, 1:
						w.isolate(name, true)
					case 2:
						w.crash(name)
						w.mu.Lock()
						w.cut[name] = false
						w.mu.Unlock()
						w.start(name, health.Config{})
					case 3:
						w.lead(name)
					default:
						w.isolate(name, false)
					}
					w.elect(names)
				}
				for _, name := range names {
					w.isolate(name, false)
				}
				w.mu.Lock()
				w.lossy = false
				w.mu.Unlock()
				w.lead("b")
				time.Sleep(2 * takeOver)
				w.awaitLooked(10*time.Second, n, "")
			})
		})
	}
}

// TestCommandsGoWhereTheyAreRun has one server of three run programs.
func TestCommandsGoWhereTheyAreRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.start("c", health.Config{Commands: true})
		check := event.Check{ID: "c", Command: []string{"true"}, Interval: event.Time(time.Second), Timeout: event.Time(time.Second)}
		w.registerAll(20, check)
		for i := range 20 {
			if by := w.owner(fmt.Sprintf("i%d/c", i)); by != "c" {
				t.Errorf("%s looks at i%d", by, i)
			}
		}
		w.crash("c")
		time.Sleep(10 * time.Second)
		w.awaitLooked(2*time.Second, 20, "c") // somebody has to say that nobody runs them
	})
}

// TestAnotherProcessLeaves has a server's process say goodbye, which arrives when the next one looks at its targets already.
func TestAnotherProcessLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := health.NewCoordinator("a")
		c.Lead(time.Now(), 1)
		time.Sleep(2 * health.Lease)
		ask := func(name, process string, seen health.Position) health.Grant {
			p := health.Poll{Candidate: health.Candidate{Name: name}, Process: process, Seen: seen}
			c.Arrive(time.Now(), 1, p)
			return c.Grant(time.Now(), 1, p)
		}
		ask("b", "before", health.Position{})
		g := ask("b", "after", health.Position{})
		c.Arrive(time.Now(), 1, health.Poll{Candidate: health.Candidate{Name: "b"}, Process: "before", Leave: true})
		for range 3 { // b does not go by the list that c is in: it may still look at what is to be c's
			seen := ask("c", "one", g.Position)
			g = ask("c", "one", seen.Position)
		}
		if len(g.Current) != 1 || g.Current[0].Name != "b" {
			t.Errorf("the list of now is %v while b, which has a lease, goes by another one", g.Current)
		}
		c.Arrive(time.Now(), 1, health.Poll{Candidate: health.Candidate{Name: "b"}, Process: "after", Leave: true})
		for range 3 {
			g = ask("c", "one", g.Position)
		}
		if len(g.Current) != 1 || g.Current[0].Name != "c" {
			t.Errorf("the list of now is %v when b has left", g.Current)
		}
	})
}
