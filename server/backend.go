package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

var _ gateway.Backend = (*Server)(nil)

// Cluster implements gateway.Backend.
func (s *Server) Cluster() string { return s.cluster }

// Namespaces implements gateway.Backend.
func (s *Server) Namespaces() []string { return s.placement.names() }

// Head implements gateway.Backend.
func (s *Server) Head(namespace string) (event.Revision, error) {
	group, err := s.placement.group(namespace)
	if err != nil {
		return 0, err
	}
	head, err := s.log.Head(group, namespace)
	return head.Revision, outside(err)
}

// Submit implements gateway.Backend.
func (s *Server) Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	group, r, err := s.prepare(ctx, namespace, r)
	if err != nil {
		return commands.Answer{}, err
	}
	if c, ok := r.Command.(commands.DeleteNamespace); ok && namespace == event.System {
		return s.deleteNamespace(ctx, c, r)
	}
	answer, err := s.submit(ctx, group, namespace, r)
	if err == nil {
		err = s.carryOut(ctx, r.Command)
	}
	if err == nil && changesNames(r.Command) {
		s.awaitNames(ctx, namespace, answer.Revision)
	}
	return answer, err
}

// carryOut does in a namespace's own ledger what was decided in _system's, before the answer goes out: whoever has it may
// use the namespace, within the quotas that were asked for.
func (s *Server) carryOut(ctx context.Context, c commands.Command) error {
	switch c := c.(type) {
	case commands.CreateNamespace:
		return s.begin(ctx, c.Namespace, c.From)
	case commands.ConfigureNamespace:
		if err := s.begin(ctx, c.Namespace, c.From); err != nil || c.TTL == nil || *c.TTL == 0 {
			return err
		}
		return s.renewNamespace(ctx, c.Namespace)
	}
	return nil
}

// prepare refuses what need not be decided, and gives the group that decides, and the request as it is to be decided.
func (s *Server) prepare(ctx context.Context, namespace string, r gateway.Request) (uint64, gateway.Request, error) {
	group, err := s.find(ctx, namespace, false)
	if err != nil {
		return 0, r, err
	}
	if rejection := commands.Validate(r.Command); rejection != nil {
		return 0, r, rejection
	}
	if r.Command, err = s.guard(ctx, r.Command); err != nil {
		return 0, r, err
	}
	return group, r, s.checkVersion(r)
}

func (s *Server) submit(ctx context.Context, group uint64, ledger string, r gateway.Request) (commands.Answer, error) {
	if answer, wrong := s.boast(ledger, func() { _, _ = s.propose(context.WithoutCancel(ctx), group, ledger, r) }); wrong {
		return answer, nil
	}
	return s.propose(ctx, group, ledger, r)
}

func (s *Server) propose(ctx context.Context, group uint64, ledger string, r gateway.Request) (commands.Answer, error) {
	reply, err := s.log.Submit(ctx, group, machine.Command{
		Ledger: ledger, Time: event.Time(time.Now().UnixNano()), Actor: r.Actor, Reason: r.Reason,
		Body: commands.Order{Version: s.version.Load(), Key: r.Key, Command: r.Command}.Encode(),
	})
	if err != nil {
		return commands.Answer{}, outside(err)
	}
	answer, rejection, err := commands.DecodeReply(reply)
	if err != nil {
		return commands.Answer{}, err
	}
	if rejection != nil {
		return commands.Answer{}, rejection
	}
	return answer, nil
}

// View implements gateway.Backend.
func (s *Server) View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	group, staleness, o, err := s.reach(ctx, namespace, o)
	if err != nil {
		return err
	}
	v, past := gateway.View{Staleness: staleness}, false
	at := func(db *store.DB, l store.Ledger) (event.Revision, error) {
		v.Usage = usageOf(l.Head.Live)
		revision, err := choose(db, l, o)
		past = revision < l.Head.Revision
		if err == nil && past { // the past of what is gone now is not there either
			err = present(db, l)
		}
		return revision, err
	}
	err = s.log.View(group, namespace, at, func(rows store.Reader, revision event.Revision) error {
		if err := unseen(namespace, projections.Life(rows).Phase); err != nil {
			if past {
				return gateway.AbsentError{Namespace: namespace, At: revision}
			}
			return err
		}
		v.View = projections.NewView(rows, revision)
		return fn(v)
	})
	return outside(err)
}

// reach returns when this server has what a reader wants to see, and gives the group that it is on, how stale it may be,
// and what to read there.
func (s *Server) reach(ctx context.Context, namespace string, o gateway.ReadOptions) (group uint64, staleness time.Duration, _ gateway.ReadOptions, err error) {
	if group, err = s.find(ctx, namespace, o.Stale); err != nil {
		return 0, 0, o, err
	}
	if o.Stale {
		staleness = s.log.Staleness(group)
	} else if !fault.Broken(fault.StaleReads) {
		if err := s.log.Barrier(ctx, group); err != nil {
			return 0, 0, o, outside(err)
		}
	}
	if err := s.await(ctx, group, namespace, o.MinRevision); err != nil {
		return 0, 0, o, err
	}
	if head, err := s.log.Head(group, namespace); fault.On && err == nil {
		o = lookBack(head.Revision, o)
	}
	return group, staleness, o, nil
}

// stale runs fn on what this server has of a namespace, whatever the others do.
func (s *Server) stale(namespace string, fn func(gateway.View) error) error {
	group, err := s.placement.group(namespace)
	if err != nil {
		return err
	}
	return s.log.View(group, namespace, nil, func(rows store.Reader, revision event.Revision) error {
		return fn(gateway.View{View: projections.NewView(rows, revision)})
	})
}

// choose gives the revision that a reader wants to see.
func choose(db *store.DB, l store.Ledger, o gateway.ReadOptions) (event.Revision, error) {
	switch {
	case o.At > l.Head.Revision:
		return 0, gateway.RevisionError{Asked: o.At, Head: l.Head.Revision}
	case o.At > 0:
		return db.Floor(l.ID, o.At) // behind a restore, revisions jump: what is shown must be one that exists
	case o.AtTime.IsZero():
		return l.Head.Revision, nil
	// Outside of what nanoseconds can count there are no events.
	case o.AtTime.Before(time.Unix(0, 0)):
		return 0, nil
	case o.AtTime.After(time.Unix(0, math.MaxInt64)):
		return l.Head.Revision, nil
	}
	return db.RevisionAt(l.ID, l.Head.Revision, event.Time(o.AtTime.UnixNano()))
}

// await returns when this server has applied a revision of a ledger.
func (s *Server) await(ctx context.Context, group uint64, ledger string, revision event.Revision) error {
	head, err := s.log.Head(group, ledger)
	if err != nil || head.Revision >= revision || fault.Broken(fault.MinRevision) {
		return outside(err)
	}
	f, err := s.log.Follow(group, ledger, head.Revision+1)
	if err != nil {
		return outside(err)
	}
	for f.Position() <= revision {
		if _, err := f.Next(ctx); err != nil {
			if ctx.Err() != nil {
				return gateway.RevisionError{Asked: revision, Head: f.Position() - 1}
			}
			return outside(err)
		}
	}
	return nil
}

// History implements gateway.Backend.
func (s *Server) History(ctx context.Context, namespace string, o gateway.ReadOptions, subject string, limit int) (gateway.History, error) {
	rows, ok, err := projections.RowsOf(subject)
	if err != nil {
		return gateway.History{}, fmt.Errorf("%w: %w", gateway.ErrNoHistory, err)
	}
	if !ok {
		return gateway.History{}, fmt.Errorf("%w: %q", gateway.ErrNoHistory, subject)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	group, staleness, o, err := s.reach(ctx, namespace, o)
	if err != nil {
		return gateway.History{}, err
	}
	h := gateway.History{Staleness: staleness}
	// The ledger goes further back than the states that are kept.
	h.Head, err = s.log.Find(group, namespace, func(db *store.DB, l store.Ledger) (event.Revision, error) {
		if err := present(db, l); err != nil {
			return 0, err
		}
		return choose(db, l, o)
	})
	if err != nil {
		return h, outside(err)
	}
	found, err := s.log.History(ctx, group, namespace, subject, rows, h.Head, limit)
	h.Events, h.Next = found.Events, found.Next
	return h, outside(err)
}

// Follow implements gateway.Backend.
func (s *Server) Follow(namespace string, from event.Revision) (gateway.Follower, error) {
	group, err := s.placement.group(namespace)
	if err != nil {
		return nil, err
	}
	f, err := s.log.Follow(group, namespace, from)
	if err != nil {
		return nil, outside(err)
	}
	if life, _ := s.life(group, namespace); life.Phase.Ended() {
		return nil, gateway.UnknownNamespaceError{Namespace: namespace}
	}
	return &follower{Follower: f, server: s, group: group, namespace: namespace}, nil
}

// follower gives a log's follower the errors that doors know. Behind the event that ends the namespace comes nothing: how
// its ledger is emptied concerns nobody.
type follower struct {
	*log.Follower
	server    *Server
	group     uint64
	namespace string
	rest      []event.Event // behind the end, for the case that it was not the last one
	ended     bool          // the event that was given last ends the namespace
}

func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	if events, err := f.behindEnd(); err != nil || events != nil {
		return events, err
	}
	events, err := f.Follower.Next(ctx)
	return f.untilEnd(starve(events)), outside(err)
}

func (f *follower) TryNext() ([]event.Event, error) {
	if events, err := f.behindEnd(); err != nil || events != nil {
		return events, err
	}
	events, err := f.Follower.TryNext()
	return f.untilEnd(distort(events)), outside(breakOff(f.Follower, err))
}

// untilEnd gives the events up to one that ends the namespace, and keeps the others.
func (f *follower) untilEnd(events []event.Event) []event.Event {
	for i := range events {
		if endsLife(events[i]) {
			f.ended, f.rest = true, events[i+1:]
			return events[:i+1]
		}
	}
	return events
}

// behindEnd goes on behind the end of a namespace that was made again since.
func (f *follower) behindEnd() ([]event.Event, error) {
	if f.ended {
		if life, _ := f.server.life(f.group, f.namespace); life.Phase.Ended() {
			return nil, gateway.UnknownNamespaceError{Namespace: f.namespace}
		}
		f.ended = false
	}
	if len(f.rest) == 0 {
		return nil, nil
	}
	events := f.rest
	f.rest = nil
	return f.untilEnd(events), nil
}

// Fork implements gateway.Follower.
func (f *follower) Fork(from event.Revision) gateway.Follower {
	return &follower{Follower: f.Follower.Fork(from), server: f.server, group: f.group, namespace: f.namespace}
}

// Close implements gateway.Follower; a log's follower holds nothing.
func (*follower) Close() {}

// outside gives a log's conditions the names that doors know. Everything else stays a fault.
func outside(err error) error {
	if errors.Is(err, log.ErrTooLarge) {
		return &commands.Rejection{Code: commands.CodeTooLarge, Message: err.Error()}
	}
	if trimmed, ok := errors.AsType[machine.TrimmedError](err); ok {
		return gateway.TrimmedError{Asked: trimmed.Asked, KeptFrom: trimmed.Floor, Time: trimmed.Time}
	}
	for _, c := range []struct{ inner, outer error }{
		{log.ErrUnavailable, gateway.ErrUnavailable},
		{log.ErrOutcomeUnknown, gateway.ErrOutcomeUnknown},
		{log.ErrBusy, gateway.ErrBusy},
		{log.ErrClosed, gateway.ErrClosed},
		{machine.ErrClosed, gateway.ErrClosed},
	} {
		if errors.Is(err, c.inner) {
			return fmt.Errorf("%w: %w", c.outer, err)
		}
	}
	return err
}
