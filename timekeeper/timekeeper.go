// Package timekeeper ends leases: sessions that nobody keeps alive, keys and directories whose TTL has passed, and what is
// due of instances: a TTL check that is not heard from, a check that is critical for too long.
//
// Decisions have no clock, and keepalives are no events. So one server, the leader of a ledger's group, holds a timer for
// each lease in memory. It claims the ledger first, by an event, whose revision is its epoch; what it finds expired is a
// command that bears the epoch, and a later claim makes it void. From this follows what must stay true:
//
//   - A renewal is acknowledged only when its timer was set anew and, by a linearizable read that began after it arrived,
//     the latest claim is this timekeeper's own. Whoever claims later sets every timer after its claim, to the whole TTL.
//     So nothing ends before its TTL has passed since the last renewal that was acknowledged, whichever servers die, stand
//     still or are cut off meanwhile.
//   - A lease whose end was proposed, with an outcome that is not known, is renewed by nobody before a new claim is
//     committed, for that decides the outcome.
//   - A ledger without leases is not claimed, and an idle one costs nothing: its timekeeper waits for its events.
//
// Renewals that wait at the same time share one read.
package timekeeper

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// Host is what a timekeeper needs from its server. A gateway.Backend has everything but Leads.
type Host interface {
	Namespaces() []string
	// Leads tells whether this server leads the group of a namespace, as far as it knows.
	Leads(namespace string) bool
	Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error)
	View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error
	Follow(namespace string, from event.Revision) (gateway.Follower, error)
}

// The times of a timekeeper.
const (
	lookEvery  = 100 * time.Millisecond // at who leads
	retryAfter = 50 * time.Millisecond  // a term that broke off
	// napMax is for how long a timekeeper sleeps at a time, and lapse how much longer it may turn out to be. One that stood
	// still could not hear renewals, and gives every lease its whole TTL again, as a new one does.
	napMax = 500 * time.Millisecond
	lapse  = time.Second
)

// ErrNotKept says that this server is not the one that keeps the time of a namespace.
var ErrNotKept = errors.New("another server keeps the time")

// Keeper keeps the time of the namespaces that its server leads.
type Keeper struct {
	host   Host
	server string // its name, for the claim
	logger *slog.Logger

	look chan struct{} // looks at once at who leads

	mu   sync.Mutex
	kept map[string]*kept
	runs sync.WaitGroup // of kept ledgers, and of those that are kept no more and not done yet
}

type kept struct {
	*ledger
	stop context.CancelFunc
}

// New makes a keeper for a server. Run starts it.
func New(host Host, server string, logger *slog.Logger) *Keeper {
	return &Keeper{host: host, server: server, logger: logger, look: make(chan struct{}, 1), kept: map[string]*kept{}}
}

// Run keeps the time of what the server leads, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer k.stopAll()
	for {
		k.lookAround(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-k.look:
		}
	}
}

func (k *Keeper) lookAround(ctx context.Context) {
	led := map[string]bool{}
	for _, name := range k.host.Namespaces() {
		led[name] = k.host.Leads(name)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, running := range k.kept {
		if !led[name] {
			running.stop()
			delete(k.kept, name)
		}
	}
	for name, leads := range led {
		if leads && k.kept[name] == nil {
			k.kept[name] = k.start(ctx, name)
		}
	}
}

func (k *Keeper) start(ctx context.Context, name string) *kept {
	ctx, stop := context.WithCancel(ctx)
	running := &kept{ledger: newLedger(ctx, k, name), stop: stop}
	k.runs.Go(func() { running.keep(ctx) })
	return running
}

func (k *Keeper) stopAll() {
	k.mu.Lock()
	all := k.kept
	k.kept = map[string]*kept{}
	k.mu.Unlock()
	for _, running := range all {
		running.stop()
	}
	k.runs.Wait()
}

// Renew gives a lease its whole TTL again, and is no event. It fails with ErrNotKept where another
// server keeps the time, and with gateway.ErrNoLease for a session that ended and a key without a TTL.
func (k *Keeper) Renew(ctx context.Context, namespace string, lease gateway.Lease) (gateway.Renewal, error) {
	for {
		l, err := k.ledger(ctx, namespace)
		if err != nil {
			return gateway.Renewal{}, err
		}
		renewal, err := l.renew(ctx, lease)
		if !errors.Is(err, errTermOver) {
			return renewal, err
		}
		if err := wait(ctx, retryAfter); err != nil {
			return gateway.Renewal{}, err
		}
	}
}

// Left says how long leases have if nobody renews them; those that this keeper does not know are left out.
func (k *Keeper) Left(namespace string, leases []gateway.Lease) (map[gateway.Lease]time.Duration, error) {
	k.mu.Lock()
	running := k.kept[namespace]
	k.mu.Unlock()
	if running == nil {
		return nil, ErrNotKept
	}
	return running.left(leases), nil
}

// Leases is how many leases this keeper has timers for.
func (k *Keeper) Leases() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, running := range k.kept {
		n += running.count()
	}
	return n
}

// ledger gives the ledger of a namespace that this server leads.
func (k *Keeper) ledger(ctx context.Context, namespace string) (*ledger, error) {
	for {
		k.mu.Lock()
		running := k.kept[namespace]
		k.mu.Unlock()
		switch {
		case running != nil:
			return running.ledger, nil
		case !k.host.Leads(namespace):
			return nil, ErrNotKept
		}
		select { // it has become the leader just now
		case k.look <- struct{}{}:
		default:
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
