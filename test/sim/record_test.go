package sim

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

// record is what happened, as clients and watchers saw it. Its clock counts calls and returns, so that no two of them are
// at the same moment, which virtual time would often say.
type record struct {
	clock atomic.Int64

	mu      sync.Mutex
	history []check.Operation
	samples []check.Sample
	digests []check.Digest
	faults  []error
}

func (r *record) now() int64 { return r.clock.Add(1) }

func (r *record) operation(o check.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, o)
}

func (r *record) sample(s check.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

func (r *record) digest(d check.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digests = append(r.digests, d)
}

func (r *record) fault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, err)
}

// counts is what the faults of a run came to.
type counts struct {
	crashes, restarts, cuts, storms, slowDisks, transfers, wipes, changes atomic.Int64

	failures [failedForGood + 1]atomic.Int64 // of disks, by who was told
}

// newLogger gives where servers log to: nowhere, or the standard error, with virtual times.
func newLogger(verbose bool) *slog.Logger {
	if !verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventually repeats a question until it is answered with yes, and tells whether it was in time.
func eventually(ctx context.Context, every time.Duration, yes func() bool) bool {
	for !yes() {
		if !wait(ctx, every) {
			return false
		}
	}
	return true
}
