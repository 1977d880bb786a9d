package server

import (
	"context"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// Rehearse implements gateway.Backend: it decides a command as the leader would at this moment, on the state that a
// linearizable read sees, and leaves it at that.
func (s *Server) Rehearse(ctx context.Context, namespace string, r gateway.Request) (out commands.Rehearsal, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	group, r, err := s.prepare(ctx, namespace, r)
	if err != nil {
		return out, err
	}
	if c, ok := r.Command.(commands.DeleteNamespace); ok && namespace == event.System {
		if r.Command, err = s.rehearseDelete(ctx, c); err != nil {
			return out, err
		}
	}
	// What does not survive its encoding would be refused so by apply too.
	order, err := commands.Decode(commands.Order{Version: s.version.Load(), Key: r.Key, Command: r.Command}.Encode())
	if err != nil {
		return out, err
	}
	err = s.View(ctx, namespace, gateway.ReadOptions{}, func(v gateway.View) error {
		asked := event.Time(time.Now().UnixNano())
		head, err := s.log.Head(group, namespace)
		if err != nil {
			return outside(err)
		}
		rehearsed, rejection := commands.Rehearse(v.View, commands.Situation{
			Ledger: namespace, Now: max(asked, head.Time), Asked: asked, ReadBytes: machine.EntryReadBytesMax, Usage: v.Usage,
			Past: func(r event.Revision) commands.State { return v.At(r) },
		}, order, r.Actor, r.Reason)
		if rejection != nil {
			return rejection
		}
		out = rehearsed
		return nil
	})
	return out, err
}
