package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	headerReason   = "Rollcall-Reason"
	headerKey      = "Idempotency-Key"
	headerRevision = "Rollcall-Revision"
)

// systemNamespace is where what is about the cluster goes.
const systemNamespace = "_system"

// operation is how HTTP asks for what has a name in the server's OpenAPI document.
type operation struct {
	method string
	path   string // with parameters in braces, as in the document
	// value says that the body is a value as it is, and not JSON.
	value bool
	// httpOnly says that no other door has it.
	httpOnly bool
}

// operations are all that the client asks for, by their names in the OpenAPI document.
var operations = map[string]operation{
	"checks.put":            {method: http.MethodPut, path: "/v1/{namespace}/services/{service}/instances/{id}/checks/{check}"},
	"events":                {method: http.MethodGet, path: "/v1/{namespace}/events"},
	"groups.list":           {method: http.MethodGet, path: "/v1/_system/groups"},
	"history":               {method: http.MethodGet, path: "/v1/{namespace}/history"},
	"instances.credentials": {method: http.MethodGet, path: "/v1/{namespace}/services/{service}/instances/{id}/credentials"},
	"instances.delete":      {method: http.MethodDelete, path: "/v1/{namespace}/services/{service}/instances/{id}"},
	"instances.get":         {method: http.MethodGet, path: "/v1/{namespace}/services/{service}/instances/{id}"},
	"instances.maintenance": {method: http.MethodPut, path: "/v1/{namespace}/services/{service}/instances/{id}/maintenance"},
	"instances.put":         {method: http.MethodPut, path: "/v1/{namespace}/services/{service}/instances/{id}"},
	"kv.append":             {method: http.MethodPost, path: "/v1/{namespace}/kv/{key}", value: true},
	"kv.delete":             {method: http.MethodDelete, path: "/v1/{namespace}/kv/{key}"},
	"kv.delete-prefix":      {method: http.MethodDelete, path: "/v1/{namespace}/kv"},
	"kv.get":                {method: http.MethodGet, path: "/v1/{namespace}/kv/{key}"},
	"kv.list":               {method: http.MethodGet, path: "/v1/{namespace}/kv"},
	"kv.put":                {method: http.MethodPut, path: "/v1/{namespace}/kv/{key}", value: true},
	"kv.put-tree":           {method: http.MethodPut, path: "/v1/{namespace}/kv", value: true},
	"members.list":          {method: http.MethodGet, path: "/v1/_system/members"},
	"members.promote":       {method: http.MethodPut, path: "/v1/_system/members/{name}/promote"},
	"members.put":           {method: http.MethodPut, path: "/v1/_system/members/{name}"},
	"members.remove":        {method: http.MethodDelete, path: "/v1/_system/members/{name}"},
	"namespaces.delete":     {method: http.MethodDelete, path: "/v1/_system/namespaces/{name}"},
	"namespaces.get":        {method: http.MethodGet, path: "/v1/_system/namespaces/{name}"},
	"namespaces.list":       {method: http.MethodGet, path: "/v1/_system/namespaces"},
	"namespaces.put":        {method: http.MethodPut, path: "/v1/_system/namespaces/{name}"},
	"nodes.delete":          {method: http.MethodDelete, path: "/v1/{namespace}/nodes/{node}"},
	"nodes.get":             {method: http.MethodGet, path: "/v1/{namespace}/nodes/{node}"},
	"nodes.list":            {method: http.MethodGet, path: "/v1/{namespace}/nodes"},
	"nodes.maintenance":     {method: http.MethodPut, path: "/v1/{namespace}/nodes/{node}/maintenance"},
	"nodes.put":             {method: http.MethodPut, path: "/v1/{namespace}/nodes/{node}"},
	"services.get":          {method: http.MethodGet, path: "/v1/{namespace}/services/{service}"},
	"services.list":         {method: http.MethodGet, path: "/v1/{namespace}/services"},
	"services.put":          {method: http.MethodPut, path: "/v1/{namespace}/services/{service}"},
	"sessions.create":       {method: http.MethodPost, path: "/v1/{namespace}/sessions"},
	"sessions.end":          {method: http.MethodDelete, path: "/v1/{namespace}/sessions/{id}"},
	"sessions.get":          {method: http.MethodGet, path: "/v1/{namespace}/sessions/{id}"},
	"sessions.keepalive":    {method: http.MethodPut, path: "/v1/{namespace}/sessions/{id}/keepalive"},
	"sessions.list":         {method: http.MethodGet, path: "/v1/{namespace}/sessions"},
	"snapshot":              {method: http.MethodGet, path: "/v1/_system/snapshot", httpOnly: true},
	"txn":                   {method: http.MethodPost, path: "/v1/{namespace}/txn"},
}

// request is one request before it is known which server gets it, and through which door.
type request struct {
	operation
	name      string // of the operation
	namespace string
	params    []string   // what stands in the path: name, value, name, value
	query     url.Values // by HTTP's names; nil for none
	header    http.Header
	body      []byte // nil for none: a value, or a JSON object
	// key is the idempotency key and reason why; empty for none.
	key, reason string
	// renewal says that it changes nothing, though its method would: it needs neither a name nor a reason.
	renewal bool
	// rehearsal is where the answer of a dry run goes; nil for none.
	rehearsal *Rehearsal
	// pages says that who asks can do with a smaller page.
	pages bool
	// overHTTP is why only HTTP can carry it; empty where any door can.
	overHTTP string
}

// newRequest asks for an operation in the client's namespace, with what stands in its path: name, value, name, value.
func (c *Client) newRequest(name string, path ...string) *request {
	return requestIn(c.namespace, name, path)
}

// systemRequest asks for an operation that is about the cluster.
func systemRequest(name string, path ...string) *request {
	return requestIn(systemNamespace, name, path)
}

func requestIn(namespace, name string, path []string) *request {
	r := &request{operation: operations[name], name: name, namespace: namespace, params: path}
	if r.httpOnly {
		r.overHTTP = fmt.Sprintf("%q is an operation of HTTP alone", name)
	}
	return r
}

// write tells whether a request changes something.
func (r *request) write() bool {
	return r.method != http.MethodGet && !r.renewal && r.rehearsal == nil
}

// with applies options of a write.
func (r *request) with(options []WriteOption) *request {
	for _, o := range options {
		o(r)
	}
	return r
}

// options applies options of a read.
func (r *request) options(options []ReadOption) *request {
	if len(options) > 0 && r.query == nil {
		r.query = url.Values{}
	}
	for _, o := range options {
		o(r.query)
	}
	return r
}

// ask sets a parameter of the query.
func (r *request) ask(name string, values ...string) {
	if r.query == nil {
		r.query = url.Values{}
	}
	r.query[name] = values
}

// set sets a header.
func (r *request) set(name, value string) {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
}

// setValue sets the body to a value, which may be empty.
func (r *request) setValue(value []byte) {
	if r.body = value; value == nil {
		r.body = []byte{} // an empty value, not a request without a body
	}
}

// json sets the body.
func (r *request) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	r.body = b
	r.set("Content-Type", "application/json")
	return nil
}

// escapedPath is the path behind a base URL, escaped.
func (r *request) escapedPath() string {
	var b strings.Builder
	for rest := strings.TrimPrefix(r.path, "/"); rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		// A key is all that follows, slashes included; everything else is one segment.
		b.WriteString(escape(r.parameter(name), name == "key"))
		rest = after
	}
	return b.String()
}

// parameter is what stands in the path under a name.
func (r *request) parameter(name string) string {
	if name == "namespace" {
		return r.namespace
	}
	for i := 0; i+1 < len(r.params); i += 2 {
		if r.params[i] == name {
			return r.params[i+1]
		}
	}
	return ""
}
