package server

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
)

// _system's ledger says which servers belong to the cluster; Raft has a membership of its own in each group. Each
// group's leader brings the second up to the first, one change at a time: a new server becomes a non-voter, then, once
// it has caught up, a voter; one that was removed is taken out. Only what the ledger says explicitly is done, so that
// a leader whose view of _system lags behind does too little and never too much.

const (
	reconcileEvery = 500 * time.Millisecond
	changeTimeout  = 5 * time.Second
	// caughtUpWithin is how many entries a non-voter may lack when it becomes a voter: what a leader sends at once.
	caughtUpWithin = 1000
)

// keepReconciling runs until ctx ends.
func (s *Server) keepReconciling(ctx context.Context) {
	settled := map[uint64]event.Revision{} // by group: the last revision of _system at which nothing was left to do
	var spread spreader
	var members []event.Member
	for ctx.Err() == nil {
		now, removed, revision := s.roll()
		if len(now) > 0 {
			members = now
		}
		switch {
		case s.ousted.Load():
			// The group that says who belongs to the cluster may have let this server go before those that it still leads.
			s.leaveAll(ctx, members)
		case len(now) > 0:
			for _, group := range s.log.Groups() {
				if s.log.Leader(group) != s.identity.Replica {
					delete(settled, group)
					continue
				}
				if settled[group] == revision {
					continue
				}
				done, err := s.reconcile(ctx, group, members, removed)
				if err != nil && ctx.Err() == nil && !errors.Is(err, log.ErrMembershipChanged) {
					s.config.Logger.Warn("cannot change who takes part in a group yet", "group", group, "error", err)
				}
				if done && err == nil {
					settled[group] = revision
				}
			}
			s.spread(&spread, members)
		}
		s.log.NoteVotes()
		_ = pause(ctx, reconcileEvery) // the loop sees why
	}
}

// leaveAll has others lead what this server leads though it was removed: only a leader takes a server out of its group.
func (s *Server) leaveAll(ctx context.Context, members []event.Member) {
	for _, group := range s.log.Groups() {
		if s.log.Leader(group) != s.identity.Replica {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, changeTimeout)
		m, err := s.log.Membership(ctx, group)
		cancel()
		if err == nil {
			err = s.yield(group, members, m)
		}
		if err != nil {
			s.config.Logger.Warn("cannot let another server lead a group yet", "group", group, "error", err)
		}
	}
}

// reconcile makes one change in a group's membership, if one is due; done says that nothing is left to do.
func (s *Server) reconcile(ctx context.Context, group uint64, members []event.Member, removed []uint64) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	m, err := s.log.Membership(ctx, group)
	if err != nil {
		return false, err
	}
	for _, replica := range removed {
		_, voter := m.Voters[replica]
		if _, nonVoter := m.NonVoters[replica]; !voter && !nonVoter {
			continue
		}
		if replica == s.identity.Replica && len(m.Voters) > 1 {
			return false, s.yield(group, members, m) // a leader does not take itself out
		}
		s.config.Logger.Info("a server is taken out of a group", "group", group, "replica", replica)
		return false, s.log.RemoveReplica(ctx, group, replica, m)
	}
	done = true
	for _, member := range members {
		_, voter := m.Voters[member.Replica]
		_, nonVoter := m.NonVoters[member.Replica]
		switch {
		case voter || member.Nonce == "":
		case !nonVoter:
			s.config.Logger.Info("a server joins a group", "group", group, "name", member.Name, "replica", member.Replica)
			return false, s.log.AddReplica(ctx, group, member.Replica, member.Address, m)
		case member.Voter:
			if !s.caughtUp(group, member) {
				done = false
				continue
			}
			s.config.Logger.Info("a server votes in a group", "group", group, "name", member.Name, "replica", member.Replica)
			return false, s.log.Promote(ctx, group, member.Replica, m)
		}
	}
	return done, nil
}

// caughtUp tells whether a non-voter has what the leader has, or nearly.
func (s *Server) caughtUp(group uint64, m event.Member) bool {
	theirs, alive := s.peers.get(m)
	return alive && theirs.Groups[group].Applied+caughtUpWithin >= s.log.Applied(group)
}

// yield lets another voter that is alive lead.
func (s *Server) yield(group uint64, members []event.Member, m log.Membership) error {
	for _, member := range members {
		if _, voter := m.Voters[member.Replica]; !voter || member.Replica == s.identity.Replica {
			continue
		}
		if _, alive := s.peers.get(member); alive {
			return s.log.Transfer(group, member.Replica)
		}
	}
	return nil
}

// spreader has leaders change only when the cluster is calm.
type spreader struct {
	leaders string // what was seen last
	since   time.Time
}

const calmBeforeSpreading = 3 * time.Second

// spread gives a group to another voter where this server leads more than its share: a failure leaves the survivors
// with more than theirs, and the one that comes back with none.
func (s *Server) spread(state *spreader, members []event.Member) {
	leads, seen := map[uint64]int{}, ""
	var own []uint64
	for _, group := range s.log.Groups() {
		leader := s.log.Leader(group)
		if leader == s.identity.Replica {
			own = append(own, group)
		}
		leads[leader]++
		seen += string(rune(leader)) // any difference counts
	}
	if seen != state.leaders || leads[0] > 0 {
		state.leaders, state.since = seen, time.Now()
		return
	}
	if time.Since(state.since) < calmBeforeSpreading {
		return
	}
	for _, m := range members {
		if !m.Voter || m.Replica == s.identity.Replica || leads[m.Replica]+1 >= len(own) {
			continue
		}
		theirs, alive := s.peers.get(m)
		group := own[len(own)-1]
		if !alive || !theirs.Ready || theirs.Groups[group].Applied+caughtUpWithin < s.log.Applied(group) {
			continue
		}
		s.config.Logger.Info("another server is to lead a group", "group", group, "name", m.Name)
		if err := s.log.Transfer(group, m.Replica); err != nil {
			s.config.Logger.Info("it cannot lead it now", "group", group, "name", m.Name, "error", err)
		}
		state.since = time.Now()
		return
	}
}

// handOver lets others lead what this server leads, and returns when they do or when ctx ends.
func (s *Server) handOver(ctx context.Context) {
	members, _, _ := s.roll()
	for _, group := range s.log.Groups() {
		for i := 0; s.log.Leader(group) == s.identity.Replica && ctx.Err() == nil; i++ {
			if !s.offer(group, members, i) {
				break
			}
			for range 20 {
				if s.log.Leader(group) != s.identity.Replica || pause(ctx, 10*time.Millisecond) != nil {
					break
				}
			}
		}
	}
}

// offer asks the i-th of the voters that are alive to lead; there is none when it gives false.
func (s *Server) offer(group uint64, members []event.Member, i int) bool {
	var alive []event.Member
	for _, m := range members {
		if theirs, ok := s.peers.get(m); ok && m.Voter && theirs.Ready {
			alive = append(alive, m)
		}
	}
	if len(alive) == 0 {
		return false
	}
	// The groups begin with different servers, so that one alone does not get them all.
	m := alive[(int(group)+i)%len(alive)]
	if err := s.log.Transfer(group, m.Replica); err != nil {
		s.config.Logger.Info("it cannot lead it now", "group", group, "name", m.Name, "error", err)
	}
	return true
}
