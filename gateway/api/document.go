package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

var typeOfCloudEvent = reflect.TypeFor[gateway.CloudEvent]()

// about stands at the head of the document.
const about = "A registry that remembers. Every change is an event in the ledger of its namespace; every answer has " +
	"`Rollcall-Revision`, the revision that it shows. GET operations answer HEAD too. Fields may be added to answers; " +
	"requests with unknown fields or parameters are refused. Every operation but `snapshot` and this document is a NATS request " +
	"as well, `rollcall-api.{namespace}.{operation}`.\n\nRefusals are `application/problem+json` (RFC 9457), with " +
	"a `code` that never changes its meaning:\n\n| code | status | title |\n| --- | --- | --- |\n"

// newDocument describes the table in OpenAPI 3.1.
func newDocument(all []operation, version string) []byte {
	d := schemas{huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)}
	paths := map[string]*huma.PathItem{}
	for i := range all {
		op := &all[i]
		path := strings.ReplaceAll(op.path, "...}", "}")
		if paths[path] == nil {
			paths[path] = &huma.PathItem{}
		}
		*method(paths[path], op.method) = d.operation(op)
	}
	d.Schema(reflect.TypeFor[gateway.Problem](), true, "")
	d.finish(all)
	if version == "" {
		version = "unknown"
	}
	b, err := json.MarshalIndent(&huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Rollcall", Version: version, Description: about + codes()},
		Paths:   paths, Components: &huma.Components{Schemas: d.Registry},
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("describe the operations: %v", err)) // they are constants: the tests see it
	}
	// huma escapes for HTML, which this is not.
	for escaped, plain := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		b = bytes.ReplaceAll(b, []byte(escaped), []byte(plain))
	}
	return append(b, '\n')
}

func codes() string {
	var b strings.Builder
	for _, c := range gateway.ProblemCodes() {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", c.Code, c.Status, c.Title)
	}
	return b.String()
}

func method(p *huma.PathItem, name string) **huma.Operation {
	switch name {
	case http.MethodGet:
		return &p.Get
	case http.MethodPut:
		return &p.Put
	case http.MethodPost:
		return &p.Post
	case http.MethodDelete:
		return &p.Delete
	}
	panic("the document knows no method " + name)
}

// schemas collects the schemas of what the operations speak of.
type schemas struct{ huma.Registry }

func (d schemas) operation(op *operation) *huma.Operation {
	o := &huma.Operation{
		OperationID: op.id, Tags: []string{op.group}, Summary: op.summary, Description: op.about,
		Responses: map[string]*huma.Response{},
	}
	for _, name := range newRoute(op.path).names {
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	for _, p := range op.query {
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: p.name, In: "query", Description: p.description, Required: p.required,
			AllowEmptyValue: p.kind == flag || p.required, Schema: p.schema(),
		})
	}
	for _, h := range op.headers {
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: h.name, In: "header", Description: h.description, Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	if b := op.body; b != nil {
		as := []representation{{b.mediaType, b.of}}
		for _, mediaType := range b.others {
			as = append(as, representation{mediaType, nil})
		}
		o.RequestBody = &huma.RequestBody{Description: b.about, Required: !b.optional, Content: d.content(as)}
	}
	for _, a := range op.answers {
		o.Responses[strconv.Itoa(a.status)] = d.answer(op, a)
	}
	if op.or != nil {
		d.or(o.Responses["200"], op.or)
	}
	if op.write && !op.renewal {
		if o.Responses["200"] == nil { // it makes something new, unless it is only rehearsed
			o.Responses["200"] = d.answer(op, answer{about: "Nothing was written", as: asJSON[rehearsal]()})
		} else {
			d.or(o.Responses["200"], reflect.TypeFor[rehearsal]())
			o.Responses["200"].Description += "; with `dry-run`, a Rehearsal"
		}
	}
	d.refusals(o.Responses, op)
	return o
}

func (p parameter) schema() *huma.Schema {
	s := &huma.Schema{Type: string(p.kind)}
	if p.kind == number {
		zero := 0.0
		s.Minimum = &zero
	}
	for _, v := range p.values {
		s.Enum = append(s.Enum, v)
	}
	if p.repeat {
		return &huma.Schema{Type: huma.TypeArray, Items: s}
	}
	return s
}

func (d schemas) content(as []representation) map[string]*huma.MediaType {
	content := map[string]*huma.MediaType{}
	for _, r := range as {
		m := &huma.MediaType{}
		if r.of != nil {
			m.Schema = d.Schema(r.of, true, "")
		}
		content[r.mediaType] = m
	}
	return content
}

func (d schemas) answer(op *operation, a answer) *huma.Response {
	r := &huma.Response{Description: a.about, Headers: map[string]*huma.Param{}}
	if len(a.as) > 0 {
		r.Content = d.content(a.as)
	}
	if op.id != documentID {
		revision := &huma.Schema{Type: huma.TypeInteger}
		r.Headers[headerRevision] = &huma.Param{Description: "The revision that the answer shows", Schema: revision}
		if !op.write {
			r.Headers[headerStaleness] = &huma.Param{
				Description: "With consistency=stale: for how many milliseconds the state may have been out of date", Schema: revision,
			}
		}
	}
	for _, name := range a.headers {
		r.Headers[name] = &huma.Param{Description: "The revision, in quotes", Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return r
}

// or says that an answer may be of another form, too.
func (d schemas) or(r *huma.Response, other reflect.Type) {
	for _, m := range r.Content {
		forms := m.Schema.OneOf
		if forms == nil {
			forms = []*huma.Schema{m.Schema}
		}
		m.Schema = &huma.Schema{OneOf: append(slices.Clone(forms), d.Schema(other, true, ""))}
	}
}

// codesOf are all codes that an operation may give.
func codesOf(op *operation) []commands.Code {
	all := slices.Concat(op.refusals, everywhere)
	switch {
	case op.id == documentID:
		all = []commands.Code{gateway.CodeInternal}
	case op.write:
		all = append(all, everyWrite...)
	default:
		all = append(all, everyRead...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// refusals adds one response for each status, which names its codes.
func (d schemas) refusals(responses map[string]*huma.Response, op *operation) {
	problem := d.Schema(reflect.TypeFor[gateway.Problem](), true, "")
	byCode := map[commands.Code]int{}
	for _, c := range gateway.ProblemCodes() {
		byCode[c.Code] = c.Status
	}
	for _, code := range codesOf(op) {
		status := strconv.Itoa(byCode[code])
		if responses[status] == nil {
			responses[status] = &huma.Response{
				Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
			}
		} else {
			responses[status].Description += ", "
		}
		responses[status].Description += "`" + string(code) + "`"
	}
}

// finish says of the schemas what their Go types cannot: answers may gain fields, so that everything but requests may
// have more than are named, and their arrays are never null; and revisions use all 64 bits.
func (d schemas) finish(all []operation) {
	requests := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	for _, op := range all {
		if op.body != nil && op.body.of != nil {
			requests.Schema(op.body.of, true, "")
		}
	}
	for name, s := range d.Map() {
		_, request := requests.Map()[name]
		if !request && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
		for _, property := range s.Properties {
			if property.Type == huma.TypeInteger {
				property.Format = ""
			}
			property.Nullable = property.Nullable && request
		}
	}
}
