package gatewaytest

import (
	"context"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// chunkMax is how many events a follower is given at once, but for the rest of a commit.
const chunkMax = 512

// Follow implements gateway.Backend.
func (b *Backend) Follow(namespace string, from event.Revision) (gateway.Follower, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	l, err := b.ledger(namespace)
	if err == nil {
		err = b.faults.Follow
	}
	if err != nil {
		return nil, err
	}
	return &follower{backend: b, ledger: l, next: max(from, 1), namespace: namespace}, nil
}

// follower implements gateway.Follower.
type follower struct {
	backend *Backend
	ledger  *ledger
	next    event.Revision
	closed  bool

	namespace string
	ended     bool // the last event that it gave ends the namespace
}

// Next implements gateway.Follower.
func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	for {
		events, changed, err := f.poll()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-changed:
		case <-f.backend.closed:
			return nil, gateway.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TryNext implements gateway.Follower.
func (f *follower) TryNext() ([]event.Event, error) {
	events, _, err := f.poll()
	return events, err
}

// Fork implements gateway.Follower.
func (f *follower) Fork(from event.Revision) gateway.Follower {
	return &follower{backend: f.backend, ledger: f.ledger, next: max(from, 1), namespace: f.namespace}
}

// Close implements gateway.Follower.
func (f *follower) Close() { f.closed = true }

func (f *follower) poll() ([]event.Event, <-chan struct{}, error) {
	if f.closed {
		panic("a follower is used after it was closed")
	}
	f.backend.mu.RLock()
	defer f.backend.mu.RUnlock()
	if err := f.backend.faults.Follow; err != nil {
		return nil, nil, err
	}
	select {
	case <-f.backend.closed:
		return nil, nil, gateway.ErrClosed
	default:
	}
	if f.ended && f.backend.life(f.namespace).Phase.Ended() {
		return nil, nil, gateway.UnknownNamespaceError{Namespace: f.namespace}
	}
	all := f.ledger.events
	if f.next > event.Revision(len(all)) {
		return nil, f.ledger.changed, nil
	}
	start := int(f.next - 1)
	end := min(start+chunkMax, len(all))
	for all[end-1].Revision != all[end-1].Commit { // whole commits only
		end++
	}
	f.ended = false
	for i, e := range all[start:end] {
		switch e.Body.(type) {
		case event.NamespaceClosed, event.NamespaceExpired: // how it is emptied concerns nobody
			f.ended, end = true, start+i+1
		}
		if f.ended {
			break
		}
	}
	f.next = event.Revision(end + 1)
	return all[start:end:end], nil, nil
}
