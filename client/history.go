package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// KeySubject is the subject of a key's events: "kv.app.db.url" for the key "app/db/url". Bytes that a subject cannot hold
// are percent-encoded.
func KeySubject(key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = subjectSegment(s)
	}
	return "kv." + strings.Join(segments, ".")
}

// InstanceSubject is the subject of an instance's events.
func InstanceSubject(service, id string) string {
	return "service." + subjectSegment(service) + "." + subjectSegment(id)
}

// InstancesSubject is the subject of the events of all instances of a service, for Watch and Events.
func InstancesSubject(service string) string { return "service." + subjectSegment(service) + ".>" }

// ServiceSubject is the subject of the events of a service's settings.
func ServiceSubject(service string) string { return "service." + subjectSegment(service) }

// NodeSubject is the subject of a node's events.
func NodeSubject(name string) string { return "node." + subjectSegment(name) }

func subjectSegment(s string) string {
	if s == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(".*>%", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// History yields what happened to one key or one instance, by its subject, the newest event first, as of the state that
// the options name. An error ends it.
func (c *Client) History(ctx context.Context, subject string, options ...ReadOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			var page struct {
				Events []json.RawMessage `json:"events"`
				Next   uint64            `json:"next"`
			}
			r := c.newRequest("history").options(options)
			r.ask("subject", subject)
			if err := c.readPage(ctx, r, &page, 0); err != nil {
				yield(Event{}, fmt.Errorf("history of %q: %w", subject, err))
				return
			}
			for _, raw := range page.Events {
				e, err := parseEvent(raw)
				if !yield(e, err) || err != nil {
					return
				}
			}
			if page.Next == 0 {
				return
			}
			options = append(slices.Clip(options), At(page.Next)) // the last word on at; what is past stays as it was
		}
	}
}
