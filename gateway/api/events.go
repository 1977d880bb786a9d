package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// flushBytes is how much of a replay is sent at once.
const flushBytes = 64 << 10

func eventsOperation() operation {
	return operation{
		id: "events", method: http.MethodGet, path: "/v1/{namespace}/events", group: "events", stream: true,
		summary: "Replay the ledger, or follow it live",
		about: "Newline-delimited CloudEvents 1.0, from `from` (default: the first event) up to `to` (default: the last one as of the request, which `Rollcall-Revision` names). An answer that breaks off is not whole; go on behind the last event that came.\n\n" +
			"With `Accept: text/event-stream`, from `from` (default: from now on) and then live. `id:` is the revision, `data:` the CloudEvent. A `bookmark` event says up to which revision everything has been sent, once when the stream has caught up and then every few seconds, whether or not the subject let anything through. `Last-Event-ID` resumes behind that revision and wins over `from`.",
		query: []parameter{
			{name: "from", kind: text, description: "The first revision; 0 and 1 are the beginning. A replay cannot begin in the future; a stream waits for it"},
			{name: "to", kind: text, description: "The last revision; it must exist. Not for streams"},
			{name: "subject", kind: text, description: "Only events of this subject, without the \"rollcall.{namespace}.\" in front: segments joined by dots, where * stands for one and a last > for one or more"},
			{name: "limit", kind: number, description: "At most so many events, from 1. Not for streams"},
			reading[0], reading[1],
		},
		headers: []header{
			{"Accept", "text/event-stream for a live stream; otherwise a replay"},
			{"Last-Event-ID", "The last revision that the reader of a stream has"},
		},
		answers: []answer{{status: 200, about: "The events", as: []representation{
			{"application/x-ndjson", typeOfCloudEvent}, {"text/event-stream", nil},
		}}},
		refusals: []commands.Code{gateway.CodeInvalidFilter, gateway.CodeInvalidRevision, gateway.CodeInvalidHeader},
		handle:   getEvents,
		page:     pageEvents,
	}
}

func getEvents(c *call) error {
	filter, err := event.ParseFilter(c.query.Get("subject"))
	if err != nil {
		return gateway.NewProblem(gateway.CodeInvalidFilter, "%v", err)
	}
	c.set("Vary", "Accept")
	if c.accepts("text/event-stream") {
		c.operation = "events.watch"
		return c.watch(filter)
	}
	return c.replay(filter)
}

// revision reads a query parameter that is a revision; given is false where it is not there.
func (c *call) revision(name string) (r event.Revision, given bool, err error) {
	v := c.query[name]
	if v == nil {
		return 0, false, nil
	}
	r, err = parseRevision(strconv.Quote(name), v[0])
	return r, true, err
}

// parseRevision reads a revision. The greatest number is none: there must be one behind each.
func parseRevision(what, s string) (event.Revision, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == math.MaxUint64 {
		return 0, gateway.NewProblem(gateway.CodeInvalidRevision, "%s is %.40q; it takes a revision, a whole number", what, s)
	}
	return event.Revision(n), nil
}

// present is the last revision that there is, by the request's reading options.
func (c *call) present() (head event.Revision, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.api.RequestTimeout)
	defer cancel()
	o, err := c.reading()
	if err != nil {
		return 0, err
	}
	err = c.viewAs(ctx, c.namespace, o, func(v gateway.View) error {
		head = v.Head()
		return nil
	})
	return head, err
}

// span is what a replay gives: revisions first to last, at most limit events that match.
type span struct {
	first, last event.Revision
	head        event.Revision // as this server saw it
	limit       uint64
	filter      event.Filter
}

func (c *call) span(filter event.Filter) (span, error) {
	s := span{filter: filter, limit: c.number("limit", math.MaxUint64)}
	if s.limit == 0 {
		return s, gateway.NewProblem(gateway.CodeInvalidParameter, "\"limit\" is 0; it takes a whole number from 1")
	}
	from, _, err := c.revision("from")
	if err != nil {
		return s, err
	}
	to, bounded, err := c.revision("to")
	if err != nil {
		return s, err
	}
	head, err := c.present()
	if err != nil {
		return s, err
	}
	s.first, s.last, s.head = max(from, 1), head, head
	if bounded {
		s.last = to
	}
	switch {
	case bounded && to > head, s.first > head+1: // from head+1 on there is nothing yet, which is no mistake
		return s, gateway.RevisionError{Asked: max(s.first, s.last), Head: head}
	case bounded && s.first > to+1:
		return s, gateway.NewProblem(gateway.CodeInvalidRevision, "\"from\" is %d, which comes after \"to\", %d", s.first, to)
	}
	return s, nil
}

// replay sends a part of the ledger. Once it has begun, a fault can only be told by breaking the connection: an end
// would say that this was all.
func (c *call) replay(filter event.Filter) error {
	s, err := c.span(filter)
	if err != nil {
		return err
	}
	f, err := c.api.Backend.Follow(c.namespace, s.first)
	if err != nil {
		return err
	}
	defer f.Close()
	out := c.startStream("application/x-ndjson")
	if c.r.Method == http.MethodHead {
		return nil
	}
	if err := s.copy(f, out); err != nil {
		c.broken("a stream of events", err)
	}
	return nil
}

// copy writes the span's events.
func (s span) copy(f gateway.Follower, out *stream) error {
	next := s.first
	for next <= s.last {
		events, err := f.TryNext()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return fmt.Errorf("replay: the ledger ends at revision %d, before %d", next-1, s.last)
		}
		for _, e := range events {
			if next = e.Revision + 1; e.Revision > s.last {
				break
			}
			if !s.filter.Match(e.Body.Subject()) {
				continue
			}
			if err := out.line(e); err != nil {
				return err
			}
			if s.limit--; s.limit == 0 {
				return out.flush()
			}
		}
	}
	return out.flush()
}

// broken ends an answer that has begun in a way that shows. Only faults are worth a line in the log: that a client
// leaves is none.
func (c *call) broken(what string, err error) {
	if c.r.Context().Err() == nil {
		c.api.Logger.WarnContext(c.r.Context(), "an answer broke off", "what", what, "namespace", c.namespace, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// stream writes events, many at once. How much it holds back is bounded by flushBytes and one event.
type stream struct {
	call    *call
	control *http.ResponseController
	cluster string
	buf     []byte
}

// startStream sends the head of an answer that may last longer than any deadline.
func (c *call) startStream(contentType string) *stream {
	control := http.NewResponseController(c.w)
	// Where a server sets no deadlines, or is no socket's, there is nothing to lift.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	c.set("Content-Type", contentType)
	c.set("Cache-Control", "no-store")
	c.w.Header()["X-Accel-Buffering"] = noBuffering
	c.head(http.StatusOK)
	return &stream{call: c, control: control, cluster: c.api.Backend.Cluster()}
}

// noBuffering asks proxies that know the header to hand on what comes as it comes.
var noBuffering = []string{"no"}

// line adds an event and a line end.
func (s *stream) line(e event.Event) error {
	s.buf = append(gateway.AppendCloudEvent(s.buf, s.cluster, s.call.namespace, e), '\n')
	return s.flushOver(flushBytes)
}

func (s *stream) flushOver(n int) error {
	if len(s.buf) <= n {
		return nil
	}
	return s.flush()
}

// flush sends what was held back.
func (s *stream) flush() error {
	if len(s.buf) > 0 {
		if _, err := s.call.w.Write(s.buf); err != nil {
			return err
		}
		s.buf = s.buf[:0]
	}
	return s.control.Flush()
}
