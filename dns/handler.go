package dns

import (
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
	replies          sync.Pool   // of *reply
	failing          atomic.Bool // the view cannot be trusted
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
		view: c.View, domain: domain, udpBytesMax: c.UDPBytesMax,
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
// where no reply may be sent: to a message without a whole header, and to a reply.
func (h *Handler) Reply(dst, raw []byte, t Transport) []byte {
	h.counters.transports[t].Add(1)
	// A reply to a reply could go back and forth for ever.
	if len(raw) < headerBytes || len(raw) > messageBytesMax || raw[2]>>7 == 1 {
		h.counters.dropped.Add(1)
		return dst
	}
	r := h.replies.Get().(*reply)
	defer h.replies.Put(r)
	rcode := r.write(dst, raw, t)
	h.counters.rcodes[rcode].Add(1)
	if r.truncated {
		h.counters.truncated.Add(1)
	}
	dst = r.finish(rcode)
	r.buf, r.query.raw = nil, nil // they are the caller's
	return dst
}

// write does everything but the header and the OPT record.
func (r *reply) write(dst, raw []byte, t Transport) (rcode int) {
	q := &r.query
	q.readHeader(raw)
	malformed := q.opcode() == miekg.OpcodeQuery && !q.readBody()
	limit := messageBytesMax
	if t == UDP {
		limit = min(r.h.udpBytesMax, max(minimumBytes, int(q.edns.size)))
	}
	r.start(dst, q, limit, r.h.udpBytesMax)
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
	left, inDomain := q.name.below(r.h.domain, r.h.domainLabels)
	if !inDomain {
		return miekg.RcodeRefused
	}
	if r.h.failing.Load() {
		return miekg.RcodeServerFailure
	}
	return r.answerName(left)
}

// isMeta tells whether a type is an action rather than data (RFC 6895 section 3.1): zone transfers, and what
// belongs to transactions. ANY is data, of a kind.
func isMeta(kind uint16) bool { return kind >= 128 && kind <= 254 }
