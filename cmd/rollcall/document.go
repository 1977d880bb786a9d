package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A JSON document becomes keys like this, and comes back equal:
//
//   - The names of an object's members become segments of the key, joined by "/" behind the prefix. Within a name "%"
//     is written %25, "/" %2F and NUL %00, and the empty name is a lone "%".
//   - A string is stored as its text, with content type text/plain.
//   - Everything else that is no object with members is stored as its JSON text, with content type application/json:
//     numbers as they were written, true, false, null, arrays as a whole, and the empty object.
//
// What decides on the way back is the content type. A document that is not an object is one key, the prefix itself.

const (
	typeText = "text/plain; charset=utf-8"
	typeJSON = "application/json"

	// documentBytesMax bounds a document: 512 leaves of a transaction's 2 MiB, with room for white space and escapes.
	documentBytesMax = 16 << 20
	// documentDepthMax is how many segments a key may have.
	documentDepthMax = 128
)

// leaf is a part of a document that is stored under one key.
type leaf struct {
	key         string
	value       []byte
	contentType string
}

// place is where a document stands among the keys.
type place struct {
	base string // without its last slash
	root bool   // there is no prefix: base is empty, and keys begin with a member's name
}

func newPlace(prefix string) place {
	return place{base: strings.TrimSuffix(prefix, "/"), root: prefix == ""}
}

// below is the prefix of the keys of an object's members.
func (p place) below() string {
	if p.root {
		return ""
	}
	return p.base + "/"
}

// flatten takes a document apart, in the order in which it is written.
func flatten(prefix string, document []byte) ([]leaf, error) {
	if err := checkDocument(document); err != nil {
		return nil, err
	}
	at := newPlace(prefix)
	document = bytes.TrimSpace(document)
	if document[0] != '{' || isEmptyObject(document) {
		switch {
		case at.base != "":
			l, err := newLeaf(at.base, document)
			return []leaf{l}, err
		case isEmptyObject(document):
			return nil, nil // the empty document without a prefix is no key at all
		}
		return nil, errors.New("the document is not an object, so it needs a key of its own: name it with --prefix")
	}
	var leaves []leaf
	err := flattenObject(at.below(), document, 1, &leaves)
	return leaves, err
}

func flattenObject(below string, object []byte, depth int, leaves *[]leaf) error {
	if depth > documentDepthMax {
		return fmt.Errorf("the document is nested deeper than %d levels at %.80q: that is as many segments as a key may have", documentDepthMax, below)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // the opening brace
		return fmt.Errorf("read object at %.80q: %w", below, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("read object at %.80q: %w", below, err)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("read object at %.80q: %w", below, err)
		}
		key := below + escapeName(name.(string)) // a document is checked to be JSON, where names are strings
		if raw[0] == '{' && !isEmptyObject(raw) {
			if err := flattenObject(key+"/", raw, depth+1, leaves); err != nil {
				return err
			}
			continue
		}
		l, err := newLeaf(key, raw)
		if err != nil {
			return err
		}
		*leaves = append(*leaves, l)
	}
	return nil
}

func newLeaf(key string, raw []byte) (leaf, error) {
	if raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return leaf{}, fmt.Errorf("read string at %.80q: %w", key, err)
		}
		return leaf{key: key, value: []byte(text), contentType: typeText}, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return leaf{}, fmt.Errorf("read value at %.80q: %w", key, err)
	}
	return leaf{key: key, value: compact.Bytes(), contentType: typeJSON}, nil
}

// isEmptyObject tells whether valid JSON is an object without members.
func isEmptyObject(raw []byte) bool {
	return raw[0] == '{' && bytes.TrimLeft(raw[1:], " \t\r\n")[0] == '}'
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

// checkDocument refuses what would not come back equal: what is no JSON, text that is no Unicode, and objects that
// have two members of one name.
func checkDocument(document []byte) error {
	if len(document) > documentBytesMax {
		return fmt.Errorf("the document is longer than %d bytes; import its parts", documentBytesMax)
	}
	if !utf8.Valid(document) {
		return errors.New("the document is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(document, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("%s: %w", position(document, syntax.Offset), err)
		}
		return fmt.Errorf("read document: %w", err)
	}
	if at := loneSurrogate(document); at >= 0 {
		return fmt.Errorf("%s: half of a surrogate pair, which is no character", position(document, int64(at)))
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
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read document: %w", err)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n := len(open) - 1; n >= 0 && open[n].names != nil {
			if name, ok := token.(string); ok && !open[n].value {
				if open[n].names[name] {
					return fmt.Errorf("%s: the object has two members %q", position(document, d.InputOffset()), name)
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

// position gives line and column of an offset in a document, as editors count them.
func position(document []byte, offset int64) string {
	before := document[:min(max(offset, 0), int64(len(document)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line, max(column, 1))
}
