package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// errNotText is why a request cannot be a JSON object.
var errNotText = errors.New("a name in it is not UTF-8, and only the path of HTTP takes that")

// How parameters of a query stand in JSON; what is not named here is text.
var (
	numbers  = map[string]bool{"flags": true, "from": true, "limit": true, "min-revision": true, "to": true}
	switches = map[string]bool{"dry-run": true, "keys": true, "passing": true, "refresh": true}
	lists    = map[string]bool{"status": true, "tag": true}
)

// jsonBody is the request as one JSON object, as it goes over NATS.
func (r *request) jsonBody() ([]byte, error) {
	b := make([]byte, 1, 64+len(r.body)+len(r.body)/8)
	b[0] = '{'
	for i := 0; i+1 < len(r.params); i += 2 {
		b = appendName(b, r.params[i])
		if !utf8.ValidString(r.params[i+1]) {
			return nil, errNotText
		}
		b = appendText(b, r.params[i+1])
	}
	b, err := r.appendQuery(b)
	if err != nil {
		return nil, err
	}
	switch {
	case r.body == nil:
	case r.value:
		b = appendValue(b, r.body)
		if t := r.header.Get("Content-Type"); t != "" {
			b = appendText(appendName(b, "content_type"), t)
		}
	default:
		return r.mergeFields(b)
	}
	return append(b, '}'), nil
}

// mergeFields adds the fields of a body that is an object itself.
func (r *request) mergeFields(b []byte) ([]byte, error) {
	body := bytes.TrimSpace(r.body)
	if len(b) == 1 {
		return body, nil // whatever it is: the server says so
	}
	if r.name == "txn" {
		// It may come from anybody: no field of it may stand in for one that the call has set.
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			return nil, fmt.Errorf("read transaction: %w", err)
		}
		for name := range fields {
			if strings.EqualFold(name, "dry_run") {
				return nil, fmt.Errorf("the transaction has a field %q, which is none of a transaction's", name)
			}
		}
	}
	if len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' {
		return nil, fmt.Errorf("the body %.40q is no JSON object", body)
	}
	if inner := bytes.TrimSpace(body[1 : len(body)-1]); len(inner) > 0 {
		b = append(append(b, ','), inner...)
	}
	return append(b, '}'), nil
}

func (r *request) appendQuery(b []byte) ([]byte, error) {
	for name, values := range r.query {
		if len(values) == 0 {
			continue
		}
		if name == "if-value" { // which JSON has among the conditions
			b = appendName(b, "if")
			b = append(appendValue(append(b, '[', '{'), []byte(values[0])), '}', ']')
			continue
		}
		b = appendName(b, strings.ReplaceAll(name, "-", "_"))
		switch {
		case switches[name]:
			b = append(b, values[0]...)
			continue
		case numbers[name], name == "at" && isNumber(values[0]):
			b = append(b, values[0]...)
			continue
		case !lists[name]:
			values = values[:1]
		default:
			b = append(b, '[')
		}
		for i, v := range values {
			if !utf8.ValidString(v) {
				return nil, errNotText
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, v)
		}
		if lists[name] {
			b = append(b, ']')
		}
	}
	return b, nil
}

// isNumber tells a revision from a time.
func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// appendValue adds a value: as text where it can be read as such, in base64 otherwise.
func appendValue(b, value []byte) []byte {
	if isText(value) {
		return appendText(appendName(b, "value"), value)
	}
	b = append(appendName(b, "value_base64"), '"')
	return append(base64.StdEncoding.AppendEncode(b, value), '"')
}

// appendName adds the name of a field, which needs no escape.
func appendName(b []byte, name string) []byte {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	b = append(append(b, '"'), name...)
	return append(b, '"', ':')
}

// appendText adds a text, which must be UTF-8, as JSON.
func appendText[T []byte | string](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[start:]...), '"')
}
