package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// retryUnknown is how long a feeder waits at most for a namespace that is not there yet.
const retryUnknown = 250 * time.Millisecond

// endWait is how long the last events of a namespace that was deleted may take to be published.
const endWait = 5 * time.Second

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
	broker    *broker
	line      *line
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
	between   bool // the event that was announced is the end of a namespace: how it was emptied comes next
	history   bool // what the ledger holds when it can first be read is older than the first subscriber
	isReady   bool
	// published is the last revision that went to subscribers, and dials those of the line when it is known that all
	// before has arrived.
	published event.Revision
	dials     uint64

	// For everybody.
	reached atomic.Uint64 // the highest that confirmed ever was
	events  atomic.Uint64 // events published
	resyncs atomic.Uint64
	absent  atomic.Bool   // there was no such namespace when it was looked for last
	wanted  atomic.Bool   // by the next namespace of that name, once this one has ended
	moved   chan struct{} // reached or absent changed

	telling sync.Mutex // held while a bookmark is published
	over    bool       // the last one was
}

func newFeeder(s *Server, namespace string) *feeder {
	js, err := jetstream.New(s.looks)
	if err != nil {
		panic(fmt.Sprintf("jetstream without options: %v", err)) // it fails on bad options only
	}
	return &feeder{
		namespace: namespace, config: s.config, log: s.log.With("namespace", namespace), broker: s.broker, line: s.lines.take(), js: js,
		writer: newWriter(s.config.Backend.Cluster(), namespace), ready: make(chan struct{}), done: make(chan struct{}),
		moved: make(chan struct{}, 1),
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
		if errors.Is(err, errEnded) {
			f.rest(ctx)
			return
		}
		f.resyncs.Add(1)
		level := slog.LevelWarn
		if _, unknown := errors.AsType[gateway.UnknownNamespaceError](err); unknown {
			// Its ledger is opened a little after the namespace is placed, or it is being made from another one; or it has
			// ended, and with it its stream.
			level = slog.LevelDebug
			f.absent.Store(true)
			f.move()
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
	dials := f.line.dials.Load()
	if err := f.settle(ctx); err != nil {
		return err
	}
	if err := f.align(ctx); err != nil {
		return err
	}
	if dials != f.dials && uint64(f.published) > f.reached.Load() {
		if err := f.ownUp(); err != nil {
			return err
		}
	}
	f.dials = dials
	follower, err := f.config.Backend.Follow(f.namespace, f.confirmed+1)
	if err != nil {
		return fmt.Errorf("follow the ledger from revision %d: %w", f.confirmed+1, err)
	}
	defer follower.Close()
	f.absent.Store(false)
	p, err := newInflight(f.line, f.dials, Stream(f.namespace), f.confirmed)
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
		// What was sent is awaited even where no more can be had: it may be the end of the namespace.
		if sent := p.drain(ctx); sent != nil {
			return cmp.Or(err, sent)
		}
		f.advance(p.sent)
		if err != nil {
			return err
		}
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
			f.announced, f.published, f.between = e.Revision, e.Revision, ends(e)
		}
		f.events.Add(1)
		if ends(e) {
			return errEnded
		}
	}
	return nil
}

// errEnded says that the namespace has ended. What follows in its ledger is how it is emptied, which concerns nobody, and
// then perhaps the next one of that name, which gets a feeder and a stream of its own.
var errEnded = errors.New("the namespace has ended")

func ends(e event.Event) bool {
	switch e.Body.(type) {
	case event.NamespaceClosed, event.NamespaceExpired:
		return true
	}
	return false
}

// rest takes the stream away and waits until the feeder is dropped.
func (f *feeder) rest(ctx context.Context) {
	f.letRead(ctx)
	for delay := retryDelayMin; ctx.Err() == nil; delay = min(2*delay, retryDelayMax) {
		err := f.dropStream(ctx)
		if err == nil {
			break
		}
		f.log.Warn("cannot take away the stream of a namespace that has ended", "error", err)
		pause(ctx, delay)
	}
	<-ctx.Done()
}

// advance notes what the stream holds. What others see of it never goes back, even while a stream is made anew:
// a bookmark must not show less than the one before.
func (f *feeder) advance(confirmed event.Revision) {
	f.confirmed = confirmed
	if uint64(confirmed) > f.reached.Load() {
		f.reached.Store(uint64(confirmed))
		f.move()
	}
}

func (f *feeder) move() {
	select {
	case f.moved <- struct{}{}:
	default:
	}
}

// settle returns when the NATS server has handled all that was published on the line as it is now.
func (f *feeder) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWait)
	defer cancel()
	if err := f.line.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("wait until all is published: %w", err)
	}
	return nil
}

// ownUp tells plain subscribers that they may have missed an event, by cutting all clients off. The stream has all of them, but
// nobody knows which of them they were told, and to tell them again could be to tell them twice.
func (f *feeder) ownUp() error {
	n, err := f.broker.cutOff()
	f.log.Warn("cut off all clients: the newest events may not have reached those with plain subscriptions",
		"clients", n, "from", f.reached.Load()+1, "to", f.published, "error", err)
	return err
}

// awaitEnd returns when all up to the event that ended the namespace was published, or when that will not come to pass.
func (f *feeder) awaitEnd(ctx context.Context, closed event.Revision) {
	limit := time.NewTimer(endWait)
	defer limit.Stop()
	for f.reached.Load() < uint64(closed) && !f.absent.Load() {
		select {
		case <-f.moved:
		case <-limit.C:
			f.log.Warn("the last events of a namespace that was deleted are not told: publishing them takes too long",
				"reached", f.reached.Load(), "end", closed)
			return
		case <-ctx.Done():
			return
		}
	}
}

// reportReady lets Start go on, once.
func (f *feeder) reportReady() {
	if !f.isReady && f.confirmed >= f.goal {
		f.isReady = true
		close(f.ready)
	}
}

// last is what subscribers were told last of a namespace that was deleted.
type last struct {
	revision event.Revision
	ended    bool // that it has ended
}
