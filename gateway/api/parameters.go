package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// parameter is a query parameter that an operation takes.
type parameter struct {
	name        string
	description string
	kind        kind
	values      []string // the only ones, where there are but a few
	repeat      bool
	required    bool
}

// kind is what a query parameter's value is.
type kind string

// The kinds of values. A flag is true when it stands there without a value.
const (
	text   kind = "string"
	number kind = "integer"
	flag   kind = "boolean"
)

// header is a request header that an operation heeds.
type header struct{ name, description string }

// conditional are the headers that change what a request means. An operation that does not heed them refuses them:
// who sends one counts on it.
var conditional = []string{"If-Match", "If-None-Match", "If-Unmodified-Since", "Idempotency-Key"}

// deaf are those that the operation would not heed. A read may ignore If-None-Match: it then answers in full.
func (op *operation) deaf() []string {
	return slices.DeleteFunc(slices.Clone(conditional), func(name string) bool {
		return !op.write && name == "If-None-Match" ||
			slices.ContainsFunc(op.headers, func(h header) bool { return h.name == name })
	})
}

func (c *call) checkHeaders() error {
	for _, name := range c.op.refused {
		if c.r.Header[name] != nil {
			return gateway.NewProblem(gateway.CodeUnknownHeader, "%s is not known to this operation; it would have no effect", name)
		}
	}
	return nil
}

// parseQuery reads the query and refuses what the operation does not take.
func (c *call) parseQuery() error {
	if raw := c.r.URL.RawQuery; raw != "" {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return gateway.NewProblem(gateway.CodeInvalidParameter, "the query is not escaped correctly: %v", err)
		}
		for _, name := range sortedKeys(query) { // so that of two faults the same one is named each time
			if err := c.op.check(name, query[name]); err != nil {
				return err
			}
		}
		c.query = query
	}
	for _, p := range c.op.query {
		if p.required && c.query[p.name] == nil {
			return gateway.NewProblem(gateway.CodeMissingParameter, "%q is missing: %s", p.name, p.description)
		}
	}
	return nil
}

func sortedKeys(q url.Values) []string {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (op *operation) check(name string, values []string) error {
	i := slices.IndexFunc(op.query, func(p parameter) bool { return p.name == name })
	if i < 0 {
		return gateway.NewProblem(gateway.CodeUnknownParameter, "%.80q is not known to this operation%s",
			name, meant(name, op.parameterNames()))
	}
	p := op.query[i]
	if len(values) > 1 && !p.repeat {
		return gateway.NewProblem(gateway.CodeInvalidParameter, "%q is given %d times; once is enough", name, len(values))
	}
	for _, v := range values {
		if !p.takes(v) {
			return gateway.NewProblem(gateway.CodeInvalidParameter, "%q is %.80q; it takes %s", name, v, p.expected())
		}
	}
	return nil
}

func (op *operation) parameterNames() []string {
	names := make([]string, len(op.query))
	for i, p := range op.query {
		names[i] = p.name
	}
	return names
}

func (p parameter) takes(value string) bool {
	switch {
	case p.kind == number:
		_, err := strconv.ParseUint(value, 10, 64)
		return err == nil
	case p.kind == flag:
		return value == "" || value == "true" || value == "false"
	}
	return p.values == nil || slices.Contains(p.values, value)
}

func (p parameter) expected() string {
	switch p.kind {
	case number:
		return "a whole number from 0"
	case flag:
		return "true or false"
	}
	return strings.Join(p.values, " or ")
}

// flag gives a flag; false where it is not there. It may be asked for in problems too, before the query was checked.
func (c *call) flag(name string) bool {
	v := c.query[name]
	return v != nil && v[0] != "false"
}

// number gives a number, or the default where it is not there.
func (c *call) number(name string, otherwise uint64) uint64 {
	if v := c.query[name]; v != nil {
		n, _ := strconv.ParseUint(v[0], 10, 64) // checked before
		return n
	}
	return otherwise
}

// reading are the query parameters of every read.
var reading = []parameter{
	{
		name: "consistency", kind: text, values: []string{"linearizable", "stale"},
		description: "linearizable (the default) shows every change that was acknowledged before; stale shows what this server has, and how old it may be in Rollcall-Staleness",
	},
	{name: "min-revision", kind: number, description: "Wait until this server has applied this revision"},
	{name: "at", kind: text, description: "Read the past: a revision, or a time in RFC 3339"},
}

// reading gives the options of a read.
func (c *call) reading() (o gateway.ReadOptions, err error) {
	if c.query == nil {
		return o, nil
	}
	o.Stale = c.query.Get("consistency") == "stale"
	o.MinRevision = event.Revision(c.number("min-revision", 0))
	if at := c.query["at"]; at != nil {
		o.At, o.AtTime, err = parseAt(at[0])
	}
	return o, err
}

func parseAt(at string) (event.Revision, time.Time, error) {
	if n, err := strconv.ParseUint(at, 10, 64); err == nil && n > 0 {
		return event.Revision(n), time.Time{}, nil
	}
	// A plus sign that was not escaped comes as a space; no time in RFC 3339 has one of its own.
	if t, err := time.Parse(time.RFC3339Nano, strings.ReplaceAll(at, " ", "+")); err == nil && !t.IsZero() {
		return 0, t, nil
	}
	return 0, time.Time{}, gateway.NewProblem(gateway.CodeInvalidRevision,
		"\"at\" is %.80q; it takes a revision from 1, or a time such as 2026-01-02T03:04:05Z", at)
}

// meant ends a refusal of an unknown name with the known one that it resembles, or with all there are.
func meant(name string, known []string) string {
	best, least := "", len(name)/3+1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "; did you mean \"" + best + "\"?"
	}
	if len(known) == 0 {
		return ", which takes none"
	}
	return "; known: " + strings.Join(known, ", ")
}

// distance is how many letters must be added, left out or replaced to make one word of another (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a) // nothing that is known is as long
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := corner
			if a[i] != b[j] {
				d++
			}
			corner = row[j+1]
			row[j+1] = min(d, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
