package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// ensure starts the feeder of a namespace unless it has one. Known namespaces are those that exist before clients
// are let in: what their ledgers hold already is history, not news.
func (s *Server) ensure(ctx context.Context, namespace string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.feeders[namespace]; f != nil {
		f.wanted.Store(false) // it feeds this very one
		return
	}
	f := newFeeder(s, namespace)
	f.announced, f.between = s.told[namespace].revision, s.told[namespace].ended
	if known {
		if head, err := s.config.Backend.Head(namespace); err == nil {
			f.goal, f.announced = head, head
		} else {
			f.history = true
		}
	}
	s.feeders[namespace] = f
	ctx, f.stop = context.WithCancel(ctx)
	s.tasks.Go(func() {
		defer close(f.done)
		f.run(ctx)
	})
}

// drop ends the feeder of a namespace that was deleted, once it has told the end, and takes its stream away; closed is the
// revision of the end. It returns when that is done, so that the feeder of the next namespace of that name has nobody
// beside it. That feeder may be there already, where a namespace was made anew before it was heard that the one before
// is gone: it stays.
func (s *Server) drop(ctx context.Context, namespace string, closed event.Revision) {
	s.mu.Lock()
	f := s.feeders[namespace]
	s.mu.Unlock()
	if f == nil {
		return
	}
	f.awaitEnd(ctx, closed)
	if f.reached.Load() > uint64(closed) && !f.absent.Load() {
		return
	}
	f.letRead(ctx)
	f.stop()
	<-f.done
	if err := f.dropStream(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("cannot take away the stream of a namespace that was deleted", "namespace", namespace, "error", err)
	}
	if f.reached.Load() < uint64(closed) {
		// Subscribers lack the end. They are told it with the next namespace of that name; until then bookmarks stand still.
		s.log.Info("the end of a namespace was not told", "namespace", namespace, "reached", f.reached.Load(), "end", closed)
	} else if err := f.bookmark(closed); err != nil {
		s.log.Warn("cannot tell that a namespace has ended", "namespace", namespace, "error", err)
	}
	s.lines.give(f.line)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.feeders, namespace)
	if f.announced > 0 {
		s.told[namespace] = last{revision: f.announced, ended: f.between}
	}
}

// inTurn does something about a namespace when all that was begun earlier about it is done. It does not wait: a namespace whose
// end takes its time keeps the news of others from nobody.
func (s *Server) inTurn(ctx context.Context, namespace string, do func()) {
	done := make(chan struct{})
	s.mu.Lock()
	before := s.turns[namespace]
	s.turns[namespace] = done
	s.mu.Unlock()
	s.tasks.Go(func() {
		if before != nil {
			<-before
		}
		if ctx.Err() == nil {
			do()
		}
		close(done)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.turns[namespace] == done {
			delete(s.turns, namespace)
		}
	})
}

// hurry has the one before of a namespace that is made anew not be waited for much longer.
func (s *Server) hurry(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.feeders[namespace]; f != nil {
		f.wanted.Store(true)
	}
}

// ensurePlaced gives those namespaces a feeder that are placed already and not there yet: nothing will tell when they come.
func (s *Server) ensurePlaced(ctx context.Context) {
	var placed []string
	err := s.config.Backend.View(ctx, event.System, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
		for n := range v.Namespaces() {
			placed = append(placed, n.Name)
		}
		return nil
	})
	if err != nil {
		s.log.Debug("cannot look which namespaces are to come", "error", err)
	}
	for _, namespace := range placed {
		s.ensure(ctx, namespace, false)
	}
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

// watchNamespaces gives each namespace that is created from now on its feeder, until it is deleted.
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
			switch b := e.Body.(type) {
			case event.NamespaceCreated:
				s.hurry(b.Namespace)
				s.inTurn(ctx, b.Namespace, func() { s.ensure(ctx, b.Namespace, false) })
			case event.NamespaceDeleted:
				s.inTurn(ctx, b.Namespace, func() { s.drop(ctx, b.Namespace, b.Closed) })
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
