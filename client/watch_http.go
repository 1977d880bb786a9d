package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// request asks for the stream over HTTP. To begin with a revision is to have seen the one before it: said in that way, a server
// whose history does not go so far refuses it, where with "from" it would wait.
func (w *watcher) request() *request {
	seen := w.position
	if !w.known && w.From > 0 {
		seen = w.From - 1
	}
	want := Range{Subject: w.Subject}
	if seen == 0 && (w.known || w.From > 0) {
		want.From = 1
	}
	r := w.client.eventsRequest(want, "text/event-stream")
	if seen > 0 {
		r.set("Last-Event-ID", strconv.FormatUint(seen, 10))
	}
	return r
}

// sse is a stream over HTTP.
type sse struct {
	w       *watcher
	silence *time.Timer        // ends the request
	cancel  context.CancelFunc // and so does this
	body    *http.Response
}

func (w *watcher) overHTTP(ctx context.Context, to *server) (stream, error) {
	ctx, cancel := context.WithCancel(ctx) // of this server alone: that it is silent says nothing about the next one
	silence := time.AfterFunc(w.client.idle, cancel)
	s := &sse{w: w, silence: silence, cancel: cancel}
	var err error
	if s.body, err = w.client.openAt(ctx, w.request(), to); err != nil {
		s.close()
		return nil, err
	}
	if t := mediaType(s.body.Header); t != "text/event-stream" {
		s.close()
		return nil, fmt.Errorf("the server answered with %q, not with a stream of events", t)
	}
	if err := w.belongs(s.body.Header.Get("Rollcall-Source")); err != nil {
		s.close()
		return nil, err
	}
	w.begin(headRevision(s.body.Header))
	return s, nil
}

func (s *sse) close() {
	s.silence.Stop()
	s.cancel()
	if s.body != nil {
		s.body.Body.Close()
	}
}

func (s *sse) run(context.Context) error {
	lines := newLines(s.body.Body)
	for {
		s.silence.Reset(s.w.client.idle)
		f, err := readFrame(lines)
		s.silence.Stop() // the time that the reader takes is its own
		if err != nil || f == nil {
			return streamError(err)
		}
		if err := s.w.take(*f); err != nil || s.w.done {
			return err
		}
	}
}

// take handles one frame.
func (w *watcher) take(f frame) error {
	if f.event == "bookmark" {
		w.reach(f.revision())
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
	return w.event(e)
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
