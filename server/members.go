package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func errRemoved(name, data string) error {
	return fmt.Errorf("server %q was removed from its cluster: wipe %s before it joins one again", name, data)
}

// Members implements gateway.Backend.
func (s *Server) Members(context.Context) ([]gateway.Member, error) {
	members, _, revision := s.roll()
	all := make([]gateway.Member, 0, len(members))
	for _, m := range members {
		shown := gateway.Member{Name: m.Name, Replica: m.Replica, Raft: m.Address, Voter: m.Voter}
		if m.Replica == s.identity.Replica {
			e := s.Endpoints()
			shown.HTTP, shown.NATS, shown.DNS, shown.Alive, shown.Revision = e.HTTP, e.NATS, e.DNS, true, revision
		} else {
			theirs, alive := s.peers.get(m)
			e := theirs.Endpoints
			shown.HTTP, shown.NATS, shown.DNS, shown.Alive, shown.Revision = e.HTTP, e.NATS, e.DNS, alive, theirs.Revision
		}
		all = append(all, shown)
	}
	return all, nil
}

// Groups implements gateway.Backend.
func (s *Server) Groups(ctx context.Context) ([]gateway.Group, error) {
	members, _, _ := s.roll()
	names := map[uint64]string{}
	for _, m := range members {
		names[m.Replica] = m.Name
	}
	var all []gateway.Group
	for _, id := range s.log.Groups() {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
		m, err := s.log.Membership(ctx, id)
		cancel()
		if err != nil {
			return nil, outside(err)
		}
		g := gateway.Group{ID: id, Leader: names[s.log.Leader(id)], Namespaces: s.placement.on(id)}
		for _, replica := range m.Replicas() {
			name := names[replica]
			if _, votes := m.Voters[replica]; votes {
				g.Members = append(g.Members, name)
			} else {
				g.NonVoters = append(g.NonVoters, name)
			}
		}
		slices.Sort(g.Members)
		slices.Sort(g.NonVoters)
		all = append(all, g)
	}
	return all, nil
}

// takeIn makes another server belong to the cluster. One that bears a member's name has lost its data: it takes that
// place as a new replica, unless the member is alive, which then is somebody else.
func (s *Server) takeIn(ctx context.Context, q joinRequest) (joinAnswer, error) {
	answer, err := s.Submit(ctx, event.System, gateway.Request{
		Reason:  "the server joined",
		Command: commands.AddMember{Name: q.Name, Address: q.Raft, Nonce: q.Nonce, Voter: q.Voter, Version: q.Version},
	})
	if err != nil {
		return joinAnswer{}, err
	}
	return joinAnswer{Cluster: s.Cluster(), Replica: answer.Results[0].Replica, Groups: s.identity.Groups}, nil
}

// isAlive tells whether a server of that name answers, with other data than the nonce says. Where the new one listens
// at the very address of the old one, the old one does not.
func (s *Server) isAlive(c commands.AddMember) bool {
	if c.Name == s.config.Name {
		return true
	}
	members, _, _ := s.roll()
	for _, m := range members {
		if m.Name == c.Name && m.Nonce != c.Nonce && m.Address != c.Address {
			_, alive := s.peers.get(m)
			return alive
		}
	}
	return false
}

// joinable tells why no server can join now.
func (s *Server) joinable() error {
	if !s.Ready() || s.unfinished() != nil {
		return fmt.Errorf("%w: this server is not ready to take another one in", gateway.ErrUnavailable)
	}
	return nil
}

// guard looks at a command with what only a running server knows: who is alive. It gives the command as it is to be
// decided, or refuses it.
func (s *Server) guard(ctx context.Context, c commands.Command) (commands.Command, error) {
	switch c := c.(type) {
	case commands.AddMember:
		if err := s.joinable(); err != nil {
			return nil, err
		}
		c.Replace = c.Nonce != "" && !s.isAlive(c)
		return c, nil
	case commands.RemoveMember:
		return c, s.keepsQuorum(c.Name)
	case commands.CreateNamespace:
		from, err := s.mayBegin(ctx, commands.ConfigureNamespace{Namespace: c.Namespace, From: c.From})
		c.FromRevision = from
		return c, err
	case commands.ConfigureNamespace:
		from, err := s.mayBegin(ctx, c)
		c.FromRevision = from
		return c, err
	}
	return c, nil
}

// keepsQuorum refuses a removal that would leave the cluster without a quorum of servers that answer.
func (s *Server) keepsQuorum(without string) error {
	members, _, _ := s.roll()
	voters, alive := 0, 0
	removed := false
	for _, m := range members {
		switch {
		case m.Name == without:
			removed = m.Voter
		case m.Voter && m.Nonce != "":
			voters++
			if _, ok := s.peers.get(m); ok || m.Replica == s.identity.Replica {
				alive++
			}
		}
	}
	if quorum := voters/2 + 1; removed && alive < quorum {
		return &commands.Rejection{Code: commands.CodeQuorumAtRisk, Message: fmt.Sprintf(
			"without server %q there are %d that vote, of which %d answer and %d are needed: bring one back first", without, voters, alive, quorum)}
	}
	return nil
}
