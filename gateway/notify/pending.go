package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// How often it is looked what waits for all clients together: seldom, or often once a good part of what may wait does.
const (
	pendingLookEvery = time.Second
	pendingLookOften = 100 * time.Millisecond
	pendingPart      = 4 // a fourth
)

// watchPending keeps what waits for all clients together within Config.PendingBytes.
//
// The NATS server bounds what waits for one connection, and that bound cannot be small (see pendingBytesMax), so a few
// hundred clients that do not read could hold all memory for the ten seconds that a write may take. One that is cut off
// gets nothing more at once, but holds what it has until the write that it blocks has taken those ten seconds. So many more are
// cut off than would do, and it happens seldom: all that ten thousand can hold then is some six times the bound.
func (s *Server) watchPending(ctx context.Context) {
	timer := time.NewTimer(pendingLookEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		waits, err := s.relieve()
		if err != nil {
			s.log.Warn("cannot look what waits for NATS clients", "error", err)
		}
		if waits > s.config.PendingBytes/pendingPart {
			timer.Reset(pendingLookOften)
		} else {
			timer.Reset(pendingLookEvery)
		}
	}
}

// relieve cuts off the clients for which most waits, where more waits for all than the bound, until what waits for the others is
// half of it. It gives what waited before.
func (s *Server) relieve() (int64, error) {
	if s.broker.clients() == 0 {
		return 0, nil
	}
	all, err := s.broker.server.Connz(&server.ConnzOptions{
		Sort: server.ByPending, Username: true, User: guestUser, Account: guestsAccount, Limit: ConnectionsMax + innerMax,
	})
	if err != nil {
		return 0, fmt.Errorf("list the clients: %w", err)
	}
	var before int64
	for _, c := range all.Conns {
		before += int64(c.Pending)
	}
	if before <= s.config.PendingBytes {
		return before, nil
	}
	waits := before
	for _, c := range all.Conns { // those come first for which most waits
		if waits <= s.config.PendingBytes/2 {
			break
		}
		waits -= int64(c.Pending)
		s.crowded.Add(1)
		s.log.Warn("cut off a NATS client that does not read: too much waits for all of them together",
			"client", c.IP, "name", c.Name, "bytes", c.Pending, "together", before)
		_ = s.broker.server.DisconnectClientByID(c.Cid) // it has left by itself
	}
	return before, nil
}
