package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// lineBytesMax bounds a line of a stream: an event holds at most one value of 512 KiB, which JSON may blow up to six
// times its size.
const lineBytesMax = 8 << 20

// Event is a fact of a namespace's ledger, as CloudEvents 1.0 presents it.
type Event struct {
	Type     string // such as rollcall.kv.put
	Subject  string // such as kv.app.db.url
	Time     time.Time
	Revision uint64 // its position in the ledger
	Commit   uint64 // the last revision of the change that it belongs to
	Actor    string
	Reason   string
	Source   string          // the ledger: rollcall/{cluster}/{namespace}
	Data     json.RawMessage // the new state, by type
	Raw      json.RawMessage // the whole CloudEvent as it came
}

// OrderError says that a server sent an event again, or out of order. A stream ends with it.
type OrderError struct {
	After, Got uint64 // the revision that was reached, and the one that came behind it
}

// Error implements error.
func (e *OrderError) Error() string {
	return fmt.Sprintf("the server sent revision %d behind revision %d: is it a server of another cluster, or was it restored?", e.Got, e.After)
}

// Range says which events are asked for.
type Range struct {
	From    uint64 // the first revision; 0 and 1 are the beginning
	To      uint64 // the last revision; zero is the present, as of when the server gets the request
	Subject string // a subject behind "rollcall.{namespace}.", with NATS wildcards; empty is everything
	Limit   int    // at most so many; zero is all of them
}

// Events replays a part of the ledger, in order, without gap or repeat: where a connection breaks, it goes on behind
// the last event on the next one. An error ends it.
func (c *Client) Events(ctx context.Context, want Range) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r := replay{client: c, want: want}
		for failures := 0; ; {
			before := r.last
			err := r.read(ctx, func(e Event) bool { return yield(e, nil) })
			switch {
			case r.done && err == nil:
				return
			case err == nil: // there is another page
				failures = 0
				continue
			}
			if failures++; r.last != before {
				failures = 1
			}
			var broken *brokenError
			if !errors.As(err, &broken) || failures > rounds || ctx.Err() != nil {
				yield(Event{}, fmt.Errorf("read events: %w", err))
				return
			}
		}
	}
}

// replay is a walk through a part of the ledger that survives its connections.
type replay struct {
	client *Client
	want   Range  // what is left of what was asked for
	last   uint64 // the revision that was reached
	done   bool   // the reader wants no more, or there is no more
}

// read reads one answer of /events, or one page of it over NATS; nil means that there is no more.
func (r *replay) read(ctx context.Context, yield func(Event) bool) error {
	var response *http.Response
	var page *eventsPage
	err := r.client.retry(ctx, r.client.eventsRequest(r.want, ""), func(to *server) (err error) {
		if to.link != nil {
			page, err = r.page(ctx, to)
		} else {
			response, err = r.client.openAt(ctx, r.client.eventsRequest(r.want, "application/x-ndjson"), to)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case page != nil:
		return r.takePage(page, yield)
	}
	defer response.Body.Close()
	defer context.AfterFunc(r.client.life, func() { response.Body.Close() })()
	if r.want.To == 0 { // the present is what it was at the first request, however many there are
		r.want.To = headRevision(response.Header)
	}
	lines := newLines(response.Body)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := r.take(lines.Bytes(), yield); err != nil || r.done {
			return err
		}
	}
	r.done = lines.Err() == nil
	return streamError(lines.Err())
}

// takePage takes one page.
func (r *replay) takePage(page *eventsPage, yield func(Event) bool) error {
	if r.want.To == 0 {
		r.want.To = page.Revision
	}
	for _, raw := range page.Events {
		if err := r.take(raw, yield); err != nil || r.done {
			return err
		}
	}
	r.want.From = max(r.want.From, page.Next)
	r.done = page.Next == 0 || page.Next > r.want.To
	return nil
}

// take takes one event.
func (r *replay) take(raw []byte, yield func(Event) bool) error {
	e, err := parseEvent(raw)
	if err != nil {
		return err
	}
	if err := r.advance(e.Revision); err != nil {
		return err
	}
	r.done = !yield(e) || r.done
	return nil
}

// advance takes note of an event, and of what is left after it.
func (r *replay) advance(revision uint64) error {
	if revision <= r.last {
		return &OrderError{After: r.last, Got: revision}
	}
	r.last = revision
	r.want.From = revision + 1
	if r.want.Limit > 0 {
		r.want.Limit--
		r.done = r.want.Limit == 0
	}
	r.done = r.done || r.want.To > 0 && revision >= r.want.To
	return nil
}

func (c *Client) eventsRequest(want Range, accept string) *request {
	r := c.newRequest("events")
	if accept != "" {
		r.set("Accept", accept)
	}
	if want.From > 0 {
		r.ask("from", strconv.FormatUint(want.From, 10))
	}
	if want.To > 0 {
		r.ask("to", strconv.FormatUint(want.To, 10))
	}
	if want.Limit > 0 {
		r.ask("limit", strconv.Itoa(want.Limit))
	}
	if want.Subject != "" {
		r.ask("subject", want.Subject)
	}
	return r
}

// newLines reads lines that end in LF or CR LF, each of at most lineBytesMax. What is cut off before its line end is no
// line but a broken stream, even where it happens to look whole.
func newLines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 16<<10), lineBytesMax)
	s.Split(func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		if atEOF && len(data) > 0 && bytes.IndexByte(data, '\n') < 0 {
			return 0, nil, io.ErrUnexpectedEOF
		}
		return bufio.ScanLines(data, atEOF)
	})
	return s
}

// streamError tells a stream that broke, which another connection continues, from one that no connection would read.
func streamError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes", lineBytesMax)
	}
	return &brokenError{err: err}
}
