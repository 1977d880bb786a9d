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
	Data     json.RawMessage // the new state, by type
	Raw      json.RawMessage // the whole CloudEvent as it came
}

func parseEvent(raw []byte) (Event, error) {
	var w struct {
		Type     string          `json:"type"`
		Subject  string          `json:"subject"`
		Time     time.Time       `json:"time"`
		Revision uint64          `json:"revision,string"`
		Commit   uint64          `json:"commit,string"`
		Actor    string          `json:"actor"`
		Reason   string          `json:"reason"`
		Data     json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return Event{}, fmt.Errorf("read event %.80q: %w", raw, err)
	}
	return Event{
		Type: w.Type, Subject: w.Subject, Time: w.Time, Revision: w.Revision, Commit: w.Commit, Actor: w.Actor,
		Reason: w.Reason, Data: w.Data, Raw: append(json.RawMessage(nil), raw...),
	}, nil
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
			if r.done || err == nil {
				return
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

// read reads one answer of /events; nil means that it was whole.
func (r *replay) read(ctx context.Context, yield func(Event) bool) error {
	response, err := r.client.open(ctx, r.client.eventsRequest(r.want, "application/x-ndjson"))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if r.want.To == 0 { // the present is what it was at the first request, however many there are
		r.want.To = headRevision(response.Header)
	}
	lines := newLines(response.Body)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		e, err := parseEvent(lines.Bytes())
		if err != nil {
			return err
		}
		if err := r.advance(e.Revision); err != nil {
			return err
		}
		if r.done = !yield(e) || r.done; r.done {
			return nil
		}
	}
	return streamError(lines.Err())
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
	r := newRequest(http.MethodGet, c.path("events"))
	r.header.Set("Accept", accept)
	if want.From > 0 {
		r.query.Set("from", strconv.FormatUint(want.From, 10))
	}
	if want.To > 0 {
		r.query.Set("to", strconv.FormatUint(want.To, 10))
	}
	if want.Limit > 0 {
		r.query.Set("limit", strconv.Itoa(want.Limit))
	}
	if want.Subject != "" {
		r.query.Set("subject", want.Subject)
	}
	return r
}

// open sends a request whose answer is a stream, to each server in turn until one accepts it.
func (c *Client) open(ctx context.Context, r *request) (response *http.Response, err error) {
	err = c.retry(ctx, r, func(at int) error {
		response, err = c.openAt(ctx, r, at)
		return err
	})
	return response, err
}

// openAt sends it to one server.
func (c *Client) openAt(ctx context.Context, r *request, at int) (*http.Response, error) {
	response, err := c.send(ctx, r, at)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, problemBytesMax))
	if err != nil {
		return nil, &brokenError{r.write(), err}
	}
	return nil, newProblem(response, c.servers[at].String(), body)
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
