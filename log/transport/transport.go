// Package transport is how servers talk to one another: one listener, which speaks HTTP. Raft's messages and snapshots
// travel on connections that are upgraded to streams of frames (stream.go), everything else is ordinary requests that
// whoever wires the server adds (Handle, Client).
//
// It knows no groups, no commands and no membership. A server of another cluster, or one that a test has cut off, is
// turned away here.
package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/rollcall/rollcall/fault"
)

// Config says how to listen.
type Config struct {
	Address string // HOST:PORT; port 0 takes a free one
	Name    string // this server's name, which the others see
	Logger  *slog.Logger
}

// Transport is a server's end of all connections to the other servers. Its methods may be called concurrently.
type Transport struct {
	config   Config
	listener net.Listener
	server   *http.Server
	mux      *http.ServeMux
	client   *http.Client
	cluster  atomic.Pointer[string] // the cluster's id, once this server belongs to one

	mu      sync.Mutex
	raft    *raft             // where messages go; nil while Raft does not run
	streams map[net.Conn]bool // what was upgraded here: http.Server does not know them any more
	closed  bool
	readers sync.WaitGroup // of streams
	wg      sync.WaitGroup // the server
}

var _ config.TransportFactory = (*Transport)(nil)

// How long a connection may take to be made, and a request's head to arrive.
const (
	dialTimeout   = 2 * time.Second
	headerTimeout = 5 * time.Second
)

// The headers with which servers make themselves known to one another.
const (
	headerCluster = "Rollcall-Cluster"
	headerFrom    = "Rollcall-From"
)

// Listen begins to listen and to answer.
func Listen(c Config) (*Transport, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for the other servers on %s: %w", c.Address, err)
	}
	t := &Transport{config: c, listener: listener, mux: http.NewServeMux(), streams: map[net.Conn]bool{}}
	t.client = &http.Client{Transport: introduced{t, &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     time.Minute,
	}}}
	t.mux.HandleFunc("GET "+pathMessages, func(w http.ResponseWriter, r *http.Request) { t.upgrade(w, r, t.readMessages) })
	t.mux.HandleFunc("GET "+pathSnapshots, func(w http.ResponseWriter, r *http.Request) { t.upgrade(w, r, t.readChunks) })
	t.server = &http.Server{Handler: t.mux, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: 16 << 10}
	t.wg.Go(func() {
		if err := t.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Logger.Error("the listener for the other servers ended", "error", err)
		}
	})
	return t, nil
}

// Address is where it listens.
func (t *Transport) Address() string { return t.listener.Addr().String() }

// Handle adds what the other servers may ask for. The patterns are those of http.ServeMux.
func (t *Transport) Handle(pattern string, h http.HandlerFunc) {
	t.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if fault.Cut(r.Header.Get(headerFrom), t.config.Name) {
			panic(http.ErrAbortHandler) // the connection breaks, and nothing is logged
		}
		h(w, r)
	})
}

// Client asks the other servers. Its requests carry the name and the cluster of this server.
func (t *Transport) Client() *http.Client { return t.client }

// Join says which cluster this server belongs to. From then on it talks Raft with servers of that cluster alone.
func (t *Transport) Join(cluster string) { t.cluster.Store(&cluster) }

// Cluster is the cluster that was joined; empty before.
func (t *Transport) Cluster() string {
	if c := t.cluster.Load(); c != nil {
		return *c
	}
	return ""
}

// Close ends all connections and waits for their readers.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	for c := range t.streams {
		_ = c.Close() // its reader ends and says nothing more
	}
	t.mu.Unlock()
	err := t.server.Close()
	t.client.CloseIdleConnections()
	t.readers.Wait()
	t.wg.Wait()
	return err
}

// introduced adds to each request who asks.
type introduced struct {
	t    *Transport
	next *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (i introduced) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(headerFrom, i.t.config.Name)
	r.Header.Set(headerCluster, i.t.Cluster())
	return i.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the connections.
func (i introduced) CloseIdleConnections() { i.next.CloseIdleConnections() }

// Create implements Dragonboat's factory: what arrives goes to Raft once that has started what this gives.
func (t *Transport) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return &raft{transport: t, messages: messages, chunks: chunks}
}

// Validate implements Dragonboat's factory.
func (t *Transport) Validate(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && host != "" && port != ""
}

// raft is what Dragonboat sees of a Transport.
type raft struct {
	transport *Transport
	messages  raftio.MessageHandler
	chunks    raftio.ChunkHandler
	sender    string // of a stream's messages
}

// from is r for the messages of one server.
func (r *raft) from(sender string) *raft {
	one := *r
	one.sender = sender
	return &one
}

// cut tells whether what has come from the sender is to be lost.
func (r *raft) cut() bool { return fault.Cut(r.sender, r.transport.config.Name) }

// Name implements raftio.ITransport.
func (r *raft) Name() string { return "rollcall" }

// Start implements raftio.ITransport: from now on what arrives goes to Raft, which before is not ready for it.
func (r *raft) Start() error {
	r.transport.mu.Lock()
	defer r.transport.mu.Unlock()
	r.transport.raft = r
	return nil
}

// Close implements raftio.ITransport: what arrives from now on is turned away. The streams end, so that nothing is
// handed to Raft any more when it returns.
func (r *raft) Close() error {
	t := r.transport
	t.mu.Lock()
	t.raft = nil
	for c := range t.streams {
		_ = c.Close() // its reader ends and says nothing more
	}
	t.mu.Unlock()
	t.readers.Wait() // one of them may be handing a message over
	return nil
}

// GetConnection implements raftio.ITransport.
func (r *raft) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	return r.transport.dial(ctx, target, pathMessages)
}

// GetSnapshotConnection implements raftio.ITransport.
func (r *raft) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	return r.transport.dial(ctx, target, pathSnapshots)
}
