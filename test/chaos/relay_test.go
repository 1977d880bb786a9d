package chaos

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay stands between followers and one door of a server, and fails as a network does, while both ends are well. What it does
// not pass it keeps, as TCP does: where it passes things again, nothing is missing.
type relay struct {
	door     string // HOST:PORT of the server
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	weather weather
	changed chan struct{} // closed when the weather changes
	pairs   map[*pair]struct{}
}

// weather is how a relay is. The zero value passes everything.
type weather struct {
	holdUp, holdDown bool // what clients send, and what the server does, is kept
	slow             bool // it passes a little at a time
	refuse           bool // there is no connection, and no new one
}

// pair is a connection with a client and the one with the server for it.
type pair struct {
	client, server *net.TCPConn // server is nil before there is one
	over           chan struct{}
	end            sync.Once
}

func newRelay(t *testing.T, door string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{door: door, listener: l, changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.set(weather{refuse: true})
		r.wg.Wait()
	})
	return r
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a client that has gone already
		}
		p := &pair{client: c.(*net.TCPConn), over: make(chan struct{})}
		r.mu.Lock()
		refuse := r.weather.refuse
		if !refuse {
			r.pairs[p] = struct{}{}
		}
		r.mu.Unlock()
		if refuse {
			// The port must stay its own, so that nobody else takes it: who comes is thrown out at once.
			_ = p.client.SetLinger(0)
			_ = p.client.Close()
			continue
		}
		r.wg.Go(func() { r.serve(p) })
	}
}

// serve passes what comes in both directions until both have ended, or the pair is over.
func (r *relay) serve(p *pair) {
	defer r.reset(p)
	if !r.may(p, func(w weather) bool { return !w.holdUp }) { // nor does a beginning get through
		return
	}
	server, err := net.DialTimeout("tcp", r.door, time.Second)
	if err != nil {
		return
	}
	r.mu.Lock()
	p.server = server.(*net.TCPConn)
	_, known := r.pairs[p]
	r.mu.Unlock()
	if !known { // it was reset meanwhile
		_ = server.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pass(p, p.client, p.server, func(w weather) bool { return !w.holdUp }) })
	both.Go(func() { r.pass(p, p.server, p.client, func(w weather) bool { return !w.holdDown }) })
	both.Wait()
}

// pass hands on what comes from one end.
func (r *relay) pass(p *pair, from, to *net.TCPConn, may func(weather) bool) {
	const little, pause = 512, 20 * time.Millisecond
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		for rest := b[:n]; len(rest) > 0; {
			if !r.may(p, may) {
				return
			}
			part := rest
			if r.now().slow {
				part = rest[:min(little, len(rest))]
				select {
				case <-p.over:
				case <-time.After(pause):
				}
			}
			if _, err := to.Write(part); err != nil {
				r.reset(p)
				return
			}
			rest = rest[len(part):]
		}
		switch {
		case errors.Is(err, io.EOF):
			if r.may(p, may) {
				_ = to.CloseWrite() // the other direction may go on
			}
			return
		case err != nil:
			if r.may(p, may) { // who has gone is not heard to go, either
				r.reset(p)
			}
			return
		}
	}
}

func (r *relay) now() weather {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.weather
}

// may waits until the weather lets something through; false says that the pair is over.
func (r *relay) may(p *pair, through func(weather) bool) bool {
	for {
		r.mu.Lock()
		w, changed := r.weather, r.changed
		r.mu.Unlock()
		if through(w) {
			return true
		}
		select {
		case <-p.over:
			return false
		case <-changed:
		}
	}
}

// reset ends a pair, so that both ends are told.
func (r *relay) reset(p *pair) {
	r.mu.Lock()
	delete(r.pairs, p)
	server := p.server
	r.mu.Unlock()
	p.end.Do(func() {
		close(p.over)
		for _, c := range []*net.TCPConn{p.client, server} {
			if c != nil {
				_ = c.SetLinger(0)
				_ = c.Close()
			}
		}
	})
}

// set changes the weather.
func (r *relay) set(w weather) {
	r.mu.Lock()
	r.weather = w
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	if w.refuse {
		r.forget()
	}
}

// forget resets every connection that there is.
func (r *relay) forget() {
	r.mu.Lock()
	var all []*pair
	for p := range r.pairs {
		all = append(all, p)
	}
	r.mu.Unlock()
	for _, p := range all {
		r.reset(p)
	}
}

// doors are where followers reach a server.
type doors struct {
	http, nats string
	relays     []*relay // nil where that is the server's own address
	// idle is after how long a follower gives up a connection that brings nothing; 0 leaves that to the door's own habits.
	idle time.Duration
}

// relayed puts relays between followers and all servers.
func (c *cluster) relayed(idle time.Duration) {
	c.t.Helper()
	for _, s := range c.servers {
		web, bus := newRelay(c.t, s.http), newRelay(c.t, s.nats)
		s.doors = doors{web.address(), bus.address(), []*relay{web, bus}, idle}
	}
}

// silence is how long a stream over HTTP may bring nothing.
func (d doors) silence() time.Duration {
	if d.idle > 0 {
		return d.idle
	}
	return time.Hour
}

// set changes the weather at both doors.
func (d doors) set(w weather) {
	for _, r := range d.relays {
		r.set(w)
	}
}

// forget has both doors' connections be reset, as one does that has forgotten them.
func (d doors) forget() {
	for _, r := range d.relays {
		r.forget()
	}
}
