package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// admit makes a namespace known to the doors, and has the views that live in memory follow its ledger. Doing it
// again changes nothing.
func (s *Server) admit(namespace string, group uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admitted[namespace] {
		return nil
	}
	s.names.AddNamespace(namespace)
	f, err := s.loadNames(namespace, group)
	if err != nil {
		return err
	}
	s.placement.set(namespace, group)
	s.admitted[namespace] = true
	s.wg.Go(func() {
		defer f.Close()
		s.followNames(namespace, f)
	})
	return nil
}

// loadNames fills the DNS view of a namespace from the registry's rows, so that a start costs what is registered now
// and not what ever happened, and gives a follower of what comes after.
func (s *Server) loadNames(namespace string, group uint64) (gateway.Follower, error) {
	var shown event.Revision
	err := s.log.View(group, namespace, nil, func(rows store.Reader, revision event.Revision) error {
		shown = revision
		s.names.Load(namespace, revision, func(yield func(event.Instance) bool) {
			for r := range projections.NewView(rows, revision).Instances("") {
				if !yield(r.Instance) {
					return
				}
			}
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	f, err := s.log.Follow(group, namespace, shown+1)
	if err != nil {
		return nil, err
	}
	return follower{f}, nil
}

// followNames keeps the DNS view of a namespace up with its ledger, until the server stops.
func (s *Server) followNames(namespace string, f gateway.Follower) {
	for {
		events, err := f.Next(s.following)
		if err != nil {
			if s.following.Err() == nil && !errors.Is(err, gateway.ErrClosed) {
				s.fail(fmt.Errorf("follow namespace %q for DNS: %w", namespace, err))
			}
			return
		}
		s.names.Apply(namespace, events)
	}
}

// awaitViews returns when the views that live in memory have seen what the ledgers held when it was called.
func (s *Server) awaitViews(ctx context.Context) error {
	for _, namespace := range s.Namespaces() {
		if namespace == event.System {
			continue // it has no services
		}
		head, err := s.Head(namespace)
		if err != nil {
			return err
		}
		view := s.names.Namespace([]byte(namespace))
		for view != nil && view.Revision() < head {
			select {
			case <-time.After(time.Millisecond):
			case err := <-s.failed:
				return err
			case <-ctx.Done():
				return fmt.Errorf("wait for the DNS view of namespace %q: %w", namespace, ctx.Err())
			}
		}
	}
	return nil
}
