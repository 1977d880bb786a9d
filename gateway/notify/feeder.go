package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// retryUnknown is how long a feeder waits at most for a namespace that is not there yet.
const retryUnknown = 250 * time.Millisecond

// The wait before a feeder starts over doubles from the first to the second while nothing gets through.
const (
	retryDelayMin = 50 * time.Millisecond
	retryDelayMax = 5 * time.Second
)

// feeder copies one namespace's ledger into its stream, event by event, for as long as the server runs.
//
// What must stay true: the stream's message number r is the ledger's event r, for every r that the stream holds.
// Whenever that is in doubt, the feeder looks at the stream and goes on behind what it finds there, or, when
// that isn't the ledger, makes the stream anew.
type feeder struct {
	namespace string
	config    Config
	log       *slog.Logger
	nc        *nats.Conn
	js        jetstream.JetStream
	writer    *writer

	stop context.CancelFunc
	done chan struct{} // closed when it has stopped

	goal  event.Revision // when the stream has reached it, ready is closed
	ready chan struct{}

	// Of the feeder's own goroutine.
	exists    bool           // this feeder has made the stream, and all up to confirmed was right
	confirmed event.Revision // the last revision known to be in the stream
	// announced is the last revision that subscribers outside of the stream were told, or that is older than
	// the first of them: filling a stream again must not tell them twice.
	announced event.Revision
	history   bool // what the ledger holds when it can first be read is older than the first subscriber
	isReady   bool

	// For everybody.
	reached atomic.Uint64 // the highest that confirmed ever was
	events  atomic.Uint64 // events published
	resyncs atomic.Uint64
}

func newFeeder(s *Server, namespace string) *feeder {
	js, err := jetstream.New(s.feed)
	if err != nil {
		panic(fmt.Sprintf("jetstream without options: %v", err)) // it fails on bad options only
	}
	return &feeder{
		namespace: namespace, config: s.config, log: s.log.With("namespace", namespace), nc: s.feed, js: js,
		writer: newWriter(s.config.Backend.Cluster(), namespace), ready: make(chan struct{}), done: make(chan struct{}),
	}
}

// run feeds until ctx ends. Nothing that goes wrong ends it, or touches another feeder.
func (f *feeder) run(ctx context.Context) {
	delay := retryDelayMin
	for {
		before := f.reached.Load()
		err := f.feed(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.reached.Load() > before {
			delay = retryDelayMin
		}
		f.resyncs.Add(1)
		level := slog.LevelWarn
		if _, unknown := errors.AsType[gateway.UnknownNamespaceError](err); unknown {
			// Its ledger is opened a little after the namespace is placed, or it is being made from another one; or it has
			// ended, and with it its stream.
			level = slog.LevelDebug
			delay = min(delay, retryUnknown)
			if err := f.dropStream(ctx); err != nil && ctx.Err() == nil {
				f.log.Warn("cannot take away the stream of a namespace that is not there", "error", err)
			}
		}
		f.log.Log(ctx, level, "feed of a stream was interrupted; looking where to go on", "error", err)
		pause(ctx, delay)
		delay = min(2*delay, retryDelayMax)
	}
}

// feed brings the stream in step with the ledger and keeps it there until something goes wrong.
func (f *feeder) feed(ctx context.Context) error {
	if err := f.align(ctx); err != nil {
		return err
	}
	follower, err := f.config.Backend.Follow(f.namespace, f.confirmed+1)
	if err != nil {
		return fmt.Errorf("follow the ledger from revision %d: %w", f.confirmed+1, err)
	}
	defer follower.Close()
	p, err := newInflight(f.nc, Stream(f.namespace), f.confirmed)
	if err != nil {
		return err
	}
	defer p.close()
	err = f.copy(ctx, follower, p)
	confirmed, _ := p.state()
	f.advance(confirmed)
	return err
}

// copy publishes what the ledger has and waits for more. It returns only with an error.
func (f *feeder) copy(ctx context.Context, follower gateway.Follower, p *inflight) error {
	for {
		f.reportReady()
		events, err := f.next(ctx, follower)
		for err == nil && len(events) > 0 {
			if err = f.publish(ctx, p, events); err == nil {
				// As long as there is more, the confirmations of what was sent need not be awaited.
				confirmed, _ := p.state()
				f.advance(confirmed)
				events, err = follower.TryNext()
			}
		}
		if err != nil {
			return err
		}
		if err := p.drain(ctx); err != nil {
			return err
		}
		f.advance(p.sent)
	}
}

// next waits for events. While there are none, it checks now and then that the stream is still what it was.
func (f *feeder) next(ctx context.Context, follower gateway.Follower) ([]event.Event, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, f.config.AuditInterval)
		events, err := follower.Next(waiting)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return events, err
		}
		if err := f.audit(ctx); err != nil {
			return nil, err
		}
	}
}

// publish sends events that follow on one another, to subscribers too where these do not know them yet.
func (f *feeder) publish(ctx context.Context, p *inflight, events []event.Event) error {
	for _, e := range events {
		if e.Revision != p.sent+1 {
			// A ledger jumps ahead once, after a restore. Numbers in a stream have no gaps: a new one begins.
			f.exists = false
			return fmt.Errorf("the ledger went from revision %d to %d", p.sent, e.Revision)
		}
		live := e.Revision > f.announced && !forgets(e)
		if err := p.publish(ctx, e.Revision, f.writer.write(e, live)); err != nil {
			return err
		}
		if live {
			f.announced = e.Revision
		}
		f.events.Add(1)
	}
	return nil
}

// advance notes what the stream holds. What others see of it never goes back, even while a stream is made anew:
// a bookmark must not show less than the one before.
func (f *feeder) advance(confirmed event.Revision) {
	f.confirmed = confirmed
	if uint64(confirmed) > f.reached.Load() {
		f.reached.Store(uint64(confirmed))
	}
}

// reportReady lets Start go on, once.
func (f *feeder) reportReady() {
	if !f.isReady && f.confirmed >= f.goal {
		f.isReady = true
		close(f.ready)
	}
}
