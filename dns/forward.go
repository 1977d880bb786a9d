package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// Bounds of what forwarding may take.
const (
	forwardsAtOnce    = 512 // beyond it, SERVFAIL
	forwardTimeout    = 2 * time.Second
	forwardUDPBytes   = 1232 // what servers that are asked may send by UDP
	forwardServersMax = 8
)

// forward answers a name that is not this server's to answer: it is refused, or others are asked for it. They are not
// where the client wants no recursion, for he asks what this server knows by itself.
func (r *reply) forward() (rcode int) {
	f := r.h.forwarder
	if f == nil || r.query.bits&bitRecursionDesired == 0 {
		return miekg.RcodeRefused
	}
	select {
	case f.slots <- struct{}{}:
	default:
		r.explanation = "too many forwarded questions at once"
		return miekg.RcodeServerFailure
	}
	r.later = &waiting{h: r.h, forwarded: true}
	return miekg.RcodeSuccess
}

// forwarder asks other servers.
type forwarder struct {
	servers []string
	timeout time.Duration
	slots   chan struct{}

	mu      sync.Mutex
	flights map[flightKey]*flight // guarded by mu
}

// flight is a question that others are asked right now. Whoever has the same question meanwhile waits for the one answer:
// that gives forgers one number to guess at a time (RFC 5452 section 5), and where servers forward to one another in a
// circle, the question stops where it comes by again.
type flight struct {
	done   chan struct{} // closed when the rest is set
	answer *miekg.Msg
	err    error
}

type flightKey struct {
	name                       string // in lower case
	kind                       uint16
	dnssecOK, checkingDisabled bool
}

func newForwarder(servers []string, timeout time.Duration) *forwarder {
	if timeout == 0 {
		timeout = forwardTimeout
	}
	return &forwarder{
		servers: servers, timeout: timeout, slots: make(chan struct{}, forwardsAtOnce), flights: map[flightKey]*flight{},
	}
}

// fly gives the answer to a question that may be on its way already. It is the caller's own.
func (f *forwarder) fly(ctx context.Context, asked *miekg.Msg) (*miekg.Msg, error) {
	opt := asked.IsEdns0()
	q := asked.Question[0]
	k := flightKey{miekg.CanonicalName(q.Name), q.Qtype, opt != nil && opt.Do(), asked.CheckingDisabled}
	f.mu.Lock()
	shared := f.flights[k]
	if shared == nil {
		own := &flight{done: make(chan struct{})}
		f.flights[k] = own
		f.mu.Unlock()
		own.answer, own.err = f.ask(ctx, asked)
		f.mu.Lock()
		delete(f.flights, k)
		f.mu.Unlock()
		close(own.done)
		shared = own
	} else {
		f.mu.Unlock()
	}
	select {
	case <-shared.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if shared.err != nil {
		return nil, shared.err
	}
	return shared.answer.Copy(), nil
}

// forward asks the other servers, one after the other, and appends what the first that knows has to say.
func (w *waiting) forward(ctx context.Context, dst []byte) []byte {
	f := w.h.forwarder
	defer func() { <-f.slots }()
	asked := new(miekg.Msg)
	if err := asked.Unpack(w.raw); err != nil || len(asked.Question) != 1 {
		return w.fail(dst, "the question cannot be forwarded")
	}
	answer, err := f.fly(ctx, asked)
	if err != nil {
		return w.fail(dst, "no server that questions are forwarded to has answered")
	}
	packed, err := w.pack(asked, answer)
	if err != nil {
		return w.fail(dst, "the answer cannot be forwarded")
	}
	c := &w.h.counters
	c.forwarded.Add(1)
	if answer.Rcode < len(c.rcodes) {
		c.rcodes[answer.Rcode].Add(1)
	}
	if answer.Truncated {
		c.truncated.Add(1)
	}
	return append(dst, packed...)
}

// pack makes another server's answer the answer to the client: under its number, with the question as it was spelt,
// and within what it takes. OPT records are between neighbours, and so each has its own (RFC 6891 section 6.1.1).
func (w *waiting) pack(asked, answer *miekg.Msg) ([]byte, error) {
	answer.Id, answer.Question = asked.Id, asked.Question
	answer.RecursionDesired, answer.CheckingDisabled, answer.RecursionAvailable = asked.RecursionDesired, asked.CheckingDisabled, true
	answer.Extra = slices.DeleteFunc(answer.Extra, func(rr miekg.RR) bool { return rr.Header().Rrtype == miekg.TypeOPT })
	if opt := asked.IsEdns0(); opt != nil {
		answer.SetEdns0(uint16(w.h.udpBytesMax), opt.Do())
	} else if answer.Rcode > 15 {
		answer.Rcode = miekg.RcodeServerFailure // there is no room for it without an OPT record
	}
	cut := answer.Truncated
	answer.Compress = true
	answer.Truncate(w.limit)
	answer.Truncated = answer.Truncated || cut
	return answer.Pack()
}

var errNoAnswer = errors.New("no server has answered")

// ask asks one server after the other until one has an answer. What the last one has to say counts even where it is
// that it has none.
func (f *forwarder) ask(ctx context.Context, asked *miekg.Msg) (answer *miekg.Msg, err error) {
	err = errNoAnswer
	for _, server := range f.servers {
		a, failed := f.askOne(ctx, server, asked)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		if answer = a; a.Rcode != miekg.RcodeServerFailure && a.Rcode != miekg.RcodeRefused {
			return a, nil
		}
	}
	if answer != nil {
		return answer, nil
	}
	return nil, err
}

func (f *forwarder) askOne(ctx context.Context, server string, asked *miekg.Msg) (*miekg.Msg, error) {
	answer, err := f.exchange(ctx, "udp", server, asked)
	if err != nil || !answer.Truncated {
		return answer, err
	}
	if whole, err := f.exchange(ctx, "tcp", server, asked); err == nil {
		return whole, nil
	}
	return answer, nil // what came is the truth, and says that it is not all of it
}

// exchange asks by one transport. Each query has a socket of its own, hence a port of the system's choice, and a number
// that nobody can guess.
func (f *forwarder) exchange(ctx context.Context, network, server string, asked *miekg.Msg) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	q := new(miekg.Msg)
	q.Id, q.RecursionDesired, q.CheckingDisabled = miekg.Id(), true, asked.CheckingDisabled
	q.Question = asked.Question
	opt := asked.IsEdns0()
	q.SetEdns0(forwardUDPBytes, opt != nil && opt.Do())
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is there, or there is none
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(aLongTimeAgo) })
	defer stop()
	if network == "tcp" {
		return exchangeTCP(conn, q, raw)
	}
	return exchangeUDP(conn, q, raw)
}

func exchangeUDP(conn net.Conn, q *miekg.Msg, raw []byte) (*miekg.Msg, error) {
	if _, err := conn.Write(raw); err != nil {
		return nil, err
	}
	buf := make([]byte, messageBytesMax)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// Anybody may send to the port. What is no answer to this question does not end the wait for one.
		if answer, err := readAnswer(q, buf[:n]); err == nil {
			return answer, nil
		}
	}
}

func exchangeTCP(conn net.Conn, q *miekg.Msg, raw []byte) (*miekg.Msg, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return readAnswer(q, buf)
}

// readAnswer takes a message for the answer to a query, where it is one.
func readAnswer(q *miekg.Msg, raw []byte) (*miekg.Msg, error) {
	a := new(miekg.Msg)
	if err := a.Unpack(raw); err != nil {
		return nil, err
	}
	switch {
	case !a.Response || a.Id != q.Id || a.Opcode != miekg.OpcodeQuery:
		return nil, fmt.Errorf("dns: a message with number %d to one with %d", a.Id, q.Id)
	case len(a.Question) != 1 || a.Question[0].Qtype != q.Question[0].Qtype || a.Question[0].Qclass != q.Question[0].Qclass,
		miekg.CanonicalName(a.Question[0].Name) != miekg.CanonicalName(q.Question[0].Name):
		return nil, fmt.Errorf("dns: an answer to %v where %v was asked", a.Question, q.Question)
	}
	return a, nil
}

// validateForward checks the address of a server that questions are forwarded to.
func validateForward(server, own string) error {
	host, port, err := net.SplitHostPort(server)
	if err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("dns: forward to %q: HOST:PORT, such as 192.0.2.1:53", server)
	}
	ownHost, ownPort, _ := net.SplitHostPort(own)
	if port != ownPort {
		return nil
	}
	here := host == ownHost
	if ip := net.ParseIP(host); ip != nil && net.ParseIP(ownHost).IsUnspecified() {
		here = isOwn(ip)
	}
	if here {
		return fmt.Errorf("dns: forward to %q, which is this server", server)
	}
	return nil
}

// isOwn tells whether an address is one of this host's.
func isOwn(ip net.IP) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
