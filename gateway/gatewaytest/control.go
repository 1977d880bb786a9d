package gatewaytest

import (
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// SetFaults says what goes wrong from now on; the zero Faults is nothing.
func (b *Backend) SetFaults(f Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
	for _, l := range b.ledgers { // those who wait are to notice
		l.wake()
	}
}

// SetTime sets the clock. Inside a ledger time never goes back, whatever the clock does.
func (b *Backend) SetTime(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = t
}

// Advance moves the clock on.
func (b *Backend) Advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// Submitted is how many commands have come as far as being decided.
func (b *Backend) Submitted() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.submitted
}

// MustSubmit has commands decided one after the other, past every fault, and gives the revision that the last of
// them left. It panics where one is rejected: it is for what a test begins with.
func (b *Backend) MustSubmit(namespace string, all ...commands.Command) event.Revision {
	b.mu.Lock()
	defer b.mu.Unlock()
	var revision event.Revision
	for _, c := range all {
		answer, err := b.submit(namespace, gateway.Request{Command: c})
		if err != nil {
			panic(err)
		}
		revision = answer.Revision
	}
	return revision
}

// Close stops the server: everything fails with gateway.ErrClosed, and followers end.
func (b *Backend) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}

// SetObservation says what the last look at a check's target gave.
func (b *Backend) SetObservation(namespace, service string, check gateway.CheckKey, seen gateway.Observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := [2]string{namespace, service}
	if b.observations[k] == nil {
		b.observations[k] = map[gateway.CheckKey]gateway.Observation{}
	}
	b.observations[k][check] = seen
}
