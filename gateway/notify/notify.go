// Package notify pushes every event of every namespace to NATS clients, and takes their requests.
//
// It runs an embedded, unclustered NATS server and feeds it from the ledgers: one JetStream memory stream per
// namespace, whose sequence numbers are the ledger's revisions. It deliberately knows nothing of Raft, of other
// servers or of how a ledger is kept: a stream is a window that can be thrown away and filled again, so every
// server of a cluster offers the same stream with the same numbers without talking to the others.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a running NATS server and what feeds it. Its methods may be called concurrently.
type Server struct {
	config Config
	log    *slog.Logger
	broker *broker
	lines  *lines     // feeders publish on them
	looks  *nats.Conn // for looking at streams, and making them
	guard  *guard
	door   *door // nil where no requests are taken
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of this package

	crowded atomic.Uint64 // clients that were cut off because too much waited for all of them

	mu      sync.Mutex
	feeders map[string]*feeder // by namespace
	// told is, for namespaces that were deleted, what subscribers were told last: one of that name that is made anew goes on
	// behind it.
	told map[string]last
	// turns are closed when what was begun last about a namespace is done.
	turns map[string]chan struct{}
}

// Start runs the server and returns once clients can connect, which is after every namespace's window has been
// filled to the revision that its ledger had when Start was called (or Config.RebuildWait is over; see Ready).
// When ctx ends first, Start gives up and leaves nothing behind; afterwards ctx has no meaning.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("start notify: %w", err)
	}
	c.setDefaults()
	// Only the part that the NATS server makes for itself goes: StoreDir may hold the operator's other files.
	if err := os.RemoveAll(filepath.Join(c.StoreDir, server.JetStreamStoreDir)); err != nil {
		return nil, fmt.Errorf("wipe streams: %w", err)
	}
	b, err := startBroker(c)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: c, log: c.Logger, broker: b,
		feeders: map[string]*feeder{}, told: map[string]last{}, turns: map[string]chan struct{}{},
	}
	running, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	if err := s.run(ctx, running); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) run(ctx, running context.Context) (err error) {
	if s.looks, err = s.broker.connect(ledgerUser, "looks"); err != nil {
		return err
	}
	if s.lines, err = newLines(s.broker, s.log); err != nil {
		return err
	}
	if s.guard, err = startGuard(s.broker, s.log); err != nil {
		return err
	}
	// Where to follow _system from is taken before the list of namespaces: one that is created in between is
	// then in both, never in neither.
	from := s.watchFrom()
	for _, namespace := range s.config.Backend.Namespaces() {
		s.ensure(running, namespace, true)
	}
	known, placed := s.list(), make(chan struct{})
	s.tasks.Go(func() {
		s.ensurePlaced(running) // before what tells when they go
		close(placed)
		s.watchNamespaces(running, from)
	})
	s.tasks.Go(func() { s.bookmarks(running) })
	s.tasks.Go(func() { s.watchPending(running) })
	if err := s.awaitWindows(ctx, known); err != nil {
		return err
	}
	<-placed
	if s.config.Do != nil {
		if s.door, err = startDoor(s.broker, s.config); err != nil {
			return err
		}
	}
	return s.broker.listen()
}

// awaitWindows waits until each window is filled. One that cannot be filled must not keep clients from the others
// for ever, so the wait is bounded.
func (s *Server) awaitWindows(ctx context.Context, of []*feeder) error {
	limit := time.NewTimer(s.config.RebuildWait)
	defer limit.Stop()
	for _, f := range of {
		select {
		case <-f.ready:
		case <-f.done: // it was deleted meanwhile
		case <-limit.C:
			s.log.Warn("let clients in before all windows are filled", "reason", s.Ready())
			return nil
		case <-ctx.Done():
			return fmt.Errorf("fill windows: %w", ctx.Err())
		}
	}
	return nil
}

func (s *Server) list() []*feeder {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*feeder, 0, len(s.feeders))
	for _, f := range s.feeders {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *feeder) int { return strings.Compare(a.namespace, b.namespace) })
	return all
}

// Addr is where clients connect.
func (s *Server) Addr() net.Addr { return s.broker.server.Addr() }

// Ready is nil once every known namespace's window was filled as far as its ledger went when its feeder began;
// otherwise the error names the namespaces that are missing.
func (s *Server) Ready() error {
	var missing []string
	for _, f := range s.list() {
		select {
		case <-f.ready:
		default:
			missing = append(missing, f.namespace)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("streams are still being filled for: %s", strings.Join(missing, ", "))
	}
	return nil
}

// Close has requests that are under way end, refusing others, then disconnects the clients and stops everything that
// Start began. It may be called more than once.
func (s *Server) Close() {
	if s.door != nil {
		s.door.close(s.config.DrainTime)
	}
	s.cancel()
	s.tasks.Wait()
	if s.guard != nil {
		s.guard.close()
	}
	if s.lines != nil {
		s.lines.close()
	}
	if s.looks != nil {
		s.looks.Close()
	}
	s.broker.close()
}
