package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func namespaceOperations() []operation {
	return []operation{{
		id: "namespaces.put", method: http.MethodPut, path: "/v1/_system/namespaces/{name}", group: "namespaces", write: true,
		summary: "Make or configure a namespace",
		about: "It may be used as soon as the answer is there. What the body says of quotas and retention holds from then on; what it leaves out stays as it is, and zero takes a bound away. " +
			"Asking for what is there changes nothing and is no event. With a `ttl` the namespace disappears, with everything in it and in one commit, when nobody has " +
			"made such a request for so long. One that is made `from` another begins with that one's keys, as they are at one moment, but for those that end with a " +
			"lease; nobody sees it before they are all there. While one of that name is being deleted it is refused.",
		query: []parameter{{
			name: "refresh", kind: flag,
			description: "Give the namespace its whole TTL again, and make none where there is none; without a body, and without any other parameter. The answer is `Renewed`",
		}},
		body: optional(jsonBody[placement]("Where to place it, and what it is to keep to")),
		answers: []answer{
			{status: 200, about: "It existed already", headers: []string{"ETag"}, as: asJSON[placed]()},
			{status: 201, about: "It is new", headers: []string{"ETag"}, as: asJSON[placed]()},
		},
		refusals: []commands.Code{
			commands.CodeInvalidNamespace, commands.CodeInvalidTTL, commands.CodeNamespaceEnding, commands.CodeNamespaceFilling, commands.CodeConditionFailed, gateway.CodeInvalidJSON, gateway.CodeUnknownField, commands.CodeInvalidArgument, commands.CodeTooLarge, gateway.CodeInvalidBody,
			gateway.CodeConflicting, gateway.CodeNoLease,
		},
		or:     reflect.TypeFor[renewed](),
		handle: putNamespace,
	}, {
		id: "namespaces.get", method: http.MethodGet, path: "/v1/_system/namespaces/{name}", group: "namespaces",
		summary: "Read a namespace",
		about:   "With what it holds and from where on its past can be read, as they are now.",
		answers: []answer{{status: 200, about: "The namespace", headers: []string{"ETag"}, as: asJSON[namespaceDetail]()}},
		handle:  getNamespace,
	}, {
		id: "namespaces.delete", method: http.MethodDelete, path: "/v1/_system/namespaces/{name}", group: "namespaces", write: true,
		summary: "Delete a namespace",
		about: "When the answer is there, no server shows or takes anything of it any more. Its ledger stays where it is: if a namespace of that name is made again, " +
			"which is refused for a moment, it begins empty and goes on with the next revision.",
		answers:  []answer{{status: 200, about: "It is deleted", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeInvalidNamespace, commands.CodeNamespaceEnding},
		handle:   deleteNamespace,
	}, {
		id: "namespaces.list", method: http.MethodGet, path: "/v1/_system/namespaces", group: "namespaces",
		summary: "List the namespaces",
		answers: []answer{{status: 200, about: "All but _system, by name", as: asJSON[namespaces]()}},
		handle:  listNamespaces,
	}}
}

// placement is what a client may say about a namespace.
type placement struct {
	Group     uint64         `json:"group,omitempty" doc:"The Raft group that is to host it; the one that hosts the fewest where it is left out"`
	Quotas    *wantedQuotas  `json:"quotas,omitempty" doc:"How much it may hold"`
	Retention *wantedHistory `json:"retention,omitempty" doc:"How much of its past can be read; the ledger stays. With both, what either keeps"`
	TTL       *string        `json:"ttl,omitempty" doc:"It disappears when this was not asked for again for so long, such as 30s; 0 or none for good. From 1s to 720h"`
	From      string         `json:"from,omitempty" doc:"A namespace whose configuration it is to begin with; one that exists must have been made from it"`
}

type wantedQuotas struct {
	Keys  *uint64 `json:"keys,omitempty" doc:"At most so many keys; 0 for any number"`
	Bytes *uint64 `json:"bytes,omitempty" doc:"At most so many bytes of keys and values together; 0 for any number"`
}

type wantedHistory struct {
	Age       *string `json:"age,omitempty" doc:"The states of so long ago, such as 720h; 0 or none for no such bound"`
	Revisions *uint64 `json:"revisions,omitempty" doc:"The states of so many revisions; 0 for no such bound"`
}

// placed is the answer to the making of a namespace.
type placed struct {
	Revision event.Revision `json:"revision" doc:"The commit in _system's ledger that placed it"`
	Group    uint64         `json:"group" doc:"The Raft group that hosts it"`
	TTL      string         `json:"ttl,omitempty" doc:"For how long it stays from now on, where that was asked for"`
}

// namespace is a namespace.
type namespace struct {
	Name     string         `json:"name"`
	Group    uint64         `json:"group" doc:"The Raft group that hosts it"`
	Revision event.Revision `json:"revision" doc:"The commit in _system's ledger that placed it"`
	Time     string         `json:"time" format:"date-time"`
	// What it was asked to keep to.
	Quotas     *gateway.Quotas    `json:"quotas,omitempty" doc:"How much it may hold"`
	Retention  *gateway.Retention `json:"retention,omitempty" doc:"How much of its past can be read"`
	Configured event.Revision     `json:"configured,omitempty" doc:"The commit in _system's ledger that last configured it"`
	TTL        string             `json:"ttl,omitempty" doc:"It disappears when nobody renews it for so long"`
	// What it was made from.
	From         string         `json:"from,omitempty" doc:"The namespace whose configuration it began with"`
	FromRevision event.Revision `json:"from_revision,omitempty" doc:"The revision of that namespace's ledger that it was taken from"`
}

func newNamespace(v gateway.View, n event.Namespace) namespace {
	out := namespace{
		Name: n.Name, Group: n.Group, Revision: n.Revision, Time: gateway.FormatTime(n.Time), From: n.From, FromRevision: n.FromRevision,
	}
	if wish, ok := v.Wish(n.Name); ok {
		quotas, retention := gateway.NewSettings(wish)
		out.Configured, out.TTL = wish.Configured, gateway.FormatTTL(wish.TTL)
		if quotas != (gateway.Quotas{}) {
			out.Quotas = &quotas
		}
		if retention != (gateway.Retention{}) {
			out.Retention = &retention
		}
	}
	return out
}

// namespaceDetail is a namespace with what is in it.
type namespaceDetail struct {
	Name       string             `json:"name"`
	Group      uint64             `json:"group" doc:"The Raft group that hosts it"`
	Revision   event.Revision     `json:"revision" doc:"The commit in _system's ledger that placed it"`
	Time       string             `json:"time" format:"date-time"`
	Quotas     *gateway.Quotas    `json:"quotas,omitempty" doc:"How much it may hold"`
	Retention  *gateway.Retention `json:"retention,omitempty" doc:"How much of its past can be read"`
	Configured event.Revision     `json:"configured,omitempty" doc:"The commit in _system's ledger that last configured it"`

	TTL          string         `json:"ttl,omitempty" doc:"It disappears when nobody renews it for so long"`
	Expires      string         `json:"expires,omitempty" format:"date-time" doc:"When that is, if nobody renews it; missing where the past is read, and where the server that keeps the time cannot be asked"`
	From         string         `json:"from,omitempty" doc:"The namespace whose configuration it began with"`
	FromRevision event.Revision `json:"from_revision,omitempty" doc:"The revision of that namespace's ledger that it was taken from"`

	Usage    usage          `json:"usage" doc:"What it holds now"`
	KeptFrom event.Revision `json:"kept_from,omitempty" doc:"The oldest revision whose state is kept; left out where that is all"`
}

// usage is what a namespace holds.
type usage struct {
	Keys  uint64 `json:"keys"`
	Bytes uint64 `json:"bytes" doc:"Of keys and values together"`
	Level string `json:"level" enum:"normal,warning" doc:"warning from 80 % of a quota on, until it is below 70 % of each"`
}

// namespaces is a list of them.
type namespaces struct {
	Revision   event.Revision `json:"revision" doc:"The state that is shown, of _system's ledger"`
	Namespaces []namespace    `json:"namespaces"`
}

func putNamespace(c *call) error {
	raw, err := c.body(jsonBytesMax, "the body")
	if err != nil {
		return err
	}
	if c.flag("refresh") {
		return refreshNamespace(c, raw)
	}
	var given placement
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
			return err
		}
	}
	command, err := given.command(c.param("name"))
	if err != nil {
		return err
	}
	answer, err := c.submit(event.System, command)
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	out := placed{Revision: answer.Revision, Group: answer.Results[0].Group}
	if configured, ok := command.(commands.ConfigureNamespace); ok && configured.TTL != nil {
		out.TTL = gateway.FormatTTL(*configured.TTL)
	}
	return c.json(madeOr(answer), out)
}

// refreshNamespace renews the TTL that a namespace has.
func refreshNamespace(c *call, body []byte) error {
	if len(body) > 0 || c.query[dryRun] != nil {
		return gateway.NewProblem(gateway.CodeConflicting, "\"refresh\" renews the TTL that the namespace has, and changes nothing else: neither a body nor %q has a place beside it", dryRun)
	}
	name := c.param("name")
	renewal, err := c.api.Backend.Renew(c.ctx, name, gateway.Lease{Namespace: true})
	if errors.Is(err, gateway.ErrNoLease) {
		return gateway.NewProblem(gateway.CodeNoLease, "namespace %q has no TTL: configure it with one", name)
	}
	if err != nil {
		return err
	}
	if head, err := c.api.Backend.Head(event.System); err == nil {
		c.shows(head)
	}
	return c.json(http.StatusOK, renewed{TTL: gateway.FormatDuration(event.Time(renewal.TTL))})
}

func deleteNamespace(c *call) error {
	answer, err := c.submit(event.System, commands.DeleteNamespace{Namespace: c.param("name")})
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}

// command is what was asked for. Who asks for no settings asks for nothing that an older server would not know.
func (p placement) command(name string) (commands.Command, error) {
	if p.Quotas == nil && p.Retention == nil && p.TTL == nil {
		return commands.CreateNamespace{Namespace: name, Group: p.Group, From: p.From}, nil
	}
	configure := commands.ConfigureNamespace{Namespace: name, Group: p.Group, From: p.From}
	if p.TTL != nil {
		ttl, err := parseLifetime(*p.TTL)
		if err != nil {
			return nil, err
		}
		configure.TTL = &ttl
	}
	if q := p.Quotas; q != nil {
		configure.Keys, configure.Bytes = q.Keys, q.Bytes
	}
	if r := p.Retention; r != nil {
		configure.Revisions = r.Revisions
		if r.Age != nil {
			age, err := parseAge(*r.Age)
			if err != nil {
				return nil, err
			}
			configure.Age = &age
		}
	}
	return configure, nil
}

// parseLifetime reads the TTL of a namespace; zero is none.
func parseLifetime(s string) (event.Time, error) {
	if s == "none" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, gateway.NewProblem(commands.CodeInvalidTTL, "a TTL of %.40q: a length of time such as 30s or 1h, or none", s)
	}
	return event.Time(d), nil
}

func parseAge(s string) (event.Time, error) {
	if s == "none" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, gateway.NewProblem(commands.CodeInvalidArgument, "an age of %.40q: a length of time such as 720h or 90m, or none", s)
	}
	return event.Time(d), nil
}

func getNamespace(c *call) error {
	name := c.param("name")
	var out namespaceDetail
	err := c.view(event.System, func(v gateway.View) error {
		found, ok := v.Namespace(name)
		if !ok {
			return gateway.UnknownNamespaceError{Namespace: name}
		}
		n := newNamespace(v, found)
		out = namespaceDetail{
			Name: n.Name, Group: n.Group, Revision: n.Revision, Time: n.Time,
			Quotas: n.Quotas, Retention: n.Retention, Configured: n.Configured,
			TTL: n.TTL, From: n.From, FromRevision: n.FromRevision,
		}
		return nil
	})
	if err != nil {
		return err
	}
	o, err := c.reading()
	if err != nil {
		return err
	}
	// The revisions that the request speaks of are those of _system.
	err = c.api.Backend.View(c.ctx, name, gateway.ReadOptions{Stale: o.Stale}, func(v gateway.View) error {
		out.Usage = usage{Keys: v.Usage.Keys, Bytes: v.Usage.Bytes, Level: v.Level().String()}
		out.KeptFrom = v.Floor()
		return nil
	})
	if err != nil {
		return err
	}
	if out.TTL != "" && c.query["at"] == nil {
		out.Expires = c.expires(name)
	}
	c.set("Etag", etagOf(max(out.Revision, out.Configured)))
	return c.json(http.StatusOK, out)
}

// expires is when a namespace is to disappear if nobody renews it, as far as whoever keeps the time can be asked.
func (c *call) expires(name string) string {
	ctx, cancel := context.WithTimeout(c.ctx, expiriesPatience)
	defer cancel()
	lease := gateway.Lease{Namespace: true}
	left, err := c.api.Backend.Left(ctx, name, []gateway.Lease{lease})
	d, ok := left[lease]
	if err != nil || !ok {
		return ""
	}
	return gateway.FormatTime(event.Time(c.api.Now().Add(d).UnixNano()))
}

func listNamespaces(c *call) error {
	all := namespaces{Namespaces: []namespace{}}
	err := c.view(event.System, func(v gateway.View) error {
		all.Revision = v.Head()
		for n := range v.Namespaces() {
			all.Namespaces = append(all.Namespaces, newNamespace(v, n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, all)
}
