package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
	"github.com/rollcall/rollcall/projections/names"
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
		v := projections.NewView(rows, revision)
		s.names.Load(namespace, revision, names.State{
			Instances: registrations(v, ""), Nodes: v.Nodes(), Services: v.AllServiceSettings(),
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

// registrations are the instances of a service, or with none of all, as the DNS view takes them.
func registrations(v projections.View, service string) iter.Seq[names.Registered] {
	return func(yield func(names.Registered) bool) {
		for r, h := range v.WithHealth(service) {
			if !yield(names.Registered{Instance: r.Instance, Health: h}) {
				return
			}
		}
	}
}

// namesAt gives what DNS is asked for of a namespace's past, as this server has it.
func (s *Server) namesAt(ctx context.Context, p dns.Past) (shown *names.Namespace, err error) {
	err = s.View(ctx, p.Namespace, gateway.ReadOptions{At: p.Revision, Stale: true}, func(v gateway.View) error {
		shown = names.Fold(p.Namespace, p.Revision, pastState(v, p))
		return nil
	})
	var unknown gateway.RevisionError
	var trimmed gateway.TrimmedError
	switch {
	case errors.As(err, &unknown):
		return nil, dns.ErrNoRevision
	case errors.As(err, &trimmed):
		return nil, dns.ErrTrimmed
	case err != nil:
		s.config.Logger.Warn("DNS cannot show a namespace's past", "namespace", p.Namespace, "revision", p.Revision, "error", err)
	}
	return shown, err
}

// pastState reads the one service or node that is asked for, with whatever decides how it is: there may be very many
// others.
func pastState(v gateway.View, p dns.Past) (state names.State) {
	nodes := map[string]event.Node{}
	settings := map[string]event.ServiceSettings{}
	var instances []names.Registered
	if p.Node != "" {
		for _, name := range v.NodeSpellings(p.Node) {
			nodes[name], _ = v.Node(name)
		}
	}
	if p.Service != "" {
		for _, name := range v.Spellings(p.Service) {
			settings[name], _ = v.ServiceSettings(name)
			instances = slices.AppendSeq(instances, registrations(v.View, name))
		}
	}
	for _, r := range instances {
		if n, ok := v.Node(r.Instance.Node); ok {
			nodes[n.Name] = n
		}
	}
	return names.State{Instances: slices.Values(instances), Nodes: maps.Values(nodes), Services: maps.All(settings)}
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
		s.arrivals.arrived(namespace)
	}
}

// arrivals lets whoever has registered something wait until DNS shows it.
type arrivals struct {
	mu      sync.Mutex
	waiting map[string]chan struct{} // by namespace; closed when its view has moved
}

func (a *arrivals) arrived(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.waiting[namespace]; c != nil {
		close(c)
		delete(a.waiting, namespace)
	}
}

func (a *arrivals) next(namespace string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[string]chan struct{}{}
	}
	if a.waiting[namespace] == nil {
		a.waiting[namespace] = make(chan struct{})
	}
	return a.waiting[namespace]
}

// awaitNames returns when this server's DNS shows a commit, or when ctx ends: who has the answer to a registration
// finds it in DNS at once.
func (s *Server) awaitNames(ctx context.Context, namespace string, commit event.Revision) {
	for {
		moved := s.arrivals.next(namespace) // taken first, so that nothing slips in between
		view := s.names.Namespace([]byte(namespace))
		if view == nil || view.Revision() >= commit {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// changesNames tells whether a command may change what DNS shows.
func changesNames(c commands.Command) bool {
	switch c := c.(type) {
	case commands.RegisterInstance, commands.DeregisterInstance, commands.ReportStatus, commands.SetInstanceMaintenance,
		commands.SetNodeMaintenance, commands.PutNode, commands.DeleteNode, commands.ConfigureService, commands.EndSession:
		return true
	case commands.Txn:
		for _, branch := range [][]commands.Operation{c.Then, c.Else} {
			for _, op := range branch {
				if op.Register != nil || op.Deregister != nil {
					return true
				}
			}
		}
	}
	return false
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
		for {
			// What it gives stays as it is: each look takes a new one.
			view := s.names.Namespace([]byte(namespace))
			if view == nil || view.Revision() >= head {
				break
			}
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
