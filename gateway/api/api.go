// Package api is the door for requests: everything below /v1 of HTTP, the document that describes it, and the same
// operations for requests that come as messages.
//
// One table of operations (operations.go) is all three: requests are dispatched by it, and /openapi.json is made of it.
// It knows no Raft, no storage, no metrics library, no NATS and no listening socket; /livez, /readyz and /metrics are not
// its own.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/gateway"
)

// Config says what a door opens to. Only Backend is needed.
type Config struct {
	Backend gateway.Backend
	// Logger gets what no client is told; by default it is slog.Default.
	Logger *slog.Logger
	// RequestTimeout bounds everything but streams and replays; 5 s by default.
	RequestTimeout time.Duration
	// Bookmark is how often a stream says how far it is; 5 s by default.
	Bookmark time.Duration
	// Now is the clock by which a lease's end is told; time.Now by default.
	Now func() time.Time
	// Version stands in the document.
	Version string
	// Streams ends the live streams when it is done, so that a server can stop: http.Server.Shutdown would wait for
	// them. Their readers resume elsewhere. By default they end with their own connections only.
	Streams context.Context
	// Observe is told of every request when it is over: the id of its operation ("unknown" where there is none,
	// "events.watch" for a live stream), the status, and how long it took. It may be called concurrently.
	Observe func(operation string, status int, elapsed time.Duration)
	// ObserveCall is told the same of every Call.
	ObserveCall func(operation string, status int, elapsed time.Duration)
}

// Door is what New makes. Its methods may be called concurrently.
type Door struct{ inner *api }

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.inner.serveHTTP(w, r) }

// Do answers a request that came as a message, within Config.RequestTimeout. It keeps nothing of the call, and the
// answer's body is at most gateway.ReplyBytesMax long.
func (d *Door) Do(ctx context.Context, m gateway.Call) gateway.Reply { return d.inner.do(ctx, m) }

// Operations are the ids of those that Do knows, sorted.
func (d *Door) Operations() []string { return slices.Sorted(maps.Keys(d.inner.forms)) }

// New makes the door. It serves /v1/ and /openapi.json and answers every other path with a problem.
//
// Give it to a http.Server itself or through a handler that hands the request on as it is: http.ServeMux cleans
// paths, and every sequence of bytes may be a part of a key. Its write and read deadlines are lifted for streams.
func New(c Config) *Door {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 5 * time.Second
	}
	if c.Bookmark <= 0 {
		c.Bookmark = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Streams == nil {
		c.Streams = context.Background()
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	if c.ObserveCall == nil {
		c.ObserveCall = func(string, int, time.Duration) {}
	}
	all := operations()
	return &Door{&api{
		Config: c, routes: newRoutes(all), forms: newForms(all), origin: http.NewCrossOriginProtection(),
		document: sync.OnceValue(func() []byte { return newDocument(all, c.Version) }),
	}}
}

type api struct {
	Config
	routes   []route
	forms    map[string]*form // of messages, by the operation's id
	origin   *http.CrossOriginProtection
	document func() []byte
}

func (a *api) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, w: w, r: r, ctx: r.Context(), operation: "unknown"}
	start := time.Now()
	defer func() { a.Observe(c.operation, c.status, time.Since(start)) }()
	defer c.recover()
	if err := c.serve(); err != nil && !errors.Is(err, errAnswered) {
		c.refuse(err)
	}
}

// recover turns a panic into an answer; what is outside the handler goes on.
func (c *call) recover() {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // it was meant: the connection is to break
	}
	p := c.panicked(v)
	if c.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	c.problem(p)
}

// panicked logs a panic, and gives what a client is told in its place.
func (c *call) panicked(v any) *gateway.Problem {
	p := gateway.NewProblem(gateway.CodeInternal, "an unexpected fault; its cause is in the server's log")
	p.Request = rand.Text()
	c.api.Logger.ErrorContext(c.r.Context(), "a request panicked", "request", p.Request, "operation", c.operation,
		"panic", v, "stack", string(debug.Stack()))
	return p
}

// serve finds the operation and has it answer.
func (c *call) serve() error {
	op, err := c.route()
	if err != nil {
		return err
	}
	c.op, c.operation = op, op.id
	if op.write {
		if err := c.mayWrite(); err != nil {
			return err
		}
	}
	if err := c.checkHeaders(); err != nil {
		return err
	}
	if err := c.parseQuery(); err != nil {
		return err
	}
	if !op.stream {
		var cancel context.CancelFunc
		c.ctx, cancel = context.WithTimeout(c.ctx, c.api.RequestTimeout)
		defer cancel()
	}
	return op.handle(c)
}

// mayWrite refuses writes that no client of Rollcall makes: those that a page of another site has a browser send,
// and those to Rollcall's own ledger.
func (c *call) mayWrite() error {
	if err := c.api.origin.Check(c.r); err != nil {
		return gateway.NewProblem(gateway.CodeCrossOrigin, "a browser sent this for a page of another site")
	}
	if c.op.reserved(c.namespace) {
		return c.notThere()
	}
	return nil
}

// notThere refuses a write into Rollcall's own ledger.
func (c *call) notThere() error {
	return gateway.NewProblem(gateway.CodeReservedNamespace,
		"namespace %q records what Rollcall itself decides; use another one", c.namespace)
}
