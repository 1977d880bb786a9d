package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// The subjects of requests, events and bookmarks.
const (
	requestPrefix  = "rollcall-api."
	eventPrefix    = "rollcall."
	bookmarkPrefix = "rollcall-bookmark."
)

const (
	// pingTime is how often a NATS connection is tried; after three that had no answer it is over.
	pingTime = 5 * time.Second
	// arrivalsMax is how many messages of watches may wait on a connection until they are handed out, which takes no time, and
	// answersMax is how many answers.
	arrivalsMax = 16 << 10
	answersMax  = 16 << 10
	// writeTime is how long a server may take nothing of what is sent to it. Until then, what a call has to say may wait behind
	// it, whatever the call's context says.
	writeTime = 5 * time.Second
)

var (
	errNoAnswer     = errors.New("the server did not answer in time")
	errNothingTaken = errors.New("the connection was over before anything was sent")
)

// link is the way to one server over NATS: one connection that all calls share, made when it is needed, and made again
// when it broke. What becomes of a request then is the caller's to decide, so nats.go may not reconnect by itself.
type link struct {
	url  string
	life context.Context // ends with Close

	mu   sync.Mutex
	conn *conn    // nil, or the last one
	dial *dialing // nil, or the one that is being made
}

// dialing is an attempt to connect that several callers may wait for.
type dialing struct {
	done chan struct{}
	conn *conn
	err  error
}

// connect gives the connection. An error says that nothing was sent.
func (l *link) connect(ctx context.Context) (*conn, error) {
	l.mu.Lock()
	if c := l.conn; c != nil && c.up() {
		l.mu.Unlock()
		return c, nil
	}
	d := l.dial
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		l.dial = d
		go l.run(d)
	}
	l.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) run(d *dialing) {
	d.conn, d.err = newConn(l.life, l.url)
	l.mu.Lock()
	if d.err == nil {
		l.conn = d.conn
		if l.life.Err() != nil {
			d.conn.nc.Close()
		}
	}
	l.dial = nil
	l.mu.Unlock()
	close(d.done)
}

// close ends the connection; the link's life is over already.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.nc.Close()
	}
}

// dialer connects for as long as a context lasts, and so do its connections.
type dialer struct{ life context.Context }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	to := net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	c, err := to.DialContext(d.life, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(d.life, func() { _ = c.Close() })
	return &lived{c, stop}, nil
}

// lived is a connection that need not be closed any more once it is.
type lived struct {
	net.Conn
	stop func() bool
}

// Write implements net.Conn. A connection that could not be written to is over: nats.go forgets what it could not write and goes
// on, and a subscription that never reached the server would be silent for ever, while bookmarks say that all has come.
func (l *lived) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err != nil {
		_ = l.Close() // what failed is told already
	}
	return n, err
}

// Close implements net.Conn.
func (l *lived) Close() error {
	l.stop()
	return l.Conn.Close()
}

// conn is one connection.
type conn struct {
	nc    *nats.Conn
	inbox string // what answers' subjects begin with
	// answers waits for hand, so that none is lost: what arrived before the connection's end is handed out before that, while
	// nats.go forgets what waits for a function of its own calls.
	answers chan *nats.Msg
	ended   chan error // has room for one: why the connection is over

	mu    sync.Mutex
	calls map[uint64]*call // those under way
	last  uint64           // the number of the last one
	down  error            // why the connection is over; nil while it is not

	feeds
}

// call is a request under way. It is used again for others.
type call struct {
	answer chan *nats.Msg // room for one; nil where the connection is over
	timer  *time.Timer
}

var callPool = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{answer: make(chan *nats.Msg, 1), timer: t}
}}

func newConn(life context.Context, url string) (*conn, error) {
	c := &conn{calls: map[uint64]*call{}, answers: make(chan *nats.Msg, answersMax), ended: make(chan error, 1)}
	c.feeds.init(c)
	nc, err := nats.Connect(url, nats.Name("rollcall client"), nats.NoReconnect(), nats.Timeout(dialTime), nats.FlusherTimeout(writeTime),
		nats.PingInterval(pingTime), nats.MaxPingsOutstanding(2), nats.IgnoreDiscoveredServers(),
		nats.SetCustomDialer(dialer{life}), nats.SkipSubjectValidation(),
		nats.ClosedHandler(func(nc *nats.Conn) { c.ended <- nc.LastError() }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { c.complain(sub, err) }))
	if err != nil {
		return nil, err
	}
	c.nc = nc
	c.inbox = nc.NewInbox() + "."
	go c.hand()
	if _, err := nc.ChanSubscribe(c.inbox+"*", c.answers); err != nil {
		nc.Close()
		return nil, fmt.Errorf("await answers: %w", err)
	}
	return c, nil
}

// hand hands out answers until the connection is over, and then those that arrived before.
func (c *conn) hand() {
	for {
		select {
		case m := <-c.answers:
			c.answered(m)
		case err := <-c.ended: // behind which nats.go brings nothing
			for len(c.answers) > 0 {
				c.answered(<-c.answers)
			}
			c.fail(err)
			return
		}
	}
}

func (c *conn) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down == nil && !c.nc.IsClosed()
}

// fail ends whatever waits for the connection.
func (c *conn) fail(err error) {
	if err == nil {
		err = nats.ErrConnectionClosed
	}
	c.mu.Lock()
	c.down = err
	for _, k := range c.calls {
		k.answer <- nil
	}
	c.calls = nil
	c.mu.Unlock()
	c.feeds.fail(err)
}

// answered hands an answer to the call that waits for it.
func (c *conn) answered(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(c.inbox):], 36, 64)
	if err != nil {
		return // nothing of ours
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.calls[number]; k != nil {
		delete(c.calls, number)
		k.answer <- m
	}
}

// request sends a message and waits for the answer. Where it gives errNothingTaken, nothing was sent.
func (c *conn) request(ctx context.Context, m *nats.Msg, limit time.Duration) (*nats.Msg, error) {
	k, _ := callPool.Get().(*call)
	defer callPool.Put(k)
	c.mu.Lock()
	if c.down != nil {
		c.mu.Unlock()
		return nil, errNothingTaken
	}
	c.last++
	number := c.last
	c.calls[number] = k
	c.mu.Unlock()
	var to [80]byte
	m.Reply = string(strconv.AppendUint(append(to[:0], c.inbox...), number, 36))
	if err := c.nc.PublishMsg(m); err != nil {
		c.forget(number, k)
		if errors.Is(err, nats.ErrConnectionClosed) {
			err = errNothingTaken
		}
		return nil, err
	}
	k.timer.Reset(limit)
	defer k.timer.Stop()
	select {
	case answer := <-k.answer:
		if answer == nil {
			return nil, c.failure()
		}
		return answer, nil
	case <-k.timer.C:
		c.forget(number, k)
		return nil, errNoAnswer
	case <-ctx.Done():
		c.forget(number, k)
		return nil, ctx.Err()
	}
}

// forget gives up waiting, and has the call empty for the next one.
func (c *conn) forget(number uint64, k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[number] == k {
		delete(c.calls, number)
		return
	}
	<-k.answer // it came at this very moment
}

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

// askNATS asks one server.
func (c *Client) askNATS(ctx context.Context, r *request, s *server) (answer, error) {
	conn, err := s.link.connect(ctx)
	if err != nil {
		return answer{}, &UnreachableError{Servers: c.serverNames(), Err: err}
	}
	return c.askOn(ctx, r, s, conn)
}

// askOn asks one server over a connection that is there.
func (c *Client) askOn(ctx context.Context, r *request, s *server, conn *conn) (answer, error) {
	m, err := r.message()
	if err != nil {
		return answer{}, err
	}
	got, err := conn.request(ctx, m, c.attempt)
	switch {
	case err == nil:
		return readMessage(r, s, got)
	case errors.Is(err, errNothingTaken):
		return answer{}, &UnreachableError{Servers: c.serverNames(), Err: err}
	case errors.Is(err, nats.ErrMaxPayload):
		return answer{}, &overHTTPError{fmt.Sprintf("it has %d bytes, which is more than a message may hold", len(m.Data))}
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		return answer{}, fmt.Errorf("send %q to %s: %w", m.Subject, s.name, err)
	}
	return answer{}, &brokenError{r.write(), err}
}

// message is the request as it goes over NATS.
func (r *request) message() (*nats.Msg, error) {
	body, err := r.jsonBody()
	switch {
	case errors.Is(err, errNotText):
		return nil, &overHTTPError{err.Error()}
	case err != nil:
		return nil, err
	}
	m := &nats.Msg{Subject: requestPrefix + subjectSegment(r.namespace) + "." + r.name, Data: body}
	header := func(name, value string) {
		if value == "" {
			return
		}
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header[name] = []string{value}
	}
	header(headerKey, r.key)
	header(headerReason, r.reason)
	if r.header != nil {
		header("If-Match", r.header.Get("If-Match"))
		header("If-None-Match", r.header.Get("If-None-Match"))
	}
	return m, nil
}

// readMessage reads an answer that came over NATS.
func readMessage(r *request, s *server, m *nats.Msg) (answer, error) {
	first := func(name string) string {
		if v := m.Header[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	if len(m.Data) == 0 && first("Status") == "503" {
		// The NATS server says so itself: nobody there takes the request, so nothing was done.
		return answer{}, &Problem{Status: http.StatusServiceUnavailable, Code: errNoResponders, Server: s.name, Detail: fmt.Sprintf("the server %s takes no request %q over NATS: is it still starting, or of another version?", s.name, r.name)}
	}
	status, err := strconv.Atoi(first("Rollcall-Status"))
	if code := first("Nats-Service-Error-Code"); code != "" && (err != nil || status < 300) {
		status, err = strconv.Atoi(code)
	}
	if err != nil {
		return answer{}, &brokenError{r.write(), fmt.Errorf("%s answered with a message that has no status", s.name)}
	}
	revision, err := strconv.ParseUint(first(headerRevision), 10, 64)
	if err != nil {
		revision = 0 // it does not say
	}
	if status < 300 {
		contentType := first("Content-Type")
		if contentType == "" {
			contentType = "application/json" // only what is none says so
		}
		return answer{status: status, revision: revision, contentType: contentType, body: m.Data}, nil
	}
	h := http.Header{"Content-Type": {"application/problem+json"}}
	h.Set("ETag", first("ETag"))
	h.Set("Retry-After", first("Retry-After"))
	p := newProblem(status, h, s.name, m.Data)
	if p.Code == "" && p.Detail == "" {
		p.Detail = first("Nats-Service-Error")
	}
	return answer{}, p
}

// errNoResponders is the code of what a NATS server could not hand to anybody.
const errNoResponders Code = "unavailable"
