package server

import (
	"context"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// WithGrace has states be kept for at least so long.
func WithGrace(c Config, d time.Duration) Config {
	c.retentionGrace = d
	return c
}

// Trimmed tells how many row versions of a namespace were deleted here.
func (s *Server) Trimmed(namespace string) (uint64, error) {
	group, err := s.placement.group(namespace)
	if err != nil {
		return 0, err
	}
	rows, _, err := s.log.Trimmed(group, namespace)
	return rows, err
}

// ConfigureAndDie writes what a namespace is asked to keep to into _system's ledger only, as a server does that dies
// right after.
func (s *Server) ConfigureAndDie(ctx context.Context, c commands.ConfigureNamespace) error {
	_, err := s.submit(ctx, systemGroup, event.System, gateway.Request{Command: c})
	return err
}

// RetainNow does what the leader does every minute.
func (s *Server) RetainNow(ctx context.Context, namespace string) error {
	group, err := s.placement.group(namespace)
	if err != nil {
		return err
	}
	return s.retain(ctx, group, namespace)
}
