package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/timekeeper"
)

// The leader of a namespace's group keeps the time of its leases: what another server is asked about them it asks the
// leader in turn.

const (
	pathLeases = "/peer/leases"
	// leasesBytesMax bounds what a server is asked about: a page of sessions.
	leasesBytesMax = 1 << 20
	retryLeader    = 20 * time.Millisecond
)

// leaseQuestion is what a server asks the leader: to renew one lease, or how long several have.
type leaseQuestion struct {
	Namespace string          `json:"namespace"`
	Renew     *gateway.Lease  `json:"renew,omitempty"`
	Left      []gateway.Lease `json:"left,omitempty"`
}

// leaseAnswer has the TTL of the lease that was renewed, or what each lease has left; below zero for one that the leader
// does not know. NotKept says that it is not the leader.
type leaseAnswer struct {
	NotKept bool `json:"not_kept,omitempty"`
	NoLease bool `json:"no_lease,omitempty"`
	gateway.Renewal
	Left []time.Duration `json:"left,omitempty"`
}

// Leads implements timekeeper.Host.
func (s *Server) Leads(namespace string) bool {
	if s.quarantined.Load() != nil {
		return false
	}
	group, err := s.placement.group(namespace)
	return err == nil && s.log.Leader(group) == s.identity.Replica
}

// leaseHost is the server as its timekeeper sees it: what a test breaks on purpose for those who follow a ledger, it
// breaks for doors alone.
type leaseHost struct{ *Server }

// Follow implements timekeeper.Host.
func (h leaseHost) Follow(namespace string, from event.Revision) (gateway.Follower, error) {
	group, err := h.placement.group(namespace)
	if err != nil {
		return nil, err
	}
	f, err := h.log.Follow(group, namespace, from)
	if err != nil {
		return nil, outside(err)
	}
	return unbroken{f}, nil
}

// unbroken is a follower without the faults of one.
type unbroken struct{ *log.Follower }

func (f unbroken) Next(ctx context.Context) ([]event.Event, error) {
	events, err := f.Follower.Next(ctx)
	return events, outside(err)
}

// Fork implements gateway.Follower.
func (f unbroken) Fork(from event.Revision) gateway.Follower { return unbroken{f.Follower.Fork(from)} }

// Close implements gateway.Follower; a log's follower holds nothing.
func (unbroken) Close() {}

// startTimekeeper has this server keep the time of what it leads.
func (s *Server) startTimekeeper(context.Context) error {
	s.keeper = timekeeper.New(leaseHost{s}, s.config.Name, s.config.Logger)
	s.transport.Handle("POST "+pathLeases, s.quarantineGate(http.HandlerFunc(s.serveLeases)).ServeHTTP)
	s.wg.Go(func() { s.keeper.Run(s.following) })
	return nil
}

// Renew implements gateway.Backend.
func (s *Server) Renew(ctx context.Context, namespace string, lease gateway.Lease) (gateway.Renewal, error) {
	for _, name := range []string{lease.Key, lease.Session, lease.Service, lease.ID, lease.Check} {
		if !utf8.ValidString(name) {
			return gateway.Renewal{}, gateway.ErrNoLease // nothing has such a name, and JSON would make another one of it
		}
	}
	a, err := s.askKeeper(ctx, leaseQuestion{Namespace: namespace, Renew: &lease})
	switch {
	case err != nil:
		return gateway.Renewal{}, err
	case a.NoLease:
		return gateway.Renewal{}, gateway.ErrNoLease
	}
	return a.Renewal, nil
}

// Left implements gateway.Backend.
func (s *Server) Left(ctx context.Context, namespace string, leases []gateway.Lease) (map[gateway.Lease]time.Duration, error) {
	a, err := s.askKeeper(ctx, leaseQuestion{Namespace: namespace, Left: leases})
	if err != nil {
		return nil, err
	}
	left := map[gateway.Lease]time.Duration{}
	for i, d := range a.Left {
		if i < len(leases) && d >= 0 {
			left[leases[i]] = d
		}
	}
	return left, nil
}

// askKeeper asks whoever leads, for as long as a request may take: while nobody does, and while the one who does has not
// heard of it. A question may be asked twice, for a renewal that is done again is one more renewal.
func (s *Server) askKeeper(ctx context.Context, q leaseQuestion) (a leaseAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	group, err := s.find(ctx, q.Namespace, false)
	if err != nil {
		return a, err
	}
	for {
		leader := s.log.Leader(group)
		switch {
		case leader == 0:
			s.log.Wake(group) // an idle group does not notice that its leader is gone
			err = gateway.ErrUnavailable
		case leader == s.identity.Replica:
			a, err = s.answerLeases(ctx, q)
		default:
			a, err = s.askLeader(ctx, leader, q)
		}
		if err == nil && !a.NotKept {
			return a, nil
		}
		if err != nil && !errors.Is(err, gateway.ErrUnavailable) && !errors.Is(err, gateway.ErrOutcomeUnknown) {
			return a, err
		}
		if pause(ctx, retryLeader) != nil {
			return a, gateway.ErrUnavailable
		}
		if _, gone := s.placement.group(q.Namespace); gone != nil {
			return a, gone // it ended meanwhile
		}
	}
}

func (s *Server) askLeader(ctx context.Context, leader uint64, q leaseQuestion) (a leaseAnswer, err error) {
	members, _, _ := s.roll()
	for _, m := range members {
		if m.Replica != leader {
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if err := s.ask(attempt, m.Address, http.MethodPost, pathLeases, q, &a); err != nil {
			s.config.Logger.Debug("a leader does not answer about leases", "name", m.Name, "error", err)
			return a, gateway.ErrUnavailable
		}
		return a, nil
	}
	return a, gateway.ErrUnavailable
}

// answerLeases answers for what this server leads.
func (s *Server) answerLeases(ctx context.Context, q leaseQuestion) (a leaseAnswer, err error) {
	if s.keeper == nil {
		return leaseAnswer{NotKept: true}, nil // it is starting
	}
	if q.Renew != nil {
		a.Renewal, err = s.keeper.Renew(ctx, q.Namespace, *q.Renew)
	} else {
		var left map[gateway.Lease]time.Duration
		left, err = s.keeper.Left(q.Namespace, q.Left)
		a.Left = make([]time.Duration, len(q.Left))
		for i, lease := range q.Left {
			a.Left[i] = -1
			if d, ok := left[lease]; ok {
				a.Left[i] = d
			}
		}
	}
	switch {
	case errors.Is(err, timekeeper.ErrNotKept):
		return leaseAnswer{NotKept: true}, nil
	case errors.Is(err, gateway.ErrNoLease):
		return leaseAnswer{NoLease: true}, nil
	case err != nil && ctx.Err() != nil:
		return a, gateway.ErrUnavailable
	}
	return a, err
}

func (s *Server) serveLeases(w http.ResponseWriter, r *http.Request) {
	var q leaseQuestion
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, leasesBytesMax)).Decode(&q); err != nil {
		p := gateway.NewProblem(gateway.CodeInvalidBody, "a question about leases that cannot be read: %v", err)
		answerJSON(w, p.Status, p)
		return
	}
	if _, err := s.placement.group(q.Namespace); err != nil || !s.Leads(q.Namespace) {
		answerJSON(w, http.StatusOK, leaseAnswer{NotKept: true})
		return
	}
	if n := len(q.Left); n > gateway.LeasesMax {
		p := gateway.NewProblem(commands.CodeTooLarge, "%d leases; at most %d", n, gateway.LeasesMax)
		answerJSON(w, p.Status, p)
		return
	}
	a, err := s.answerLeases(r.Context(), q)
	if err != nil {
		p := gateway.ProblemOf(outside(err))
		answerJSON(w, p.Status, p)
		return
	}
	answerJSON(w, http.StatusOK, a)
}
