package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

// decode reads JSON into v and refuses what encoding/json would pass over: unknown names and names in another case,
// the same name twice, text that is not UTF-8 or half of a surrogate pair, and null where a value is wanted. Every
// refusal says where. A value of the wrong kind is refused with the code wrong, everything else with one of JSON's.
func decode(data []byte, v any, wrong commands.Code) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return gateway.NewProblem(gateway.CodeInvalidJSON, "the body is empty; a JSON object is wanted")
	}
	w := walker{data: data, wrong: wrong}
	if err := w.check(); err != nil {
		return err
	}
	if err := w.value(reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		// The walk found nothing, so this is a limit of encoding/json's own.
		return gateway.NewProblem(wrong, "%v", err)
	}
	return nil
}

// check refuses what is not JSON, or not UTF-8.
func (w *walker) check() error {
	if !utf8.Valid(w.data) {
		for i := 0; ; {
			r, size := utf8.DecodeRune(w.data[i:])
			if r == utf8.RuneError && size == 1 {
				return w.problemAt(i, gateway.CodeInvalidJSON, "a byte that is not UTF-8")
			}
			i += size
		}
	}
	if json.Valid(w.data) {
		return nil
	}
	err := json.Unmarshal(w.data, &json.RawMessage{})
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return w.problemAt(int(syntax.Offset)-1, gateway.CodeInvalidJSON, "%v", syntax)
	}
	return gateway.NewProblem(gateway.CodeInvalidJSON, "%v", err)
}

// shorthand is a type whose JSON is an object, or in its place the value of its field To.
type shorthand interface{ shorthand() }

var (
	shorthandType = reflect.TypeFor[shorthand]()
	bytesType     = reflect.TypeFor[[]byte]()
)

// walker holds JSON that is known to be well formed against a type.
type walker struct {
	data  []byte
	pos   int
	path  []string // the names and indexes down to here, as they are shown
	wrong commands.Code
}

// problemAt says where it is, as a line and a column, both from 1; columns count bytes.
func (w *walker) problemAt(offset int, code commands.Code, format string, args ...any) error {
	before := w.data[:max(0, min(offset, len(w.data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	where := fmt.Sprintf("line %d, column %d", line, column)
	if len(w.path) > 0 {
		where += ", at " + strings.TrimPrefix(strings.Join(w.path, ""), ".")
	}
	return gateway.NewProblem(code, "%s: %s", where, fmt.Sprintf(format, args...))
}

func (w *walker) space() {
	for w.pos < len(w.data) && strings.IndexByte(" \t\r\n", w.data[w.pos]) >= 0 {
		w.pos++
	}
}

// next skips space and tells which byte comes then.
func (w *walker) next() byte {
	w.space()
	return w.data[w.pos]
}

// value walks over one value of a type.
func (w *walker) value(t reflect.Type) error {
	first := w.next()
	nullable := t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if first == 'n' && nullable && len(w.path) > 0 { // the whole body may not be null
		w.pos += len("null")
		return nil
	}
	if t.Implements(shorthandType) && first != '{' {
		to, _ := t.FieldByName("To")
		return w.value(to.Type)
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.object(first, fieldsOf(t))
	case reflect.Map:
		return w.object(first, fields{any: t.Elem()})
	case reflect.Slice:
		if t == bytesType {
			return w.base64(first)
		}
		return w.array(first, t.Elem())
	case reflect.String:
		_, err := w.text(first, "text")
		return err
	case reflect.Bool:
		return w.literal(first, "tf", "true or false", func(s string) error { _, err := strconv.ParseBool(s); return err })
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		most := uint64(1)<<(t.Bits()-1)<<1 - 1
		return w.literal(first, "-0123456789", fmt.Sprintf("a whole number from 0 to %d", most), func(s string) error {
			_, err := strconv.ParseUint(s, 10, t.Bits())
			return err
		})
	}
	panic(fmt.Sprintf("JSON of %s is not known here", t)) // a request's type that was added wrongly: every test of it fails
}

// literal walks over a number or a boolean.
func (w *walker) literal(first byte, firsts, wanted string, check func(string) error) error {
	start := w.pos
	for w.pos < len(w.data) && strings.IndexByte(" \t\r\n,]}", w.data[w.pos]) < 0 {
		w.pos++
	}
	if strings.IndexByte(firsts, first) < 0 || check(string(w.data[start:w.pos])) != nil {
		return w.unwanted(start, wanted)
	}
	return nil
}

// unwanted says that another kind of value was wanted.
func (w *walker) unwanted(at int, wanted string) error {
	shown := w.data[at:min(len(w.data), at+40)]
	end := "\r\n,]}"
	if shown[0] == '"' {
		end = "\""
	}
	if i := bytes.IndexAny(shown[1:], end); i >= 0 {
		shown = bytes.TrimRight(shown[:i+2], "\r\n,]}")
	}
	return w.problemAt(at, w.wrong, "%s is wanted, and this is %s", wanted, strings.ToValidUTF8(string(shown), ""))
}

func (w *walker) array(first byte, of reflect.Type) error {
	if first != '[' {
		return w.unwanted(w.pos, "an array")
	}
	w.pos++
	depth := len(w.path)
	for i := 0; w.next() != ']'; i++ {
		if w.data[w.pos] == ',' {
			w.pos++
		}
		w.path = append(w.path[:depth], "["+strconv.Itoa(i)+"]")
		if err := w.value(of); err != nil {
			return err
		}
	}
	w.pos++
	w.path = w.path[:depth]
	return nil
}

func (w *walker) object(first byte, known fields) error {
	if first != '{' {
		return w.unwanted(w.pos, "an object")
	}
	w.pos++
	depth := len(w.path)
	begin := w.pos - 1
	seen := map[string]bool{}
	for w.next() != '}' {
		if w.data[w.pos] == ',' {
			w.pos++
		}
		first := w.next()
		start := w.pos
		name, err := w.text(first, "a name")
		if err != nil {
			return err
		}
		w.path = w.path[:depth]
		t, ok := known.typeOf(name)
		switch {
		case !ok:
			return w.problemAt(start, gateway.CodeUnknownField, "field %.80q is not known here%s", name, meant(name, known.names))
		case seen[name]:
			return w.problemAt(start, gateway.CodeInvalidJSON, "field %.80q is given twice", name)
		}
		seen[name] = true
		w.next()
		w.pos++ // the colon
		w.path = append(w.path, "."+name)
		if err := w.value(t); err != nil {
			return err
		}
	}
	w.pos++
	w.path = w.path[:depth]
	if known.all && len(seen) < len(known.names) {
		return w.problemAt(begin, w.wrong, "%s are wanted together", strings.Join(known.names, " and "))
	}
	return nil
}

// text walks over a string and gives what it says.
func (w *walker) text(first byte, wanted string) (string, error) {
	if first != '"' {
		return "", w.unwanted(w.pos, wanted)
	}
	start, plain := w.pos, true
	for w.pos++; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] != '\\' {
			continue
		}
		plain = false
		w.pos++
		if w.data[w.pos] != 'u' {
			continue
		}
		if size := escapeSize(w.data[w.pos-1:]); size > 0 {
			w.pos += size - 2
			continue
		}
		return "", w.problemAt(w.pos-1, gateway.CodeInvalidJSON, "half of a surrogate pair, which stands for nothing")
	}
	w.pos++
	if plain { // it is UTF-8 without control characters, and stands for itself
		return string(w.data[start+1 : w.pos-1]), nil
	}
	var s string
	err := json.Unmarshal(w.data[start:w.pos], &s)
	return s, err
}

// escapeSize is the length of the \u escape that b begins with: 6 bytes, 12 for a surrogate pair, 0 for half of one.
func escapeSize(b []byte) int {
	unit := func(b []byte) uint64 {
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(b[2:6]), 16, 16) // well formed: it was parsed before
		return n
	}
	switch high := unit(b); {
	case high < 0xd800 || high > 0xdfff:
		return 6
	case high < 0xdc00 && unit(b[6:])&0xfc00 == 0xdc00:
		return 12
	}
	return 0
}

func (w *walker) base64(first byte) error {
	start := w.pos
	s, err := w.text(first, "base64")
	if err != nil {
		return err
	}
	if _, err := base64.StdEncoding.DecodeString(s); err != nil {
		return w.unwanted(start, "base64, with padding (RFC 4648 section 4),")
	}
	return nil
}

// fields are the names that an object may have, or the type of all of them.
type fields struct {
	names []string
	types []reflect.Type
	all   bool // none may be left out
	any   reflect.Type
}

func (f fields) typeOf(name string) (reflect.Type, bool) {
	if f.any != nil {
		return f.any, true
	}
	if i := slices.Index(f.names, name); i >= 0 {
		return f.types[i], true
	}
	return nil, false
}

var fieldsByType sync.Map // of reflect.Type to fields

func fieldsOf(t reflect.Type) fields {
	if f, ok := fieldsByType.Load(t); ok {
		return f.(fields)
	}
	f := fields{all: t.Implements(shorthandType)}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			f.names = append(f.names, name)
			f.types = append(f.types, field.Type)
		}
	}
	fieldsByType.Store(t, f)
	return f
}
