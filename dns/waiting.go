package dns

import (
	"context"

	miekg "github.com/miekg/dns"
)

// waiting is a query whose answer somebody has to wait for: it comes from the past, or from another server. Whoever has
// one must call reply, which gives back the place that it holds.
type waiting struct {
	h         *Handler
	raw       []byte
	transport Transport
	limit     int
	past      Past // what to read; nothing where the query is forwarded
	forwarded bool
}

// reply waits, and appends the reply to dst.
func (w *waiting) reply(ctx context.Context, dst []byte) []byte {
	if w.forwarded {
		return w.forward(ctx, dst)
	}
	state := w.h.pasts.load(ctx, w.past)
	r := w.h.replies.Get().(*reply)
	defer r.release()
	r.past = state
	return r.count(r.write(dst, w.raw, w.transport))
}

// fail appends a reply that says that there is none.
func (w *waiting) fail(dst []byte, explanation string) []byte {
	r := w.h.replies.Get().(*reply)
	defer r.release()
	q := &r.query
	q.readHeader(w.raw)
	q.readBody() // it was well-formed when the wait began
	r.start(dst, q, w.limit, w.h.udpBytesMax)
	r.recursive, r.explanation = true, explanation
	return r.count(miekg.RcodeServerFailure)
}
