package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rollcall/rollcall/log"
)

// reconcile brings the group's membership up to who the servers are, one change at a time, as package server does it. It
// goes on until ctx ends.
func (c *cluster) reconcile(ctx context.Context, random *rand.Rand) {
	for wait(ctx, time.Second) {
		if l := c.anyone(random); l != nil {
			if _, err := c.changeOne(ctx, l); err != nil && !errors.Is(err, log.ErrUnavailable) && !errors.Is(err, log.ErrClosed) {
				c.fault(fmt.Errorf("%s cannot say who the members are: %w", l.server.name, err))
			}
		}
	}
}

// changeOne makes one change, asked of a server. It tells whether there was nothing to change; the error says that the
// server could not say who the members are.
func (c *cluster) changeOne(ctx context.Context, on *life) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := on.log.Membership(ctx, group)
	if err != nil {
		return false, err
	}
	wanted := map[uint64]*host{}
	for _, s := range c.servers {
		wanted[s.replica.Load()] = s
	}
	for _, replica := range m.Replicas() {
		if wanted[replica] == nil {
			c.counts.changes.Add(1)
			_ = on.log.RemoveReplica(ctx, group, replica, m) // the next look tells what came of it
			return false, nil
		}
	}
	for replica, s := range wanted {
		switch _, joined := m.NonVoters[replica]; {
		case m.Voters[replica] != "":
		case !joined:
			c.counts.changes.Add(1)
			_ = on.log.AddReplica(ctx, group, replica, s.name, m)
			return false, nil
		default:
			if l := s.alive(); l != nil && l.log.Barrier(ctx, group) == nil && !l.dead.Load() {
				c.counts.changes.Add(1)
				_ = on.log.Promote(ctx, group, replica, m)
			}
			return false, nil
		}
	}
	return true, nil
}

// settled tells whether the membership is what it should be, as far as can be found out now. A server that has yet to be
// added cannot say.
func (c *cluster) settled(ctx context.Context) bool {
	for _, s := range c.servers {
		if l := s.alive(); l != nil {
			if settled, err := c.changeOne(ctx, l); err == nil {
				return settled
			}
		}
	}
	return false
}

// describe says what each server believes.
func (c *cluster) describe() string {
	var b strings.Builder
	for _, s := range c.servers {
		fmt.Fprintf(&b, "%s, replica %d: ", s.name, s.replica.Load())
		l := s.alive()
		if l == nil {
			b.WriteString("down; ")
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		m, err := l.log.Membership(ctx, group)
		barrier := l.log.Barrier(ctx, group)
		cancel()
		fmt.Fprintf(&b, "leader %d, applied %d, voters %v, members %+v, %v, barrier %v; ",
			l.log.Leader(group), l.log.Applied(group), l.log.Voters()[group], m, err, barrier)
	}
	return b.String()
}
