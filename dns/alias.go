package dns

import (
	"bytes"
	"context"
	"slices"
	"strings"

	miekg "github.com/miekg/dns"
)

// Bounds of what it may take to find the addresses behind aliases.
const (
	aliasHopsMax  = 8   // in a row; more of them go in a circle, or nowhere
	aliasesAtOnce = 512 // beyond it, SERVFAIL
)

// followAlias has the answer go on with the address of the host name that it has given. Stub resolvers follow no aliases:
// they take the answer as it is, and an alias alone for a name without addresses. What is outside the domain is followed
// only for those who want that, as everything that is forwarded is.
func (r *reply) followAlias(host string) {
	if r.flat || r.query.kind == miekg.TypeCNAME || r.truncated {
		return
	}
	if !r.h.owns(host) && (r.h.forwarder == nil || r.query.bits&bitRecursionDesired == 0) {
		return // whoever asks does it himself
	}
	select {
	case r.h.aliases <- struct{}{}:
		r.later = &waiting{h: r.h, alias: host}
	default: // what is known is told at least
	}
}

// owns tells whether a host name is one of the domain, which has answers for it here.
func (h *Handler) owns(host string) bool {
	var n name
	if n.read(appendHost(nil, host), 0) < 0 {
		return false
	}
	_, below := n.below(h.domain, h.domainLabels)
	return below
}

// follow appends the answer that was begun, with what the name that it ends in has to say. That one's code is the answer's
// (RFC 6604 section 3).
func (w *waiting) follow(ctx context.Context, dst []byte) []byte {
	defer func() { <-w.h.aliases }()
	asked, answer := new(miekg.Msg), new(miekg.Msg)
	if asked.Unpack(w.raw) != nil || answer.Unpack(w.begun) != nil {
		return w.fail(dst, "the alias cannot be followed")
	}
	host := w.alias
	for hops := 1; host != ""; hops++ {
		if hops > aliasHopsMax {
			return w.fail(dst, "the aliases lead in a circle, or too far")
		}
		next, err := w.askHost(ctx, host, asked)
		if err != nil || next.Rcode != miekg.RcodeSuccess && next.Rcode != miekg.RcodeNameError {
			return w.fail(dst, "what the name is an alias of cannot be asked for now")
		}
		answer.Answer = append(answer.Answer, next.Answer...)
		answer.Rcode, answer.Ns = next.Rcode, next.Ns
		host = w.next(host, next.Answer, asked)
	}
	return w.packFollowed(dst, asked, answer)
}

// next gives the host name that is still to be asked for, when records end in an alias; none where they do not. Other servers
// have followed what they can, which may not be what is in the domain.
func (w *waiting) next(host string, records []miekg.RR, asked *miekg.Msg) string {
	if len(records) == 0 {
		return ""
	}
	alias, ok := records[len(records)-1].(*miekg.CNAME)
	if !ok {
		return ""
	}
	target := strings.TrimSuffix(alias.Target, ".")
	if w.h.owns(target) || w.h.owns(host) && w.h.forwarder != nil && asked.RecursionDesired {
		return target
	}
	return ""
}

// askHost asks for the asked type of a host name, here or elsewhere.
func (w *waiting) askHost(ctx context.Context, host string, asked *miekg.Msg) (*miekg.Msg, error) {
	q := new(miekg.Msg)
	q.SetQuestion(miekg.Fqdn(host), asked.Question[0].Qtype)
	q.CheckingDisabled = asked.CheckingDisabled
	if opt := asked.IsEdns0(); opt != nil {
		q.SetEdns0(forwardUDPBytes, opt.Do())
	}
	if !w.h.owns(host) {
		return w.h.forwarder.fly(ctx, q)
	}
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	r := w.h.replies.Get().(*reply)
	r.flat = true
	rcode := r.write(nil, raw, TCP)
	packed, later := r.buf, r.later
	if later == nil {
		packed = r.finish(rcode)
	}
	r.release()
	if later != nil { // it is a name of the past
		later.flat = true
		packed = later.reply(ctx, nil)
	}
	answer := new(miekg.Msg)
	return answer, answer.Unpack(packed)
}

// packFollowed appends an answer, within what the client takes.
func (w *waiting) packFollowed(dst []byte, asked, answer *miekg.Msg) []byte {
	answer.Question = asked.Question // as the client spelt it
	last := answer.Answer[len(answer.Answer)-1].Header()
	if last.Rrtype == asked.Question[0].Qtype {
		answer.Ns = nil // it is there: nobody need know for how long it would not be
	}
	answer.Ns = slices.DeleteFunc(answer.Ns, func(rr miekg.RR) bool { return rr.Header().Rrtype != miekg.TypeSOA })
	answer.Compress = true
	answer.Truncate(w.limit)
	packed, err := answer.Pack()
	if err != nil {
		return w.fail(dst, "the alias cannot be followed")
	}
	c := &w.h.counters
	c.rcodes[answer.Rcode].Add(1)
	if answer.Truncated {
		c.truncated.Add(1)
	}
	return append(dst, packed...)
}

// begin keeps what was written of the answer, for when the rest is there.
func (w *waiting) begin(r *reply, rcode int) {
	if w.alias != "" {
		w.begun = bytes.Clone(r.finish(rcode)[r.base:])
	}
}
