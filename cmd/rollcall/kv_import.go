package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/client"
)

// operationsMax is how many operations one transaction takes, and how many conditions.
const operationsMax = 512

type kvImportCmd struct {
	File    string `arg:"" help:"A JSON document; - is standard input."`
	Prefix  string `help:"Where the document stands among the keys."`
	Replace bool   `help:"Delete the keys below the prefix that the document lacks."`
}

// Help teaches by example.
func (kvImportCmd) Help() string {
	return `Every leaf of the document becomes a key, all of them in one transaction (at most 512 leaves): the member "url" of
the member "db" becomes the key db/url, below the prefix. Strings are stored as their text, with content type
text/plain; numbers, booleans, null, arrays (as a whole) and empty objects as their JSON text, with content type
application/json. "kv export" gives the same document back.

In a member's name, % is written %25, / %2F and NUL %00; the empty name is a lone %.

Keys that the document does not speak of stay, unless --replace is given; where the document has an object and a value
is stored, or the other way round, the document wins. Keys that are as the document says already are left alone.

    rollcall kv import config.json --prefix shop
    rollcall kv export shop > config.json
    jq '.limits.rps = 500' config.json | rollcall kv import - --prefix shop --replace --reason "more load"`
}

// Run brings a document in.
func (c kvImportCmd) Run(ctx context.Context, s *session) error {
	document, err := s.readFile(c.File, documentBytesMax)
	if err != nil {
		return err
	}
	leaves, err := flatten(c.Prefix, document)
	if err != nil {
		return fmt.Errorf("import %s: %w", fileName(c.File), err)
	}
	if len(leaves) > operationsMax {
		return fmt.Errorf("import %s: the document has %d leaves, and one transaction takes %d: import its parts, each below a prefix of its own", fileName(c.File), len(leaves), operationsMax)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	done, err := c.apply(ctx, cl, leaves)
	if err != nil {
		return fmt.Errorf("import %s: %w", fileName(c.File), err)
	}
	if s.JSON {
		return s.line(done)
	}
	if done.Put+done.Deleted == 0 {
		return s.sayf("nothing to change: %d keys are as the document says", done.Unchanged)
	}
	return s.sayf("%d keys written, %d deleted, %d unchanged, at revision %d", done.Put, done.Deleted, done.Unchanged, done.Revision)
}

// imported is what an import did.
type imported struct {
	Revision  uint64 `json:"revision"`
	Put       int    `json:"put"`
	Deleted   int    `json:"deleted"`
	Unchanged int    `json:"unchanged"`
}

// apply plans against what is there and lets the transaction check that it still is; when somebody else was faster, it
// plans again.
func (c kvImportCmd) apply(ctx context.Context, cl *client.Client, leaves []leaf) (imported, error) {
	const attempts = 5
	for range attempts {
		existing, revision, err := readPlace(ctx, cl, newPlace(c.Prefix))
		if err != nil {
			return imported{}, err
		}
		p := newPlan(leaves, existing, c.Replace)
		done := imported{Revision: revision, Put: len(p.puts), Deleted: len(p.deletes), Unchanged: p.unchanged}
		if done.Put+done.Deleted == 0 {
			return done, nil
		}
		if n := len(p.conditions); n > operationsMax {
			return imported{}, fmt.Errorf("%d keys of the document and %d to delete are %d to look at, and one transaction takes %d: delete what is to go first, or import a part", len(leaves), done.Deleted, n, operationsMax)
		}
		result, err := cl.Txn(ctx, p.txn())
		if err != nil {
			return imported{}, err
		}
		if result.Succeeded {
			done.Revision = result.Revision
			return done, nil
		}
	}
	return imported{}, fmt.Errorf("somebody else changed these keys at the same time, %d times over; nothing was written; try again", attempts)
}

// plan is what has to change so that the keys say what a document says.
type plan struct {
	puts       []leaf
	deletes    []string
	unchanged  int
	conditions []client.Condition
}

// newPlan compares a document with what is there. It deletes what would keep the document from coming back equal: the
// values where it has objects, and what is below its values; with replace, all that it lacks.
func newPlan(leaves []leaf, existing []client.Entry, replace bool) plan {
	entries := map[string]client.Entry{}
	inner := map[string]bool{} // what has keys below it
	for _, e := range existing {
		entries[e.Key] = e
		for above := range ancestors(e.Key) {
			inner[above] = true
		}
	}
	var p plan
	wanted, objects := map[string]bool{}, map[string]bool{}
	for _, l := range leaves {
		if !replace && inner[l.key] && isJSONObject(l) {
			objects[l.key] = true // merging an empty object into one with members adds nothing
			continue
		}
		wanted[l.key] = true
		for above := range ancestors(l.key) {
			objects[above] = true
		}
		e, exists := entries[l.key]
		p.conditions = append(p.conditions, client.KeyRevision(l.key, client.Equal, e.Revision))
		if exists && bytes.Equal(e.Value, l.value) && e.ContentType == l.contentType {
			p.unchanged++
			continue
		}
		p.puts = append(p.puts, l)
	}
	for key := range entries {
		below := false
		for above := range ancestors(key) {
			below = below || wanted[above]
		}
		if !wanted[key] && (replace || objects[key] || below) {
			p.deletes = append(p.deletes, key)
		}
	}
	slices.Sort(p.deletes)
	for _, key := range p.deletes { // what changed since it was read must not go unseen
		p.conditions = append(p.conditions, client.KeyRevision(key, client.Equal, entries[key].Revision))
	}
	return p
}

func (p plan) txn() client.Txn {
	t := client.Txn{If: p.conditions}
	for _, key := range p.deletes {
		t.Then = append(t.Then, client.Operation{Delete: client.Key(key)})
	}
	for _, l := range p.puts {
		t.Then = append(t.Then, client.Operation{Put: &client.PutKey{Key: l.key, Value: l.value, ContentType: l.contentType}})
	}
	return t
}

// isJSONObject tells whether a leaf is the empty object, the only object that is a leaf.
func isJSONObject(l leaf) bool { return l.contentType == typeJSON && l.value[0] == '{' }

// ancestors yields the keys that a key lies below.
func ancestors(key string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(key) {
			if key[i] == '/' && !yield(key[:i]) {
				return
			}
		}
	}
}

// readPlace reads the key of a place and all keys below it, as of one revision.
func readPlace(ctx context.Context, cl *client.Client, at place, options ...client.ReadOption) (entries []client.Entry, revision uint64, err error) {
	for after := ""; ; {
		page, err := cl.ListPage(ctx, at.below(), after, 250, options...)
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			revision = page.Revision
			options = []client.ReadOption{client.At(revision)}
		}
		entries = append(entries, page.Entries...)
		if after = page.Next; after == "" {
			break
		}
	}
	if at.base == "" {
		return entries, revision, nil
	}
	own, err := cl.Get(ctx, at.base, options...)
	switch {
	case err == nil:
		entries = slices.Insert(entries, 0, own)
	case !isNotFound(err):
		return nil, 0, err
	}
	return entries, revision, nil
}

type kvExportCmd struct {
	Prefix string `arg:"" optional:"" help:"Which keys: this one, or those below it; left out, all."`
	At     string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (kvExportCmd) Help() string {
	return `Writes the JSON document that "kv import" took apart; see there for how keys stand for a document.

    rollcall kv export shop > config.json
    rollcall kv export shop --at 2026-01-31T09:00:00Z | diff - config.json`
}

// Run writes a document.
func (c kvExportCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	entries, revision, err := readPlace(ctx, cl, newPlace(c.Prefix), options...)
	if err != nil {
		return err
	}
	if len(entries) == 0 && c.Prefix != "" {
		return fmt.Errorf("export: there is no key %q and none below it at revision %d; \"rollcall kv list\" shows what there is", strings.TrimSuffix(c.Prefix, "/"), revision)
	}
	document, err := assemble(c.Prefix, entries)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = s.stdout.Write(document)
	return err
}

// readFile reads a file, or standard input for "-", of at most limit bytes.
func (s *session) readFile(name string, limit int) ([]byte, error) {
	in := s.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fileName(name), err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", fileName(name), limit)
	}
	return b, nil
}

func fileName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
