package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/client"
)

// errDiffers ends a command that found a difference: its exit status says so, and there is nothing more to say.
var errDiffers = errors.New("there are differences")

// documentDiff is what a document would change.
type documentDiff struct {
	client.Rehearsal
	prefix, name string
	was          map[string]client.Entry // what is there, of the keys that would change
}

func newDocumentDiff(ctx context.Context, cl *client.Client, prefix, name string, format client.Format, document []byte, options ...client.WriteOption) (documentDiff, error) {
	rehearsal, err := cl.RehearseDocument(ctx, prefix, format, document, options...)
	if err != nil {
		return documentDiff{}, err
	}
	d := documentDiff{Rehearsal: rehearsal, prefix: prefix, name: name, was: map[string]client.Entry{}}
	changed := map[string]bool{}
	d.Events = slices.DeleteFunc(d.Events, func(e client.Event) bool {
		other := !strings.HasPrefix(e.Type, "rollcall.kv.") // such as that a quota is nearly used up
		if other {
			d.Total--
		}
		return other
	})
	for _, e := range d.Events {
		data, err := dataOf(e)
		if err != nil {
			return documentDiff{}, err
		}
		changed[data.Key] = data.Previous > 0
	}
	base := strings.TrimSuffix(prefix, "/")
	below := base + "/"
	if prefix == "" {
		below = ""
	}
	if changed[base] {
		e, err := cl.Get(ctx, base, client.At(rehearsal.Seen))
		if err != nil {
			return documentDiff{}, err
		}
		d.was[base] = e
	}
	if len(changed) == 0 {
		return d, nil
	}
	for e, err := range cl.List(ctx, below, client.At(rehearsal.Seen)) {
		if err != nil {
			return documentDiff{}, err
		}
		if changed[e.Key] {
			d.was[e.Key] = e
		}
	}
	return d, nil
}

func dataOf(e client.Event) (data eventData, err error) {
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return data, fmt.Errorf("read event: %w", err)
	}
	return data, nil
}

// tell shows the difference: keys as they are with a minus, and as they would be with a plus.
func (d documentDiff) tell(s *session) error {
	return s.flushed(func(out *bufio.Writer) error {
		if d.Total > 0 && !s.JSON {
			fmt.Fprintf(out, "--- %q at revision %d\n+++ %s\n", d.prefix, d.Seen, d.name)
		}
		for _, e := range d.Events {
			if s.JSON {
				fmt.Fprintf(out, "%s\n", e.Raw)
				continue
			}
			data, err := dataOf(e)
			if err != nil {
				return err
			}
			if was, ok := d.was[data.Key]; ok {
				fmt.Fprintf(out, "-%s: %s\n", data.Key, inDocument(was.Value, was.ContentType))
			}
			if e.Type != "rollcall.kv.delete" {
				value := data.ValueBase64
				if data.Value != nil {
					value = []byte(*data.Value)
				}
				fmt.Fprintf(out, "+%s: %s\n", data.Key, inDocument(value, data.ContentType))
			}
		}
		if more := d.Total - uint64(len(d.Events)); more > 0 && !s.JSON {
			fmt.Fprintf(out, "… and %d changes more\n", more)
		}
		return nil
	})
}

// inDocument is a value on one line, as JSON, so that its type is seen.
func inDocument(value []byte, contentType string) string {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err == nil && mediaType == "application/json" && json.Valid(value) {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err == nil {
			return compact.String()
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(value)); err != nil {
		return fmt.Sprintf("%q", value) // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}
