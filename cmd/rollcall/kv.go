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
	Append kvAppendCmd `cmd:"" help:"Make a key that comes behind all others of its directory."`

	Refresh kvRefreshCmd `cmd:"" help:"Give a key or a directory its whole TTL again."`
	Txn     kvTxnCmd     `cmd:"" help:"Change several things at once, if conditions hold."`

	Import kvImportCmd `cmd:"" help:"Bring a document in, one key for each leaf."`
	Export kvExportCmd `cmd:"" help:"Write keys as the document that an import took apart."`
	Diff   kvDiffCmd   `cmd:"" help:"Show what importing a document would change."`
	Edit   kvEditCmd   `cmd:"" help:"Edit keys as one document."`

	History kvHistoryCmd `cmd:"" help:"Tell what happened to a key: when, what, who, why."`
}

type kvGetCmd struct {
	Key string `arg:"" complete:"keys" help:"The key."`
	At  string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (kvGetCmd) Help() string {
	return `Examples:

    rollcall kv get app/greeting
    rollcall kv get app/logo > logo.png
    rollcall kv get app/greeting --json            what is known about it
    rollcall kv get app/greeting --at 41           as it was at revision 41
    rollcall kv get app/greeting --at 2026-01-31T09:00:00Z

The value is written byte for byte, and nothing behind it; only a terminal gets a line end where it lacks one.`
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
	Key        string  `arg:"" complete:"keys" help:"The key; one that ends in a slash is a directory."`
	Value      *string `arg:"" optional:"" complete:"values" help:"The value; - is standard input and @FILE is a file, as they are. A directory has none."`
	IfRevision *uint64 `xor:"condition" placeholder:"N" help:"Only while the key is at this revision."`
	IfAbsent   bool    `xor:"condition" help:"Only while the key does not exist."`
	IfExists   bool    `xor:"condition" help:"Only while the key exists."`
	IfValue    *string `xor:"condition" placeholder:"V" help:"Only while the key has this value, which is written as VALUE is."`
	keyFlags
	rehearsing
}

// Help teaches by example.
func (kvPutCmd) Help() string {
	return `Examples:

    rollcall kv put app/greeting hello
    rollcall kv put app/logo @logo.png --content-type image/png
    date | rollcall kv put app/started -
    rollcall kv put app/leader me --if-absent --session 7
    rollcall kv put app/limit 20 --if-revision 41 --reason "more load"
    rollcall kv put app/hosts/web-1 up --ttl 30s   gone 30 s after the last put or refresh
    rollcall kv put app/hosts/ --ttl 60s           a directory: all below it goes with it
    rollcall kv put app/offset -- -5               a value that begins with a hyphen

A put without --ttl and --session makes the key permanent, whatever it was. A condition that does not hold is exit status
1, and nothing is written.`
}

// Run gives a key a value.
func (c kvPutCmd) Run(ctx context.Context, s *session) error {
	options := c.options()
	if c.IfRevision != nil {
		options = append(options, client.IfRevision(*c.IfRevision))
	}
	if c.IfAbsent {
		options = append(options, client.IfAbsent())
	}
	if c.IfExists {
		options = append(options, client.IfExists())
	}
	value, err := c.value(s)
	if err != nil {
		return err
	}
	if c.IfValue != nil {
		if *c.IfValue == "-" && c.Value != nil && *c.Value == "-" {
			return misusef("standard input cannot be both the value and --if-value")
		}
		current, err := s.valueOf(*c.IfValue)
		if err != nil {
			return err
		}
		options = append(options, client.IfValue(current))
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	options = c.rehearse(options, &plan)
	var w client.Written
	if c.isDirectory() {
		w, err = cl.PutDirectory(ctx, c.Key, *c.TTL, options...)
	} else {
		w, err = cl.Put(ctx, c.Key, value, options...)
	}
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s is at revision %d", plain(c.Key), w.Revision)
}

func (c kvPutCmd) isDirectory() bool { return strings.HasSuffix(c.Key, "/") && c.TTL != nil }

// value is what to put.
func (c kvPutCmd) value(s *session) ([]byte, error) {
	switch {
	case c.isDirectory() && c.Value != nil:
		return nil, misusef("%s ends in a slash, so it is a directory, which has a --ttl and no value", c.Key)
	case c.isDirectory():
		return nil, nil
	case strings.HasSuffix(c.Key, "/"):
		return nil, misusef("%s ends in a slash, so it is a directory: give it a --ttl; see \"rollcall kv put --help\"", c.Key)
	case c.Value == nil:
		return nil, misusef("give key %s a value, - for standard input or @FILE for a file; see \"rollcall kv put --help\"", c.Key)
	}
	return s.valueOf(*c.Value)
}

// keyFlags are the flags of commands that give a key a value.
type keyFlags struct {
	TTL         *time.Duration `name:"ttl" xor:"lease" placeholder:"TIME" help:"The key ends so long after it was written or refreshed last."`
	Session     string         `xor:"lease" placeholder:"ID" help:"The key ends with this session."`
	ContentType string         `placeholder:"TYPE" help:"What the value is, such as application/json."`
	Flags       uint64         `help:"A number of your own, kept with the value."`
}

func (f keyFlags) options() (options []client.WriteOption) {
	if f.TTL != nil {
		options = append(options, client.TTL(*f.TTL))
	}
	if f.Session != "" {
		options = append(options, client.InSession(f.Session))
	}
	if f.ContentType != "" {
		options = append(options, client.ContentType(f.ContentType))
	}
	if f.Flags != 0 {
		options = append(options, client.Flags(f.Flags))
	}
	return options
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
	Key        string  `arg:"" complete:"keys" help:"The key."`
	Prefix     bool    `xor:"many" help:"Remove every key that starts with KEY, in one commit."`
	Recursive  bool    `xor:"many" help:"Remove KEY and every key below it, in one commit: those that start with KEY/."`
	IfRevision *uint64 `xor:"many,condition" placeholder:"N" help:"Only while the key is at this revision."`
	IfValue    *string `xor:"many,condition" placeholder:"V" help:"Only while the key has this value; - is standard input and @FILE is a file, as they are."`
	rehearsing
}

// Help teaches by example.
func (kvDeleteCmd) Help() string {
	return `Examples:

    rollcall kv delete app/greeting
    rollcall kv delete app --recursive --dry-run   what would go; without --dry-run it goes
    rollcall kv delete app/tmp- --prefix --reason "left over"
    rollcall kv delete app/limit --if-revision 41

Removing nothing is exit status 1.`
}

// Run removes keys.
func (c kvDeleteCmd) Run(ctx context.Context, s *session) error {
	var options []client.WriteOption
	if c.IfRevision != nil {
		options = append(options, client.IfRevision(*c.IfRevision))
	}
	if c.IfValue != nil {
		current, err := s.valueOf(*c.IfValue)
		if err != nil {
			return err
		}
		options = append(options, client.IfValue(current))
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, what, err := c.delete(ctx, cl, c.rehearse(options, &plan))
	switch {
	case err != nil:
		return err
	case c.DryRun && plan.Total == 0:
		return c.nothing()
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s deleted, at revision %d", what, w.Revision)
}

func (c kvDeleteCmd) delete(ctx context.Context, cl *client.Client, options []client.WriteOption) (w client.Written, what string, err error) {
	switch {
	case c.Prefix:
		w, err = cl.DeletePrefix(ctx, c.Key, options...)
		return w, fmt.Sprintf("all keys that start with %q are", c.Key), err
	case c.Recursive:
		w, err = c.deleteTree(ctx, cl, options)
		return w, fmt.Sprintf("%s and all below it is", plain(c.Key)), err
	}
	w, err = cl.Delete(ctx, c.Key, options...)
	return w, plain(c.Key) + " is", err
}

// deleteTree removes a key and what is below it: not what merely begins alike, as a prefix would.
func (c kvDeleteCmd) deleteTree(ctx context.Context, cl *client.Client, options []client.WriteOption) (client.Written, error) {
	key := strings.TrimSuffix(c.Key, "/")
	if key == "" {
		return client.Written{}, misusef("name a key; \"rollcall kv delete '' --prefix\" removes all keys")
	}
	result, err := cl.Txn(ctx, client.Txn{Then: []client.Operation{{Delete: client.Key(key)}, {Delete: client.Prefix(key + "/")}}}, options...)
	if err != nil {
		return client.Written{}, err
	}
	w := client.Written{Revision: result.Revision}
	for _, r := range result.Results {
		w.Deleted += r.Deleted
	}
	if w.Deleted == 0 && !c.DryRun {
		return w, c.nothing()
	}
	return w, nil
}

func (c kvDeleteCmd) nothing() error {
	return fmt.Errorf("there is no key %q and none below it: %w", c.Key, client.ErrNotFound)
}

type kvListCmd struct {
	Prefix    string `arg:"" optional:"" complete:"keys" help:"What the keys start with; left out, all keys."`
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
			rows = append(rows, []string{plain(e.Key), "#" + strconv.FormatUint(e.Revision, 10), shownValue(e), lease(e)})
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
	Key   string `arg:"" complete:"keys" help:"The key, which may be gone."`
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
	TTL            string    `json:"ttl,omitempty"`
	Time           time.Time `json:"time"`
}

func newEntryLine(e client.Entry) entryLine {
	l := entryLine{
		Key: e.Key, ContentType: e.ContentType, Flags: e.Flags, Revision: e.Revision,
		CreateRevision: e.CreateRevision, Version: e.Version, Session: e.Session, Time: e.Time,
	}
	if e.TTL != 0 {
		l.TTL = e.TTL.String()
	}
	if isDirectory(e) {
		return l // it has no value, not an empty one
	}
	if text := string(e.Value); isPlain(text) {
		l.Value = &text
	} else {
		l.ValueBase64 = e.Value
	}
	return l
}

// isDirectory tells whether an entry is a directory, which has a TTL and no value.
func isDirectory(e client.Entry) bool { return strings.HasSuffix(e.Key, "/") && e.TTL != 0 }

// shownValue is an entry's value on one line.
func shownValue(e client.Entry) string {
	if isDirectory(e) {
		return "directory"
	}
	return summary(e.Value)
}

// lease says what an entry ends with; empty for nothing.
func lease(e client.Entry) string {
	switch {
	case e.Session != "":
		return "session " + plain(e.Session)
	case e.TTL != 0:
		return "ttl " + e.TTL.String()
	}
	return ""
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
