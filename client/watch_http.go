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

// request asks for the stream over HTTP.
func (w *watcher) request() *request {
	r := w.client.eventsRequest(Range{Subject: w.Subject, From: w.From}, "text/event-stream")
	if w.known {
		r.ask("from", strconv.FormatUint(w.position+1, 10))
		if w.position > 0 {
			r.query.Del("from")
			r.set("Last-Event-ID", strconv.FormatUint(w.position, 10))
		}
	}
	return r
}

// sse is a stream over HTTP.
type sse struct {
	w       *watcher
	silence *time.Timer // ends the context
	body    *http.Response
}

func (w *watcher) overHTTP(ctx context.Context, cancel context.CancelFunc, to *server) (stream, error) {
	silence := time.AfterFunc(w.client.idle, cancel)
	response, err := w.client.openAt(ctx, w.request(), to)
	if err != nil {
		silence.Stop()
		return nil, err
	}
	if t := mediaType(response.Header); t != "text/event-stream" {
		silence.Stop()
		response.Body.Close()
		return nil, fmt.Errorf("the server answered with %q, not with a stream of events", t)
	}
	w.begin(headRevision(response.Header))
	return &sse{w, silence, response}, nil
}

func (s *sse) close() {
	s.silence.Stop()
	s.body.Body.Close()
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
