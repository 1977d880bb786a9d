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
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
	"github.com/rollcall/rollcall/projections/names"
)

// admission is a namespace whose ledger is followed: while that is open, the doors know it and DNS shows it.
type admission struct {
	namespace string
	group     uint64
	stop      context.CancelFunc // ends the following; nil before it begins

	mu    sync.Mutex // guards what follows, and is held while DNS is told of the namespace
	shown bool
	life  event.Life // while it is shown: the one that is
	over  bool       // nobody follows it any more
}

// admit has the views that live in memory follow a namespace's ledger, and makes it known to the doors. Where it is not
// to be seen it says why, and shows it as soon as it is. Doing it again changes nothing.
func (s *Server) admit(namespace string, group uint64) error {
	a := s.admission(namespace, group)
	defer a.mu.Unlock()
	life, at, err := s.refresh(a)
	if err == nil && a.stop == nil && !life.Phase.Ended() {
		err = s.startFollowing(a, at+1)
	}
	if err != nil || life.Phase.Ended() && a.stop == nil {
		s.letGo(a)
	}
	if err != nil {
		return err
	}
	return unseen(namespace, life.Phase)
}

// admission gives a namespace's, with a.mu held; a new one where there is none that is not over.
func (s *Server) admission(namespace string, group uint64) *admission {
	for {
		s.mu.Lock()
		a := s.admitted[namespace]
		if a == nil {
			a = &admission{namespace: namespace, group: group}
			s.admitted[namespace] = a
		}
		s.mu.Unlock()
		a.mu.Lock()
		if !a.over {
			return a
		}
		a.mu.Unlock() // it was let go just now, and whoever did so took it away: what is there now may be the next one
	}
}

// startFollowing follows the ledger of a namespace from a revision on. a.mu is held.
func (s *Server) startFollowing(a *admission, from event.Revision) error {
	f, err := s.log.Follow(a.group, a.namespace, from)
	if err != nil {
		return err
	}
	var ctx context.Context
	ctx, a.stop = context.WithCancel(s.following)
	s.wg.Go(func() { s.followNames(ctx, a, f) })
	return nil
}

// release follows a namespace's ledger no longer: _system's says that the one that was placed at a revision is no more. Where
// it was made again meanwhile, the next one is shown.
func (s *Server) release(namespace string, placed event.Revision) error {
	s.mu.Lock()
	a := s.admitted[namespace]
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil
	}
	if life, _ := s.life(a.group, namespace); !life.Phase.Ended() && life.Placed > placed {
		_, _, err := s.refresh(a)
		return err
	}
	s.hide(a)
	s.letGo(a)
	return nil
}

// letGo ends an admission. a.mu is held.
func (s *Server) letGo(a *admission) {
	a.over = true
	if a.stop != nil {
		a.stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admitted[a.namespace] == a {
		delete(s.admitted, a.namespace)
	}
}

// refresh shows a namespace as this server has it, or hides it where it is not to be seen. It gives where its ledger
// stands, and as of which revision. a.mu is held.
//
// DNS is filled from the registry's rows, so that a start costs what is registered now and not what ever happened.
func (s *Server) refresh(a *admission) (life event.Life, at event.Revision, err error) {
	err = s.log.View(a.group, a.namespace, nil, func(rows store.Reader, revision event.Revision) error {
		life, at = projections.Life(rows), revision
		if life.Phase != event.Open || a.shown && a.life == life {
			return nil
		}
		if a.shown {
			s.hide(a) // it was made anew meanwhile
		}
		s.names.AddNamespace(a.namespace)
		v := projections.NewView(rows, revision)
		s.names.Load(a.namespace, revision, names.State{
			Instances: registrations(v, ""), Nodes: v.Nodes(), Services: v.AllServiceSettings(),
		})
		return nil
	})
	switch {
	case err != nil:
	case life.Phase == event.Open:
		a.shown, a.life = true, life
		s.placement.set(a.namespace, a.group)
	default:
		s.hide(a)
	}
	return life, at, err
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
	var absent gateway.AbsentError
	var none gateway.UnknownNamespaceError
	switch {
	case errors.As(err, &unknown), errors.As(err, &absent), errors.As(err, &none):
		return nil, dns.ErrNoRevision
	case errors.As(err, &trimmed):
		return nil, dns.ErrTrimmed
	case err != nil:
		// Anybody can ask, so nothing louder.
		s.config.Logger.Debug("DNS cannot show a namespace's past", "namespace", p.Namespace, "revision", p.Revision, "error", err)
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

// hide has neither the doors nor DNS know a namespace any more. a.mu is held.
func (s *Server) hide(a *admission) {
	if a.shown {
		a.shown = false
		s.placement.forget(a.namespace)
		s.names.DropNamespace(a.namespace)
	}
}

// followNames keeps the DNS view of a namespace up with its ledger, until the server stops or the namespace is let go.
func (s *Server) followNames(ctx context.Context, a *admission, f *log.Follower) {
	for {
		events, err := f.Next(ctx)
		if err != nil {
			if err = outside(err); ctx.Err() == nil && !errors.Is(err, gateway.ErrClosed) {
				s.fail(fmt.Errorf("follow namespace %q for DNS: %w", a.namespace, err))
			}
			return
		}
		if err := s.showEvents(a, starve(events)); err != nil {
			if !errors.Is(outside(err), gateway.ErrClosed) {
				s.fail(fmt.Errorf("show namespace %q: %w", a.namespace, err))
			}
			return
		}
		s.arrivals.arrived(a.namespace)
	}
}

// showEvents shows what has happened in a namespace. Where that began or ended it, it is shown as it is by now: the events
// may be of one that was deleted, and made again since.
func (s *Server) showEvents(a *admission, events []event.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil
	}
	if slices.ContainsFunc(events, changesLife) {
		if _, _, err := s.refresh(a); err != nil {
			return err
		}
		s.wakeLives()
	}
	if a.shown {
		s.names.Apply(a.namespace, overlook(events))
	}
	return nil
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
		if _, gone := errors.AsType[gateway.UnknownNamespaceError](err); gone {
			continue
		}
		if err != nil {
			return err
		}
		for {
			// What it gives stays as it is, and a namespace may go, or be made anew, meanwhile: each look takes a new one.
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
