package sim

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/server"
)

// forgetful is a domain that does not fold some events.
type forgetful struct{ server.Domain }

func (f forgetful) Fold(rows store.Writer, e event.Event) {
	if e.Revision%7 != 0 {
		f.Domain.Fold(rows, e)
	}
}

// unconditional is a domain that does not look at conditions.
type unconditional struct{ server.Domain }

func (u unconditional) Decide(rows store.Reader, at machine.Situation, body []byte) machine.Decision {
	order, err := commands.Decode(body)
	if put, ok := order.Command.(commands.PutKey); ok && err == nil {
		put.If = nil
		body = commands.Encode(put)
	}
	return u.Domain.Decide(rows, at, body)
}

// onAll breaks all servers in the same way, onSecond one of them.
func onAll(d machine.Domain) func(*host) machine.Domain {
	return func(*host) machine.Domain { return d }
}

func onSecond(d machine.Domain) func(*host) machine.Domain {
	return func(h *host) machine.Domain {
		if h == h.cluster.servers[1] {
			return d
		}
		return server.Domain{}
	}
}

// blackout crashes all servers at the same moment, and starts them together.
func (f *faults) blackout(context.Context) {
	for _, s := range f.cluster.servers {
		s.control.Lock()
		s.crash(0)
	}
	for _, s := range f.cluster.servers {
		s.up()
		s.control.Unlock()
	}
	if f.cluster.plan.amnesia {
		ctx, cancel := context.WithTimeout(context.Background(), 10*electionIn)
		defer cancel()
		if err := f.cluster.open(ctx); err != nil {
			f.cluster.fault(err)
		}
	}
}

// TestCheckersNotice breaks the system in one way after another, and wants the checkers that are there for it to say so.
func TestCheckersNotice(t *testing.T) {
	// Whoever is cut off falls behind for certain; in a storm, a server may or may not.
	behind := []harm{{"isolate", 1, (*faults).isolate}}
	for _, test := range []struct {
		name   string
		break_ func(*plan)
		notice []string // others may, too
	}{
		{"nothing", func(*plan) {}, nil},
		{"reads that ask nobody", func(p *plan) { p.harms, p.harm, p.carelessReads = behind, time.Minute, true }, []string{"RealTimeOrder", "KeysLinearizable"}},
		{"reads that do not wait", func(p *plan) { p.harms, p.harm, p.impatientReads = behind, time.Minute, true }, []string{"MinRevisionHonoured"}},
		{"an answer before the commit", func(p *plan) { p.harms, p.boast = allHarms[:1], true }, []string{"NoAcknowledgedWriteLost", "KeysLinearizable"}},
		{"disks that forget", func(p *plan) {
			p.amnesia, p.calm, p.harms = true, 4*time.Second, []harm{{"blackout", 1, (*faults).blackout}}
		}, []string{"NoAcknowledgedWriteLost", "RealTimeOrder", "RevisionsNeverFall"}},
		{"a fold that forgets on one server", func(p *plan) { p.broken = onSecond(forgetful{}) }, []string{"ServersEqual"}},
		{"a fold that forgets on all", func(p *plan) { p.broken = onAll(forgetful{}) }, []string{"ReadsMatchLedger", "RowsAreTheFold"}},
		{"conditions that nobody looks at", func(p *plan) { p.broken = onAll(unconditional{}) }, []string{"WritesMatchLedger", "KeysLinearizable"}},
		{"a ledger with a gap", func(p *plan) { p.gap = true }, []string{"RevisionsContiguous"}},
		{"a server that stays cut off", func(p *plan) { p.cutForGood = true }, []string{"NoFaultAndProgress"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := plan{
				seed: firstSeed(), servers: 3, clients: 8, harm: 25 * time.Second, calm: time.Second, think: 60 * time.Millisecond,
				snapshotEntries: 100, verbose: *verbose,
			}
			// Without wipes: whoever is broken is to stay who it is.
			p.harms = slices.DeleteFunc(slices.Clone(allHarms), func(h harm) bool { return h.name == "wipe" })
			test.break_(&p)
			t.Logf("seed %d", p.seed)
			r := simulate(t, p)
			r.patience = time.Minute // a history that is very wrong takes very long
			t.Log(r)
			verdicts := r.judge(test.notice...)
			for _, name := range test.notice {
				if err := verdicts[name]; err == nil || strings.Contains(err.Error(), "could not be judged") {
					t.Errorf("%s noticed nothing", name)
				}
			}
			for name, err := range verdicts {
				if len(test.notice) == 0 {
					t.Errorf("%s: %v", name, err)
				} else {
					t.Logf("%s noticed: %.300s", name, err.Error())
				}
			}
		})
	}
}
