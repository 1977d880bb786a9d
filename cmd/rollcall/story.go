package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rollcall/rollcall/client"
)

// story tells events to people, one line each. It remembers what it has seen, so that it can say what a change
// replaced; what it has not seen, it reads.
type story struct {
	session *session
	client  *client.Client
	seen    map[string]state // by subject
}

// state is what a subject was last seen to be.
type state struct {
	revision uint64
	text     string
}

const (
	seenMax    = 50_000          // subjects to remember; then it forgets them all, and reads again
	lookupTime = 2 * time.Second // for reading what a change replaced: it is a courtesy
)

func newStory(s *session, c *client.Client) *story {
	return &story{session: s, client: c, seen: map[string]state{}}
}

// eventData is the data of the events that are known here, as far as the line shows it; what a type lacks is zero.
type eventData struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64"`
	ContentType string  `json:"content_type"`
	TTL         string  `json:"ttl"`
	Directory   string  `json:"directory"`
	OnEnd       string  `json:"on_end"`

	instanceFields

	Checks []client.Check `json:"checks"`
	Check  string         `json:"check"`

	Namespace string `json:"namespace"`
	Group     uint64 `json:"group"`
	Previous  uint64 `json:"previous"`
	// From is a revision in a restoration's data, and a namespace in that of one that was made from it.
	From         json.RawMessage `json:"from"`
	FromRevision uint64          `json:"from_revision"`
	Expired      bool            `json:"expired"`
	SkippedTo    uint64          `json:"skipped_to"`
	Server       string          `json:"server"`
	// Version is a number in a key's data and a text in an instance's; it shadows the one in Instance.
	Version any `json:"version"`
}

// event tells one.
func (t *story) event(ctx context.Context, out io.Writer, e client.Event) error {
	if t.session.JSON {
		_, err := fmt.Fprintf(out, "%s\n", e.Raw)
		return err
	}
	var d eventData
	// An event of a later version: its type and subject still say something.
	words := fmt.Sprintf("%s  %s", plain(strings.TrimPrefix(e.Type, "rollcall.")), plain(e.Subject))
	if json.Unmarshal(e.Data, &d) == nil {
		words = cmp.Or(t.words(ctx, e, d), words)
	}
	line := fmt.Sprintf("%s  #%-5d %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Revision, words)
	if e.Actor != "" {
		line += "  by " + plain(e.Actor)
	}
	if e.Reason != "" {
		line += "  (" + plain(e.Reason) + ")"
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// words say what happened; empty for an event that is not known here.
func (t *story) words(ctx context.Context, e client.Event, d eventData) string {
	switch e.Type {
	case "rollcall.kv.put":
		entry := d.entry()
		now := shownValue(entry)
		before := t.before(ctx, e, d, t.readKey)
		t.remember(e, now)
		if lease := lease(entry); lease != "" {
			now += " (" + lease + ")"
		}
		if before == "" {
			return fmt.Sprintf("put         %s = %s", plain(d.Key), now)
		}
		return fmt.Sprintf("put         %s: %s → %s", plain(d.Key), before, now)
	case "rollcall.kv.delete":
		return withBefore(fmt.Sprintf("delete      %s%s", plain(d.Key), d.because()), t.forget(ctx, e, d, t.readKey))
	case "rollcall.kv.expire":
		text := fmt.Sprintf("expire      %s%s", plain(d.Key), d.because())
		return withBefore(text, t.forget(ctx, e, d, t.readKey))
	case "rollcall.kv.release":
		return fmt.Sprintf("release     %s%s", plain(d.Key), d.because())
	case "rollcall.session.create":
		return fmt.Sprintf("session     %s begins: %s, on end %s", plain(d.ID), d.TTL, d.OnEnd)
	case "rollcall.session.end":
		return fmt.Sprintf("session     %s ends", plain(d.ID))
	case "rollcall.session.expire":
		return fmt.Sprintf("session     %s expires", plain(d.ID))
	case "rollcall.service.register":
		now := d.instance()
		before := t.before(ctx, e, d, nil)
		t.remember(e, now)
		if before == "" && d.Previous != 0 {
			before = fmt.Sprintf("(as of #%d)", d.Previous)
		}
		if before == "" {
			return fmt.Sprintf("register    %s/%s at %s", plain(d.Service), plain(d.ID), now)
		}
		return fmt.Sprintf("register    %s/%s: %s → %s", plain(d.Service), plain(d.ID), before, now)
	case "rollcall.service.deregister":
		return withBefore(fmt.Sprintf("deregister  %s/%s%s", plain(d.Service), plain(d.ID), d.because()), t.forget(ctx, e, d, nil))
	case "rollcall.service.expire":
		return withBefore(fmt.Sprintf("expire      %s/%s%s", plain(d.Service), plain(d.ID), cmp.Or(d.because(), " as it was not registered again in time")), t.forget(ctx, e, d, nil))
	case "rollcall.service.status", "rollcall.service.maintenance", "rollcall.service.credentials", "rollcall.service.configure",
		"rollcall.node.put", "rollcall.node.delete", "rollcall.node.maintenance":
		return healthWords(e)
	case "rollcall.namespace.open":
		return fmt.Sprintf("open        namespace %s", plain(d.Namespace)) + d.madeFrom()
	case "rollcall.namespace.create":
		return fmt.Sprintf("create      namespace %s on group %d", plain(d.Namespace), d.Group) + d.madeFrom()
	case "rollcall.namespace.fill":
		return fmt.Sprintf("fill        namespace %s is complete", plain(d.Namespace)) + d.madeFrom()
	case "rollcall.namespace.close":
		return fmt.Sprintf("delete      namespace %s, with everything in it", plain(d.Namespace))
	case "rollcall.namespace.expire":
		return fmt.Sprintf("expire      namespace %s, with everything in it: nobody renewed it for %s", plain(d.Namespace), plain(d.TTL))
	case "rollcall.namespace.delete":
		if d.Expired {
			return fmt.Sprintf("expire      namespace %s, which nobody renewed", plain(d.Namespace))
		}
		return fmt.Sprintf("delete      namespace %s", plain(d.Namespace))
	case "rollcall.namespace.configure", "rollcall.namespace.usage", "rollcall.namespace.trim":
		return settingsWords(e)
	case "rollcall.namespace.timekeeper":
		return fmt.Sprintf("time        is kept by server %s", plain(d.Server))
	case "rollcall.namespace.restored":
		return fmt.Sprintf("restore     namespace %s from a snapshot at #%s; revisions up to #%d are left out", plain(d.Namespace), plain(string(d.From)), d.SkippedTo)
	}
	return ""
}

func withBefore(text, before string) string {
	if before == "" {
		return text
	}
	return text + ", which was " + before
}

func (d eventData) value() []byte {
	if d.Value != nil {
		return []byte(*d.Value)
	}
	return d.ValueBase64
}

// entry is what a key was given: its value, and what it ends with.
func (d eventData) entry() client.Entry {
	e := client.Entry{Key: d.Key, Value: d.value(), Session: d.Session}
	e.TTL, _ = time.ParseDuration(d.TTL) // none, where it is none
	return e
}

// madeFrom says what a namespace was made from; empty for nothing.
func (d eventData) madeFrom() string {
	var from string
	if json.Unmarshal(d.From, &from) != nil || from == "" {
		return ""
	}
	return fmt.Sprintf(", from %s as of #%d", plain(from), d.FromRevision)
}

// because says what took a thing with it; empty for nothing.
func (d eventData) because() string {
	switch {
	case d.Directory != "" && d.Directory != d.Key:
		return " with directory " + plain(d.Directory)
	case d.Session != "":
		return " with session " + plain(d.Session)
	case d.Check != "":
		return " as its check " + plain(d.Check) + " was critical for too long"
	}
	return ""
}

func (d eventData) instance() string {
	words := []string{hostPort(client.Instance(d.instanceFields))}
	if d.Node != "" {
		words = append(words, "on "+plain(d.Node))
	}
	if version, ok := d.Version.(string); ok {
		words = append(words, "version "+plain(version))
	}
	if len(d.Tags) > 0 {
		words = append(words, "["+plain(strings.Join(d.Tags, " "))+"]")
	}
	if len(d.Checks) > 0 {
		ids := make([]string, len(d.Checks))
		for i, c := range d.Checks {
			ids[i] = plain(c.ID)
		}
		words = append(words, "checked by "+strings.Join(ids, ", "))
	}
	switch {
	case d.Session != "":
		words = append(words, "(session "+plain(d.Session)+")")
	case d.TTL != "":
		words = append(words, "(ttl "+plain(d.TTL)+")")
	}
	return strings.Join(words, " ")
}

// before is what an event replaced; empty when that is nothing, or not known.
func (t *story) before(ctx context.Context, e client.Event, d eventData, read func(context.Context, eventData) string) string {
	if d.Previous == 0 {
		return ""
	}
	if was, ok := t.seen[e.Subject]; ok && was.revision == d.Previous {
		return was.text
	}
	if read == nil {
		return ""
	}
	return read(ctx, d)
}

// readKey reads the value that a key had before an event.
func (t *story) readKey(ctx context.Context, d eventData) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	e, err := t.client.Get(ctx, d.Key, client.At(d.Previous))
	if err != nil {
		return fmt.Sprintf("(as of #%d)", d.Previous) // trimmed, or out of reach: the revision is still told
	}
	return shownValue(e)
}

func (t *story) remember(e client.Event, text string) {
	if len(t.seen) >= seenMax {
		clear(t.seen)
	}
	t.seen[e.Subject] = state{revision: e.Commit, text: text}
}

// forget is before, for what is gone afterwards.
func (t *story) forget(ctx context.Context, e client.Event, d eventData, read func(context.Context, eventData) string) string {
	was := t.before(ctx, e, d, read)
	delete(t.seen, e.Subject)
	return was
}
