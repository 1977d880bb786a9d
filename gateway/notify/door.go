package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

// The bounds of what is under way. Beyond them a request is refused at once: NATS has no way to hold up its sender.
const (
	requestsMax      = 4096
	requestsBytesMax = 128 << 20 // bodies of requests; each may have 4 MiB
	idleMax          = 256       // goroutines that wait for the next request

	// The answers to reads that are being made or are leaving. A large one takes up to about 20 MiB until it has left,
	// what it is made of included, one key's about 3 MiB.
	largeMax = 16
	smallMax = 64
)

// headerStatus is the HTTP status of every answer.
const headerStatus = "Rollcall-Status"

// door takes the clients' requests and answers them: each as soon as it is ready, in any order.
//
// It is a NATS micro service, but not one that the micro package runs: that one counts a request as over when its
// handler returns, and looks then whether it failed, which races with an answer that comes later.
type door struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	do      func(context.Context, gateway.Call) gateway.Reply
	service *service
	log     *slog.Logger

	requests context.Context // of all that are under way
	cancel   context.CancelFunc
	work     chan *nats.Msg // to a goroutine that waits
	stopped  chan struct{}  // closed when none is to wait any more
	tasks    sync.WaitGroup // the goroutines
	closing  sync.Once

	mu       sync.Mutex // held while a goroutine begins, so that none does once stopping is set
	stopping bool

	large, small          chan struct{} // have as much in them as there are answers to reads
	count, bytes, idle    atomic.Int64
	refused, unanswerable atomic.Uint64
}

func startDoor(b *broker, c Config) (_ *door, err error) {
	d := &door{
		do: c.Do, log: c.Logger, work: make(chan *nats.Msg), stopped: make(chan struct{}),
		large: make(chan struct{}, largeMax), small: make(chan struct{}, smallMax),
	}
	d.service = newService(c.Operations, c.Version)
	if d.conn, err = b.connect(doorUser, "door"); err != nil {
		return nil, err
	}
	d.requests, d.cancel = context.WithCancel(context.Background())
	if err := d.subscribe(); err != nil {
		d.cancel()
		d.conn.Close()
		return nil, err
	}
	return d, nil
}

func (d *door) subscribe() (err error) {
	if d.sub, err = d.conn.QueueSubscribe(doorPrefix+">", micro.DefaultQueueGroup, d.take); err != nil {
		return fmt.Errorf("take requests: %w", err)
	}
	// They are taken out faster than they come in, so that more than a moment's worth never waits here.
	if err := d.sub.SetPendingLimits(16*requestsMax, 2*requestsBytesMax); err != nil {
		return fmt.Errorf("take requests: %w", err)
	}
	if err := d.service.subscribe(d.conn, d.answerable); err != nil {
		return err
	}
	return d.conn.Flush()
}

// answerable tells whether an answer can be given. Where it cannot, nothing is done: a write whose outcome nobody learns
// is one that nobody can rely on, and an answer to any other subject would speak where clients may not.
func (d *door) answerable(m *nats.Msg) bool {
	if isInbox(m.Reply) {
		return true
	}
	d.unanswerable.Add(1)
	d.log.Debug("dropped a request: its answer would not go to an inbox", "subject", m.Subject, "reply", m.Reply)
	return false
}

// take has a request answered by a goroutine of its own, and waits for none.
func (d *door) take(m *nats.Msg) {
	if !d.answerable(m) {
		return
	}
	size := int64(len(m.Data))
	count, bytes := d.count.Add(1), d.bytes.Add(size)
	switch {
	case count <= requestsMax && bytes <= requestsBytesMax && d.begin(m):
		return
	case d.stops():
		d.refuse(m, gateway.NewProblem(gateway.CodeStopping, "ask another server, or this one when it is back"))
	default:
		d.refused.Add(1)
		d.refuse(m, gateway.NewProblem(commands.CodeBusy, "%d requests with %d bytes are under way; try again a little later", count, bytes))
	}
	d.over(size)
}

// begin has a goroutine answer a request, unless there is to be none any more.
func (d *door) begin(m *nats.Msg) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return false
	}
	select {
	case d.work <- m:
	default:
		d.tasks.Go(func() { d.serve(m) })
	}
	return true
}

func (d *door) stops() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopping
}

// serve answers a request, and then others for as long as there are some: a goroutine that has grown its stack is worth
// keeping.
func (d *door) serve(m *nats.Msg) {
	for m != nil {
		d.handle(m)
		d.over(int64(len(m.Data)))
		m = d.wait()
	}
}

// wait gives the next request, or nil when the goroutine is not needed.
func (d *door) wait() *nats.Msg {
	defer d.idle.Add(-1)
	if d.idle.Add(1) > idleMax {
		return nil
	}
	select {
	case m := <-d.work:
		return m
	case <-d.stopped:
		return nil
	}
}

func (d *door) over(size int64) {
	d.bytes.Add(-size)
	d.count.Add(-1)
}

func (d *door) handle(m *nats.Msg) {
	began := time.Now()
	// The subscription lets nothing else through; both parts may be anything.
	namespace, operation, _ := strings.Cut(m.Subject[len(doorPrefix):], ".")
	var taken chan struct{}
	reply := d.do(d.requests, gateway.Call{
		Namespace: namespace, Operation: operation, Header: canonical(m.Header), Body: m.Data,
		Room: func(ctx context.Context, large, wait bool) bool {
			room := d.small
			if large {
				room = d.large
			}
			if enter(ctx, room, wait) {
				taken = room
			}
			return taken != nil
		},
	})
	d.send(m, reply)
	if taken != nil {
		<-taken
	}
	d.service.count(operation, reply.Problem, time.Since(began))
}

// enter takes a place, where there is one, or with wait when there is one.
func enter(ctx context.Context, room chan struct{}, wait bool) bool {
	select {
	case room <- struct{}{}:
		return true
	default:
	}
	if !wait {
		return false
	}
	select {
	case room <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// canonical spells the names of headers as HTTP does; NATS tells "If-Match" from "if-match".
func canonical(h nats.Header) map[string][]string {
	if len(h) == 0 {
		return nil
	}
	out := make(map[string][]string, len(h))
	for name, values := range h {
		name = textproto.CanonicalMIMEHeaderKey(name)
		out[name] = append(out[name], values...)
	}
	return out
}

func (d *door) refuse(m *nats.Msg, p *gateway.Problem) {
	d.send(m, gateway.Refuse(p))
	_, operation, _ := strings.Cut(m.Subject[len(doorPrefix):], ".")
	d.service.count(operation, p, 0)
}

// send sends an answer. Where it goes was checked before.
func (d *door) send(m *nats.Msg, r gateway.Reply) {
	header := nats.Header(r.Header)
	if header == nil {
		header = nats.Header{}
	}
	status := strconv.Itoa(r.Status)
	header[headerStatus] = []string{status}
	if p := r.Problem; p != nil {
		header[micro.ErrorCodeHeader] = []string{status}
		header[micro.ErrorHeader] = []string{oneLine(string(p.Code) + ": " + p.Detail)}
	}
	err := d.conn.PublishMsg(&nats.Msg{Subject: m.Reply, Header: header, Data: r.Body})
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		d.log.Warn("lost the answer to a request", "subject", m.Subject, "error", err)
	}
}

// errorBytesMax bounds what a header says of a refusal; all of it is in the body.
const errorBytesMax = 512

// oneLine makes text fit for a header.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > errorBytesMax {
		s = strings.ToValidUTF8(s[:errorBytesMax], "")
	}
	return s
}

// lost counts the requests that were dropped because too many waited to be taken.
func (d *door) lost() uint64 {
	n, err := d.sub.Dropped()
	if err != nil || n < 0 { // it is closed
		return 0
	}
	return uint64(n)
}

// close lets requests that are under way end, for as long as grace says, while it refuses others. Then it ends what is
// left.
func (d *door) close(grace time.Duration) {
	d.closing.Do(func() {
		d.mu.Lock()
		d.stopping = true
		close(d.stopped)
		d.mu.Unlock()
		done := make(chan struct{})
		go func() {
			d.tasks.Wait()
			close(done)
		}()
		limit := time.NewTimer(grace)
		defer limit.Stop()
		select {
		case <-done:
		case <-limit.C:
			d.log.Warn("some NATS requests did not end in time and were cut off", "waited", grace, "requests", d.count.Load())
		}
		d.cancel()
		<-done
		if err := d.conn.FlushTimeout(flushWait); err != nil {
			d.log.Debug("cannot send the last answers", "error", err)
		}
		d.conn.Close()
	})
}

// flushWait is how long the last answers may take to leave.
const flushWait = time.Second
