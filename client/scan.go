package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// parseEvent reads a CloudEvent. What the servers write is read without reflection; anything else that is an event, too,
// by encoding/json.
func parseEvent(raw []byte) (Event, error) {
	e, ok := scanEvent(raw)
	if !ok {
		var err error
		if e, err = decodeEvent(raw); err != nil {
			return Event{}, fmt.Errorf("read event %.80q: %w", raw, err)
		}
	}
	return e, nil
}

// decodeEvent reads any event.
func decodeEvent(raw []byte) (Event, error) {
	var w struct {
		Type     string          `json:"type"`
		Subject  string          `json:"subject"`
		Time     time.Time       `json:"time"`
		Revision uint64          `json:"revision,string"`
		Commit   uint64          `json:"commit,string"`
		Actor    string          `json:"actor"`
		Reason   string          `json:"reason"`
		Source   string          `json:"source"`
		Data     json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return Event{}, err
	}
	return Event{
		Type: w.Type, Subject: w.Subject, Time: w.Time, Revision: w.Revision, Commit: w.Commit, Actor: w.Actor,
		Reason: w.Reason, Source: w.Source, Data: w.Data, Raw: append(json.RawMessage(nil), raw...),
	}, nil
}

// scanEvent reads an event of the plain form that servers write: an object of the fields that CloudEvents has, each at
// most once, whose texts have no escapes. It gives up on everything else, also where that would be an event.
func scanEvent(raw []byte) (e Event, ok bool) {
	if !json.Valid(raw) { // with that, what follows may look for nothing but where things end
		return e, false
	}
	e.Raw = append(make(json.RawMessage, 0, len(raw)), raw...)
	rest := bytes.TrimSpace(e.Raw)
	if rest[0] != '{' {
		return e, false
	}
	seen := 0
	rest = skipSpace(rest[1:])
	for rest[0] != '}' {
		if rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
		name, after, plain := cutText(rest)
		if !plain {
			return e, false
		}
		rest = skipSpace(skipSpace(after)[1:]) // the colon
		value, after := cutValue(rest)
		field := fieldOf(name)
		if field == 0 || seen&field != 0 {
			return e, false
		}
		seen |= field
		if field == fieldData {
			e.Data = slices.Clip(value)
			rest = skipSpace(after)
			continue
		}
		text, _, plain := cutText(value)
		if !plain {
			return e, false
		}
		if !e.setField(field, text) {
			return e, false
		}
		rest = skipSpace(after)
	}
	return e, true
}

// The fields of an event.
const (
	fieldIgnored = 1 << iota
	fieldID
	fieldContent
	fieldType
	fieldSubject
	fieldTime
	fieldRevision
	fieldCommit
	fieldActor
	fieldReason
	fieldSource
	fieldData
)

func fieldOf(name []byte) int {
	switch string(name) {
	case "specversion":
		return fieldIgnored
	case "id":
		return fieldID
	case "datacontenttype":
		return fieldContent
	case "type":
		return fieldType
	case "subject":
		return fieldSubject
	case "time":
		return fieldTime
	case "revision":
		return fieldRevision
	case "commit":
		return fieldCommit
	case "actor":
		return fieldActor
	case "reason":
		return fieldReason
	case "source":
		return fieldSource
	case "data":
		return fieldData
	}
	return 0
}

// setField takes one text.
func (e *Event) setField(field int, text []byte) (ok bool) {
	switch field {
	case fieldType:
		e.Type = internType(text)
	case fieldSubject:
		e.Subject = string(text)
	case fieldTime:
		return e.Time.UnmarshalText(text) == nil
	case fieldRevision:
		e.Revision, ok = scanNumber(text)
		return ok
	case fieldCommit:
		e.Commit, ok = scanNumber(text)
		return ok
	case fieldActor:
		e.Actor = string(text)
	case fieldReason:
		e.Reason = string(text)
	case fieldSource:
		e.Source = internSource(text)
	}
	return true
}

// scanNumber reads a revision as servers write it.
func scanNumber(text []byte) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > 19 || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// cutText takes a text off valid JSON; plain says that it is one, of UTF-8 without escapes.
func cutText(b []byte) (text, rest []byte, plain bool) {
	if b[0] != '"' {
		return nil, b, false
	}
	end := bytes.IndexByte(b[1:], '"') + 1
	text = b[1:end]
	if bytes.IndexByte(text, '\\') >= 0 || !utf8.Valid(text) {
		return nil, b, false
	}
	return text, b[end+1:], true
}

// cutValue takes any value off valid JSON.
func cutValue(b []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return b[:i+1], b[i+1:]
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // a number or a word ends before what ends the object around it
				return bytes.TrimRight(b[:i], " \t\r\n"), b[i:]
			}
			if depth--; depth == 0 {
				return b[:i+1], b[i+1:]
			}
		case ',':
			if depth == 0 {
				return bytes.TrimRight(b[:i], " \t\r\n"), b[i:]
			}
		}
	}
	return b, nil
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// internType gives the text of a type without a new one for each event.
func internType(text []byte) string {
	switch string(text) {
	case "rollcall.kv.put":
		return "rollcall.kv.put"
	case "rollcall.kv.delete":
		return "rollcall.kv.delete"
	case "rollcall.kv.expire":
		return "rollcall.kv.expire"
	case "rollcall.service.register":
		return "rollcall.service.register"
	case "rollcall.service.deregister":
		return "rollcall.service.deregister"
	case "rollcall.service.status":
		return "rollcall.service.status"
	}
	return string(text)
}

// lastSource is the source of the last event: most are of the same.
var lastSource atomic.Pointer[string]

func internSource(text []byte) string {
	if last := lastSource.Load(); last != nil && *last == string(text) {
		return *last
	}
	s := string(text)
	lastSource.Store(&s)
	return s
}

// onlyRevision reads the answer to most changes, {"revision":N}; any other is somebody else's to read.
func onlyRevision(body []byte) (revision uint64, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"revision":`))
	if !ok {
		return 0, false
	}
	number, ok := bytes.CutSuffix(bytes.TrimRight(rest, "\n"), []byte("}"))
	if !ok {
		return 0, false
	}
	return scanNumber(number)
}
