package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// node is a part of a document that is being put together: a leaf, or an object.
type node struct {
	key     string   // a leaf's own; of an object, the first key that made it one
	leaf    *content // nil for an object
	kind    string   // of a leaf, its content type
	members map[string]*node
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.members)) }

// assemble puts the tree together that a parser took apart. It refuses keys that cannot stand in one document, and
// names them.
func assemble(place Place, leaves []Leaf) (*node, error) {
	root := &node{members: map[string]*node{}}
	for _, l := range leaves {
		c, err := contentOf(l)
		if err != nil {
			return nil, err
		}
		if place.Base != "" && l.Key == place.Base {
			if len(root.members) > 0 {
				return nil, nested(l.Key, root.key)
			}
			root = &node{key: l.Key, leaf: &c, kind: l.ContentType}
			continue
		}
		path, err := pathOf(place, l.Key)
		if err != nil {
			return nil, err
		}
		if err := root.insert(path, &node{key: l.Key, leaf: &c, kind: l.ContentType}); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// insert puts a leaf where its key says.
func (n *node) insert(path []string, leaf *node) error {
	for i, name := range path {
		if n.leaf != nil {
			return nested(n.key, leaf.key)
		}
		if n.key == "" {
			n.key = leaf.key
		}
		child, exists := n.members[name]
		switch {
		case i == len(path)-1 && exists:
			return nested(leaf.key, child.key)
		case i == len(path)-1:
			n.members[name] = leaf
		case !exists:
			child = &node{members: map[string]*node{}}
			n.members[name] = child
		}
		n = child
	}
	return nil
}

func nested(a, b string) error {
	return &ConflictError{min(a, b), max(a, b), "the first would have to be a value and an object at once"}
}

// value is a JSON value with its members in the order in which they are written, and numbers as they are.
type value struct {
	kind    byte // one of 's'tring, 'n'umber, 'w'ord, '[' and '{'
	text    string
	items   []value
	members []member
}

type member struct {
	name  string
	value value
}

// valueOf reads JSON that is known to be valid.
func valueOf(raw []byte) value {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return readValue(d)
}

func readValue(d *json.Decoder) value {
	token, err := d.Token()
	if err != nil {
		panic(fmt.Sprintf("read JSON that was checked: %v", err))
	}
	switch token := token.(type) {
	case string:
		return value{kind: 's', text: token}
	case json.Number:
		return value{kind: 'n', text: token.String()}
	case bool:
		return value{kind: 'w', text: fmt.Sprint(token)}
	case json.Delim:
		v := value{kind: byte(token)}
		for d.More() {
			if token == '[' {
				v.items = append(v.items, readValue(d))
				continue
			}
			name := readValue(d).text
			v.members = append(v.members, member{name, readValue(d)})
		}
		_, _ = d.Token() // the end, which is there
		return v
	}
	return value{kind: 'w', text: "null"}
}

// canonical is JSON, known to be valid, without white space, and with the strings in it spelled in one way; numbers
// stay as they are written.
func canonical(raw []byte) []byte { return valueOf(raw).json() }

// json is the value as compact JSON.
func (v value) json() []byte {
	var b bytes.Buffer
	v.writeJSON(&b)
	return b.Bytes()
}

func (v value) writeJSON(b *bytes.Buffer) {
	switch v.kind {
	case 's':
		b.Write(quote(v.text))
	case '[':
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.writeJSON(b)
		}
		b.WriteByte(']')
	case '{':
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(m.name))
			b.WriteByte(':')
			m.value.writeJSON(b)
		}
		b.WriteByte('}')
	default:
		b.WriteString(v.text)
	}
}
