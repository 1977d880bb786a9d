// Package server is one running Rollcall server: the one place that knows every part and ties them together.
//
// The binary and the end-to-end tests build the same Server from the same Config, so that they share all wiring.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/live"
	"github.com/rollcall/rollcall/gateway/notify"
	"github.com/rollcall/rollcall/health"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/transport"
	"github.com/rollcall/rollcall/projections/names"
	"github.com/rollcall/rollcall/timekeeper"
)

// Server is a running server. Its exported methods may be called concurrently.
type Server struct {
	config    Config
	lock      io.Closer // of the data folder
	transport *transport.Transport
	nonce     string
	identity  identity       // complete before anything but hello is asked; guarded by mu until then
	cluster   string         // written before anybody reads it
	skipped   event.Revision // how many revisions restores have left out; as cluster
	peers     peers
	ousted    atomic.Bool // another server has said that this one was removed
	witnesses *witnesses
	log       *log.Log
	placement *placement
	names     *names.View
	arrivals  arrivals
	door      *api.Door
	notify    *notify.Server
	dns       *dns.Server
	http      *http.Server
	metrics   *metrics
	endpoints Endpoints
	version   atomic.Uint32 // of the cluster's decisions, for which commands are written
	ready     atomic.Bool   // everything listens and every view has caught up once

	live       *live.Hub       // the live streams over HTTP
	following  context.Context // ends with the server: whatever follows a ledger ends then
	stop       context.CancelFunc
	streaming  context.Context // ends before: live streams do not end by themselves
	endStreams context.CancelFunc
	wg         sync.WaitGroup
	failed     chan error // capacity 1: why a part gave up

	compares    *comparer
	quarantined atomic.Pointer[quarantine] // why it does not answer; nil while it does
	keeper      *timekeeper.Keeper
	checker     *health.Checker
	coordinator *health.Coordinator
	isolation   sync.Mutex     // for closing
	closing     bool           // Close lets go of everything
	isolating   sync.WaitGroup // what lets go of everything then

	writing  sync.Mutex // held while the identity is written; before mu
	mu       sync.Mutex
	admitted map[string]*admission // namespaces whose views follow their ledger

	lives  chan struct{} // capacity 1: a namespace has begun or ended
	chores *chores

	caughtUpOnce bool // of the goroutine that starts the server
}

// Start starts a server and returns when it is ready for requests, or why it cannot be. Close it after use.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	lock, err := lockFolder(c.Data)
	if err != nil {
		return nil, err
	}
	if err := checkQuarantine(c.Data); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Server{
		config: c, lock: lock, placement: newPlacement(), names: names.New(),
		failed: make(chan error, 1), admitted: map[string]*admission{}, lives: make(chan struct{}, 1), chores: newChores(),
	}
	s.live = live.New(s)
	s.version.Store(commands.VersionFirst)
	s.metrics, s.compares = newMetrics(s), newComparer(s)
	s.following, s.stop = context.WithCancel(context.Background())
	s.streaming, s.endStreams = context.WithCancel(s.following)
	s.door = api.New(api.Config{
		Backend: s, Logger: c.Logger, RequestTimeout: time.Duration(c.RequestTimeout), Bookmark: time.Duration(c.BookmarkEvery),
		Version: c.Version, Observe: s.metrics.request, ObserveCall: s.metrics.call, Streams: s.streaming, Live: s.live,
	})
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start brings the parts up in the order in which they need one another: the ledgers, the namespaces on them, what
// follows them, and the doors last.
func (s *Server) start(ctx context.Context) error {
	// The files say that the server is ready, or that it was stopped: neither is so any more.
	for _, file := range []string{endpointsFile, stoppedFile} {
		if err := os.Remove(filepath.Join(s.config.Data, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, part := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"the listener for the other servers", s.startTransport},
		{"the cluster", s.belong},
		{"the ledgers", s.startLog},
		{"the namespaces", s.startNamespaces},
		{"the timekeeper", s.startTimekeeper},
		{"the health checks", s.startHealth},
		{"NATS", s.startNATS},
		{"DNS", s.startDNS},
		{"HTTP", s.startHTTP},
		{"the groups", s.catchUp},
	} {
		began := time.Now()
		if err := part.start(ctx); err != nil {
			return fmt.Errorf("start %s: %w", part.name, err)
		}
		s.config.Logger.Info("started a part", "part", part.name, "took", time.Since(began))
	}
	if err := s.awaitViews(ctx); err != nil {
		return err
	}
	members, _, _ := s.roll()
	s.askAll(ctx, members) // so that the first who asks this server for the others gets an answer
	if err := writeEndpoints(s.config.Data, s.Endpoints()); err != nil {
		return fmt.Errorf("write %s: %w", endpointsFile, err)
	}
	s.ready.Store(true)
	s.wg.Go(func() { s.compares.run(s.following) })
	s.wg.Go(func() { s.keepRetention(s.following) })
	s.wg.Go(func() { s.keepLives(s.following) })
	return nil
}

// startTransport listens for the other servers, which may ask who this is before it knows itself.
func (s *Server) startTransport(context.Context) error {
	address := s.config.Raft
	id, ok, err := readIdentity(s.config.Data)
	if err != nil {
		return err
	}
	if ok && isFreePort(address) {
		address = id.Raft // a restart keeps the address that the groups know
	}
	s.startWitness(id.Cluster)
	t, err := transport.Listen(transport.Config{Address: address, Name: s.config.Name, Logger: s.config.Logger})
	if err != nil {
		return err
	}
	s.transport = t
	s.transport.Handle("GET "+pathShown, s.serveShown) // first of all, see askWitness
	return nil
}

func (s *Server) startLog(ctx context.Context) (err error) {
	s.cluster = s.identity.Cluster
	s.listens(func(e *Endpoints) { e.Raft = s.identity.Raft })
	s.log, err = log.Open(log.Config{
		Dir: s.config.Data, Address: s.identity.Raft, Replica: s.identity.Replica, Groups: s.identity.Groups,
		Founders: s.identity.replicas(), Cluster: s.identity.Cluster, Transport: s.transport,
		Base: s.unfinished() != nil, Tick: time.Duration(s.config.Tick), Logger: s.config.Logger,
		ScrubBytes: s.config.scrubBytes(), ScrubEvery: time.Duration(s.config.ScrubEvery), Damaged: s.damaged,
		TrimBytes: s.config.trimBytes(), TrimEvery: time.Duration(s.config.RetentionEvery),
		Memory: s.witnesses.memory, Before: s.askWitnesses, Meet: s.encounter,
	}, Domain{})
	if err != nil {
		return err
	}
	// First of all, for until then _system's ledger speaks of another cluster's servers.
	if err := s.finishRestore(ctx); err != nil {
		return err
	}
	s.transport.Handle("GET "+pathState, s.quarantineGate(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, s.state())
	})).ServeHTTP)
	s.transport.Handle("GET "+pathDigest, digestHandler(s.digest).ServeHTTP)
	s.wg.Go(func() { s.keepAsking(s.following) })
	s.wg.Go(func() { s.keepMemory(s.following) })
	s.wg.Go(func() { s.keepReconciling(s.following) })
	return nil
}

// startNamespaces has the doors know the namespaces. It asks the others first, for as long as a request may take:
// until the server has caught up, what it has is older than what it showed before it was stopped. Where there is no
// quorum, a server that has been here before goes on with what it has, once Raft has given it again what Pebble had lost.
func (s *Server) startNamespaces(ctx context.Context) error {
	for began := time.Now(); ; {
		if time.Since(began) > time.Duration(s.config.RequestTimeout) && s.log.Replayed() {
			if known, err := s.adopt(ctx); err != nil || known {
				return err
			}
		}
		attempt, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		err := s.log.WaitReady(attempt)
		stop()
		if err == nil {
			return s.catchUp(ctx)
		}
		select {
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for the groups: %w", context.Cause(ctx))
		default:
		}
		if !errors.Is(err, log.ErrUnavailable) {
			return err
		}
	}
}

// catchUp returns when every group has a leader and this server has what was committed before. Until then the doors
// answer only what needs no quorum.
func (s *Server) catchUp(ctx context.Context) error {
	if s.caughtUpOnce {
		return nil
	}
	var waiting sync.WaitGroup // for it lets doors know namespaces, which a server that is closed must not
	defer waiting.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting.Go(func() { s.wait(ctx, cancel) })
	if err := s.log.WaitReady(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	s.caughtUpOnce = true
	return untilAvailable(ctx, time.Duration(s.config.RequestTimeout), s.bootstrap)
}

// untilAvailable repeats what may be repeated for as long as Raft loses its leader in the middle of it. An attempt may
// take as long as patience says.
func untilAvailable(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	for {
		attempt, stop := context.WithTimeout(ctx, patience)
		err := do(attempt)
		early := attempt.Err() == nil
		stop()
		if err == nil || ctx.Err() != nil || !errors.Is(err, gateway.ErrUnavailable) && !errors.Is(err, gateway.ErrOutcomeUnknown) && !errors.Is(err, gateway.ErrBusy) {
			return err
		}
		if early { // it was refused at once, and would be again
			_ = pause(ctx, retryPause) // the next attempt says why
		}
	}
}

const retryPause = 50 * time.Millisecond

// wait has the doors know each namespace as soon as Raft has given it again, and ends the wait for a quorum when a part
// of the server gives up.
func (s *Server) wait(ctx context.Context, end context.CancelCauseFunc) {
	for {
		select {
		case err := <-s.failed:
			s.fail(err) // for whoever asks next
			end(err)
			return
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
			if _, err := s.adopt(ctx); err != nil && ctx.Err() == nil {
				s.fail(err)
			}
		}
	}
}

func (s *Server) startNATS(ctx context.Context) (err error) {
	s.notify, err = notify.Start(ctx, notify.Config{
		Listen: s.config.NATS, StoreDir: filepath.Join(s.config.Data, "nats"), ServerName: s.config.Name,
		WindowBytes: int64(s.config.WindowBytes), WindowAge: time.Duration(s.config.WindowAge),
		BookmarkInterval: time.Duration(s.config.BookmarkEvery), Backend: s, Logger: s.config.Logger,
		Do: s.do, Operations: s.door.Operations(), Version: s.config.Version, DrainTime: drainTime,
	})
	if err == nil {
		s.listens(func(e *Endpoints) { e.NATS = s.notify.Addr().String() })
	}
	return err
}

func (s *Server) startDNS(context.Context) (err error) {
	s.dns, err = dns.Listen(dns.Config{
		View: s.names, Domain: s.config.DNSDomain, Address: s.config.DNS, At: s.namesAt, Forward: s.config.forwards(),
		Logger: s.config.Logger,
	})
	if err == nil {
		s.listens(func(e *Endpoints) { e.DNS = s.dns.Addr() })
	}
	return err
}

func (s *Server) startHTTP(context.Context) error {
	listener, err := net.Listen("tcp", s.config.HTTP)
	if err != nil {
		return err
	}
	s.listens(func(e *Endpoints) { e.HTTP = listener.Addr().String() })
	s.http = &http.Server{
		Handler:           crooked(s.handler()),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute, // live streams lift it
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	s.wg.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
	return nil
}

// Endpoints say where the server listens.
func (s *Server) Endpoints() Endpoints {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints
}

// listens notes where a part listens.
func (s *Server) listens(note func(*Endpoints)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	note(&s.endpoints)
}

// Name is the server's name in its cluster.
func (s *Server) Name() string { return s.config.Name }

// DNSDomain is the domain that the server answers for.
func (s *Server) DNSDomain() string { return s.config.DNSDomain }

// Ready tells whether the server can take requests: everything listens, every view has caught up once, and every
// group has a leader now; and it is not in quarantine.
func (s *Server) Ready() bool {
	return s.ready.Load() && s.quarantined.Load() == nil && s.log.Ready()
}

// Failed gives why a part of the server gave up; whoever runs the server then closes it.
func (s *Server) Failed() <-chan error { return s.failed }

func (s *Server) fail(err error) {
	s.config.Logger.Error("a part of the server gave up", "error", err)
	select {
	case s.failed <- err:
	default: // the first failure is the one that counts
	}
}

// How long Close waits for requests that are under way.
const drainTime = 5 * time.Second

// within gives a step of the stop a time of its own, so that one that is slow takes nothing from the next.
func within(limit time.Duration, step func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	step(ctx)
}

// Close stops the server: no new requests, then those under way, then what follows the ledgers, then Raft. What was
// acknowledged is durable already.
func (s *Server) Close() error {
	s.isolation.Lock()
	s.closing = true
	s.isolation.Unlock()
	s.isolating.Wait()
	var errs []error
	if s.ready.Swap(false) {
		if err := os.Remove(filepath.Join(s.config.Data, endpointsFile)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if s.log != nil {
		within(handOverTime, s.handOver)
	}
	s.endStreams()
	if s.http != nil {
		within(drainTime, func(ctx context.Context) {
			if err := s.http.Shutdown(ctx); err != nil {
				s.config.Logger.Warn("some requests did not end in time and were cut off", "waited", drainTime, "error", err)
				errs = append(errs, s.http.Close())
			}
		})
	}
	if s.dns != nil {
		within(drainTime, func(ctx context.Context) { errs = append(errs, s.dns.Shutdown(ctx)) })
	}
	if s.notify != nil {
		s.notify.Close()
	}
	s.stop() // requests under way may have waited for what follows the ledgers
	s.wg.Wait()
	if s.log != nil {
		err := s.log.Close()
		if err == nil {
			err = noteStopped(s.config.Data)
		}
		errs = append(errs, err)
		if err := s.saveMemory(); err != nil { // which others remember as well
			s.config.Logger.Warn("cannot remember what was seen of the other servers", "error", err)
		}
	}
	if s.transport != nil {
		errs = append(errs, s.transport.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
