package document

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// TOML has no null, and its numbers are integers of 64 bits and floats of as many: what they cannot hold is refused.
// Floats come back in their shortest spelling, and objects within arrays in the order of names. A date or time is
// stored as its text, with a content type that makes it one again; within an array it is refused.

// typeTime is the content type of a date or time.
const typeTime = "text/plain; charset=utf-8; toml=datetime"

func parseTOML(t *taker, document []byte) error {
	var root map[string]any
	if err := toml.Unmarshal(document, &root); err != nil {
		if syntax, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := syntax.Position()
			return &SyntaxError{max(line, 1), max(column, 1), strings.TrimPrefix(syntax.Error(), "toml: ")}
		}
		return syntaxAt(document, 0, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	if len(root) > 0 {
		return tomlParser{t, document}.table(nil, root)
	}
	if store, err := t.whole(true, document); err != nil || !store {
		return err
	}
	t.json(nil, []byte("{}"))
	return nil
}

type tomlParser struct {
	*taker
	document []byte
}

func (p tomlParser) table(path []string, table map[string]any) error {
	if len(path) >= depthMax {
		return syntaxAt(p.document, 0, "table %.80q is nested deeper than %d levels: that is as many segments as a key may have", strings.Join(path, "."), depthMax)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		path := append(path, name)
		switch v := table[name].(type) {
		case map[string]any:
			if len(v) == 0 {
				p.json(path, []byte("{}"))
			} else if err := p.table(path, v); err != nil {
				return err
			}
		case string:
			p.text(path, v, TypeText)
		default:
			if text, ok := tomlTime(v); ok {
				p.text(path, text, typeTime)
				continue
			}
			var b bytes.Buffer
			if err := tomlToJSON(&b, v); err != nil {
				return syntaxAt(p.document, 0, "%q: %v", strings.Join(path, "."), err)
			}
			p.json(path, b.Bytes())
		}
	}
	return nil
}

// tomlTime is the text of a date or time.
func tomlTime(v any) (text string, ok bool) {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case toml.LocalDateTime:
		return v.String(), true
	case toml.LocalDate:
		return v.String(), true
	case toml.LocalTime:
		return v.String(), true
	}
	return "", false
}

func tomlToJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case string:
		b.Write(quote(v))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("%v is a number that JSON does not know; quote it to have it as text", v)
		}
		b.WriteString(floatText(v))
	case []any:
		return tomlArray(b, v)
	case map[string]any:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(name))
			b.WriteByte(':')
			if err := tomlToJSON(b, v[name]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	default: // all others have their text
		return errors.New("a date or time within an array cannot be kept as one; quote it to have it as text")
	}
	return nil
}

func tomlArray(b *bytes.Buffer, items []any) error {
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := tomlToJSON(b, item); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// floatText is the shortest spelling of a float that is none of an integer.
func floatText(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func renderTOML(root *node) ([]byte, error) {
	if root.leaf != nil {
		if string(root.leaf.raw) == "{}" {
			return nil, nil
		}
		if !root.leaf.isObject() {
			return nil, &UnfitError{root.key, "a document in the format toml is an object, and this is a single value"}
		}
		root = objectOf(root)
	}
	var b bytes.Buffer
	if err := writeTOML(&b, nil, root); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// objectOf takes a leaf apart that is an object with members.
func objectOf(n *node) *node {
	object := &node{key: n.key, members: map[string]*node{}}
	for _, m := range valueOf(n.leaf.raw).members {
		c := content{text: m.value.text}
		if m.value.kind != 's' {
			c = content{raw: m.value.json()}
		}
		object.members[m.name] = &node{key: n.key, leaf: &c}
	}
	return object
}

// writeTOML writes a table: its values first, then the tables in it.
func writeTOML(b *bytes.Buffer, path []string, n *node) error {
	var tables []string
	for _, name := range n.names() {
		child := n.members[name]
		if child.leaf == nil {
			tables = append(tables, name)
			continue
		}
		b.WriteString(tomlKey(name) + " = ")
		if err := writeTOMLLeaf(b, child); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	for _, name := range tables {
		path, child := append(path, tomlKey(name)), n.members[name]
		if child.hasValues() {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString("[" + strings.Join(path, ".") + "]\n")
		}
		if err := writeTOML(b, path, child); err != nil {
			return err
		}
	}
	return nil
}

// hasValues tells whether an object has members that are no objects.
func (n *node) hasValues() bool {
	for _, child := range n.members {
		if child.leaf != nil {
			return true
		}
	}
	return false
}

var tomlBare = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func tomlKey(name string) string {
	if tomlBare.MatchString(name) {
		return name
	}
	return tomlQuote(name)
}

func writeTOMLLeaf(b *bytes.Buffer, n *node) error {
	if n.leaf.raw != nil {
		return writeTOMLValue(b, n.key, valueOf(n.leaf.raw))
	}
	if isTOMLTime(n.kind, n.leaf.text) {
		b.WriteString(n.leaf.text)
	} else {
		b.WriteString(tomlQuote(n.leaf.text))
	}
	return nil
}

// isTOMLTime tells whether a leaf is a date or time, as its content type says, and as it reads.
func isTOMLTime(contentType, text string) bool {
	if contentType != typeTime || strings.ContainsAny(text, "\n#") {
		return false
	}
	var v map[string]any
	if err := toml.Unmarshal([]byte("v = "+text), &v); err != nil || len(v) != 1 {
		return false
	}
	same, ok := tomlTime(v["v"])
	return ok && same == text
}

func writeTOMLValue(b *bytes.Buffer, key string, v value) error {
	switch v.kind {
	case 's':
		b.WriteString(tomlQuote(v.text))
	case 'w':
		if v.text == "null" {
			return &UnfitError{key, "it is null or holds it, which the format toml does not know"}
		}
		b.WriteString(v.text)
	case 'n':
		return writeTOMLNumber(b, key, v.text)
	case '[':
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := writeTOMLValue(b, key, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case '{':
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(tomlKey(m.name) + " = ")
			if err := writeTOMLValue(b, key, m.value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	}
	return nil
}

func writeTOMLNumber(b *bytes.Buffer, key, text string) error {
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !sameNumber(text, floatText(f)) {
			return &UnfitError{key, fmt.Sprintf("%.40s is more than a float of the format toml holds", text)}
		}
		b.WriteString(floatText(f))
		return nil
	}
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return &UnfitError{key, fmt.Sprintf("%.40s is more than an integer of the format toml holds", text)}
	}
	b.WriteString(text)
	return nil
}

// sameNumber tells whether two JSON numbers are the same.
func sameNumber(a, b string) bool {
	digitsA, exponentA, okA := decimal(a)
	digitsB, exponentB, okB := decimal(b)
	return okA && okB && digitsA == digitsB && (exponentA == exponentB || digitsA == "" || digitsA == "-")
}

// decimal gives the significant digits of a JSON number, with its sign, and their exponent; ok is false where the
// exponent is out of all bounds.
func decimal(text string) (digits string, exponent int, ok bool) {
	mantissa, e, has := strings.Cut(strings.ToLower(text), "e")
	if has {
		n, err := strconv.ParseInt(e, 10, 32)
		if err != nil {
			return "", 0, false
		}
		exponent = int(n)
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	if negative {
		trimmed = "-" + trimmed
	}
	return trimmed, exponent, true
}

// tomlQuote writes a basic string.
func tomlQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r >= 0x7f && r < 0xa0:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
