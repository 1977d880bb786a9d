package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// Watch yields the events of a subject from a revision on, or from now where from is zero, and goes on as they happen.
// The subject is the part behind "rollcall.{namespace}." and takes NATS wildcards; empty is everything.
//
// There is no gap and no repeat, over as many connections as it takes: when one breaks or falls silent, Watch goes on
// behind what it has seen, on the next server. It ends when the context does, with the context's error, or with an
// error that another attempt would not mend. When no server can be reached at the start, that is such an error too.
func (c *Client) Watch(ctx context.Context, subject string, from uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := watcher{client: c, subject: subject, from: from}
		for failures := 1; ; failures++ {
			err := w.follow(ctx, func(e Event) bool { return yield(e, nil) })
			switch {
			case w.done:
				return
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case !w.mayGoOn(err):
				yield(Event{}, fmt.Errorf("watch: %w", err))
				return
			}
			if w.alive { // it worked for a while: start over with short waits
				w.alive, failures = false, 1
			}
			if pause(ctx, backoff(failures, err)) != nil {
				yield(Event{}, ctx.Err())
				return
			}
		}
	}
}

// watcher is a walk along the ledger that survives its connections.
type watcher struct {
	client  *Client
	subject string
	from    uint64
	// position is what everything up to has been seen, once known is set: by the first answer at the latest.
	position uint64
	known    bool
	alive    bool // this connection has brought something
	done     bool // the reader wants no more
}

// mayGoOn tells whether the next connection may do better.
func (w *watcher) mayGoOn(err error) bool {
	var broken *brokenError
	var unreachable *UnreachableError
	var p *Problem
	switch {
	case err == nil, errors.As(err, &broken), errors.As(err, &unreachable):
		return w.known // servers come and go; but without a position, going on could leave a gap
	case errors.As(err, &p):
		return w.known && p.Status >= 500
	}
	return false
}

func (w *watcher) request() *request {
	r := w.client.eventsRequest(Range{Subject: w.subject, From: w.from}, "text/event-stream")
	if w.known {
		r.query.Set("from", strconv.FormatUint(w.position+1, 10))
		if w.position > 0 {
			r.query.Del("from")
			r.header.Set("Last-Event-ID", strconv.FormatUint(w.position, 10))
		}
	}
	return r
}

// follow reads one connection until it ends.
func (w *watcher) follow(ctx context.Context, yield func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(w.client.idle, cancel)
	defer silence.Stop()

	at := w.client.preferred.Load()
	response, err := w.client.open(ctx, w.request())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if t := mediaType(response.Header); t != "text/event-stream" {
		return fmt.Errorf("the server answered with %q, not with a stream of events", t)
	}
	w.begin(response.Header)
	lines := newLines(response.Body)
	for {
		silence.Reset(w.client.idle)
		f, err := readFrame(lines)
		silence.Stop() // the time that the reader takes is its own
		if err != nil || f == nil {
			// Prefer another server next time: this one stops, or is cut off.
			w.client.preferred.CompareAndSwap(at, at+1)
			return streamError(err)
		}
		if err := w.take(*f, yield); err != nil || w.done {
			return err
		}
	}
}

// begin fixes where the walk stands before its first event, so that what happens until then is not lost with the
// connection.
func (w *watcher) begin(h http.Header) {
	if w.known {
		return
	}
	if w.from > 0 {
		w.position, w.known = w.from-1, true
	} else if head := headRevision(h); head > 0 {
		w.position, w.known = head, true
	}
}

// take handles one frame.
func (w *watcher) take(f frame, yield func(Event) bool) error {
	w.alive = true
	if f.event == "bookmark" {
		// Everything up to the bookmark has been sent, whether or not the subject let any of it through.
		if revision := f.revision(); revision > w.position || !w.known {
			w.position, w.known = revision, true
		}
		return nil
	}
	if f.event == "end" { // the namespace is gone, and the data is the problem that says so
		p := &Problem{Status: http.StatusNotFound, Code: ErrUnknownNamespace}
		_ = json.Unmarshal(f.data, p) // whatever it says, it is the end
		return p
	}
	e, err := parseEvent(f.data)
	if err != nil {
		return err
	}
	if e.Revision <= w.position && w.known {
		return &OrderError{After: w.position, Got: e.Revision}
	}
	w.position, w.known = e.Revision, true
	w.done = !yield(e)
	return nil
}

// frame is one message of a text/event-stream.
type frame struct {
	id, event string
	data      []byte
}

// revision is the revision that a bookmark stands for.
func (f frame) revision() uint64 {
	if n, err := strconv.ParseUint(f.id, 10, 64); err == nil {
		return n
	}
	var w struct {
		Revision json.Number `json:"revision"`
	}
	if json.Unmarshal(f.data, &w) == nil {
		if n, err := strconv.ParseUint(w.Revision.String(), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// readFrame reads up to the blank line that ends a message (WHATWG HTML, section 9.2.6); nil at the end of the stream,
// where a message without its blank line is no message. Lines end in LF or CR LF; the lone CR, which the standard
// also allows, is not for us, because no server of ours writes it.
func readFrame(lines *bufio.Scanner) (*frame, error) {
	var f frame
	some := false
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if some {
				return &f, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			f.id = string(value)
		case "event":
			f.event = string(value)
		case "data":
			if some {
				f.data = append(f.data, '\n')
			}
			f.data = append(f.data, value...)
			some = true
			if len(f.data) > lineBytesMax {
				return nil, bufio.ErrTooLong
			}
		}
	}
	return nil, lines.Err()
}
