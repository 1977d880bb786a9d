package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/health"
	"github.com/rollcall/rollcall/health/probe"
)

// The servers look at the targets of checks, each target one of them. The leader of _system's group says which: it answers
// what they ask when a linearizable read that began afterwards has shown that it still leads.

const (
	pathCheckers = "/peer/checkers"
	pathOutputs  = "/peer/outputs"
	// checkersBytesMax bounds a question about who looks at what.
	checkersBytesMax = 64 << 10
	// outputsTimeout is how long whoever wants to see what targets say waits for other servers.
	outputsTimeout = 250 * time.Millisecond
	// outputsBytesMax bounds what one server tells another one of a service; outputs beyond it are cut short, so that their
	// status and time still arrive.
	outputsBytesMax = 2 << 20
	outputCut       = 256
	// termEvery is how often it is looked whether this server leads, so that it knows for how long.
	termEvery = 200 * time.Millisecond
)

// checkHost is the server as its checker sees it.
type checkHost struct{ leaseHost }

// startHealth has this server take its share of the checks.
func (s *Server) startHealth(context.Context) error {
	s.coordinator = health.NewCoordinator(s.config.Name)
	s.checker = health.New(checkHost{leaseHost{s}}, health.Config{
		Server: s.config.Name, Commands: s.config.EnableCommandChecks, Logger: s.config.Logger,
		Prober: &probe.Prober{Commands: s.config.EnableCommandChecks, UserAgent: "rollcall-check (" + s.config.Name + ")"},
	})
	s.transport.Handle("POST "+pathCheckers, s.quarantineGate(http.HandlerFunc(s.serveCheckers)).ServeHTTP)
	s.transport.Handle("GET "+pathOutputs, s.quarantineGate(http.HandlerFunc(s.serveOutputs)).ServeHTTP)
	s.wg.Go(func() { s.checker.Run(s.following) })
	s.wg.Go(func() {
		for {
			if s.coordinates() {
				s.coordinator.Lead(time.Now(), s.log.Elections(systemGroup))
			}
			if pause(s.following, termEvery) != nil {
				return
			}
		}
	})
	return nil
}

// coordinates tells whether this server says who looks at what, as far as it knows.
func (s *Server) coordinates() bool {
	return s.quarantined.Load() == nil && s.log.Leader(systemGroup) == s.identity.Replica
}

// Coordinate implements health.Host.
func (h checkHost) Coordinate(ctx context.Context, p health.Poll) (g health.Grant, err error) {
	if err := h.reached(commands.VersionHealth, "checks that servers make need"); err != nil {
		return g, err
	}
	leader := h.log.Leader(systemGroup)
	switch {
	case h.quarantined.Load() != nil:
		return g, gateway.ErrUnavailable
	case leader == 0:
		h.log.Wake(systemGroup) // an idle group does not notice that its leader is gone
		return g, gateway.ErrUnavailable
	case leader == h.identity.Replica:
		return h.assign(ctx, p)
	}
	members, _, _ := h.roll()
	for _, m := range members {
		if m.Replica == leader {
			err = h.ask(ctx, m.Address, http.MethodPost, pathCheckers, p, &g)
			return g, err
		}
	}
	return g, gateway.ErrUnavailable
}

// assign answers a server that asks what to look at.
func (s *Server) assign(ctx context.Context, p health.Poll) (health.Grant, error) {
	if !s.coordinates() {
		return health.Grant{}, gateway.ErrUnavailable
	}
	// Who was deposed meanwhile knows it when the barrier is passed, for then it was another one's.
	term := s.log.Elections(systemGroup)
	s.coordinator.Arrive(time.Now(), term, p)
	if p.Leave {
		return health.Grant{}, nil
	}
	if err := s.log.Barrier(ctx, systemGroup); err != nil {
		return health.Grant{}, outside(err)
	}
	if !s.coordinates() || s.log.Elections(systemGroup) != term {
		return health.Grant{}, gateway.ErrUnavailable
	}
	return s.coordinator.Grant(time.Now(), term, p), nil
}

func (s *Server) serveCheckers(w http.ResponseWriter, r *http.Request) {
	var p health.Poll
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, checkersBytesMax)).Decode(&p); err != nil {
		q := gateway.NewProblem(gateway.CodeInvalidBody, "a question about who looks at what that cannot be read: %v", err)
		answerJSON(w, q.Status, q)
		return
	}
	members, _, _ := s.roll()
	known := false
	for _, m := range members {
		known = known || m.Name == p.Name
	}
	g, err := health.Grant{}, gateway.ErrUnavailable
	if known { // who was removed looks at nothing
		g, err = s.assign(r.Context(), p)
	}
	if err != nil {
		q := gateway.ProblemOf(err)
		answerJSON(w, q.Status, q)
		return
	}
	answerJSON(w, http.StatusOK, g)
}

// lookedAt is what a server remembers of a check. Age is how long ago it looked: clocks of servers differ.
type lookedAt struct {
	gateway.CheckKey
	gateway.Observation

	Age time.Duration `json:"age"`
}

func (s *Server) lookedAt(namespace, service string) []lookedAt {
	var all []lookedAt
	for k, seen := range s.checker.Observations(namespace, service) {
		all = append(all, lookedAt{k, seen, time.Since(seen.At)})
	}
	return all
}

func (s *Server) serveOutputs(w http.ResponseWriter, r *http.Request) {
	all, size := s.lookedAt(r.URL.Query().Get("namespace"), r.URL.Query().Get("service")), 0
	for i := range all {
		o := &all[i]
		text, err := json.Marshal(o.Output)
		if err != nil || size+len(text) > outputsBytesMax {
			o.Output = string([]rune(o.Output)[:min(outputCut, len([]rune(o.Output)))])
			text = nil
		}
		size += len(text)
	}
	answerJSON(w, http.StatusOK, all)
}

// Note implements gateway.Backend.
func (s *Server) Note(namespace, service string, k gateway.CheckKey, o gateway.Observation) {
	o.Server = s.config.Name
	s.checker.Note(namespace, service, k, o)
}

// Observations implements gateway.Backend.
func (s *Server) Observations(ctx context.Context, namespace, service string) (map[gateway.CheckKey]gateway.Observation, error) {
	if _, err := s.find(ctx, namespace, true); err != nil {
		return nil, err
	}
	found := map[gateway.CheckKey]gateway.Observation{}
	ages := map[gateway.CheckKey]time.Duration{}
	add := func(all []lookedAt) {
		for _, o := range all {
			if age, ok := ages[o.CheckKey]; !ok || o.Age < age {
				found[o.CheckKey], ages[o.CheckKey] = o.Observation, o.Age
			}
		}
	}
	add(s.lookedAt(namespace, service))
	if some, all := s.checker.Looks(namespace, service); !some || all {
		return found, nil // the others know nothing that is newer
	}
	ctx, cancel := context.WithTimeout(ctx, outputsTimeout)
	defer cancel()
	path := pathOutputs + "?" + url.Values{"namespace": {namespace}, "service": {service}}.Encode()
	members, _, _ := s.roll()
	answers := make([][]lookedAt, len(members))
	var round sync.WaitGroup
	for i, m := range members {
		if _, alive := s.peers.get(m); !alive || m.Replica == s.identity.Replica {
			continue
		}
		round.Go(func() {
			if err := s.ask(ctx, m.Address, http.MethodGet, path, nil, &answers[i]); err != nil {
				s.config.Logger.Debug("a server does not say what it saw", "name", m.Name, "error", err)
			}
		})
	}
	round.Wait()
	add(slices.Concat(answers...))
	return found, nil
}
