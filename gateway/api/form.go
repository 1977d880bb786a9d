package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// form says which fields the message of an operation may have, and where in an HTTP request each of them would stand.
type form struct {
	op     *operation
	path   []string // the names in the path's template
	fields map[string]field
	names  []string // of the fields, in the order in which refusals list them
}

// field is where a field of a message belongs.
type field struct {
	place place
	index int    // in the path's names, or the operation's query parameters
	bit   uint64 // its own
}

type place uint8

const (
	inPath place = iota
	inQuery
	inBody
	isValue // of a body that is bytes, as the next two
	isValueBase64
	isContentType
	isConditions
)

// textBytesMax bounds what stands in a path or a query over HTTP, where the head of a request bounds all of it.
const textBytesMax = 64 << 10

var (
	conditionsType = reflect.TypeFor[[]condition]()
	withConditions = []string{"kv.put", "kv.delete"}
	httpOnly       = []string{documentID, "snapshot"}
)

// newForms makes the forms of all operations that can be asked for by a message.
func newForms(all []operation) map[string]*form {
	forms := map[string]*form{}
	for i := range all {
		if op := &all[i]; !slices.Contains(httpOnly, op.id) {
			forms[op.id] = newForm(op)
		}
	}
	return forms
}

// newForm collects the fields. A name that stands both in the path and in the body says the same thing in both.
func newForm(op *operation) *form {
	f := &form{op: op, path: newRoute(op.path).names, fields: map[string]field{}}
	add := func(name string, place place, index int) {
		if _, ok := f.fields[name]; !ok {
			f.fields[name] = field{place, index, 1 << len(f.names)} // no operation has 64
			f.names = append(f.names, name)
		}
	}
	for i, name := range f.path {
		if name != "namespace" {
			add(name, inPath, i)
		}
	}
	switch {
	case op.body == nil:
	case op.body.of == nil || op.body.others != nil:
		add("value", isValue, 0)
		add("value_base64", isValueBase64, 0)
		add("content_type", isContentType, 0)
	default:
		for _, name := range fieldsOf(op.body.of).names {
			add(name, inBody, 0)
		}
	}
	if slices.Contains(withConditions, op.id) {
		add("if", isConditions, 0)
	}
	for i, p := range op.query {
		add(strings.ReplaceAll(p.name, "-", "_"), inQuery, i)
	}
	return f
}

// reader takes a message's object apart.
type reader struct {
	walker
	call  *call
	form  *form
	given uint64 // the fields that were there, a bit for each
	// rest is the object without what was taken out of it, with every byte where it was, so that what a handler says
	// about a place is right; nil while nothing was taken out.
	rest  []byte
	kept  int // how many fields are in rest
	comma int // where the last comma between two fields is
	if_   []condition
}

// read has the call find in a message what it would find in an HTTP request.
func (c *call) read(f *form, data []byte) error {
	r := reader{walker: walker{data: data, wrong: gateway.CodeInvalidParameter}, call: c, form: f}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := r.check(); err != nil {
			return err
		}
		if err := r.object(); err != nil {
			return err
		}
	}
	return r.finish()
}

func (r *reader) object() error {
	if r.next() != '{' {
		return r.unwanted(r.pos, "an object")
	}
	if f := r.form; f.op.body != nil && f.op.body.of != nil {
		r.rest = blank(r.data)
	}
	r.pos++
	for r.next() != '}' {
		if r.data[r.pos] == ',' {
			r.comma = r.pos
			r.pos++
		}
		first := r.next()
		start := r.pos
		name, err := r.text(first, "a name")
		if err != nil {
			return err
		}
		r.path = r.path[:0]
		field, ok := r.form.fields[name]
		switch {
		case !ok:
			return r.problemAt(start, gateway.CodeUnknownField, "field %.80q is not known here%s", name, meant(name, r.form.names))
		case r.given&field.bit != 0:
			return r.problemAt(start, gateway.CodeInvalidJSON, "field %.80q is given twice", name)
		}
		r.given |= field.bit
		r.next()
		r.pos++ // the colon
		r.path = append(r.path, "."+name)
		if err := r.field(name, field, start); err != nil {
			return err
		}
	}
	r.path = r.path[:0]
	return nil
}

// has tells whether a field was there.
func (r *reader) has(name string) bool { return r.given&r.form.fields[name].bit != 0 }

// blank is an object of which nothing is left but its braces and its lines.
func blank(data []byte) []byte {
	b := bytes.Repeat([]byte{' '}, len(data))
	for i, c := range data {
		if c == '\n' {
			b[i] = c
		}
	}
	b[bytes.IndexByte(data, '{')], b[bytes.LastIndexByte(data, '}')] = '{', '}'
	return b
}

// field puts one field where it belongs; start is where its name is.
func (r *reader) field(name string, f field, start int) error {
	first := r.next()
	at := r.pos
	switch f.place {
	case inBody:
		r.skip()
		copy(r.rest[start:r.pos], r.data[start:r.pos])
		if r.kept++; r.kept > 1 {
			r.rest[r.comma] = ','
		}
		return nil
	case inQuery:
		return r.query(name, &r.form.op.query[f.index], first)
	case isConditions:
		wrong := r.wrong
		r.wrong = commands.CodeInvalidTxn
		if err := r.value(conditionsType); err != nil {
			return err
		}
		r.wrong = wrong
		return json.Unmarshal(r.data[at:r.pos], &r.if_)
	}
	s, err := r.text(first, "text")
	if err != nil {
		return err
	}
	c := r.call
	switch f.place {
	case inPath:
		c.params[f.index] = s
		return r.bounded(s, textBytesMax, at)
	case isValue:
		c.message.body = []byte(s)
	case isContentType:
		if s != "" {
			c.r.Header["Content-Type"] = []string{s}
		}
		return r.bounded(s, textBytesMax, at)
	case isValueBase64:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return r.unwanted(at, "base64, with padding (RFC 4648 section 4),")
		}
		c.message.body = b
	}
	return nil
}

func (r *reader) bounded(s string, limit, at int) error {
	if len(s) > limit {
		return r.problemAt(at, commands.CodeTooLarge, "%d bytes; at most %d", len(s), limit)
	}
	return nil
}

// query reads a field that is a query parameter over HTTP.
func (r *reader) query(name string, p *parameter, first byte) error {
	var values []string
	if first == '[' && p.repeat {
		at, size := r.pos, 0
		r.pos++
		for r.next() != ']' {
			if r.data[r.pos] == ',' {
				r.pos++
			}
			v, err := r.scalar(name, p, r.next())
			if err != nil {
				return err
			}
			values = append(values, v)
			// Over HTTP each of them would have its name before it.
			if size += len(p.name) + 1 + len(v); size > textBytesMax {
				return r.problemAt(at, commands.CodeTooLarge, "%d values; at most %d bytes of them", len(values), textBytesMax)
			}
		}
		r.pos++
	} else {
		v, err := r.scalar(name, p, first)
		if err != nil {
			return err
		}
		values = []string{v}
	}
	if len(values) > 0 {
		if r.call.query == nil {
			r.call.query = map[string][]string{}
		}
		r.call.query[p.name] = values
	}
	return nil
}

// scalar reads one value of a parameter as the text that it would be in a query.
func (r *reader) scalar(name string, p *parameter, first byte) (string, error) {
	at := r.pos
	var s string
	switch {
	case first == '"':
		var err error
		if s, err = r.text(first, "text"); err != nil {
			return "", err
		}
	case first == '{' || first == '[' || first == 'n':
		wanted := "text, a number, true or false"
		if p.repeat {
			wanted = "text, or an array of it,"
		}
		return "", r.unwanted(at, wanted)
	default:
		r.skip()
		s = string(r.data[at:r.pos])
	}
	limit := textBytesMax
	if p.name == ifValue.name {
		limit = event.ValueBytesMax
	}
	if err := r.bounded(s, limit, at); err != nil {
		return "", err
	}
	if !p.takes(s) || p.kind == flag && s == "" {
		return "", r.problemAt(at, gateway.CodeInvalidParameter, "%.80q is wanted as %s, and is %.80q", name, p.expected(), s)
	}
	return s, nil
}

// skip walks over a value, whatever it is.
func (r *reader) skip() {
	depth := 0
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case '"':
			for r.pos++; r.data[r.pos] != '"'; r.pos++ {
				if r.data[r.pos] == '\\' {
					r.pos++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return // the end of what the value is in
			}
			depth--
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return
			}
		default:
			r.pos++
			continue
		}
		r.pos++
		if depth == 0 && r.pos > 0 && strings.IndexByte(`"}]`, r.data[r.pos-1]) >= 0 {
			return
		}
	}
}

// finish refuses what is missing, and gives the handler its body and its conditions.
func (r *reader) finish() error {
	c, f := r.call, r.form
	for i, name := range f.path {
		if name == "namespace" {
			continue
		}
		if !r.has(name) {
			return gateway.NewProblem(gateway.CodeMissingParameter, "%q is missing: the request names what it is about", name)
		}
		if c.params[i] == "" && !strings.HasSuffix(f.op.path, "{"+name+"...}") {
			return gateway.NewProblem(gateway.CodeInvalidParameter, "%q is empty: the request names what it is about", name)
		}
	}
	for _, p := range f.op.query {
		if p.required && c.query[p.name] == nil {
			return gateway.NewProblem(gateway.CodeMissingParameter, "%q is missing: %s", strings.ReplaceAll(p.name, "-", "_"), p.description)
		}
	}
	if err := r.finishValue(); err != nil {
		return err
	}
	if b := f.op.body; b != nil && b.of != nil && !(b.optional && r.kept == 0) {
		c.message.body = r.rest
		if r.rest == nil {
			c.message.body = []byte("{}")
		}
	}
	return r.finishConditions()
}

// finishValue holds what there is of a value against what is wanted, as a put in a transaction is.
func (r *reader) finishValue() error {
	c, b := r.call, r.form.op.body
	if _, ok := r.form.fields["value"]; !ok {
		return nil
	}
	given, encoded := r.has("value"), r.has("value_base64")
	switch {
	case given && encoded:
		return gateway.NewProblem(gateway.CodeConflicting, "\"value\" and \"value_base64\": a value is given in one of them")
	case given, encoded, b.optional, c.flag("refresh"), event.IsDirectory(c.param("key")):
		return nil
	}
	return gateway.NewProblem(gateway.CodeInvalidBody, "\"value\" is missing, or \"value_base64\" for bytes that are not UTF-8; an empty value is \"\"")
}

// finishConditions reads the conditions, of which those that name nothing are of the operation's own key. They are
// bounded as those of a transaction are.
func (r *reader) finishConditions() error {
	if len(r.if_) == 0 {
		return nil
	}
	key := r.call.param("key")
	for i := range r.if_ {
		if c := &r.if_[i]; c.Key == nil && c.Prefix == nil {
			c.Key = &key
		}
	}
	all, err := convert("if", r.if_, condition.command)
	if err != nil {
		return err
	}
	if refusal := commands.Validate(commands.Txn{If: all}); refusal != nil {
		return refusal
	}
	r.call.message.conditions = all
	return nil
}
