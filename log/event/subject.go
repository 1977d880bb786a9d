package event

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A subject is the dotted path of a thing: "kv.app.db.url" for the key "app/db/url", "service.web.web-1" for an
// instance. It is what NATS routes on and what events are filtered by.
//
// A segment is percent-encoded (upper-case hex) where NATS would refuse or split it: ".", space, "*", ">",
// control bytes, and "%" itself. An empty segment is a lone "%". The encoding is one to one: ParseKeySubject gives
// back every key.

// KeySubject is the subject of a key.
func KeySubject(key string) string {
	b := append(make([]byte, 0, len(key)+len("kv.")+8), "kv"...)
	for more := true; more; {
		var segment string
		segment, key, more = strings.Cut(key, "/")
		b = appendSegment(append(b, '.'), segment)
	}
	return string(b)
}

// InstanceSubject is the subject of an instance of a service.
func InstanceSubject(service, id string) string {
	b := make([]byte, 0, len("service..")+len(service)+len(id)+8)
	b = append(b, "service."...)
	b = appendSegment(b, service)
	b = append(b, '.')
	return string(appendSegment(b, id))
}

// EscapeSegment encodes one segment of a subject.
func EscapeSegment(segment string) string {
	return string(appendSegment(make([]byte, 0, len(segment)+8), segment))
}

func appendSegment(dst []byte, segment string) []byte {
	const hex = "0123456789ABCDEF"
	if segment == "" {
		return append(dst, '%')
	}
	for i := range len(segment) {
		c := segment[i]
		if c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// UnescapeSegment is the inverse of EscapeSegment. It refuses what EscapeSegment never makes, so that each
// segment has one spelling.
func UnescapeSegment(s string) (string, error) {
	if s == "%" {
		return "", nil
	}
	if !strings.ContainsRune(s, '%') {
		if EscapeSegment(s) != s {
			return "", fmt.Errorf("subject segment %q: a byte that must be percent-encoded", s)
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("subject segment %q: a percent sign without two hex digits", s)
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi > 15 || lo > 15 {
			return "", fmt.Errorf("subject segment %q: a percent sign without two upper-case hex digits", s)
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	if EscapeSegment(string(b)) != s {
		return "", fmt.Errorf("subject segment %q: not in its one canonical spelling", s)
	}
	return string(b), nil
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// ParseKeySubject gives the key that a subject made by KeySubject names.
func ParseKeySubject(subject string) (string, error) {
	rest, ok := strings.CutPrefix(subject, "kv.")
	if !ok {
		return "", fmt.Errorf("subject %q: not a key's subject", subject)
	}
	var key strings.Builder
	for i, segment := range strings.Split(rest, ".") {
		if segment == "" {
			return "", fmt.Errorf("subject %q: an empty segment", subject)
		}
		s, err := UnescapeSegment(segment)
		if err != nil {
			return "", err
		}
		if strings.ContainsRune(s, '/') {
			return "", fmt.Errorf("subject %q: a slash inside a segment", subject)
		}
		if i > 0 {
			key.WriteByte('/')
		}
		key.WriteString(s)
	}
	return key.String(), nil
}

// Filter is a subject with NATS wildcards: "*" stands for one segment, a last ">" for one or more.
type Filter struct {
	segments []string
	rest     bool // the filter ends in ">"
}

// ErrBadFilter is why ParseFilter refused its text.
var ErrBadFilter = errors.New("a subject filter is segments joined by dots, where a segment may be * and the last may be >")

// ParseFilter reads a filter. The empty text is a filter that matches everything.
func ParseFilter(text string) (Filter, error) {
	if text == "" || text == ">" {
		return Filter{rest: true}, nil
	}
	if !utf8.ValidString(text) {
		return Filter{}, fmt.Errorf("subject filter %q is not UTF-8: %w", text, ErrBadFilter)
	}
	f := Filter{segments: strings.Split(text, ".")}
	for i, s := range f.segments {
		last := i == len(f.segments)-1
		switch {
		case s == ">" && last:
			f.segments, f.rest = f.segments[:i], true
		case s == "", s == ">", s != "*" && strings.ContainsAny(s, "*> \t\r\n"):
			return Filter{}, fmt.Errorf("subject filter %q, segment %d (%q): %w", text, i+1, s, ErrBadFilter)
		}
	}
	return f, nil
}

// Segments gives the filter's parts, "*" where any will do, and whether it ends in ">". They are not to be changed.
func (f Filter) Segments() (segments []string, rest bool) { return f.segments, f.rest }

// Match tells whether a subject passes the filter.
func (f Filter) Match(subject string) bool {
	for _, want := range f.segments {
		if subject == "" {
			return false
		}
		got, rest, _ := strings.Cut(subject, ".")
		if want != "*" && want != got {
			return false
		}
		subject = rest
	}
	return (subject != "") == f.rest
}
