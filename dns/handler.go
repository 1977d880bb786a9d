package dns

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/projections/names"
)

// Handler answers queries from a view. It is pure but for its counters and the order of records; it may be used
// concurrently.
type Handler struct {
	view             *names.View
	domain           []byte // on the wire, in lower case
	domainLabels     int
	addresses        []netip.Addr
	ttl, negativeTTL uint32
	udpBytesMax      int
	counters         counters
	replies          sync.Pool     // of *reply
	failing          atomic.Bool   // the view cannot be trusted
	pasts            *pasts        // nil where there is no past to ask for
	forwarder        *forwarder    // nil where nothing is forwarded
	aliases          chan struct{} // places of those that wait for what an alias leads to
}

// NewHandler makes a handler; the error tells what is wrong with the configuration.
func NewHandler(c Config) (*Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	domain, err := domainWire(c.Domain)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		view: c.View, domain: domain, udpBytesMax: c.UDPBytesMax, aliases: make(chan struct{}, aliasesAtOnce),
		ttl: uint32(c.TTL / time.Second), negativeTTL: uint32(c.NegativeTTL / time.Second),
	}
	for at := 0; domain[at] != 0; at += 1 + int(domain[at]) {
		h.domainLabels++
	}
	for _, a := range c.Addresses {
		if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() {
			h.addresses = append(h.addresses, a)
		}
	}
	if c.At != nil {
		h.pasts = newPasts(c.At)
	}
	if len(c.Forward) > 0 {
		h.forwarder = newForwarder(c.Forward, c.ForwardTimeout)
	}
	h.replies.New = func() any { return &reply{h: h} }
	return h, nil
}

// Fail has every question about the domain answered with SERVFAIL from now on, which sends clients to the next server.
func (h *Handler) Fail() { h.failing.Store(true) }

// Transport is how a query came, which bounds the reply.
type Transport uint8

// The transports.
const (
	UDP Transport = iota // 512 bytes, or what the client's EDNS size and the configuration allow
	TCP                  // 65535 bytes
)

// Reply appends the reply to a query to dst, both as they are on the wire without TCP's length. It appends nothing
// where no reply may be sent: to a message without a whole header, and to a reply. Where the answer comes from the past,
// or from somebody else, it waits for it.
func (h *Handler) Reply(ctx context.Context, dst, raw []byte, t Transport) []byte {
	dst, later := h.reply(dst, raw, t)
	if later != nil {
		dst = later.reply(ctx, dst)
	}
	return dst
}

// reply is Reply without waiting: it appends nothing where the answer has to be waited for, and gives that instead.
func (h *Handler) reply(dst, raw []byte, t Transport) ([]byte, *waiting) {
	h.counters.transports[t].Add(1)
	// A reply to a reply could go back and forth for ever.
	if len(raw) < headerBytes || len(raw) > messageBytesMax || raw[2]>>7 == 1 {
		h.counters.dropped.Add(1)
		return dst, nil
	}
	r := h.replies.Get().(*reply)
	defer r.release()
	rcode := r.write(dst, raw, t)
	if r.later != nil {
		return dst, r.later
	}
	return r.count(rcode), nil
}

// count finishes a reply, and counts it.
func (r *reply) count(rcode int) []byte {
	c := &r.h.counters
	c.rcodes[rcode].Add(1)
	if r.truncated {
		c.truncated.Add(1)
	}
	return r.finish(rcode)
}

// release gives the reply back, without what is the caller's.
func (r *reply) release() {
	r.buf, r.query.raw, r.past, r.later = nil, nil, nil, nil
	r.flat = false
	r.node = node{}
	r.h.replies.Put(r)
}

// write does everything but the header and the OPT record. Where it sets later, what it has written is of no use.
func (r *reply) write(dst, raw []byte, t Transport) (rcode int) {
	q := &r.query
	q.readHeader(raw)
	malformed := q.opcode() == miekg.OpcodeQuery && !q.readBody()
	limit := messageBytesMax
	if t == UDP {
		limit = min(r.h.udpBytesMax, max(minimumBytes, int(q.edns.size)))
	}
	r.start(dst, q, limit, r.h.udpBytesMax)
	r.recursive = r.h.forwarder != nil
	switch {
	case malformed:
		return miekg.RcodeFormatError
	case q.opcode() != miekg.OpcodeQuery:
		return miekg.RcodeNotImplemented
	case q.edns.version > 0:
		return miekg.RcodeBadVers
	case q.kind == miekg.TypeOPT:
		return miekg.RcodeFormatError // it is no data that one could ask for
	case q.class != miekg.ClassINET, isMeta(q.kind):
		return miekg.RcodeRefused
	}
	rcode = r.writeName()
	if r.later != nil {
		r.later.raw, r.later.transport, r.later.limit = bytes.Clone(raw), t, limit
		r.later.begin(r, rcode)
	}
	return rcode
}

func (r *reply) writeName() (rcode int) {
	if left, ok := r.query.name.below(r.h.domain, r.h.domainLabels); ok {
		if r.h.failing.Load() {
			return miekg.RcodeServerFailure
		}
		return r.answerName(left)
	}
	if r.resolveAddress() {
		if r.h.failing.Load() {
			return miekg.RcodeServerFailure
		}
		r.answerNode()
		return miekg.RcodeSuccess
	}
	return r.forward()
}

// isMeta tells whether a type is an action rather than data (RFC 6895 section 3.1): zone transfers, and what
// belongs to transactions. ANY is data, of a kind.
func isMeta(kind uint16) bool { return kind >= 128 && kind <= 254 }
