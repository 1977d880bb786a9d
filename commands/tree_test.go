package commands_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// parseTree reads "tree [prefix] [replace=true] [flat=true] [since=R]", with a line "key value [json]" for each entry;
// "many=N" makes N of them, and "size=N" a value of N bytes for each.
func parseTree(t *testing.T, d *datadriven.TestData) commands.PutTree {
	t.Helper()
	replace, _ := value(d.CmdArgs, "replace")
	flat, _ := value(d.CmdArgs, "flat")
	c := commands.PutTree{
		Prefix: argument(d.CmdArgs, 0), Replace: replace == "true", Flat: flat == "true", Since: event.Revision(number(t, d.CmdArgs, "since")),
	}
	for line := range strings.Lines(d.Input) {
		fields := strings.Fields(line)
		e := commands.TreeEntry{Key: fields[0], Value: []byte(fields[1]), ContentType: "text/plain"}
		if len(fields) > 2 {
			e.ContentType = map[string]string{"json": "application/json", "time": "text/plain; toml=datetime"}[fields[2]]
		}
		c.Entries = append(c.Entries, e)
	}
	for i := range number(t, d.CmdArgs, "many") {
		deep, _ := value(d.CmdArgs, "deep")
		e := commands.TreeEntry{Key: fmt.Sprintf("%s%06d%s", c.Prefix, i, deep)}
		e.Value = []byte(strings.Repeat("x", int(number(t, d.CmdArgs, "size"))))
		c.Entries = append(c.Entries, e)
	}
	return c
}

// Whatever there is and whatever is asked for: afterwards the entries are there, with replace nothing else in the
// scope, outside of it nothing has changed, and asking again changes nothing.
func TestAnyTree(t *testing.T) {
	l := newLedger(t, "default")
	_, _, _ = l.decide(commands.OpenNamespace{Namespace: "default", Cluster: "c"})
	key := rapid.StringMatching(`[ab](/[abc]){0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(0, 4).Draw(t, "puts") {
			_, _, r := l.decide(commands.PutKey{Key: key.Draw(t, "put"), Value: []byte("v"), Flags: 3})
			if r != nil {
				t.Fatal(r)
			}
		}
		c := commands.PutTree{Prefix: rapid.SampledFrom([]string{"", "a/", "a/b/"}).Draw(t, "prefix"), Replace: rapid.Bool().Draw(t, "replace"), Flat: rapid.Bool().Draw(t, "flat")}
		inScope := func(key string) bool {
			return strings.HasPrefix(key, c.Prefix) || key == strings.TrimSuffix(c.Prefix, "/")
		}
		for _, k := range rapid.SliceOfNDistinct(key, 0, 6, rapid.ID).Draw(t, "entries") {
			if inScope(k) {
				e := commands.TreeEntry{Key: k, Value: []byte("v"), ContentType: "text/plain"}
				if rapid.Bool().Draw(t, "object") {
					e.Value, e.ContentType = []byte("{}"), "application/json"
				}
				c.Entries = append(c.Entries, e)
			}
		}
		slices.SortFunc(c.Entries, func(a, b commands.TreeEntry) int { return strings.Compare(a.Key, b.Key) })
		if commands.Validate(c) != nil {
			return // a value and an object at once
		}
		outside := func() (keys []string) {
			for e := range l.view(0).Keys("") {
				if !inScope(e.Key) {
					keys = append(keys, fmt.Sprintf("%+v", e))
				}
			}
			return keys
		}
		before, head := outside(), l.head
		_, answer, r := l.decide(c)
		if r != nil {
			t.Fatal(r)
		}
		if !slices.Equal(before, outside()) {
			t.Fatalf("%+v changed something outside of its scope", c)
		}
		there := map[string]event.Entry{}
		for e := range l.view(0).Keys("") {
			there[e.Key] = e
		}
		for _, e := range c.Entries {
			got, exists := there[e.Key]
			if exists && string(got.Value) == string(e.Value) {
				continue
			}
			below := false
			for k := range there {
				below = below || strings.HasPrefix(k, e.Key+"/")
			}
			if string(e.Value) != "{}" || !below || exists {
				t.Fatalf("%q is %+v after %+v", e.Key, got, c)
			}
		}
		for k := range there {
			if _, wanted := slices.BinarySearchFunc(c.Entries, k, func(e commands.TreeEntry, k string) int { return strings.Compare(e.Key, k) }); c.Replace && inScope(k) && !wanted {
				t.Fatalf("%q is still there after %+v", k, c)
			}
		}
		if answer.Results[0].Put+answer.Results[0].Deleted != uint64(l.head-head) {
			t.Fatalf("%+v says that it made %+v events, and made %d", c, answer.Results[0], l.head-head)
		}
		c.Since = l.head
		if events, answer, r := l.decide(c); r != nil || len(events) > 0 || answer.Revision != l.head {
			t.Fatalf("again: %v, %v, %v", events, answer, r)
		}
		if head < l.head && head > 0 {
			c.Since = head
			if _, _, r := l.decide(c); r == nil || r.Code != commands.CodeConditionFailed {
				t.Fatalf("%+v saw nothing of what changed since: %v", c, r)
			}
		}
	})
}
