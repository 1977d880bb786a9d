package document

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Env and Properties are lists of names and values. Their values are text to most readers, so the types of values live
// in the spelling: what looks like JSON other than a string is such, and text that looks like it is spelled in another
// way that other readers do not see.

// looksJSON tells whether the spelling of a value is that of JSON which is no string.
func looksJSON(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && s[0] != '"' && strings.IndexByte("-0123456789tfn[{", s[0]) >= 0 && checkJSON([]byte(s)) == nil
}

func (t *taker) flat(path []string, s string, plain bool) {
	if plain && looksJSON(s) {
		t.json(path, canonical([]byte(s)))
		return
	}
	t.text(path, s, TypeText)
}

func renderFlat(f Format, place Place, leaves []Leaf) ([]byte, error) {
	name, write := propertiesName, writeProperty
	if f == Env {
		name, write = envName, writeEnv
	}
	seen := map[string]string{}
	var b strings.Builder
	for _, l := range leaves {
		c, err := contentOf(l)
		if err != nil {
			return nil, err
		}
		if l.Key == place.Base && place.Base != "" {
			if len(leaves) == 1 && string(c.raw) == "{}" {
				break // the document without members
			}
			return nil, &UnfitError{l.Key, fmt.Sprintf("it is the prefix itself, which has no name in the format %s; read it by itself", f)}
		}
		path, err := pathOf(place, l.Key)
		if err != nil {
			return nil, err
		}
		n, as, err := name(l.Key, path)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[as]; twice {
			return nil, &ConflictError{min(l.Key, other), max(l.Key, other), fmt.Sprintf("in the format %s both have the name %q", f, as)}
		}
		seen[as] = l.Key
		if err := write(&b, l.Key, n, c); err != nil {
			return nil, err
		}
	}
	return []byte(b.String()), nil
}

// Env: NAME=value, one to a line, as shells and container runtimes read it. The names of a path are joined by "__", in
// the letters that they have. A value in double quotes is text, in which \\ \" \$ \` \n \r \t are escapes; in single
// quotes, or in none, it is JSON where it looks like it, and otherwise text.

var envSegment = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// envName gives the variable of a path. It refuses names that would not come back the same.
func envName(key string, path []string) (written, read string, err error) {
	for _, name := range path {
		if !envSegment.MatchString(name) || strings.Contains(name, "__") || name[0] == '_' || name[len(name)-1] == '_' {
			return "", "", &UnfitError{key, fmt.Sprintf("%q is no part of a variable's name: letters, digits and single underscores in between; the format properties has no such rule", name)}
		}
	}
	name := strings.Join(path, "__")
	if name[0] >= '0' && name[0] <= '9' {
		return "", "", &UnfitError{key, fmt.Sprintf("a variable's name does not begin with a digit, as %q does", name)}
	}
	return name, name, nil
}

var envBare = regexp.MustCompile(`^[-A-Za-z0-9_./:@%+,=]+$`)

func writeEnv(b *strings.Builder, key, name string, c content) error {
	text, json := c.text, c.raw != nil
	if json {
		text = string(c.raw)
	}
	if strings.ContainsRune(text, 0) {
		return &UnfitError{key, "it holds a NUL byte, which no variable does"}
	}
	b.WriteString(name + "=")
	switch {
	case envBare.MatchString(text) && json == looksJSON(text):
		b.WriteString(text)
	case json:
		b.WriteString("'" + strings.ReplaceAll(text, "'", `'\''`) + "'")
	case text != "":
		b.WriteString(`"` + envEscaper.Replace(text) + `"`)
	}
	b.WriteByte('\n')
	return nil
}

var envEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "\r", `\r`)

func parseEnv(t *taker, document []byte) error {
	p := &scanner{document: document}
	seen := map[string]bool{}
	for {
		p.skip(" \t\r\n")
		if p.end() {
			return nil
		}
		if p.peek() == '#' {
			p.until("\n")
			continue
		}
		start := p.at
		name := p.while(isNameByte)
		if name == "export" && !p.end() && (p.peek() == ' ' || p.peek() == '\t') {
			p.skip(" \t")
			start = p.at
			name = p.while(isNameByte)
		}
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			return syntaxAt(document, start, "a line is NAME=value, a comment that begins with #, or empty; a name is letters, digits and underscores, not first a digit")
		}
		if p.end() || p.peek() != '=' {
			return syntaxAt(document, p.at, "= is missing behind %.40q", name)
		}
		p.at++
		if seen[name] {
			return syntaxAt(document, start, "%q is set twice", name)
		}
		seen[name] = true
		path := strings.Split(name, "__")
		if _, _, err := envName(name, path); err != nil {
			return syntaxAt(document, start, "the name %.80q: \"__\" stands between the names of a path, which neither begin nor end with an underscore", name)
		}
		if len(path) > depthMax {
			return tooDeep(document, start)
		}
		value, plain, err := p.envValue()
		if err != nil {
			return err
		}
		t.flat(path, value, plain)
	}
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// envValue reads what stands behind the equals sign, up to the end of its line. Plain is false for text in double
// quotes.
func (p *scanner) envValue() (v string, plain bool, err error) {
	if p.end() {
		return "", true, nil
	}
	start, quoted := p.at, p.peek()
	switch quoted {
	case '"', '\'':
		for again := true; again; {
			part, err := p.quoted(quoted)
			if err != nil {
				return "", false, err
			}
			v += part
			if again = quoted == '\'' && strings.HasPrefix(string(p.rest(3)), `\''`); again {
				v += "'"
				p.at += 2
			}
		}
	default:
		v = p.until("\n")
		if i := comment(v); i >= 0 {
			v = v[:i]
		}
		v = strings.Trim(v, " \t\r")
		if i := strings.IndexAny(v, "\"'`$\\\x00"); i >= 0 && !looksJSON(v) {
			return "", false, syntaxAt(p.document, start+i, "%q in a value without quotes means different things to different readers: put the value in quotes", v[i])
		}
		return v, true, nil
	}
	p.skip(" \t\r")
	if !p.end() && p.peek() == '#' {
		p.until("\n")
	}
	if !p.end() && p.peek() != '\n' {
		return "", false, syntaxAt(p.document, p.at, "something stands behind the closing quote")
	}
	if strings.ContainsRune(v, 0) {
		return "", false, syntaxAt(p.document, start, "a NUL byte, which no variable holds")
	}
	return v, quoted == '\'', nil
}

// comment finds where a comment begins: a # at the start or behind white space.
func comment(s string) int {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			return i
		}
	}
	return -1
}

// quoted reads what stands between quotes; it may go over lines.
func (p *scanner) quoted(quote byte) (string, error) {
	start := p.at
	var b strings.Builder
	for p.at++; !p.end(); p.at++ {
		c := p.peek()
		switch {
		case c == quote:
			p.at++
			return b.String(), nil
		case c == '\\' && quote == '"':
			p.at++
			if p.end() {
				break
			}
			switch c := p.peek(); c {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '\\', '"', '$', '`':
				b.WriteByte(c)
			default:
				b.WriteByte('\\')
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", syntaxAt(p.document, start, "the quote that begins here has no end")
}

// Properties: the files of Java. A key's slashes are dots, and a dot within a name is written \. there. A value that
// begins with an escape is text; otherwise it is JSON where it looks like it, and else text. Everything beyond ASCII is
// written as Unicode escapes, so that it does not matter for which encoding a reader takes the file.

func propertiesName(_ string, path []string) (written, read string, err error) {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = propertiesEscape(name, ".=: #!", " =:#!.")
	}
	// A reader that is no document's sees the same in "\." and ".".
	return strings.Join(names, "."), strings.Join(path, "."), nil
}

func writeProperty(b *strings.Builder, _, name string, c content) error {
	b.WriteString(name + "=")
	switch {
	case c.raw != nil:
		b.WriteString(propertiesEscape(string(c.raw), "", ""))
	case looksJSON(c.text):
		fmt.Fprintf(b, `\u%04X`, c.text[0])
		b.WriteString(propertiesEscape(c.text[1:], "", ""))
	default:
		b.WriteString(propertiesEscape(c.text, "", " "))
	}
	b.WriteByte('\n')
	return nil
}

// propertiesEscape escapes what would not be read as itself: everywhere those of one set, and at the beginning those of
// another one.
func propertiesEscape(s, everywhere, first string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < ' ' || r >= 0x7f && r < 0x10000:
			fmt.Fprintf(&b, `\u%04X`, r)
		case r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04X\u%04X`, high, low)
		default:
			if r == '\\' || strings.ContainsRune(everywhere, r) || i == 0 && strings.ContainsRune(first, r) {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

func parseProperties(t *taker, document []byte) error {
	p := &scanner{document: document}
	seen := map[string]bool{}
	for {
		p.skip(" \t\f\r\n")
		if p.end() {
			return nil
		}
		if p.peek() == '#' || p.peek() == '!' {
			p.until("\r\n")
			continue
		}
		start := p.at
		path, err := p.propertiesKey()
		if err != nil {
			return err
		}
		if len(path) > depthMax {
			return tooDeep(document, start)
		}
		value, plain, err := p.propertiesValue()
		if err != nil {
			return err
		}
		key := t.key(path)
		if seen[key] {
			return syntaxAt(document, start, "%q is set twice", strings.Join(path, "."))
		}
		seen[key] = true
		t.flat(path, value, plain)
	}
}

// propertiesKey reads a key, and what stands between it and its value.
func (p *scanner) propertiesKey() ([]string, error) {
	var path []string
	var b strings.Builder
	for !p.end() && strings.IndexByte("=: \t\f\r\n", p.peek()) < 0 {
		switch c := p.peek(); c {
		case '\\':
			if err := p.propertiesEscaped(&b); err != nil {
				return nil, err
			}
		case '.':
			path = append(path, b.String())
			b.Reset()
			p.at++
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	p.blank()
	if !p.end() && (p.peek() == '=' || p.peek() == ':') {
		p.at++
		p.blank()
	}
	return append(path, b.String()), nil
}

// blank skips white space within a logical line, which may go on behind a backslash.
func (p *scanner) blank() {
	for p.skip(" \t\f"); p.continues(); p.skip(" \t\f") {
	}
}

// continues skips a backslash at the end of a line, and what the next line begins with.
func (p *scanner) continues() bool {
	for _, end := range []string{"\\\r\n", "\\\n", "\\\r"} {
		if strings.HasPrefix(string(p.rest(3)), end) {
			p.at += len(end)
			p.skip(" \t\f")
			return true
		}
	}
	return false
}

func (p *scanner) propertiesValue() (v string, plain bool, err error) {
	var b strings.Builder
	plain = p.end() || p.peek() != '\\'
	for !p.end() && p.peek() != '\n' && p.peek() != '\r' {
		if c := p.peek(); c != '\\' {
			b.WriteByte(c)
			p.at++
			continue
		}
		if err := p.propertiesEscaped(&b); err != nil {
			return "", false, err
		}
	}
	return b.String(), plain, nil
}

// propertiesEscaped reads what begins with a backslash.
func (p *scanner) propertiesEscaped(b *strings.Builder) error {
	if p.continues() {
		return nil
	}
	start := p.at
	p.at++
	if p.end() {
		return syntaxAt(p.document, start, "nothing stands behind the backslash")
	}
	switch c := p.peek(); c {
	case 'u':
		unit, ok := codeUnit(p.document, p.at)
		if !ok {
			return syntaxAt(p.document, start, "\\u takes four hexadecimal digits")
		}
		p.at += 5
		if utf16.IsSurrogate(unit) {
			low, ok := codeUnit(p.document, p.at+1)
			if !ok || p.peek() != '\\' || utf16.DecodeRune(unit, low) == utf8.RuneError {
				return syntaxAt(p.document, start, "half of a surrogate pair, which is no character")
			}
			unit = utf16.DecodeRune(unit, low)
			p.at += 6
		}
		b.WriteRune(unit)
		return nil
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'f':
		b.WriteByte('\f')
	default:
		b.WriteByte(c) // the rest of a longer character follows by itself
	}
	p.at++
	return nil
}

// scanner goes through a document byte by byte.
type scanner struct {
	document []byte
	at       int
}

func (p *scanner) end() bool  { return p.at >= len(p.document) }
func (p *scanner) peek() byte { return p.document[p.at] }

// rest gives up to n of the bytes to come.
func (p *scanner) rest(n int) []byte { return p.document[p.at:min(p.at+n, len(p.document))] }

func (p *scanner) skip(set string) {
	for !p.end() && strings.IndexByte(set, p.peek()) >= 0 {
		p.at++
	}
}

func (p *scanner) while(is func(byte) bool) string {
	start := p.at
	for !p.end() && is(p.peek()) {
		p.at++
	}
	return string(p.document[start:p.at])
}

// until reads up to one of a set of bytes, or to the end.
func (p *scanner) until(set string) string {
	return p.while(func(c byte) bool { return !slices.Contains([]byte(set), c) })
}
