// Package dns answers DNS queries, by UDP and TCP, from the view in projections/names.
//
// It knows no Raft, no disk and no events: what the view does not have does not exist. Three kinds of answers have to be
// waited for, and hold up no other: those of the past, which it is given a function to read, those about names that are not
// its own, where it is told whom to ask, and those that go on with what an alias leads to.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Server is a handler with its sockets.
type Server struct {
	handler     *Handler
	logger      *slog.Logger
	idleTimeout time.Duration
	connsMax    int64

	udp *net.UDPConn
	tcp *net.TCPListener

	closing chan struct{}
	waits   context.Context // what queries that wait for their answers wait in; it ends when the server closes
	end     context.CancelFunc
	running sync.WaitGroup // every goroutine of the server

	mu     sync.Mutex
	closed bool                      // guarded by mu
	conns  map[*net.TCPConn]struct{} // guarded by mu
}

// Listen binds UDP and TCP on one port and answers from then on, until Shutdown or Close.
func Listen(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	tcp, udp, err := listenBoth(c.Address)
	if err != nil {
		return nil, err
	}
	c.Address = tcp.Addr().String() // with the port that was free
	if len(c.Addresses) == 0 {
		c.Addresses = []netip.Addr{tcp.Addr().(*net.TCPAddr).AddrPort().Addr()}
	}
	h, err := NewHandler(c)
	if err != nil {
		return nil, errors.Join(err, tcp.Close(), udp.Close())
	}
	s := &Server{
		handler: h, logger: c.Logger, idleTimeout: c.TCPIdleTimeout, connsMax: int64(c.TCPConnectionsMax),
		udp: udp, tcp: tcp, closing: make(chan struct{}), conns: map[*net.TCPConn]struct{}{},
	}
	s.waits, s.end = context.WithCancel(context.Background())
	s.start()
	return s, nil
}

// Fail has every question about the domain answered with SERVFAIL from now on.
func (s *Server) Fail() { s.handler.Fail() }

func (s *Server) start() {
	serve := s.serveUDP
	if local := s.udp.LocalAddr().(*net.UDPAddr); local.IP.IsUnspecified() {
		serve = s.serveUDPAnyAddress
		askForDestination(s.udp)
	}
	// With the usual room a burst of 200 queries loses a dozen. The system grants what it allows; less is no fault.
	_ = s.udp.SetReadBuffer(udpReadBufferBytes)
	// The readers share one socket: while one answers, another one reads.
	for range min(runtime.GOMAXPROCS(0), udpReadersMax) {
		s.running.Go(serve)
	}
	s.running.Go(s.acceptTCP)
}

// portTries is how often to look for a port that is free for both, each time another one.
const portTries = 32

func listenBoth(address string) (*net.TCPListener, *net.UDPConn, error) {
	var faults []error
	for range portTries {
		tcp, udp, err := listenOnce(address)
		if err == nil {
			return tcp, udp, nil
		}
		faults = append(faults, err)
		if _, port, _ := net.SplitHostPort(address); port != "0" || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, nil, fmt.Errorf("listen for DNS on %s: %w", address, errors.Join(faults...))
}

func listenOnce(address string) (*net.TCPListener, *net.UDPConn, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	tcp := listener.(*net.TCPListener)
	// The address that TCP got, not the one that was asked for: it has the port.
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}

// Addr is the HOST:PORT that it listens on.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Stats are the server's counts.
func (s *Server) Stats() Stats { return s.handler.Stats() }

// Shutdown takes no more queries, lets the replies to those that came be written, and returns when all is done; at
// the latest when ctx ends, and then with its error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stopReading()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.closeConns()
		<-done
		err = errors.Join(err, ctx.Err())
	}
	if e := s.udp.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Close is Shutdown without waiting for connections that still write.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// aLongTimeAgo is a deadline that ends every read.
var aLongTimeAgo = time.Unix(1, 0)

func (s *Server) stopReading() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.closing)
	s.end()
	err := errors.Join(s.tcp.Close(), s.udp.SetReadDeadline(aLongTimeAgo))
	for conn := range s.conns {
		err = errors.Join(err, conn.SetReadDeadline(aLongTimeAgo))
	}
	return err
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close() // its goroutine sees that, and there is nobody else to tell
	}
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// retryPause is how long to wait after a failed read or accept, so that a lasting fault takes no whole core.
const retryPause = 50 * time.Millisecond

// pause logs a fault of a socket and waits; false means that the server is closing.
func (s *Server) pause(err error, what string) bool {
	if s.isClosing() || errors.Is(err, net.ErrClosed) {
		return false
	}
	s.logger.Warn("a DNS socket does not work", "doing", what, "error", err)
	select {
	case <-time.After(retryPause):
		return true
	case <-s.closing:
		return false
	}
}
