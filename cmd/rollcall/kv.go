package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcall/rollcall/client"
)

// valueBytesMax is what a server keeps of one value.
const valueBytesMax = 512 << 10

type kvCmd struct {
	Get    kvGetCmd    `cmd:"" help:"Write a key's value, byte for byte."`
	Put    kvPutCmd    `cmd:"" help:"Give a key a value."`
	Delete kvDeleteCmd `cmd:"" help:"Remove a key, or all that start with a prefix."`
	List   kvListCmd   `cmd:"" help:"List keys."`
	Import kvImportCmd `cmd:"" help:"Bring a document in, one key for each leaf."`
	Export kvExportCmd `cmd:"" help:"Write keys as the document that an import took apart."`
	Diff   kvDiffCmd   `cmd:"" help:"Show what importing a document would change."`
	Edit   kvEditCmd   `cmd:"" help:"Edit keys as one document."`

	History kvHistoryCmd `cmd:"" help:"Tell what happened to a key: when, what, who, why."`
}

type kvGetCmd struct {
	Key string `arg:"" help:"The key."`
	At  string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (kvGetCmd) Help() string {
	return `Examples:

    rollcall kv get app/greeting
    rollcall kv get app/logo > logo.png
    rollcall kv get app/greeting --json            what is known about it
    rollcall kv get app/greeting --at 41           as it was at revision 41
    rollcall kv get app/greeting --at 2026-01-31T09:00:00Z`
}

// Run writes a value.
func (c kvGetCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	e, err := cl.Get(ctx, c.Key, options...)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(newEntryLine(e))
	}
	if _, err := s.stdout.Write(e.Value); err != nil {
		return err
	}
	if s.onTerminal() && !strings.HasSuffix(string(e.Value), "\n") {
		return s.sayf("")
	}
	return nil
}

type kvPutCmd struct {
	Key         string  `arg:"" help:"The key."`
	Value       string  `arg:"" help:"The value; - is standard input and @FILE is a file, as they are."`
	IfRevision  *uint64 `xor:"condition" placeholder:"N" help:"Only while the key is at this revision."`
	IfAbsent    bool    `xor:"condition" help:"Only while the key does not exist."`
	IfValue     *string `xor:"condition" placeholder:"V" help:"Only while the key has this value."`
	ContentType string  `placeholder:"TYPE" help:"What the value is, such as application/json."`
	Flags       uint64  `help:"A number of your own, kept with the value."`
}

// Help teaches by example.
func (kvPutCmd) Help() string {
	return `Examples:

    rollcall kv put app/greeting hello
    rollcall kv put app/logo @logo.png --content-type image/png
    date | rollcall kv put app/started -
    rollcall kv put app/leader me --if-absent
    rollcall kv put app/limit 20 --if-revision 41
    rollcall kv put app/offset -- -5               a value that begins with a hyphen

A condition that does not hold is exit status 1, and nothing is written.`
}

// Run gives a key a value.
func (c kvPutCmd) Run(ctx context.Context, s *session) error {
	value, err := s.valueOf(c.Value)
	if err != nil {
		return err
	}
	var options []client.WriteOption
	if c.IfRevision != nil {
		options = append(options, client.IfRevision(*c.IfRevision))
	}
	if c.IfAbsent {
		options = append(options, client.IfAbsent())
	}
	if c.IfValue != nil {
		options = append(options, client.IfValue([]byte(*c.IfValue)))
	}
	if c.ContentType != "" {
		options = append(options, client.ContentType(c.ContentType))
	}
	if c.Flags != 0 {
		options = append(options, client.Flags(c.Flags))
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	w, err := cl.Put(ctx, c.Key, value, options...)
	if err != nil {
		return err
	}
	return s.result(w, "%s is at revision %d", c.Key, w.Revision)
}

// valueOf is the value that an argument stands for.
func (s *session) valueOf(argument string) ([]byte, error) {
	switch {
	case argument == "-":
		return s.readFile("-", valueBytesMax)
	case strings.HasPrefix(argument, "@"):
		return s.readFile(argument[1:], valueBytesMax)
	}
	return []byte(argument), nil
}

type kvDeleteCmd struct {
	Key        string  `arg:"" help:"The key."`
	Prefix     bool    `help:"Remove every key that starts with KEY, in one commit."`
	IfRevision *uint64 `placeholder:"N" help:"Only while the key is at this revision."`
}

// Help teaches by example.
func (kvDeleteCmd) Help() string {
	return `Examples:

    rollcall kv delete app/greeting
    rollcall kv delete app/ --prefix
    rollcall kv delete app/limit --if-revision 41

Removing nothing is exit status 1.`
}

// Run removes keys.
func (c kvDeleteCmd) Run(ctx context.Context, s *session) error {
	if c.Prefix && c.IfRevision != nil {
		return misusef("--if-revision speaks of one key, --prefix of many: give one of them")
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.Prefix {
		w, err := cl.DeletePrefix(ctx, c.Key)
		if err != nil {
			return err
		}
		return s.result(w, "all keys that start with %q are deleted, at revision %d", c.Key, w.Revision)
	}
	var options []client.WriteOption
	if c.IfRevision != nil {
		options = append(options, client.IfRevision(*c.IfRevision))
	}
	w, err := cl.Delete(ctx, c.Key, options...)
	if err != nil {
		return err
	}
	return s.result(w, "%s is deleted, at revision %d", c.Key, w.Revision)
}

type kvListCmd struct {
	Prefix    string `arg:"" optional:"" help:"What the keys start with; left out, all keys."`
	Keys      bool   `help:"The keys alone, one a line."`
	Separator string `placeholder:"/" help:"Show what lies below the separator as one subtree; implies --keys."`
	At        string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (kvListCmd) Help() string {
	return `Examples:

    rollcall kv list
    rollcall kv list app/ --keys
    rollcall kv list app/ --separator /            one level, like a directory
    rollcall kv list app/ --json --at 41

All of the list is as of one revision, however long it is.`
}

// Run lists keys.
func (c kvListCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return s.flushed(func(out *bufio.Writer) error {
		if c.Keys || c.Separator != "" {
			return s.listKeys(out, cl.Keys(ctx, c.Prefix, c.Separator, options...))
		}
		var rows [][]string
		for e, err := range cl.List(ctx, c.Prefix, options...) {
			if err != nil {
				return err
			}
			if s.JSON {
				if err := json.NewEncoder(out).Encode(newEntryLine(e)); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{plain(e.Key), "#" + strconv.FormatUint(e.Revision, 10), summary(e.Value)})
		}
		return table(out, rows)
	})
}

func (s *session) listKeys(out *bufio.Writer, keys func(func(string, error) bool)) error {
	for key, err := range keys {
		if err != nil {
			return err
		}
		if s.JSON {
			err = json.NewEncoder(out).Encode(key)
		} else {
			_, err = fmt.Fprintln(out, plain(key))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type kvHistoryCmd struct {
	Key   string `arg:"" help:"The key, which may be gone."`
	Limit int    `default:"0" help:"At most so many events; 0 is all of them."`
	At    string `placeholder:"REVISION|TIME" help:"Look back from then."`
}

// Help teaches by example.
func (kvHistoryCmd) Help() string {
	return `Examples:

    rollcall kv history app/limit
    rollcall kv history app/limit --limit 1        the last change
    rollcall kv history app/limit --at 2026-01-31T09:00:00Z
    rollcall kv history app/limit --json           whole events, one a line

The newest change comes first; deletions are among them. A key that never was has no history, which is exit status 1.`
}

// Run tells what happened.
func (c kvHistoryCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return misusef("--limit %d: it must be a number from 0", c.Limit)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	told := 0
	err = s.flushed(func(out *bufio.Writer) error {
		story := newStory(s, cl)
		for e, err := range cl.History(ctx, client.KeySubject(c.Key), options...) {
			if err != nil {
				return err
			}
			if err := story.event(ctx, out, e); err != nil {
				return err
			}
			if told++; told == c.Limit {
				break
			}
		}
		return nil
	})
	if err == nil && told == 0 {
		return fmt.Errorf("key %q never was: %w", c.Key, client.ErrNotFound)
	}
	return err
}

// entryLine is an entry in JSON, in the shape of the server's own answer.
type entryLine struct {
	Key            string    `json:"key"`
	Value          *string   `json:"value,omitempty"`
	ValueBase64    []byte    `json:"value_base64,omitempty"`
	ContentType    string    `json:"content_type,omitempty"`
	Flags          uint64    `json:"flags"`
	Revision       uint64    `json:"revision"`
	CreateRevision uint64    `json:"create_revision"`
	Version        uint64    `json:"version"`
	Session        string    `json:"session,omitempty"`
	Time           time.Time `json:"time"`
}

func newEntryLine(e client.Entry) entryLine {
	l := entryLine{
		Key: e.Key, ContentType: e.ContentType, Flags: e.Flags, Revision: e.Revision,
		CreateRevision: e.CreateRevision, Version: e.Version, Session: e.Session, Time: e.Time,
	}
	if text := string(e.Value); isPlain(text) {
		l.Value = &text
	} else {
		l.ValueBase64 = e.Value
	}
	return l
}

// readOptions understands --at.
func readOptions(at string) ([]client.ReadOption, error) {
	if at == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(at, 10, 64); err == nil && n > 0 {
		return []client.ReadOption{client.At(n)}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return nil, misusef("--at %q: it must be a revision, such as 41, or a time, such as 2026-01-31T09:00:00Z", at)
	}
	return []client.ReadOption{client.AtTime(t)}, nil
}

// isPlain tells whether text can be shown as it is: UTF-8 without control characters other than tab and line ends.
func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
	})
}

// plain is a name as it is shown to people: a terminal must not obey what somebody wrote into a key.
func plain(name string) string {
	if q := strconv.Quote(name); q[1:len(q)-1] != name {
		return q
	}
	return name
}

// summary shows a value on one line of bounded length.
func summary(value []byte) string {
	const most = 60
	text := string(value)
	if !isPlain(text) {
		return fmt.Sprintf("(%d bytes)", len(value))
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return strconv.Quote(text)
}
