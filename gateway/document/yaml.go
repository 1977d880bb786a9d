package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// YAML is read by the core schema of YAML 1.2: plain null, true, 12, 0x1F, 1.5 are what they look like, and yes, on,
// 1_000 and 2026-01-31 are text. Numbers stay as they are written where JSON writes them so, too. What has no
// counterpart among keys is refused: aliases (and with them documents that unfold to more than they are), tags, merge
// keys, .inf, .nan, more than one document, and numbers such as 0755, which readers of YAML take for different ones.

func parseYAML(t *taker, document []byte) error {
	p := yamlParser{t}
	d := yaml.NewDecoder(bytes.NewReader(document))
	var node yaml.Node
	if err := d.Decode(&node); errors.Is(err, io.EOF) || err == nil && len(node.Content) == 0 {
		return syntaxAt(document, 0, "the document is empty; {} is the empty object")
	} else if err != nil {
		return yamlError(err)
	}
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		return atNode(&second, "a second document begins here, and only one can be brought in")
	} else if !errors.Is(err, io.EOF) {
		return yamlError(err)
	}
	root := node.Content[0]
	if root.Kind == yaml.MappingNode && len(root.Content) > 0 {
		return p.mapping(nil, root)
	}
	store, err := t.whole(root.Kind == yaml.MappingNode, document)
	if err != nil || !store {
		return err
	}
	return p.leaf(nil, root)
}

func yamlError(err error) error {
	if load, ok := errors.AsType[*yaml.LoadError](err); ok {
		return &SyntaxError{max(load.Mark.Line, 1), max(load.Mark.Column, 1), load.Message}
	}
	return &SyntaxError{1, 1, err.Error()}
}

func atNode(n *yaml.Node, format string, args ...any) error {
	return &SyntaxError{max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)}
}

type yamlParser struct{ *taker }

func (p yamlParser) mapping(path []string, n *yaml.Node) error {
	if len(path) >= depthMax {
		return atNode(n, "nested deeper than %d levels: that is as many segments as a key may have", depthMax)
	}
	names, err := yamlNames(n)
	if err != nil {
		return err
	}
	for i, name := range names {
		path, child := append(path, name), n.Content[2*i+1]
		if child.Kind == yaml.MappingNode && len(child.Content) > 0 {
			err = p.mapping(path, child)
		} else {
			err = p.leaf(path, child)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p yamlParser) leaf(path []string, n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		text, raw, err := yamlScalar(n)
		if err != nil {
			return err
		}
		if raw == "" {
			p.text(path, text, TypeText)
			return nil
		}
		p.json(path, []byte(raw))
		return nil
	}
	var b bytes.Buffer
	if err := yamlToJSON(&b, n); err != nil {
		return err
	}
	p.json(path, b.Bytes())
	return nil
}

// yamlNames gives the names of a mapping's members.
func yamlNames(n *yaml.Node) ([]string, error) {
	if n.Style&yaml.TaggedStyle != 0 {
		return nil, atNode(n, "tag %.40q is not known here", n.Tag)
	}
	var names []string
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		plain := isPlain(name)
		switch {
		case name.Kind == yaml.AliasNode:
			return nil, atNode(name, "aliases are not known here: write it out")
		case name.Kind != yaml.ScalarNode:
			return nil, atNode(name, "a name is text, and this one is a list or a mapping")
		case plain && name.Value == "<<":
			return nil, atNode(name, "merge keys are not known here: write it out")
		case plain && name.Value == "":
			return nil, atNode(name, "a name is missing; the empty one is written \"\"")
		case name.Style&yaml.TaggedStyle != 0 && name.Tag != "!!str":
			return nil, atNode(name, "tag %.40q is not known here", name.Tag)
		case seen[name.Value]:
			return nil, atNode(name, "the mapping has two members %q", name.Value)
		}
		seen[name.Value] = true
		names = append(names, name.Value)
	}
	return names, nil
}

func isPlain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
}

// yamlToJSON writes any value as JSON.
func yamlToJSON(b *bytes.Buffer, n *yaml.Node) error {
	if n.Anchor != "" {
		return atNode(n, "anchors are not known here, as what refers to them is not")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		text, raw, err := yamlScalar(n)
		if err != nil {
			return err
		}
		if raw == "" {
			raw = string(quote(text))
		}
		b.WriteString(raw)
		return nil
	case yaml.SequenceNode:
		if n.Style&yaml.TaggedStyle != 0 {
			return atNode(n, "tag %.40q is not known here", n.Tag)
		}
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := yamlToJSON(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case yaml.MappingNode:
		names, err := yamlNames(n)
		if err != nil {
			return err
		}
		b.WriteByte('{')
		for i, name := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(name))
			b.WriteByte(':')
			if err := yamlToJSON(b, n.Content[2*i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	default:
		return atNode(n, "aliases are not known here: write it out")
	}
}

// yamlBasedMax bounds numbers that are not decimal: to write one as such costs the square of its length.
const yamlBasedMax = 64

var (
	yamlBased   = regexp.MustCompile(`^(0o[0-7]+|0x[0-9a-fA-F]+)$`)
	yamlFloat   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	yamlNoFloat = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// yamlScalar reads a scalar: text, or, where raw is not empty, what is written in JSON as raw.
func yamlScalar(n *yaml.Node) (text, raw string, err error) {
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
		return "", "", atNode(n, "tag %.40q is not known here", n.Tag)
	}
	if !isPlain(n) {
		return n.Value, "", nil
	}
	switch v := n.Value; v {
	case "", "~", "null", "Null", "NULL":
		return "", "null", nil
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return "", strings.ToLower(v), nil
	default:
		switch {
		case yamlNoFloat.MatchString(v):
			return "", "", atNode(n, "%s is a number that JSON does not know; quote it to have it as text", v)
		case len(v) > yamlBasedMax && yamlBased.MatchString(v):
			return "", "", atNode(n, "%.20s… has more than %d digits; write it as a decimal number, or quote it", v, yamlBasedMax)
		case yamlBased.MatchString(v):
			whole, _ := new(big.Int).SetString(v, 0)
			return "", whole.String(), nil
		case yamlFloat.MatchString(v):
			raw, ok := jsonNumber(v)
			if !ok {
				return "", "", atNode(n, "%.40s is octal to some readers of YAML and decimal to others; write 0o… or no leading zero, or quote it", v)
			}
			return "", raw, nil
		}
		return v, "", nil
	}
}

// jsonNumber writes a decimal number as JSON does; ok is false where it has leading zeros.
func jsonNumber(v string) (raw string, ok bool) {
	if json.Valid([]byte(v)) {
		return v, true
	}
	v = strings.TrimPrefix(v, "+")
	v, negative := strings.CutPrefix(v, "-")
	if strings.HasPrefix(v, ".") {
		v = "0" + v
	}
	if i := strings.IndexByte(v, '.'); i >= 0 && (i == len(v)-1 || v[i+1] == 'e' || v[i+1] == 'E') {
		v = v[:i+1] + "0" + v[i+1:]
	}
	if negative {
		v = "-" + v
	}
	return v, json.Valid([]byte(v))
}

func renderYAML(root *node) ([]byte, error) {
	var b bytes.Buffer
	if root.leaf == nil && len(root.members) > 0 {
		err := writeYAML(&b, root, 0)
		return b.Bytes(), err
	}
	writeYAMLLeaf(&b, root, 0)
	return b.Bytes(), nil
}

// writeYAML writes an object's members, one to a line.
func writeYAML(b *bytes.Buffer, n *node, depth int) error {
	for _, name := range n.names() {
		b.WriteString(strings.Repeat("  ", depth))
		b.WriteString(yamlText(name))
		b.WriteByte(':')
		child := n.members[name]
		if child.leaf == nil {
			b.WriteByte('\n')
			if err := writeYAML(b, child, depth+1); err != nil {
				return err
			}
			continue
		}
		b.WriteByte(' ')
		writeYAMLLeaf(b, child, depth+1)
		if err := bounded(b); err != nil {
			return err
		}
	}
	return bounded(b)
}

// writeYAMLLeaf writes a leaf and ends its line.
func writeYAMLLeaf(b *bytes.Buffer, n *node, depth int) {
	switch {
	case n.leaf == nil:
		b.WriteString("{}")
	case n.leaf.raw != nil:
		writeYAMLFlow(b, valueOf(n.leaf.raw))
	case yamlBlock(n.leaf.text) && depth > 0:
		text, ends := strings.CutSuffix(n.leaf.text, "\n")
		b.WriteString("|")
		if !ends {
			b.WriteByte('-')
		}
		for line := range strings.SplitSeq(text, "\n") {
			b.WriteByte('\n')
			if line != "" {
				b.WriteString(strings.Repeat("  ", depth) + line)
			}
		}
	default:
		b.WriteString(yamlText(n.leaf.text))
	}
	b.WriteByte('\n')
}

// writeYAMLFlow writes a value as JSON does, but for the escapes of its strings.
func writeYAMLFlow(b *bytes.Buffer, v value) {
	switch v.kind {
	case 's':
		b.WriteString(yamlQuote(v.text))
	case '[':
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeYAMLFlow(b, item)
		}
		b.WriteByte(']')
	case '{':
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(yamlQuote(m.name) + ": ")
			writeYAMLFlow(b, m.value)
		}
		b.WriteByte('}')
	default:
		b.WriteString(v.text)
	}
}

var yamlBare = regexp.MustCompile(`^[A-Za-z_/][-A-Za-z0-9_./@+]*( [-A-Za-z0-9_./@+]+)*$`)

// yamlText writes text plainly where every reader of YAML, of version 1.1 too, takes it for text, and else in quotes.
func yamlText(s string) string {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return yamlQuote(s)
	}
	if len(s) <= 1000 && yamlBare.MatchString(s) { // a name that is not quoted may have 1024 characters
		return s
	}
	return yamlQuote(s)
}

// yamlQuote writes text between double quotes.
func yamlQuote(s string) string {
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
		case yamlPrints(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// yamlPrints tells whether a character may stand for itself and is no end of a line to anybody.
func yamlPrints(r rune) bool {
	return r >= ' ' && r < 0x7f || r >= 0xa0 && r < 0xfffe && r != 0x2028 && r != 0x2029 && r != 0xfeff || r >= 0x10000
}

// yamlBlock tells whether text reads best as a block of lines, and comes back from one as it was.
func yamlBlock(s string) bool {
	text := strings.TrimSuffix(s, "\n")
	if !strings.Contains(s, "\n") || text == "" || strings.HasSuffix(text, "\n") || text[0] == ' ' || text[0] == '\n' || text[0] == '\t' {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Trim(line, " \t") == "" && line != "" {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && !yamlPrints(r) })
}
