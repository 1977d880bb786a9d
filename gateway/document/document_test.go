package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var formats = []Format{JSON, YAML, TOML, Env, Properties}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		format   Format
		document string
		want     string
	}{
		{JSON, `{"db":{"url":"pg://x","port":5432,"ratio":1.0,"big":123456789012345678901234567890,"exp":1e3},
			"on":true,"off":null,"none":{},"empty":[],"list":[1, {"a" : "\u0062"}],"a/b":{"%":"p","":"e"},"nul\u0000":"\u0000"}`, `
			app/a%2Fb/% "e" text
			app/a%2Fb/%25 "p" text
			app/db/big "123456789012345678901234567890" json
			app/db/exp "1e3" json
			app/db/port "5432" json
			app/db/ratio "1.0" json
			app/db/url "pg://x" text
			app/empty "[]" json
			app/list "[1,{\"a\":\"b\"}]" json
			app/none "{}" json
			app/nul%00 "\x00" text
			app/off "null" json
			app/on "true" json`},
		{JSON, ` [1, 2] `, `app "[1,2]" json`},
		{JSON, `{ }`, `app "{}" json`},
		{YAML, "# what it is\ndb:\n  port: 0x1F\n  mode: 0o755\n  half: .5\n  sum: +1.50\n  since: 2026-01-31\n  on: yes\n  off: ~\n  '1': \"2\"\nlist:\n- 1.\n- {a: b, c: }\nnone: {}\ntext: |\n  one\n  two\n", `
			app/db/1 "2" text
			app/db/half "0.5" json
			app/db/mode "493" json
			app/db/off "null" json
			app/db/on "yes" text
			app/db/port "31" json
			app/db/since "2026-01-31" text
			app/db/sum "1.50" json
			app/list "[1.0,{\"a\":\"b\",\"c\":null}]" json
			app/none "{}" json
			app/text "one\ntwo\n" text`},
		{YAML, "--- just text\n", `app "just text" text`},
		{TOML, "a.b = 1\n[db]\nport = 0x1F\nratio = 1.0\nbig = 1e300\nsince = 2026-01-31\nat = 2026-01-31T09:00:00+01:00\nnoon = 12:00:00\nlocal = 2026-01-31T09:00:00.5\nlist = [1, 'x', {a = 1}]\nnone = {}\n[[server]]\nname = \"a\"\n[[server]]\nname = \"b\"\n", `
			app/a/b "1" json
			app/db/at "2026-01-31T09:00:00+01:00" time
			app/db/big "1e+300" json
			app/db/list "[1,\"x\",{\"a\":1}]" json
			app/db/local "2026-01-31T09:00:00.5" time
			app/db/none "{}" json
			app/db/noon "12:00:00" time
			app/db/port "31" json
			app/db/ratio "1.0" json
			app/db/since "2026-01-31" time
			app/server "[{\"name\":\"a\"},{\"name\":\"b\"}]" json`},
		{TOML, "", `app "{}" json`},
		{Env, "# what it is\nexport db__url=pg://x # here\ndb__port=5432\nzip=\"01234\"\nnumber=\"5\"\non=true\nempty=\nlist='[1, \"x\"]'\nquote='it'\\''s'\ntext=\"one\n  two \\$HOME \\\\ \\n\"\nword=null\n", `
			app/db/port "5432" json
			app/db/url "pg://x" text
			app/empty "" text
			app/list "[1,\"x\"]" json
			app/number "5" text
			app/on "true" json
			app/quote "it's" text
			app/text "one\n  two $HOME \\ \n" text
			app/word "null" json
			app/zip "01234" text`},
		{Properties, "# what it is\n! and this\ndb.url = pg://x\ndb.port:5432\nzip \\u0030\\u0031\nnumber=\\u0035\nfile\\.name=a\\\n   b\nempty\nspace=\\ x \nuni=\\u00e9\\uD83D\\uDE00é\n", `
			app/db/port "5432" json
			app/db/url "pg://x" text
			app/empty "" text
			app/file.name "ab" text
			app/number "5" text
			app/space " x " text
			app/uni "é😀é" text
			app/zip "01" text`},
	} {
		t.Run(string(tt.format), func(t *testing.T) {
			leaves, err := Parse(tt.format, "app/", []byte(tt.document))
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]string{TypeText: "text", TypeJSON: "json", typeTime: "time"}
			var got, want []string
			for _, l := range leaves {
				got = append(got, fmt.Sprintf("%s %q %s", l.Key, l.Value, kinds[l.ContentType]))
			}
			for line := range strings.Lines(strings.TrimSpace(tt.want)) {
				want = append(want, strings.TrimSpace(line))
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("leaves (-got +want):\n%s", diff)
			}
			roundTrip(t, tt.format, "app", leaves)
		})
	}
}

// roundTrip has leaves written and read again.
func roundTrip(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, f Format, prefix string, leaves []Leaf,
) {
	t.Helper()
	document, err := Render(f, prefix, leaves)
	if err != nil {
		t.Fatalf("render %q as %s: %v", leaves, f, err)
	}
	got, err := Parse(f, prefix, document)
	if err != nil {
		t.Fatalf("parse what was rendered as %s: %v\n%s", f, err, document)
	}
	if diff := cmp.Diff(got, leaves); diff != "" {
		t.Fatalf("%s came back otherwise (-got +want):\n%s\nfrom\n%s", f, diff, document)
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("a.", 128) + "a"
	for _, tt := range []struct {
		name     string
		format   Format
		prefix   string
		document string
		line     int
		column   int
		want     string
	}{
		{"nothing", JSON, "p", "", 1, 1, "unexpected end"},
		{"half", JSON, "p", "{\n  \"a\": }", 2, 8, "invalid character"},
		{"columns are characters", JSON, "p", `{"ééé": }`, 1, 9, "invalid character"},
		{"more behind", JSON, "p", `{} {}`, 1, 4, "after top-level"},
		{"not UTF-8", JSON, "p", "{\"a\":\n\"\xff\"}", 2, 2, "not UTF-8"},
		{"two members of a name", JSON, "p", "{\"a\":1,\n \"\\u0061\":2}", 2, 2, `the object has two members "a"`},
		{"two members of a name in an array", JSON, "p", `{"x":[{"b":1,"c":{"b":0},"b":2}]}`, 1, 26, `two members "b"`},
		{"half a pair", JSON, "p", `{"a":"\ud800"}`, 1, 7, "surrogate"},
		{"half a pair before text", JSON, "p", `["\uD83Dx\uDE00"]`, 1, 3, "surrogate"},
		{"the wrong way round", JSON, "p", `["\uDE00\uD83D"]`, 1, 3, "surrogate"},
		{"half a pair at the end", JSON, "p", `"\ud83d"`, 1, 2, "surrogate"},
		{"a number without a key", JSON, "", "3", 1, 1, "prefix"},
		{"an array under a slash", JSON, "/", "[]", 1, 1, "prefix"},
		{"too deep", JSON, "p", strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), 1, 641, "deeper than 128"},

		{"nothing", YAML, "p", "# nothing\n", 1, 1, "{} is the empty object"},
		{"colons", YAML, "p", "a:\n  b: c: d\n", 2, 7, "mapping values"},
		{"two members", YAML, "p", "a: 1\nb:\n  - {c: 1, c: 2}\n", 3, 12, `two members "c"`},
		{"two documents", YAML, "p", "a: 1\n---\nb: 2\n", 2, 1, "second document"},
		{"alias", YAML, "p", "a: &x [1]\nb: *x\n", 1, 4, "anchors"},
		{"alias without an anchor", YAML, "p", "a: 1\nb: *x\n", 2, 4, "x"},
		{"laughs", YAML, "p", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", 1, 4, "anchors"},
		{"merge key", YAML, "p", "a: {<<: {b: 1}}\n", 1, 5, "merge keys"},
		{"tag", YAML, "p", "a: !!binary aGk=\n", 1, 4, "tag"},
		{"tag of a list", YAML, "p", "a: !x [1]\n", 1, 4, "tag"},
		{"infinite", YAML, "p", "a: -.inf\n", 1, 4, "-.inf"},
		{"octal or not", YAML, "p", "mode: 0755\n", 1, 7, "octal"},
		{"a list for a name", YAML, "p", "? [a]\n: b\n", 1, 3, "a name is text"},
		{"tab", YAML, "p", "a:\n\tb: 1\n", 2, 1, "token"},
		{"too deep", YAML, "p", strings.Repeat("{a: ", 200) + "1" + strings.Repeat("}", 200), 1, 513, "deeper than 128"},

		{"half", TOML, "p", "a = 1\nb = \n", 2, 5, "value"},
		{"twice", TOML, "p", "a = 1\na = 2\n", 2, 1, "already defined"},
		{"value and table", TOML, "p", "a = 1\na.b = 2\n", 2, 1, "already defined"},
		{"infinite", TOML, "p", "a = inf", 1, 1, "JSON does not know"},
		{"date in an array", TOML, "p", "a = [2026-01-31]", 1, 1, "array"},
		{"too deep", TOML, "p", deep + "=1", 1, 1, "deeper than 128"},
		{"far too deep", TOML, "p", strings.Repeat("a.", 50000) + "a=1", 1, 514, "more elements"},
		{"arrays too deep", TOML, "p", "a=" + strings.Repeat("[", 20000), 1, 10003, "nested"},

		{"too many keys", TOML, "p", strings.Repeat("a=1\n", 20001), 20001, 2, "more elements"},
		{"too many tables", TOML, "p", strings.Repeat(" [a]\n", 20001), 20001, 2, "more elements"},
		{"too many elements", YAML, "p", "[" + strings.Repeat("1,", 250000), 1, 500001, "more elements"},

		{"no name", Env, "p", "a=1\n=2\n", 2, 1, "NAME=value"},
		{"no value", Env, "p", "a=1\nb c\n", 2, 2, "= is missing"},
		{"twice", Env, "p", "a=1\na=2\n", 2, 1, "set twice"},
		{"an underscore too many", Env, "p", "a___b=2\n", 1, 1, "underscore"},
		{"no end", Env, "p", "a=1\nb=\"x\n\n", 2, 3, "no end"},
		{"more behind", Env, "p", "b=\"x\"y\n", 1, 6, "behind the closing quote"},
		{"a variable", Env, "p", "b=x$HOME\n", 1, 4, "quotes"},
		{"twice", Properties, "p", "a=1\na 2\n", 2, 1, "set twice"},
		{"half an escape", Properties, "p", "a=1\nb=x\\u12\n", 2, 4, "hexadecimal"},
		{"half a pair", Properties, "p", "b=\\ud800x\n", 1, 3, "surrogate"},
		{"an escape at the end", Properties, "p", "b=\\", 1, 3, "backslash"},
	} {
		t.Run(string(tt.format)+" "+tt.name, func(t *testing.T) {
			leaves, err := Parse(tt.format, tt.prefix, []byte(tt.document))
			syntax, ok := errors.AsType[*SyntaxError](err)
			if !ok || !strings.Contains(syntax.Message, tt.want) || syntax.Line != tt.line || syntax.Column != tt.column {
				t.Errorf("got %v, %v; want an error at line %d, column %d with %q", leaves, err, tt.line, tt.column, tt.want)
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	text := func(key string) Leaf { return Leaf{key, []byte("v"), "text/plain"} }
	raw := func(key, value string) Leaf { return Leaf{key, []byte(value), TypeJSON} }
	for _, tt := range []struct {
		name     string
		format   Format
		leaves   []Leaf
		conflict bool
		want     string
	}{
		{"value and object", JSON, []Leaf{text("p/a"), text("p/a/b")}, true, `keys "p/a" and "p/a/b"`},
		{"value and object, apart", YAML, []Leaf{text("p/a"), text("p/a-b"), text("p/a/b/c")}, true, `keys "p/a" and "p/a/b/c"`},
		{"value and object at the top", TOML, []Leaf{text("p"), text("p/a/b")}, true, `keys "p" and "p/a/b"`},
		{"a name that no document makes", JSON, []Leaf{text("p/50%")}, false, `segment "50%"`},
		{"a name in lower case", JSON, []Leaf{text("p/a%2fb")}, false, `segment "a%2fb"`},
		{"an empty segment", YAML, []Leaf{text("p/a//b")}, false, `segment ""`},
		{"no JSON", JSON, []Leaf{raw("p/a", "{")}, false, `key "p/a"`},
		{"two members of a name", JSON, []Leaf{raw("p/a", `{"x":1,"x":2}`)}, false, `two members`},
		{"no text", JSON, []Leaf{{"p/a", []byte{0xff}, "image/png"}}, false, "image/png"},
		{"no text in properties", Properties, []Leaf{{"p/a", []byte{0xff}, ""}}, false, "no content type"},
		{"null", TOML, []Leaf{raw("p/a", "[null]")}, false, "null"},
		{"a large integer", TOML, []Leaf{raw("p/a", "123456789012345678901234567890")}, false, "integer"},
		{"a precise float", TOML, []Leaf{raw("p/a", "0.1234567890123456789012345")}, false, "float"},
		{"a large float", TOML, []Leaf{raw("p/a", "1e999999999999")}, false, "float"},
		{"a small float", TOML, []Leaf{raw("p/a", "1e-999")}, false, "float"},
		{"a single value", TOML, []Leaf{raw("p", "1")}, false, "single value"},
		{"no variable", Env, []Leaf{text("p/a-b")}, false, "part of a variable's name"},
		{"a digit", Env, []Leaf{text("p/1a")}, false, "digit"},
		{"underscores", Env, []Leaf{text("p/a__b")}, false, "underscore"},
		{"NUL", Env, []Leaf{{"p/a", []byte("\x00"), ""}}, false, "NUL"},
		{"the prefix itself", Env, []Leaf{text("p"), text("p/a")}, false, "prefix itself"},
		{"two spellings", Properties, []Leaf{text("p/a.b"), text("p/a/b")}, true, `"a.b"`},
	} {
		t.Run(string(tt.format)+" "+tt.name, func(t *testing.T) {
			got, err := Render(tt.format, "p", tt.leaves)
			_, conflict := errors.AsType[*ConflictError](err)
			_, unfit := errors.AsType[*UnfitError](err)
			if conflict != tt.conflict || unfit == tt.conflict || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

// A directory marker has no value, and what lists of names can hold besides a value stays beside it.
func TestRenderLeavesOut(t *testing.T) {
	leaves := []Leaf{{"p/a", []byte("1"), TypeJSON}, {"p/a.b/", nil, ""}, {"p/a/b", []byte("2"), ""}}
	got, err := Render(Properties, "p", leaves)
	if want := "a=1\na.b=\\u0032\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// What a reader sees is part of what is promised.
func TestRender(t *testing.T) {
	leaves, err := Parse(JSON, "", []byte(`{"db":{"url":"pg://x","port":5432,"zip":"01234"},"list":[1.50,"a",{"b":true}],"text":"one\ntwo\n","no":"no","none":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	for f, want := range map[Format]string{
		YAML:       "db:\n  port: 5432\n  url: \"pg://x\"\n  zip: \"01234\"\nlist: [1.50, \"a\", {\"b\": true}]\n\"no\": \"no\"\nnone: {}\ntext: |\n  one\n  two\n",
		TOML:       "list = [1.5, \"a\", {b = true}]\nno = \"no\"\nnone = {}\ntext = \"one\\ntwo\\n\"\n\n[db]\nport = 5432\nurl = \"pg://x\"\nzip = \"01234\"\n",
		Env:        "db__port=5432\ndb__url=pg://x\ndb__zip=01234\nlist='[1.50,\"a\",{\"b\":true}]'\nno=no\nnone='{}'\ntext=\"one\ntwo\n\"\n",
		Properties: "db.port=5432\ndb.url=pg://x\ndb.zip=01234\nlist=[1.50,\"a\",{\"b\":true}]\nno=no\nnone={}\ntext=one\\ntwo\\n\n",
	} {
		got, err := Render(f, "", leaves)
		if diff := cmp.Diff(string(got), want); err != nil || diff != "" {
			t.Errorf("%s: %v (-got +want):\n%s", f, err, diff)
		}
	}
}

var names = rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "/", "%", "a/b", "%2F", "..", "\x00", "<<", "null", "1", "é", "c_d", "Ef", "g9", "h", "i", "j"}), rapid.String())

var texts = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
	"", "1", "01", "true", "null", "{}", "[]", "\"x\"", "yes", " a", "a ", "a\n", "\na", "a\n\n", "a\n b\n", "a\n\tb", "a: b", "# a", "a #b", "- a", "|", "a\r\nb", "\x00", "\u0085", "\u2028",
	"\ufeff", "\U0001F600", "'", "\\", "$x", "`x`", "2026-01-31", "0755", "1e3", "\\n", "~", "a\n   \nb", "x=y", "!x", "%x", "é", "\ufffe",
}))

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
			return string(quote(texts.Draw(t, "string")))
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

// Any JSON document comes back from every format that can hold it: the same keys, the same bytes, the same types.
func TestAnyDocumentComesBack(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			held := 0
			rapid.Check(t, func(t *rapid.T) {
				prefix := rapid.SampledFrom([]string{"p", "p/", "a/b", "/", ""}).Draw(t, "prefix")
				document := documents(4).Draw(t, "document")
				if NewPlace(prefix).Base == "" {
					document = object(t, 4) // a place without a key of its own holds objects only
				}
				leaves, err := Parse(JSON, prefix, []byte(document))
				if err != nil {
					t.Fatalf("parse %s: %v", document, err)
				}
				if f == TOML || f == Env {
					leaves = slices.DeleteFunc(leaves, func(l Leaf) bool { return l.Key == NewPlace(prefix).Base })
					leaves = slices.DeleteFunc(leaves, func(l Leaf) bool { _, err := Render(f, prefix, []Leaf{l}); return err != nil })
					for i := range leaves { // floats and members in arrays have one spelling there
						leaves[i] = respelled(t, f, prefix, leaves[i])
					}
				}
				if _, err := Render(f, prefix, leaves); err != nil && !f.Nests() {
					return // a value without a name, or two of one
				}
				if len(leaves) == 0 || len(leaves) == 1 && string(leaves[0].Value) == "{}" && f != JSON {
					return
				}
				held++
				roundTrip(t, f, prefix, leaves)
			})
			if held < 1 {
				t.Errorf("only %d documents could be held", held)
			}
		})
	}
}

// respelled is a leaf as a format brings it back, whose value must be the same.
func respelled(t *rapid.T, f Format, prefix string, l Leaf) Leaf {
	document, err := Render(f, prefix, []Leaf{l})
	if err != nil {
		t.Fatalf("render %q: %v", l, err)
	}
	back, err := Parse(f, prefix, document)
	if err != nil || len(back) != 1 || back[0].Key != l.Key || back[0].ContentType != l.ContentType {
		t.Fatalf("%q came back as %q, %v from\n%s", l, back, err, document)
	}
	if l.ContentType == TypeJSON && !sameValue(valueOf(l.Value), valueOf(back[0].Value)) || l.ContentType == TypeText && !bytes.Equal(l.Value, back[0].Value) {
		t.Fatalf("%q came back as %q from\n%s", l, back, document)
	}
	return back[0]
}

func sameValue(a, b value) bool {
	if a.kind != b.kind || len(a.items) != len(b.items) || len(a.members) != len(b.members) {
		return false
	}
	switch a.kind {
	case 'n':
		integer := func(s string) bool { return !strings.ContainsAny(s, ".eE") }
		return integer(a.text) == integer(b.text) && (sameNumber(a.text, b.text) || a.text == "-0" && b.text == "0")
	case '[':
		return slices.EqualFunc(a.items, b.items, sameValue)
	case '{':
		byName := func(x, y member) int { return strings.Compare(x.name, y.name) }
		slices.SortFunc(a.members, byName)
		slices.SortFunc(b.members, byName)
		return slices.EqualFunc(a.members, b.members, func(x, y member) bool { return x.name == y.name && sameValue(x.value, y.value) })
	}
	return a.text == b.text
}

// fuzz holds a parser against whatever comes: it refuses with a position, or what it read comes back from its own
// format and from JSON.
func fuzz(f *testing.F, format Format, seeds ...string) {
	f.Helper()
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		leaves, err := Parse(format, "p", document)
		if err != nil {
			syntax, ok := errors.AsType[*SyntaxError](err)
			if !ok || syntax.Line < 1 || syntax.Column < 1 || syntax.Message == "" {
				t.Fatalf("refused without saying where: %#v", err)
			}
			return
		}
		for _, l := range leaves {
			if l.ContentType == TypeJSON && !json.Valid(l.Value) {
				t.Fatalf("%q is no JSON", l)
			}
		}
		if format.Nests() {
			roundTrip(t, format, "p", leaves)
			if !slices.ContainsFunc(leaves, func(l Leaf) bool { return l.ContentType == typeTime }) {
				roundTrip(t, JSON, "p", leaves)
			}
			return
		}
		_, err = Render(format, "p", leaves)
		if _, conflict := errors.AsType[*ConflictError](err); conflict {
			return // two names that other readers take for one
		}
		if err != nil {
			t.Fatalf("render %q: %v", leaves, err)
		}
		roundTrip(t, format, "p", leaves)
	})
}

func FuzzJSON(f *testing.F) {
	fuzz(f, JSON, `{"a":{"b":[1,2.0,{}]},"":"x"}`, `{"a/b":"%","\u0000":null}`, `"\ud83d\ude00"`, `[{"a":1,"a":2}]`, "{\"a\":1e5}\n", `{"x":{"y":{}}}`)
}

func FuzzYAML(f *testing.F) {
	fuzz(f, YAML, "a: 1\nb:\n  c: [x, {d: ~}]\n", "a: &x 1\nb: *x\n", "a: |\n  one\n  two\n", "a: >-\n  one\n\n  two\n", "? a\n: 'b'\n", "--- !!str 1\n", "0x1F: 0o7\n-.5: +1.\n", "a: \"\\u0041\\n\"\n---\nb\n", "{a: {b: {}}}\n")
}

func FuzzTOML(f *testing.F) {
	fuzz(f, TOML, "a = 1\n[b.c]\nd = 'x'\n", "[[a]]\nb = 1.5\n[[a]]\nb = [1, {c = 2}]\n", "a = 2026-01-31T09:00:00Z\nb = 12:00:00\n", "a = \"\"\"x\ny\"\"\"\n", "\"a.b\".c = 0x1F\n", "a = 1\na.b = 2\n", "a = {}\n")
}

func FuzzEnv(f *testing.F) {
	fuzz(f, Env, "a=1\nexport b__c='x'\n", "# x\na=\"b\nc\\n\\$\"\n", "a='it'\\''s'\n", "a=[1] # x\n", "a__b=\n", "a=\"1\"\r\n")
}

func FuzzProperties(f *testing.F) {
	fuzz(f, Properties, "a.b=1\n", "a\\.b : x \\\n  y\n", "# x\n! y\na\\u0041=\\u0031\n", "=x\n", "a..b\n", "a=\\ud83d\\ude00\r\nb\tc\r", "a=\\\\\n")
}
