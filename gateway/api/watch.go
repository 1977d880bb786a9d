package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// drainTimeout is how long a write to a reader that does not read may last once the server is stopping.
const drainTimeout = time.Second

// watch sends events as they come, as server-sent events (WHATWG HTML, section 9.2). A slow reader holds up nobody: the
// follower goes back to what is kept when it has fallen behind.
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
	f, err := c.api.Backend.Follow(c.namespace, first)
	if err != nil {
		return err
	}
	defer f.Close()
	out := c.startStream("text/event-stream")
	if c.r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.api.Streams, func() {
		_ = out.control.SetWriteDeadline(time.Now().Add(drainTimeout))
		cancel()
	})()
	w := watcher{stream: out, filter: filter, first: first, position: min(first-1, head)}
	if err := w.run(ctx, f, c.api.Bookmark); ctx.Err() == nil && !errors.Is(err, gateway.ErrClosed) {
		c.broken("a stream of events", err)
	}
	return nil
}

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
	filter event.Filter
	first  event.Revision // what the reader asked to begin with
	// position is the revision up to which everything has been looked at.
	position event.Revision
}

// run sends until the context ends or something breaks, and tells which.
func (w *watcher) run(ctx context.Context, f gateway.Follower, every time.Duration) error {
	for {
		if err := w.catchUp(ctx, f); err != nil {
			return err
		}
		w.bookmark()
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.live(ctx, f, time.Now().Add(every)); err != nil {
			return err
		}
	}
}

// catchUp sends all that there is.
func (w *watcher) catchUp(ctx context.Context, f gateway.Follower) error {
	for ctx.Err() == nil {
		events, err := f.TryNext()
		if err != nil || len(events) == 0 {
			return err
		}
		if err := w.send(events); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// live sends what comes until a bookmark is due.
func (w *watcher) live(ctx context.Context, f gateway.Follower, due time.Time) error {
	until, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	for until.Err() == nil {
		events, err := f.Next(until)
		switch {
		case err != nil && until.Err() != nil && ctx.Err() == nil:
			return nil // a bookmark is due
		case err != nil:
			return err
		}
		if err := w.send(events); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *watcher) send(events []event.Event) error {
	for _, e := range events {
		w.position = e.Revision
		if !w.filter.Match(e.Body.Subject()) {
			continue
		}
		w.buf = append(w.buf, "id: "...)
		w.buf = strconv.AppendUint(w.buf, uint64(e.Revision), 10)
		w.buf = append(w.buf, "\ndata: "...)
		if err := w.line(e); err != nil {
			return err
		}
		w.buf = append(w.buf, '\n')
	}
	return nil
}

// bookmark says how far the stream is. It has an id only once the reader's own beginning is reached: who resumed from
// an id before that would get events that it did not ask for.
func (w *watcher) bookmark() {
	w.buf = append(w.buf, "event: bookmark\n"...)
	if w.position+1 >= w.first {
		w.buf = append(w.buf, "id: "...)
		w.buf = strconv.AppendUint(w.buf, uint64(w.position), 10)
		w.buf = append(w.buf, '\n')
	}
	w.buf = append(w.buf, `data: {"revision":`...)
	w.buf = strconv.AppendUint(w.buf, uint64(w.position), 10)
	w.buf = append(w.buf, "}\n\n"...)
}
