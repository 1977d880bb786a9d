package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/live"
	"github.com/rollcall/rollcall/log/event"
)

// drainTimeout is how long a write to a reader that does not read may last once the server is stopping.
const drainTimeout = time.Second

// watch sends events as they come, as server-sent events (WHATWG HTML, section 9.2). A slow reader holds up nobody: its
// stream reads from the ledger what it has fallen behind.
func (c *call) watch(filter event.Filter) error {
	for _, name := range []string{"to", "limit"} {
		if c.query[name] != nil {
			return gateway.NewProblem(gateway.CodeInvalidParameter, "%q is for replays; a live stream has no end", name)
		}
	}
	first, head, err := c.watchFrom()
	if err != nil {
		return err
	}
	source, err := c.api.Live.Open(c.namespace, first, head, filter)
	if err != nil {
		return err
	}
	defer source.Close()
	c.set(headerSource, ledgerSource(c.api.Backend.Cluster(), c.namespace))
	out := c.startStream("text/event-stream")
	if c.r.Method == http.MethodHead {
		return nil
	}
	out.patience = c.api.StreamPatience
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.api.Streams, func() {
		_ = out.control.SetWriteDeadline(time.Now().Add(drainTimeout))
		cancel()
	})()
	w := watcher{stream: out, source: source, first: first}
	err = w.run(ctx, c.api.Bookmark)
	ended, over := errors.AsType[live.EndedError](err)
	stalled := errors.Is(err, os.ErrDeadlineExceeded) && c.api.Streams.Err() == nil
	switch {
	case stalled: // net/http has ended the request's context by now, as if the reader had left
		c.api.Live.NoteStall()
		c.broken("a stream of events, whose reader takes nothing", err)
	case ctx.Err() != nil, errors.Is(err, gateway.ErrClosed):
	case over:
		if err := w.end(ended); err != nil {
			c.broken("a stream of events", err)
		}
	default:
		c.broken("a stream of events", err)
	}
	return nil
}

// headerSource says whose history a stream is, before it has an event for its reader.
const headerSource = "Rollcall-Source"

// ledgerSource is the source of a namespace's events, as CloudEvents have it.
func ledgerSource(cluster, namespace string) string { return "rollcall/" + cluster + "/" + namespace }

// watchFrom is the revision to begin with, and the last one that is known to exist.
//
// Where the reader says where it stands, this server's own state is enough to begin: everything behind that place
// will come, in order, whenever it comes. So readers may come back while there is no quorum. A reader that claims to
// have seen what does not exist is refused, because its events would be somebody else's.
func (c *call) watchFrom() (first, head event.Revision, err error) {
	from, given, err := c.revision("from")
	if err != nil {
		return 0, 0, err
	}
	last, resumed, err := c.single("Last-Event-Id")
	if err != nil {
		return 0, 0, err
	}
	resumed = resumed && last != "" // what a browser sends that has seen no id
	if resumed {
		if from, err = parseRevision("Last-Event-ID", last); err != nil {
			return 0, 0, err
		}
		from++
	}
	if resumed || given {
		head, err = c.api.Backend.Head(c.namespace)
		if err == nil && from <= head+1 && c.query["min-revision"] == nil {
			c.shows(head)
			return max(from, 1), head, nil
		}
	}
	if head, err = c.present(); err != nil {
		return 0, 0, err
	}
	stale := c.query.Get("consistency") == "stale"
	switch {
	case resumed && from > head+1 && !stale:
		return 0, 0, gateway.NewProblem(gateway.CodeInvalidRevision,
			"Last-Event-ID is %d and the last revision is %d: it is of another cluster, or of a time before a restore", from-1, head)
	case resumed || given:
		return max(from, 1), head, nil
	}
	return head + 1, head, nil
}

// watcher is one live stream.
type watcher struct {
	*stream
	source *live.Stream
	first  event.Revision // what the reader asked to begin with
}

// run sends until the context ends or something breaks, and tells which.
func (w *watcher) run(ctx context.Context, every time.Duration) error {
	due := time.NewTimer(0) // the first bookmark says that the stream has caught up
	defer due.Stop()
	<-due.C
	for marked := false; ; {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
		if !marked {
			w.bookmark()
			due.Reset(every)
			marked = true
		}
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-w.source.Ready():
		case <-due.C:
			marked = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// catchUp sends all that there is.
func (w *watcher) catchUp(ctx context.Context) error {
	for ctx.Err() == nil {
		events, caught, err := w.source.TryNext()
		if err != nil || caught {
			return err
		}
		for _, e := range events {
			if err := w.send(e); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (w *watcher) send(e *live.Event) error {
	w.buf = append(w.buf, "id: "...)
	w.buf = strconv.AppendUint(w.buf, uint64(e.Revision), 10)
	w.buf = append(w.buf, "\ndata: "...)
	w.buf = append(w.source.Append(w.buf, e), "\n\n"...)
	return w.flushOver(flushBytes)
}

// end says that nothing will come any more, and why, so that it is not taken for a connection that broke. Who comes back is
// refused, or, where there is a namespace of that name again, gets what happens in that one: the id is of the old one's end.
func (w *watcher) end(e live.EndedError) error {
	w.buf = append(w.buf, "event: end\nid: "...)
	w.buf = strconv.AppendUint(w.buf, uint64(e.At), 10)
	p := gateway.ProblemOf(e)
	p.Detail = e.Error()
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	w.buf = append(append(append(w.buf, "\ndata: "...), data...), "\n\n"...)
	return w.flush()
}

// bookmark says how far the stream is. It has an id only once the reader's own beginning is reached: who resumed from
// an id before that would get events that it did not ask for.
func (w *watcher) bookmark() {
	position := w.source.Position()
	w.buf = append(w.buf, "event: bookmark\n"...)
	if position+1 >= w.first {
		w.buf = append(w.buf, "id: "...)
		w.buf = strconv.AppendUint(w.buf, uint64(position), 10)
		w.buf = append(w.buf, '\n')
	}
	w.buf = append(w.buf, `data: {"revision":`...)
	w.buf = strconv.AppendUint(w.buf, uint64(position), 10)
	w.buf = append(w.buf, "}\n\n"...)
}
