package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/gateway"
)

// crooked has live streams over HTTP be wrong on purpose, in builds for tests. It stands before the door and changes what
// is asked and what is answered, so that the door need not know.
func crooked(door http.Handler) http.Handler {
	if !fault.On {
		return door
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			door.ServeHTTP(w, r)
			return
		}
		s := &crookedStream{ResponseWriter: w, filtered: r.URL.Query().Get("subject") != ""}
		door.ServeHTTP(s, ask(r))
		_, _ = w.Write(s.rest) // of what is no stream, such as a refusal
	})
}

// ask changes what a stream is asked for.
func ask(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	if fault.Broken(fault.PassOther) {
		query := r.URL.Query()
		query.Del("subject")
		r.URL.RawQuery = query.Encode()
	}
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && fault.Broken(fault.ResumeLate) {
		r.Header.Set("Last-Event-ID", strconv.FormatUint(last+nowAndThen, 10))
	}
	return r
}

// crookedCall has those who resume over NATS, where they read the past by a request, be given too little.
func crookedCall(c gateway.Call) gateway.Call {
	if !fault.On || c.Operation != "events" || !fault.Broken(fault.ResumeLate) {
		return c
	}
	asked := map[string]any{}
	if json.Unmarshal(c.Body, &asked) != nil {
		return c
	}
	if from, err := strconv.ParseUint(fmt.Sprint(asked["from"]), 10, 64); err == nil && from > 1 {
		asked["from"] = strconv.FormatUint(from+nowAndThen, 10)
		c.Body, _ = json.Marshal(asked) // it was JSON before
	}
	return c
}

// crookedStream changes a stream, message by message.
type crookedStream struct {
	http.ResponseWriter
	filtered bool
	rest     []byte // the beginning of a message that is not whole yet
	held     []byte // a message that comes behind the next one
	commit   string // of the message before
	events   int
}

// Unwrap is how the door finds what else the writer can do.
func (s *crookedStream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *crookedStream) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		i := bytes.Index(s.rest, []byte("\n\n"))
		if i < 0 {
			return len(p), nil
		}
		if _, err := s.ResponseWriter.Write(s.bend(s.rest[:i+2])); err != nil {
			return 0, err
		}
		s.rest = s.rest[i+2:]
	}
}

// bend gives another message, or none.
func (s *crookedStream) bend(message []byte) []byte {
	if !bytes.HasPrefix(message, []byte("event: bookmark\n")) {
		s.events++
		if fault.Broken(fault.LoseMatch) && s.filtered && s.events%nowAndThen == 0 {
			return nil
		}
		return s.tear(message)
	}
	switch _, data, ok := strings.Cut(string(message), `{"revision":`); {
	case fault.Broken(fault.BookmarksStand) && s.filtered:
		return nil
	case fault.Broken(fault.BookmarkEarly) && ok:
		number, _, _ := strings.Cut(data, "}")
		if revision, err := strconv.ParseUint(number, 10, 64); err == nil {
			return fmt.Appendf(nil, "event: bookmark\nid: %d\ndata: {\"revision\":%[1]d}\n\n", revision+nowAndThen)
		}
	}
	return message
}

// tear has the last event of a commit of several come behind the first of the next.
func (s *crookedStream) tear(message []byte) []byte {
	before := s.commit
	s.commit = field(message, "commit")
	if s.held != nil {
		message, s.held = slices.Concat(message, s.held), nil
	} else if fault.Broken(fault.SplitCommit) && s.commit == before && s.commit == field(message, "revision") {
		s.held = bytes.Clone(message)
		return nil
	}
	return message
}

// field is what an event has under a name.
func field(message []byte, name string) string {
	_, rest, _ := strings.Cut(string(message), `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
