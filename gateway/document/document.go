// Package document turns keys into a document and back: one file for a whole subtree, in the format that its readers
// like best. It is pure, and knows neither doors nor storage.
//
// A document becomes keys like this, and comes back equal:
//
//   - The names of an object's members become segments of the key, joined by "/" behind the prefix. Within a name "%"
//     is written %25, "/" %2F and NUL %00, and the empty name is a lone "%".
//   - A string is stored as its text, with content type text/plain.
//   - Everything else that is no object with members is stored as its JSON text, with content type application/json:
//     numbers, true, false, null, arrays as a whole, and the empty object.
//
// What decides on the way back is the content type. A document that is not an object is one key, the prefix itself.
// The formats differ in what they can hold, which stands where each is read and written; what one cannot hold is
// refused, and never bent.
package document

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is how a document is written.
type Format string

// The formats. JSON, YAML and TOML nest: there a key is either a value or has others below it. Env and Properties are
// lists of names with values.
const (
	JSON       Format = "json"
	YAML       Format = "yaml"
	TOML       Format = "toml"
	Env        Format = "env"
	Properties Format = "properties"
)

// Formats are the names of all formats.
func Formats() []string {
	return []string{string(JSON), string(YAML), string(TOML), string(Env), string(Properties)}
}

var mediaTypes = map[Format][]string{ // the first is what a document is sent as
	JSON:       {"application/json"},
	YAML:       {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"},
	TOML:       {"application/toml", "text/x-toml"},
	Env:        {"text/x-env", "application/x-env"},
	Properties: {"text/x-java-properties", "text/x-properties"},
}

// MediaType is the content type of a document in the format.
func (f Format) MediaType() string {
	all := mediaTypes[f]
	if len(all) == 0 {
		return ""
	}
	if strings.HasPrefix(all[0], "text/") {
		return all[0] + "; charset=utf-8"
	}
	return all[0]
}

// FormatOf gives the format that a content type stands for.
func FormatOf(contentType string) (Format, bool) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", false
	}
	for f, all := range mediaTypes {
		if slices.Contains(all, mediaType) {
			return f, true
		}
	}
	return "", false
}

// Nests tells whether a key cannot be a value and have keys below it in the format.
func (f Format) Nests() bool { return f == JSON || f == YAML || f == TOML }

// Leaf is a part of a document that is stored under one key.
type Leaf struct {
	Key         string
	Value       []byte
	ContentType string
}

// The content types of leaves.
const (
	TypeText = "text/plain; charset=utf-8"
	TypeJSON = "application/json"
)

const (
	// BytesMax bounds a document that is read.
	BytesMax = 4 << 20
	// RenderBytesMax bounds one that is written.
	RenderBytesMax = 8 << 20
	// depthMax is how many segments a key may have.
	depthMax = 128
)

// ErrTooLarge says that a document would be larger than RenderBytesMax.
var ErrTooLarge = errors.New("the document is too large")

// bounded ends the writing of a document that gets too large: keys that are short by themselves may be long ones in a
// format that indents.
func bounded(b *bytes.Buffer) error {
	if b.Len() > RenderBytesMax {
		return ErrTooLarge
	}
	return nil
}

// SyntaxError says where a document is not one. Line and Column count from 1, columns in characters.
type SyntaxError struct {
	Line, Column int
	Message      string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// ConflictError says that two keys cannot stand in one document.
type ConflictError struct {
	A, B string
	Why  string
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("keys %q and %q cannot stand in one document: %s; delete one of them, or ask for a longer prefix", e.A, e.B, e.Why)
}

// UnfitError says that a format cannot hold a key, or what stands under it.
type UnfitError struct{ Key, Why string }

// Error implements error.
func (e *UnfitError) Error() string { return fmt.Sprintf("key %q: %s", e.Key, e.Why) }

// Place is where a document stands among the keys: at one key, and below it.
type Place struct {
	// Base is the key itself, for a document that is no object; empty where there is none.
	Base string
	// Below is what every other key starts with.
	Below string
}

// NewPlace gives the place that a prefix names: "app" and "app/" are the same, and the empty one is all keys.
func NewPlace(prefix string) Place {
	if prefix == "" {
		return Place{}
	}
	below := strings.TrimSuffix(prefix, "/") + "/"
	base := strings.TrimSuffix(below, "/")
	if strings.HasSuffix(base, "/") {
		base = "" // that is a directory, which has no value
	}
	return Place{Base: base, Below: below}
}

// Parse takes a document apart. The leaves are in the order of their keys. What is wrong with it is a *SyntaxError.
func Parse(f Format, prefix string, document []byte) ([]Leaf, error) {
	if len(document) > BytesMax {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("the document is longer than %d bytes; bring in its parts", BytesMax)}
	}
	document = bytes.TrimPrefix(document, []byte("\ufeff")) // which some editors begin every file with
	if i := invalidUTF8(document); i >= 0 {
		return nil, syntaxAt(document, i, "a byte that is not UTF-8")
	}
	if at := tooMany(document, f); at >= 0 {
		return nil, syntaxAt(document, at, "more elements than are read at once; bring in the document's parts")
	}
	t := taker{place: NewPlace(prefix)}
	var err error
	switch f {
	case JSON:
		err = parseJSON(&t, document)
	case YAML:
		err = parseYAML(&t, document)
	case TOML:
		err = parseTOML(&t, document)
	case Env:
		err = parseEnv(&t, document)
	case Properties:
		err = parseProperties(&t, document)
	default:
		return nil, fmt.Errorf("there is no format %q", f)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(t.leaves, func(a, b Leaf) int { return cmp.Compare(a.Key, b.Key) })
	return t.leaves, nil
}

// Render puts the leaves at a place together, in at most RenderBytesMax. Keys that end in a slash are directories, which have no value, and are
// left out. What the format cannot hold is a *ConflictError or an *UnfitError.
func Render(f Format, prefix string, leaves []Leaf) ([]byte, error) {
	leaves = slices.DeleteFunc(slices.Clone(leaves), func(l Leaf) bool { return strings.HasSuffix(l.Key, "/") })
	place := NewPlace(prefix)
	if !f.Nests() {
		return renderFlat(f, place, leaves)
	}
	root, err := assemble(place, leaves)
	if err != nil {
		return nil, err
	}
	switch f {
	case YAML:
		return renderYAML(root)
	case TOML:
		return renderTOML(root)
	default:
		return renderJSON(root)
	}
}

// taker collects the leaves of a document that is being read.
type taker struct {
	place  Place
	leaves []Leaf
}

// key is the key of the member at a path of names.
func (t *taker) key(path []string) string {
	if len(path) == 0 {
		return t.place.Base
	}
	segments := make([]string, len(path))
	for i, name := range path {
		segments[i] = escapeName(name)
	}
	return t.place.Below + strings.Join(segments, "/")
}

func (t *taker) text(path []string, text, contentType string) {
	t.leaves = append(t.leaves, Leaf{t.key(path), []byte(text), contentType})
}

func (t *taker) json(path []string, raw []byte) {
	t.leaves = append(t.leaves, Leaf{t.key(path), raw, TypeJSON})
}

// whole says whether a document that is not an object with members can stand at the place, and whether there is
// anything to store: the empty object without a prefix is no key at all.
func (t *taker) whole(emptyObject bool, document []byte) (store bool, err error) {
	switch {
	case t.place.Base != "":
		return true, nil
	case emptyObject:
		return false, nil
	}
	return false, syntaxAt(document, 0, "the document is not an object, so it needs a key of its own: name it as the prefix")
}

// content is what a leaf holds: text, or JSON that is no string.
type content struct {
	text string
	raw  []byte // compact JSON; nil for text
}

// isObject tells whether it is an object with members.
func (c content) isObject() bool { return c.raw != nil && c.raw[0] == '{' && len(c.raw) > 2 }

// contentOf reads a leaf as its content type says.
func contentOf(l Leaf) (content, error) {
	if mediaTypeOf(l.ContentType) == TypeJSON {
		if err := checkJSON(l.Value); err != nil {
			return content{}, &UnfitError{l.Key, fmt.Sprintf("it says that it is %s, and is not (%v); put it anew, with another content type", TypeJSON, err)}
		}
		raw := compact(l.Value)
		if raw[0] == '"' {
			return content{text: unquote(raw)}, nil
		}
		return content{raw: raw}, nil
	}
	if !utf8.Valid(l.Value) {
		return content{}, &UnfitError{l.Key, fmt.Sprintf("it holds bytes that are no text (%s), which no document holds; read it by itself", cmp.Or(l.ContentType, "no content type"))}
	}
	return content{text: string(l.Value)}, nil
}

func mediaTypeOf(contentType string) string {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "" // none, or none that says anything
	}
	return mediaType
}

// compact is JSON, known to be valid, without white space.
func compact(raw []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(fmt.Sprintf("compact %.40q: %v", raw, err)) // callers have checked it
	}
	return b.Bytes()
}

func unquote(raw []byte) string {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(fmt.Sprintf("read string %.40q: %v", raw, err)) // callers have checked it
	}
	return s
}

// quote writes a JSON string, without the escapes that only HTML needs.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // strings always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// escapeName writes a member's name as a segment of a key, one to one.
func escapeName(name string) string {
	if name == "" {
		return "%"
	}
	return nameEscaper.Replace(name)
}

var nameEscaper = strings.NewReplacer("%", "%25", "/", "%2F", "\x00", "%00")

// unescapeName is the inverse of escapeName; ok is false for a segment that escapeName does not make.
func unescapeName(segment string) (name string, ok bool) {
	if segment == "%" {
		return "", true
	}
	name = nameUnescaper.Replace(segment)
	return name, escapeName(name) == segment
}

var nameUnescaper = strings.NewReplacer("%25", "%", "%2F", "/", "%00", "\x00")

// pathOf gives the names that a key at a place stands for.
func pathOf(place Place, key string) ([]string, error) {
	segments := strings.Split(strings.TrimPrefix(key, place.Below), "/")
	for i, segment := range segments {
		name, ok := unescapeName(segment)
		if !ok {
			return nil, &UnfitError{key, fmt.Sprintf("its segment %q is no name that a document makes (there %%, / and NUL are written %%25, %%2F and %%00, and the empty name is %%); ask for a longer prefix, or read the key by itself", segment)}
		}
		segments[i] = name
	}
	return segments, nil
}

// syntaxAt is a fault at an offset of a document.
func syntaxAt(document []byte, offset int, format string, args ...any) *SyntaxError {
	before := document[:min(max(offset, 0), len(document))]
	return &SyntaxError{
		Line:    bytes.Count(before, []byte("\n")) + 1,
		Column:  utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
		Message: fmt.Sprintf(format, args...),
	}
}

// invalidUTF8 gives the offset of the first byte that is not UTF-8; -1 where there is none.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
}

// elementsMax bounds by format how many elements, lines and keys a document may have, roughly: readers of YAML take
// some microseconds for each, and that of TOML compares a key with its siblings.
var elementsMax = map[Format]int{JSON: 1_000_000, YAML: 250_000, TOML: 250_000}

// tomlKeysMax bounds the keys and tables of a document in TOML.
const tomlKeysMax = 20_000

// tooMany gives where a document comes to more elements than are read; -1 where it does not. It counts what ends or
// begins them, also within text.
func tooMany(document []byte, f Format) int {
	most, bounded := elementsMax[f]
	if !bounded {
		return -1
	}
	elements, keys, begins := 0, 0, true
	dots, quoted := 0, false // of the key that is being written
	for i, c := range document {
		switch c {
		case ',', '\n', '{':
			elements++
		case '[':
			elements++
			if begins {
				keys++
			}
		case ':', '?', '&':
			if f == YAML { // each may begin something, without a comma or a line
				elements++
			}
		case '=':
			keys++
		case '"', '\'', '#':
			quoted = true // what follows on the line may be text
		case '.':
			if dots++; f == TOML && !quoted && dots > 2*depthMax {
				return i
			}
		}
		if strings.IndexByte(",[{=\n", c) >= 0 {
			dots, quoted = 0, quoted && c != '\n'
		}
		begins = c == '\n' || begins && (c == ' ' || c == '\t')
		if elements > most || f == TOML && keys > tomlKeysMax {
			return i
		}
	}
	return -1
}

func tooDeep(document []byte, offset int) *SyntaxError {
	return syntaxAt(document, offset, "nested deeper than %d levels: that is as many segments as a key may have", depthMax)
}
