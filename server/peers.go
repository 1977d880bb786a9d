package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// Each server asks every other one how it is, a few times a second. What they say is for people (rollcall members
// list), for spreading leaders and for judging whether a change of members is safe. Nothing that must be right depends
// on it: that is Raft's business.

const (
	pathState  = "/peer/state"
	askEvery   = 500 * time.Millisecond
	askTimeout = time.Second
	aliveFor   = 2 * time.Second // after the last answer
)

// state is what a server says of itself.
type state struct {
	Name      string                `json:"name"`
	Replica   uint64                `json:"replica"`
	Cluster   string                `json:"cluster,omitempty"`
	Endpoints Endpoints             `json:"endpoints"`
	Version   string                `json:"version,omitempty"`
	Ready     bool                  `json:"ready"`
	Groups    map[uint64]groupState `json:"groups"`
	Revision  event.Revision        `json:"revision"` // of _system, as far as it has applied it
	Removed   []uint64              `json:"removed,omitempty"`
}

type groupState struct {
	Applied uint64   `json:"applied"` // Raft's index
	Leader  uint64   `json:"leader"`  // the replica that it takes for the leader
	Voters  []uint64 `json:"voters"`  // the replicas that it takes for the voters
}

// peers is what is known of the other servers.
type peers struct {
	mu   sync.Mutex
	seen map[string]seen // by name
	lost map[string]bool // who was alive and is not, so that it is said once
}

type seen struct {
	state state
	at    time.Time
}

func (p *peers) note(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]seen{}
	}
	p.seen[s.Name] = seen{s, time.Now()}
}

// get gives the last that a replica said of itself, and whether that was just now.
func (p *peers) get(m event.Member) (s state, alive bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.seen[m.Name]
	if !ok || last.state.Replica != m.Replica {
		return state{}, false
	}
	return last.state, time.Since(last.at) < aliveFor
}

// change tells whether a server is lost, and whether that is news.
func (p *peers) change(m event.Member) (lost, changed bool) {
	_, alive := p.get(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		p.lost = map[string]bool{}
	}
	before, known := p.lost[m.Name]
	p.lost[m.Name] = !alive
	return !alive, known && before == alive
}

// state is what this server says of itself.
func (s *Server) state() state {
	own := state{
		Name: s.config.Name, Replica: s.identity.Replica, Cluster: s.identity.Cluster, Endpoints: s.Endpoints(), Version: s.config.Version,
		Ready: s.Ready(), Groups: map[uint64]groupState{},
	}
	voters := s.log.Voters()
	for _, id := range s.log.Groups() {
		own.Groups[id] = groupState{Applied: s.log.Applied(id), Leader: s.log.Leader(id), Voters: voters[id]}
	}
	_, removed, revision := s.roll()
	own.Removed, own.Revision = removed, revision
	return own
}

// roll is who belongs to the cluster as far as this server knows, which replicas never do again, and the revision
// of _system that says so.
func (s *Server) roll() (members []event.Member, removed []uint64, revision event.Revision) {
	err := s.stale(event.System, func(v gateway.View) error {
		members, removed, revision = slices.Collect(v.Members()), slices.Collect(v.RemovedReplicas()), v.Head()
		return nil
	})
	if err != nil {
		return nil, nil, 0 // it has not heard of _system yet
	}
	return members, removed, revision
}

// keepAsking asks the other servers until ctx ends.
func (s *Server) keepAsking(ctx context.Context) {
	var members []event.Member
	for ctx.Err() == nil {
		// Raft ends the groups of a server that was removed, and with them what it knows: the others are still asked.
		if now, _, _ := s.roll(); len(now) > 0 {
			members = now
		}
		s.askAll(ctx, members)
		_ = pause(ctx, askEvery) // the loop sees why
	}
}

// askAll asks every other server once.
func (s *Server) askAll(ctx context.Context, members []event.Member) {
	var round sync.WaitGroup
	for _, m := range members {
		if m.Replica != s.identity.Replica && m.Nonce != "" {
			round.Go(func() { s.askState(ctx, m) })
		}
	}
	round.Wait()
}

func (s *Server) askState(ctx context.Context, m event.Member) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var theirs state
	err := s.ask(ctx, m.Address, http.MethodGet, pathState, nil, &theirs)
	if err == nil {
		s.peers.note(theirs)
		if theirs.Cluster == s.identity.Cluster { // else it is somebody who listens there now
			for group, g := range theirs.Groups {
				s.witnesses.memory.NoteApplied(theirs.Replica, group, g.Applied)
			}
		}
	}
	if lost, changed := s.peers.change(m); changed && lost {
		s.config.Logger.Warn("a server does not answer", "name", m.Name, "error", err)
		for _, group := range s.log.Groups() {
			if s.log.Leader(group) == m.Replica {
				s.log.Wake(group) // an idle group would go on taking it for its leader
			}
		}
	} else if changed {
		s.config.Logger.Info("a server answers", "name", m.Name)
	}
	if err != nil {
		return
	}
	if slices.Contains(theirs.Removed, s.identity.Replica) {
		s.ousted.Store(true)
		if !theirs.votes(s.identity.Replica) {
			s.fail(errRemoved(s.config.Name, s.config.Data))
		}
	}
}

// votes tells whether a replica votes in any group. One that was removed is needed until it votes in none: the change
// that takes it out counts its vote.
func (s state) votes(replica uint64) bool {
	for _, g := range s.Groups {
		if slices.Contains(g.Voters, replica) {
			return true
		}
	}
	return false
}
