package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// systemGroup hosts _system's ledger, which says where everything else is.
const systemGroup = 1

// placement knows which group hosts each namespace, from _system's ledger.
type placement struct {
	mu     sync.RWMutex
	groups map[string]uint64
}

func newPlacement() *placement {
	return &placement{groups: map[string]uint64{event.System: systemGroup}}
}

func (p *placement) group(namespace string) (uint64, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	g, ok := p.groups[namespace]
	if !ok {
		return 0, gateway.UnknownNamespaceError{Namespace: namespace}
	}
	return g, nil
}

func (p *placement) set(namespace string, group uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups[namespace] = group
}

func (p *placement) forget(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.groups, namespace)
}

func (p *placement) names() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	names := make([]string, 0, len(p.groups))
	for name := range p.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// on gives the namespaces on a group, sorted.
func (p *placement) on(group uint64) []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	names := []string{}
	for name, g := range p.groups {
		if g == group {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// bootstrap makes sure that _system and default exist, and opens every namespace that _system knows. All of it may
// be repeated: what is there already makes no event.
func (s *Server) bootstrap(ctx context.Context) error {
	_, err := s.submit(ctx, systemGroup, event.System, gateway.Request{Command: commands.OpenNamespace{
		Namespace: event.System, Cluster: s.identity.Cluster, Groups: s.identity.Groups,
	}})
	if err != nil {
		return err
	}
	if err := s.learnCluster(ctx); err != nil {
		return err
	}
	if err := s.enrol(ctx); err != nil {
		return err
	}
	if _, err := s.Submit(ctx, event.System, gateway.Request{Command: commands.CreateNamespace{Namespace: event.Default}}); err != nil {
		return err
	}
	if err := s.raiseVersion(ctx); err != nil {
		return err
	}
	var namespaces []event.Namespace
	var shown event.Revision
	err = s.View(ctx, event.System, gateway.ReadOptions{}, func(v gateway.View) error {
		namespaces, shown = slices.Collect(v.Namespaces()), v.Head()
		return nil
	})
	for _, n := range namespaces {
		if opened := s.openNamespace(ctx, n); !isUnseen(opened) { // what has ended, or is to be filled, is seen to later
			err = errors.Join(err, opened)
		}
	}
	if err == nil {
		s.wg.Go(func() { s.followSystem(s.following, shown+1) })
	}
	return err
}

// enrol has _system's ledger say who the founders are. Each of them does it, because any may have died; those that
// are there already, or were removed since, are refused, which is as it should be.
func (s *Server) enrol(ctx context.Context) error {
	for _, f := range s.identity.Founders {
		if f.Replica == s.identity.Replica {
			f.Version = commands.Version // it may have another binary than when it founded
		}
		_, err := s.submit(ctx, systemGroup, event.System, gateway.Request{Command: commands.AddMember{
			Name: f.Name, Address: f.Raft, Nonce: f.Nonce, Voter: true, Replica: f.Replica, Version: f.Version,
		}})
		var refused *commands.Rejection
		if err != nil && !(errors.As(err, &refused) && refused.Code == commands.CodeMemberExists) {
			return err
		}
	}
	return nil
}

// adopt lets the doors use what this server had learned before it was stopped, so that it answers what it can answer
// though there may be no quorum. It gives whether there was anything.
func (s *Server) adopt(ctx context.Context) (bool, error) {
	if head, err := s.log.Head(systemGroup, event.System); err != nil || head.Revision == 0 {
		return false, nil //nolint:nilerr // no ledger means that there is nothing to adopt
	}
	if err := s.learnCluster(ctx); err != nil {
		return false, err
	}
	if err := s.learnVersion(); err != nil {
		return false, err
	}
	var namespaces []event.Namespace
	err := s.stale(event.System, func(v gateway.View) error {
		namespaces = slices.Collect(v.Namespaces())
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, n := range namespaces {
		if head, err := s.log.Head(n.Group, n.Name); err != nil || head.Revision == 0 {
			continue // it was placed and not opened yet: that takes a quorum
		}
		if err := s.admitKnown(n); err != nil && !isUnseen(err) {
			return false, err
		}
	}
	return true, nil
}

// learnCluster takes the cluster's id from the first event of _system's ledger, where it stands for good, or from the
// last restore, and learns how many revisions restores have left out in all. A namespace that is opened from now on
// leaves out as many, because one of its name may have had them in a cluster that this one was restored from.
func (s *Server) learnCluster(ctx context.Context) error {
	f, err := s.Follow(event.System, 1)
	if err != nil {
		return err
	}
	defer f.Close()
	events, err := f.Next(ctx)
	if err != nil {
		return err
	}
	opened, ok := events[0].Body.(event.NamespaceOpened)
	if !ok {
		return errors.New("the ledger of _system does not begin with its opening")
	}
	return s.stale(event.System, func(v gateway.View) error {
		cluster, r := opened.Cluster, v.Restored()
		if r.Cluster != "" {
			cluster = r.Cluster
		}
		// Doors may be reading them already, where a server comes back: then they are what they were.
		if s.cluster != cluster || s.skipped != r.Skipped {
			s.cluster, s.skipped = cluster, r.Skipped
		}
		return nil
	})
}

// openNamespace opens a namespace's ledger on the group that hosts it, and has its views follow it.
func (s *Server) openNamespace(ctx context.Context, n event.Namespace) error {
	if life, open := s.life(n.Group, n.Name); open && !toOpen(n, life) {
		return s.admit(n.Name, n.Group) // somebody opened it before
	}
	_, err := s.submit(ctx, n.Group, n.Name, gateway.Request{Command: commands.OpenNamespace{
		Namespace: n.Name, Cluster: s.cluster, Placed: n.Revision, Skip: s.skipped,
		From: n.From, FromRevision: n.FromRevision, Again: n.Previous > 0,
	}})
	if err != nil {
		return err
	}
	return s.admit(n.Name, n.Group)
}

// admitKnown admits a namespace whose ledger is there.
func (s *Server) admitKnown(n event.Namespace) error {
	if life, _ := s.life(n.Group, n.Name); toOpen(n, life) {
		return gateway.UnknownNamespaceError{Namespace: n.Name} // it was made again, and that takes a quorum
	}
	return s.admit(n.Name, n.Group)
}

// find gives the group of a namespace. Where this server has not heard of it yet, it asks: a namespace that was made on
// another server can be used on every one. With stale it only looks at what it has.
func (s *Server) find(ctx context.Context, namespace string, stale bool) (uint64, error) {
	group, unknown := s.placement.group(namespace)
	if unknown == nil || !event.IsNamespaceName(namespace) {
		return group, unknown
	}
	if !stale {
		if err := s.log.Barrier(ctx, systemGroup); err != nil {
			return 0, outside(err)
		}
	}
	var found event.Namespace
	err := s.stale(event.System, func(v gateway.View) error {
		var exists bool
		if found, exists = v.Namespace(namespace); !exists {
			return unknown
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return found.Group, s.openNamespace(ctx, found)
}

// followSystem learns of namespaces that were created anywhere.
func (s *Server) followSystem(ctx context.Context, from event.Revision) {
	f, err := s.Follow(event.System, from)
	if err != nil {
		s.config.Logger.Error("cannot follow _system", "error", err)
		return
	}
	defer f.Close()
	for {
		events, err := f.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.config.Logger.Error("cannot follow _system", "error", err)
			}
			return
		}
		for _, e := range events {
			switch b := e.Body.(type) {
			case event.NamespaceCreated:
				if n, ok := s.placed(b.Namespace); ok && n.Revision == e.Commit { // it may be gone, or come anew, by now
					s.openUntilDone(ctx, n)
				}
			case event.NamespaceDeleted:
				if err := s.release(b.Namespace, b.Placed); err != nil {
					s.config.Logger.Warn("cannot show a namespace now", "namespace", b.Namespace, "error", err) // it was made again
				}
				s.wakeLives()
			case event.ClusterVersion, event.MemberVersion, event.MemberRemoved:
				s.followVersion(ctx)
			}
		}
	}
}

// openUntilDone opens a namespace that was placed, while it is. Where the one before it is still to be emptied, that is not
// waited for, because everything else that _system's ledger says would wait too: the leader opens it then, and it is shown
// here as soon as it is open (lifekeeper).
func (s *Server) openUntilDone(ctx context.Context, n event.Namespace) {
	for ctx.Err() == nil {
		if now, ok := s.placed(n.Name); !ok || now.Revision != n.Revision {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
		err := s.openNamespace(attempt, n)
		cancel()
		if hasCode(err, commands.CodeNamespaceEnding) {
			s.wakeLives()
		}
		if err == nil || ctx.Err() != nil || isUnseen(err) {
			return
		}
		s.config.Logger.Warn("cannot open a namespace yet", "namespace", n.Name, "group", n.Group, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
