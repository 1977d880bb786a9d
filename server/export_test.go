package server

import (
	"context"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections"
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

// SubmitAndDie writes one command into one ledger, as a server does that dies right after; there is nobody who carries it
// out but the leader.
func (s *Server) SubmitAndDie(ctx context.Context, ledger string, c commands.Command) (commands.Answer, error) {
	group := uint64(systemGroup)
	if n, ok := s.placed(ledger); ok {
		group = n.Group
	}
	return s.submit(ctx, group, ledger, gateway.Request{Command: c, Actor: "ada", Reason: "a test"})
}

// Placed gives a namespace as _system's ledger places it.
func (s *Server) Placed(namespace string) (event.Namespace, bool) { return s.placed(namespace) }

// InLedger gives how many keys a ledger holds, and where it stands, whether its namespace is seen or not.
func (s *Server) InLedger(group uint64, namespace string) (life event.Life, head event.Revision, keys int) {
	_ = s.peek(group, namespace, func(v projections.View) error {
		life, head = v.Life(), v.Head()
		for range v.KeyRevisions("") {
			keys++
		}
		return nil
	})
	return life, head, keys
}

// HoldFills has nothing be filled by this server until the function is called that it gives.
func (s *Server) HoldFills() (release func()) {
	for range choresMax {
		s.chores.fills <- struct{}{}
	}
	return func() {
		for range choresMax {
			<-s.chores.fills
		}
	}
}

// FillSome does one step of the filling of a namespace, knowing nothing of those before.
func (s *Server) FillSome(ctx context.Context, namespace string) (upTo string, done bool, err error) {
	n, _ := s.placed(namespace)
	source, _ := s.placed(n.From)
	return s.fillSome(ctx, source.Group, n, "")
}

// Release does what follows a deletion on a server.
func (s *Server) Release(namespace string, placed event.Revision) error {
	return s.release(namespace, placed)
}
