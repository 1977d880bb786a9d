package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON holds everything, and keeps numbers as they are written.

// parseJSON takes a JSON document apart.
func parseJSON(t *taker, document []byte) error {
	if err := checkJSON(document); err != nil {
		return err
	}
	p := jsonParser{taker: t, document: document, decoder: json.NewDecoder(bytes.NewReader(document))}
	first := p.next()
	if document[first] == '{' && !isEmptyObject(document[first:]) {
		return p.object(nil)
	}
	store, err := t.whole(document[first] == '{', document)
	if err != nil || !store {
		return err
	}
	p.leaf(nil, document[first:])
	return nil
}

type jsonParser struct {
	*taker
	document []byte
	decoder  *json.Decoder
}

// next is the offset of what the decoder comes to next.
func (p *jsonParser) next() int { return nextValue(p.document, p.decoder) }

func nextValue(document []byte, d *json.Decoder) int {
	i := int(d.InputOffset())
	for i < len(document) && strings.IndexByte(" \t\r\n,:", document[i]) >= 0 {
		i++
	}
	return i
}

// object takes the object that comes next apart.
func (p *jsonParser) object(path []string) error {
	if len(path) >= depthMax {
		return tooDeep(p.document, p.next())
	}
	if _, err := p.decoder.Token(); err != nil { // the opening brace
		return err
	}
	for p.decoder.More() {
		name, err := p.decoder.Token()
		if err != nil {
			return err
		}
		path := append(path, name.(string)) // the document is checked: names are strings
		if at := p.next(); p.document[at] == '{' && !isEmptyObject(p.document[at:]) {
			if err := p.object(path); err != nil {
				return err
			}
			continue
		}
		var raw json.RawMessage
		if err := p.decoder.Decode(&raw); err != nil {
			return err
		}
		p.leaf(path, raw)
	}
	_, err := p.decoder.Token() // the closing brace
	return err
}

func (p *jsonParser) leaf(path []string, raw []byte) {
	raw = canonical(raw)
	if raw[0] == '"' {
		p.text(path, unquote(raw), TypeText)
		return
	}
	p.json(path, raw)
}

// isEmptyObject tells whether what begins with a brace, in valid JSON, is an object without members.
func isEmptyObject(raw []byte) bool {
	rest := bytes.TrimLeft(raw[1:], " \t\r\n")
	return raw[0] == '{' && len(rest) > 0 && rest[0] == '}'
}

// checkJSON refuses what would not come back equal: what is no JSON, text that is no Unicode, and objects that have
// two members of one name.
func checkJSON(document []byte) error {
	if i := invalidUTF8(document); i >= 0 {
		return syntaxAt(document, i, "a byte that is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(document, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return syntaxAt(document, int(syntax.Offset)-1, "%v", err)
		}
		return syntaxAt(document, 0, "%v", err)
	}
	if at := loneSurrogate(document); at >= 0 {
		return syntaxAt(document, at, "half of a surrogate pair, which is no character")
	}
	return checkNames(document)
}

// checkNames refuses objects with two members of one name, also within arrays.
func checkNames(document []byte) error {
	type object struct {
		names map[string]bool // nil for an array
		value bool            // the next token is a member's value
	}
	var open []object
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	for {
		at := nextValue(document, d)
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntaxAt(document, at, "%v", err)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n := len(open) - 1; n >= 0 && open[n].names != nil {
			if name, ok := token.(string); ok && !open[n].value {
				if open[n].names[name] {
					return syntaxAt(document, at, "the object has two members %q", name)
				}
				open[n].names[name] = true
			}
			open[n].value = !open[n].value
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, object{})
		}
	}
}

// loneSurrogate finds an escape that stands for half of a character; -1 when there is none. Backslashes of valid JSON
// stand within strings only.
func loneSurrogate(document []byte) int {
	for i := 0; i < len(document); i++ {
		if document[i] != '\\' {
			continue
		}
		i++ // what is escaped: "u" begins a code unit, and a second backslash begins nothing
		first, ok := codeUnit(document, i)
		if !ok || !utf16.IsSurrogate(first) {
			continue
		}
		second, ok := codeUnit(document, i+6)
		if !ok || document[i+5] != '\\' || utf16.DecodeRune(first, second) == utf8.RuneError {
			return i - 1
		}
		i += 10
	}
	return -1
}

// codeUnit reads the uXXXX at an index.
func codeUnit(document []byte, at int) (unit rune, ok bool) {
	if at+5 > len(document) || document[at] != 'u' {
		return 0, false
	}
	for _, c := range document[at+1 : at+5] {
		unit <<= 4
		switch {
		case '0' <= c && c <= '9':
			unit |= rune(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			unit |= rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return unit, true
}

// renderJSON writes a tree as JSON, an object's members one to a line. Values stay on theirs: one of a few bytes may nest
// ten thousand times, and indented it would be a hundred million.
func renderJSON(root *node) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, root, 0); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, n *node, depth int) error {
	switch {
	case n.leaf == nil && len(n.members) == 0:
		b.WriteString("{}")
	case n.leaf == nil:
		b.WriteByte('{')
		for i, name := range n.names() {
			if i > 0 {
				b.WriteByte(',')
			}
			newline(b, depth+1)
			b.Write(quote(name))
			b.WriteString(": ")
			if err := writeJSON(b, n.members[name], depth+1); err != nil {
				return err
			}
		}
		newline(b, depth)
		b.WriteByte('}')
	case n.leaf.raw != nil:
		b.Write(n.leaf.raw)
	default:
		b.Write(quote(n.leaf.text))
	}
	return bounded(b)
}

func newline(b *bytes.Buffer, depth int) {
	b.WriteByte('\n')
	for range depth {
		b.WriteString("  ")
	}
}
