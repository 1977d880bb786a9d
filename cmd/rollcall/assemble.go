package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollcall/rollcall/client"
)

// node is a part of a document that is being put together: a leaf, or an object.
type node struct {
	key     string          // a leaf's own; of an object, the first key that made it one
	leaf    json.RawMessage // nil for an object
	members map[string]*node
}

// assemble puts the document together that flatten took apart. It refuses keys that cannot stand in one document, and
// names them.
func assemble(prefix string, entries []client.Entry) ([]byte, error) {
	at := newPlace(prefix)
	root := &node{members: map[string]*node{}}
	for _, e := range entries {
		value, err := leafJSON(e)
		if err != nil {
			return nil, err
		}
		if !at.root && e.Key == at.base {
			if len(root.members) > 0 {
				return nil, conflict(e.Key, root.key)
			}
			root = &node{key: e.Key, leaf: value}
			continue
		}
		if err := root.insert(strings.TrimPrefix(e.Key, at.below()), e.Key, value); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	root.write(&b)
	var document bytes.Buffer
	if err := json.Indent(&document, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("write document: %w", err)
	}
	document.WriteByte('\n')
	return document.Bytes(), nil
}

// insert puts a leaf where its key says.
func (n *node) insert(path, key string, value json.RawMessage) error {
	for {
		if n.leaf != nil {
			return conflict(n.key, key)
		}
		if n.key == "" {
			n.key = key
		}
		segment, rest, deeper := strings.Cut(path, "/")
		name, ok := unescapeName(segment)
		if !ok {
			return fmt.Errorf("key %q: its segment %q is no name that an import makes (there %%, / and NUL are written %%25, %%2F and %%00, and the empty name is %%); export a longer prefix, or read the key with \"rollcall kv get\"", key, segment)
		}
		child, exists := n.members[name]
		switch {
		case !deeper && exists:
			return conflict(key, child.key)
		case !deeper:
			n.members[name] = &node{key: key, leaf: value}
			return nil
		case !exists:
			child = &node{members: map[string]*node{}}
			n.members[name] = child
		}
		n, path = child, rest
	}
}

func conflict(a, b string) error {
	if a > b {
		a, b = b, a
	}
	return fmt.Errorf("keys %q and %q cannot stand in one document: the first would have to be a value and an object at once; delete one of them, or export a longer prefix", a, b)
}

func (n *node) write(b *bytes.Buffer) {
	if n.leaf != nil {
		b.Write(n.leaf)
		return
	}
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(n.members)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(name))
		b.WriteByte(':')
		n.members[name].write(b)
	}
	b.WriteByte('}')
}

// leafJSON is a key's value as it stands in a document; the content type decides how.
func leafJSON(e client.Entry) (json.RawMessage, error) {
	mediaType, _, err := mime.ParseMediaType(e.ContentType)
	if err != nil {
		mediaType = "" // none, or none that says anything
	}
	if mediaType == typeJSON {
		if !json.Valid(e.Value) || !utf8.Valid(e.Value) {
			return nil, fmt.Errorf("key %q says that it is %s, but its value is not; put it anew, with another --content-type", e.Key, typeJSON)
		}
		return e.Value, nil
	}
	if !utf8.Valid(e.Value) {
		return nil, fmt.Errorf("key %q holds bytes that are no text (%s), which JSON cannot hold; read it with \"rollcall kv get\"", e.Key, e.ContentType)
	}
	return quote(string(e.Value)), nil
}

// quote writes a JSON string, without the escapes that only HTML needs.
func quote(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // strings always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
