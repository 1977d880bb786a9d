package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/client"
)

// keyspace is a namespace's keys, as an import leaves them.
type keyspace map[string]client.Entry

func (k keyspace) below(at place) []client.Entry {
	var entries []client.Entry
	for _, key := range slices.Sorted(maps.Keys(k)) {
		if key == at.base && !at.root || strings.HasPrefix(key, at.below()) {
			entries = append(entries, k[key])
		}
	}
	return entries
}

func (k keyspace) add(leaves []leaf) {
	for _, l := range leaves {
		k[l.key] = client.Entry{Key: l.key, Value: l.value, ContentType: l.contentType, Revision: 1}
	}
}

// run makes an import of what a plan says.
func (k keyspace) run(p plan) {
	for _, key := range p.deletes {
		delete(k, key)
	}
	k.add(p.puts)
}

// equalJSON compares documents as data: the order of members and white space mean nothing, how a number is written
// does.
func equalJSON(t interface{ Fatalf(string, ...any) }, got, want []byte) {
	if g, w := decode(t, got), decode(t, want); !cmp.Equal(g, w) {
		t.Fatalf("documents differ (-got +want):\n%s\nfrom %s", cmp.Diff(g, w), want)
	}
}

func decode(t interface{ Fatalf(string, ...any) }, document []byte) any {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", document, err)
	}
	return v
}

func roundTrip(t interface{ Fatalf(string, ...any) }, prefix string, document []byte) {
	leaves, err := flatten(prefix, document)
	if err != nil {
		t.Fatalf("flatten %s: %v", document, err)
	}
	k := keyspace{}
	k.add(leaves)
	if len(k) != len(leaves) {
		t.Fatalf("%d leaves have %d keys: %s", len(leaves), len(k), document)
	}
	got, err := assemble(prefix, k.below(newPlace(prefix)))
	if err != nil {
		t.Fatalf("assemble %s: %v", document, err)
	}
	equalJSON(t, got, document)
}

func TestFlatten(t *testing.T) {
	leaves, err := flatten("app/", []byte(`{"db":{"url":"pg://x","port":5432,"ratio":1.0,"big":123456789012345678901234567890,"exp":1e3},
		"on":true,"off":null,"none":{},"empty":[],"list":[1, {"a" : "b"}],"a/b":{"%":"p","":"e"},"nul\u0000":"\u0000"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range leaves {
		got = append(got, fmt.Sprintf("%s %q %s", l.key, l.value, strings.TrimSuffix(l.contentType, "; charset=utf-8")))
	}
	want := []string{
		`app/db/url "pg://x" text/plain`, `app/db/port "5432" application/json`, `app/db/ratio "1.0" application/json`,
		`app/db/big "123456789012345678901234567890" application/json`, `app/db/exp "1e3" application/json`,
		`app/on "true" application/json`, `app/off "null" application/json`, `app/none "{}" application/json`,
		`app/empty "[]" application/json`, `app/list "[1,{\"a\":\"b\"}]" application/json`,
		`app/a%2Fb/%25 "p" text/plain`, `app/a%2Fb/% "e" text/plain`, `app/nul%00 "\x00" text/plain`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("leaves (-got +want):\n%s", diff)
	}
}

func TestFlattenRefuses(t *testing.T) {
	for _, tt := range []struct{ name, prefix, document, want string }{
		{"nothing", "p", "", "unexpected end"},
		{"half", "p", "{\n  \"a\": }", "line 2, column 8"},
		{"more behind", "p", `{} {}`, "line 1"},
		{"not UTF-8", "p", "{\"a\":\"\xff\"}", "not UTF-8"},
		{"two members of a name", "p", "{\"a\":1,\n\"\\u0061\":2}", `line 2, column 8: the object has two members "a"`},
		{"two members of a name in an array", "p", `{"x":[{"b":1,"c":{"b":0},"b":2}]}`, `two members "b"`},
		{"half a pair", "p", `{"a":"\ud800"}`, "surrogate"},
		{"half a pair before text", "p", `["\uD83Dx\uDE00"]`, "surrogate"},
		{"the wrong way round", "p", `["\uDE00\uD83D"]`, "surrogate"},
		{"half a pair at the end", "p", `"\ud83d"`, "surrogate"},
		{"a number without a key", "", "3", "--prefix"},
		{"an array under a slash", "/", "[]", "--prefix"},
		{"too deep", "p", strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), "deeper than 128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaves, err := flatten(tt.prefix, []byte(tt.document))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v; want an error with %q", leaves, err, tt.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct{ name, prefix, document string }{
		{"empty object", "p", ` { } `},
		{"empty object without a prefix", "", `{}`},
		{"number", "p", "1.50"},
		{"array", "p/q", `[1.0,{},[]]`},
		{"null", "p", "null"},
		{"pair of surrogates", "p", `{"\ud83d\ude00":"\uD83D\uDE00","esc":"\\ud800"}`},
		{"names", "", `{"":{"":1},"/":{"%2F":2},"%":3,"%25":4,"..":5,".":6," ":7,"a/":8,"\u0000":9}`},
		{"a slash for a prefix", "/", `{"a":1}`},
		{"strings that look like JSON", "p", `{"a":"1","b":"true","c":"null","d":"{}","e":"[]","f":"\"x\""}`},
		{"markup", "p", `{"a<b>":"&<>\u2028"}`},
		{"numbers", "p", `{"a":-0,"b":1E+2,"c":0.10,"d":123456789012345678901234567890.5e-400}`},
	} {
		t.Run(tt.name, func(t *testing.T) { roundTrip(t, tt.prefix, []byte(tt.document)) })
	}
}

func TestAssembleRefuses(t *testing.T) {
	text := func(key string) client.Entry {
		return client.Entry{Key: key, Value: []byte("v"), ContentType: "text/plain"}
	}
	for _, tt := range []struct {
		name    string
		entries []client.Entry
		want    string
	}{
		{"value and object", []client.Entry{text("p/a"), text("p/a/b")}, `keys "p/a" and "p/a/b"`},
		{"value and object, apart", []client.Entry{text("p/a"), text("p/a-b"), text("p/a/b/c")}, `keys "p/a" and "p/a/b/c"`},
		{"value and object at the top", []client.Entry{text("p"), text("p/a/b")}, `keys "p" and "p/a/b"`},
		{"a name that no import makes", []client.Entry{text("p/50%")}, `segment "50%"`},
		{"a name in lower case", []client.Entry{text("p/a%2fb")}, `segment "a%2fb"`},
		{"an empty segment", []client.Entry{text("p/a//b")}, `segment ""`},
		{"no JSON", []client.Entry{{Key: "p/a", Value: []byte("{"), ContentType: "application/json"}}, `key "p/a"`},
		{"no text", []client.Entry{{Key: "p/a", Value: []byte{0xff}, ContentType: "image/png"}}, "image/png"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := assemble("p", tt.entries)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	there := []leaf{
		{"p/same", []byte("x"), typeText},
		{"p/other", []byte("1"), typeJSON},
		{"p/retyped", []byte("1"), typeText},
		{"p/value", []byte("v"), typeText},
		{"p/object/a", []byte("v"), typeText},
		{"p/object/b/c", []byte("v"), typeText},
		{"p/kept/a", []byte("v"), typeText},
		{"p/lacking", []byte("v"), typeText},
	}
	k := keyspace{}
	k.add(there)
	leaves, err := flatten("p", []byte(`{"same":"x","other":2,"retyped":1,"value":{"now":{"deep":1}},"object":"now a value","kept":{},"new":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                string
		replace             bool
		puts, deletes       string
		unchanged, checking int
	}{
		{"merge", false, "p/other p/retyped p/value/now/deep p/object p/new", "p/object/a p/object/b/c p/value", 1, 9},
		{"replace", true, "p/other p/retyped p/value/now/deep p/object p/kept p/new", "p/kept/a p/lacking p/object/a p/object/b/c p/value", 1, 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlan(leaves, k.below(newPlace("p")), tt.replace)
			var puts []string
			for _, l := range p.puts {
				puts = append(puts, l.key)
			}
			if got := strings.Join(puts, " "); got != tt.puts {
				t.Errorf("puts: got %s, want %s", got, tt.puts)
			}
			if got := strings.Join(p.deletes, " "); got != tt.deletes {
				t.Errorf("deletes: got %s, want %s", got, tt.deletes)
			}
			if p.unchanged != tt.unchanged || len(p.conditions) != tt.checking {
				t.Errorf("got %d unchanged and %d conditions, want %d and %d", p.unchanged, len(p.conditions), tt.unchanged, tt.checking)
			}
		})
	}
}

var names = rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "/", "%", "a/b", "%2F", "..", "\x00"}), rapid.String())

// documents are JSON documents as text, so that numbers are written in every way that there is.
func documents(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 5
		if depth > 0 {
			kinds = 7
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return rapid.SampledFrom([]string{"null", "true", "false", "{}", "[]", " { } ", "[ ]"}).Draw(t, "word")
		case 1, 2:
			return rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
		case 3, 4, 5:
			return string(quote(rapid.String().Draw(t, "string")))
		case 6:
			return "[" + strings.Join(rapid.SliceOfN(documents(depth-1), 0, 3).Draw(t, "array"), " ,") + "]"
		}
		return object(t, depth)
	})
}

func object(t *rapid.T, depth int) string {
	var members []string
	for _, name := range rapid.SliceOfNDistinct(names, 0, 5, rapid.ID).Draw(t, "names") {
		members = append(members, string(quote(name))+": "+documents(depth-1).Draw(t, "value"))
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func TestAnyDocumentComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"p", "p/", "a/b", "/"}).Draw(t, "prefix")
		document := documents(4).Draw(t, "document")
		if prefix == "/" {
			document = object(t, 4) // a place without a name holds objects only
			if isEmptyObject([]byte(document)) {
				return
			}
		}
		roundTrip(t, prefix, []byte(document))
	})
}

// Whatever was there before: with replace the same document comes back, without it the document wins where it speaks.
func TestAnyImportOverAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := keyspace{"q": {Key: "q"}, "pq/a": {Key: "pq/a"}}
		for i, replace := range []bool{true, rapid.Bool().Draw(t, "replace first"), rapid.Bool().Draw(t, "replace second")} {
			document := object(t, 3)
			leaves, err := flatten("p", []byte(document))
			if err != nil {
				t.Fatalf("flatten: %v", err)
			}
			k.run(newPlan(leaves, k.below(newPlace("p")), replace))
			got, err := assemble("p", k.below(newPlace("p")))
			if err != nil {
				t.Fatalf("import %d of %s leaves no document: %v", i, document, err)
			}
			if replace {
				equalJSON(t, got, []byte(document))
			} else if !contains(decode(t, got), decode(t, []byte(document))) {
				t.Fatalf("import %d: %s does not contain %s", i, got, document)
			}
			again := newPlan(leaves, k.below(newPlace("p")), replace)
			if len(again.puts)+len(again.deletes) > 0 {
				t.Fatalf("importing %s again changes %d keys and deletes %q", document, len(again.puts), again.deletes)
			}
		}
		if len(k.below(newPlace("q"))) != 1 || len(k.below(newPlace("pq"))) != 1 {
			t.Fatalf("an import changed keys outside its prefix")
		}
	})
}

// contains tells whether a document has all that another one says.
func contains(whole, part any) bool {
	members, ok := part.(map[string]any)
	if !ok {
		return cmp.Equal(whole, part)
	}
	object, ok := whole.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range members {
		if got, exists := object[name]; !exists || !contains(got, value) {
			return false
		}
	}
	return true
}

func FuzzFlatten(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,2.0,{}]},"":"x"}`, `{"a/b":"%","\u0000":null}`, `"\ud83d\ude00"`, `[{"a":1,"a":2}]`, "{\"a\":1e5}\n", `{"x":{"y":{}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if _, err := flatten("p", document); err != nil {
			return
		}
		roundTrip(t, "p", document)
	})
}
