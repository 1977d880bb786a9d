package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// ensure starts the feeder of a namespace unless it has one. Known namespaces are those that exist before clients
// are let in: what their ledgers hold already is history, not news.
func (s *Server) ensure(ctx context.Context, namespace string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feeders[namespace] != nil {
		return
	}
	f := newFeeder(s, namespace)
	if known {
		if head, err := s.config.Backend.Head(namespace); err == nil {
			f.goal, f.announced = head, head
		} else {
			f.history = true
		}
	}
	s.feeders[namespace] = f
	s.tasks.Go(func() { f.run(ctx) })
}

// watchFrom is the revision of _system's ledger after which a namespace is news; from the beginning when that
// cannot be known yet.
func (s *Server) watchFrom() event.Revision {
	head, err := s.config.Backend.Head(event.System)
	if err != nil {
		return 1
	}
	return head + 1
}

// watchNamespaces gives each namespace that is created from now on its feeder.
func (s *Server) watchNamespaces(ctx context.Context, from event.Revision) {
	for ctx.Err() == nil {
		next, err := s.followNamespaces(ctx, from)
		if ctx.Err() != nil {
			return
		}
		from = next
		s.log.Warn("lost track of the namespaces; trying again", "error", err)
		pause(ctx, retryDelayMax)
	}
}

// followNamespaces returns where to go on, when following fails.
func (s *Server) followNamespaces(ctx context.Context, from event.Revision) (event.Revision, error) {
	follower, err := s.config.Backend.Follow(event.System, from)
	if err != nil {
		return from, fmt.Errorf("follow %s: %w", event.System, err)
	}
	defer follower.Close()
	for {
		events, err := follower.Next(ctx)
		if err != nil {
			return from, fmt.Errorf("follow %s: %w", event.System, err)
		}
		for _, e := range events {
			if created, ok := e.Body.(event.NamespaceCreated); ok {
				s.ensure(ctx, created.Namespace, false)
			}
			from = e.Revision + 1
		}
	}
}

// pause waits for a delay or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
