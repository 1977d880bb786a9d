package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/gateway"
)

// A path is split by hand, at the slashes that stand in it as such, and each part is unescaped once. Nothing is
// cleaned and nothing redirected: "a//b", ".." and "a%2Fb" are keys like others.

// paramsMax is how many parts of a template may be named.
const paramsMax = 4

// route is a path template with the operations on it.
type route struct {
	template   string
	parts      []part
	names      []string // of the parts that are parameters, in order
	operations map[string]*operation
	allow      string // the methods, as the Allow header lists them
}

// part is what stands between two slashes of a template.
type part struct {
	literal string // empty for a parameter
	rest    bool   // takes everything up to the end, slashes too
}

func newRoutes(all []operation) []route {
	var routes []route
	for i := range all {
		op := &all[i]
		at := slices.IndexFunc(routes, func(r route) bool { return r.template == op.path })
		if at < 0 {
			at = len(routes)
			routes = append(routes, newRoute(op.path))
		}
		routes[at].operations[op.method] = op
	}
	for i := range routes {
		routes[i].allow = routes[i].methods()
	}
	return routes
}

func newRoute(template string) route {
	r := route{template: template, operations: map[string]*operation{}}
	for text := range strings.SplitSeq(template[1:], "/") {
		name, ok := strings.CutPrefix(text, "{")
		if !ok {
			r.parts = append(r.parts, part{literal: text})
			continue
		}
		name, rest := strings.CutSuffix(strings.TrimSuffix(name, "}"), "...")
		r.parts = append(r.parts, part{rest: rest})
		r.names = append(r.names, name)
	}
	return r
}

func (r route) methods() string {
	var methods []string
	for m := range r.operations {
		methods = append(methods, m)
		if m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// match tells whether an escaped path is one of the route's, and gives the parameters, still escaped.
func (r *route) match(path string) (params [paramsMax]string, ok bool) {
	n := 0
	for _, p := range r.parts {
		if !strings.HasPrefix(path, "/") {
			return params, false
		}
		path = path[1:]
		if p.rest {
			params[n] = path
			return params, true
		}
		text := path
		if i := strings.IndexByte(path, '/'); i >= 0 {
			text = path[:i]
		}
		path = path[len(text):]
		if p.literal != "" {
			if text != p.literal && !spells(text, p.literal) {
				return params, false
			}
			continue
		}
		if text == "" {
			return params, false
		}
		params[n] = text
		n++
	}
	return params, path == ""
}

// spells tells whether an escaped text is another spelling of a literal.
func spells(text, literal string) bool {
	if strings.IndexByte(text, '%') < 0 {
		return false
	}
	plain, err := url.PathUnescape(text)
	return err == nil && plain == literal
}

// route finds the operation of a request and keeps the path's parameters.
func (c *call) route() (*operation, error) {
	path := c.r.URL.EscapedPath()
	for i := range c.api.routes {
		r := &c.api.routes[i]
		params, ok := r.match(path)
		if !ok {
			continue
		}
		method := c.r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		op := r.operations[method]
		if op == nil {
			c.set("Allow", r.allow)
			return nil, gateway.NewProblem(gateway.CodeMethodNotAllowed, "%.40q is not known at %s; known: %s", c.r.Method, r.template, r.allow)
		}
		return op, c.setParams(r, params)
	}
	return nil, gateway.NewProblem(gateway.CodeUnknownPath,
		"nothing is at %.200q; /openapi.json lists what there is", c.r.URL.Path)
}

func (c *call) setParams(r *route, params [paramsMax]string) error {
	c.names = r.names
	for i := range r.names {
		value, err := url.PathUnescape(params[i])
		if err != nil { // net/http refuses such a path before it comes here
			return gateway.NewProblem(gateway.CodeUnknownPath, "the path is not escaped correctly: %v", err)
		}
		c.params[i] = value
	}
	c.namespace = c.param("namespace")
	return nil
}

// param gives a part of the path by its name in the template.
func (c *call) param(name string) string {
	if i := slices.Index(c.names, name); i >= 0 {
		return c.params[i]
	}
	return ""
}
