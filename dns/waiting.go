package dns

import (
	"context"

	miekg "github.com/miekg/dns"
)

// waiting is a query whose answer somebody has to wait for: it comes from the past, from another server, or from what an
// alias leads to. Whoever has one must call reply, which gives back the place that it holds.
type waiting struct {
	h         *Handler
	raw       []byte
	transport Transport
	limit     int
	past      Past // what to read; nothing where the query is forwarded
	forwarded bool
	alias     string // the host name that the answer goes on with; empty for none
	begun     []byte // the answer up to there
	flat      bool   // an alias is the whole answer
}

// reply waits, and appends the reply to dst.
func (w *waiting) reply(ctx context.Context, dst []byte) []byte {
	if w.forwarded {
		return w.forward(ctx, dst)
	}
	if w.alias != "" {
		return w.follow(ctx, dst)
	}
	state := w.h.pasts.load(ctx, w.past)
	r := w.h.replies.Get().(*reply)
	defer r.release()
	r.past, r.flat = state, w.flat
	rcode := r.write(dst, w.raw, w.transport)
	if r.later != nil { // it was an alias then
		return r.later.reply(ctx, dst)
	}
	return r.count(rcode)
}

// fail appends a reply that says that there is none.
func (w *waiting) fail(dst []byte, explanation string) []byte {
	r := w.h.replies.Get().(*reply)
	defer r.release()
	q := &r.query
	q.readHeader(w.raw)
	q.readBody() // it was well-formed when the wait began
	r.start(dst, q, w.limit, w.h.udpBytesMax)
	r.recursive, r.explanation = w.h.forwarder != nil, explanation
	return r.count(miekg.RcodeServerFailure)
}
