package sim

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

var (
	seed    = flag.Uint64("seed", 0, "seed of the first simulation; 0 takes a new one each time")
	count   = flag.Int("runs", 1, "how many simulations of each kind, with seeds that follow one another")
	hours   = flag.Duration("virtual", 2*time.Minute, "how long the phase with faults lasts, in virtual time")
	think   = flag.Duration("think", 200*time.Millisecond, "how long a client waits between two requests, on average")
	pause   = flag.Duration("pause", 8*time.Second, "how long there is between two faults at most")
	verbose = flag.Bool("verbose", false, "show what the servers log")
)

// checkers are all that a run is held to, by name.
var checkers = []struct {
	name string
	hold func(*result) error
}{
	{"NoFaultAndProgress", func(r *result) error { return errors.Join(r.faultsThat(false)...) }},
	{"RowsAreTheFold", func(r *result) error { return errors.Join(r.faultsThat(true)...) }},
	{"RevisionsContiguous", func(r *result) error { return check.RevisionsContiguous(r.ledger) }},
	{"NoAcknowledgedWriteLost", func(r *result) error { return check.NoAcknowledgedWriteLost(r.history, r.ledger) }},
	{"WritesMatchLedger", func(r *result) error { return check.WritesMatchLedger(r.history, r.ledger) }},
	{"ReadsMatchLedger", func(r *result) error { return check.ReadsMatchLedger(r.history, r.ledger) }},
	{"RealTimeOrder", func(r *result) error { return check.RealTimeOrder(r.history) }},
	{"MinRevisionHonoured", func(r *result) error { return check.MinRevisionHonoured(r.history) }},
	{"RevisionsNeverFall", func(r *result) error { return check.RevisionsNeverFall(r.samples) }},
	{"ServersEqual", func(r *result) error { return check.ServersEqual(r.digests) }},
	{"KeysLinearizable", func(r *result) error {
		return check.KeysLinearizable(check.Resolved(r.history, r.ledger), r.patience)
	}},
}

// faultsThat gives the faults that say, or do not say, that a state is not the fold of its ledger.
func (r *result) faultsThat(notTheFold bool) []error {
	return slices.DeleteFunc(slices.Clone(r.faults), func(err error) bool { return errors.Is(err, errNotTheFold) != notTheFold })
}

// judge gives what each checker says, where it says something: all checkers, or those that are named.
func (r *result) judge(names ...string) map[string]error {
	verdicts := map[string]error{}
	for _, c := range checkers {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		if err := c.hold(r); err != nil {
			verdicts[c.name] = err
		}
	}
	return verdicts
}

// String sums a run up.
func (r *result) String() string {
	outcomes, writes := map[check.Outcome]int{}, 0
	for _, o := range r.history {
		outcomes[o.Outcome]++
		if o.IsWrite() {
			writes++
		}
	}
	c := r.counts
	var b strings.Builder
	fmt.Fprintf(&b, "%s of virtual time in %s (%.0f to 1): ", r.virtual.Round(time.Second), r.real.Round(time.Millisecond), r.virtual.Seconds()/r.real.Seconds())
	fmt.Fprintf(&b, "%d operations, %d of them writes (%d ok, %d refused, %d failed, %d unknown), %d events; ", len(r.history), writes,
		outcomes[check.OK], outcomes[check.Refused], outcomes[check.Failed], outcomes[check.Unknown], len(r.ledger))
	fmt.Fprintf(&b, "%d lives, %d crashes, %d restarts, %d cuts, %d storms, %d slow disks, %d transfers, %d wipes, %d changes of membership; ", r.lives,
		c.crashes.Load(), c.restarts.Load(), c.cuts.Load(), c.storms.Load(), c.slowDisks.Load(), c.transfers.Load(), c.wipes.Load(), c.changes.Load())
	fmt.Fprintf(&b, "disks failed %d times in a start, %d times in the background, %d times for good; ",
		c.failures[failedInStart].Load(), c.failures[failedInBackground].Load(), c.failures[failedForGood].Load())
	fmt.Fprintf(&b, "%d messages, %d lost, %d repeated, %d chunks of snapshots", r.network.carried, r.network.lost, r.network.repeated, r.network.chunks)
	return b.String()
}

func firstSeed() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(rand.Uint32()) + 1
}

// TestCluster lets clusters of three and five live through faults, and holds them to every guarantee.
func TestCluster(t *testing.T) {
	s := firstSeed()
	for i := range *count {
		for _, servers := range []int{3, 5} {
			p := plan{
				seed: s + uint64(i), servers: servers, clients: 6, harm: *hours, calm: *pause, think: *think,
				snapshotEntries: 100, verbose: *verbose,
			}
			t.Run(fmt.Sprintf("servers=%d/seed=%d", servers, p.seed), func(t *testing.T) {
				t.Parallel()
				t.Logf("seed %d: go test ./test/sim -run TestCluster/servers=%d -seed %d -virtual %s", p.seed, servers, p.seed, *hours)
				r := simulate(t, p)
				r.patience = 5 * time.Minute
				t.Log(r)
				for name, err := range r.judge() {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}
