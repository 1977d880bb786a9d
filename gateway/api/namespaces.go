package api

import (
	"bytes"
	"net/http"
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
			"Asking for what is there changes nothing and is no event.",
		body: optional(jsonBody[placement]("Where to place it, and what it is to keep to")),
		answers: []answer{
			{status: 200, about: "It existed already", headers: []string{"ETag"}, as: asJSON[placed]()},
			{status: 201, about: "It is new", headers: []string{"ETag"}, as: asJSON[placed]()},
		},
		refusals: []commands.Code{commands.CodeInvalidNamespace, commands.CodeConditionFailed, gateway.CodeInvalidJSON, gateway.CodeUnknownField, commands.CodeInvalidArgument, commands.CodeTooLarge, gateway.CodeInvalidBody},
		handle:   putNamespace,
	}, {
		id: "namespaces.get", method: http.MethodGet, path: "/v1/_system/namespaces/{name}", group: "namespaces",
		summary: "Read a namespace",
		about:   "With what it holds and from where on its past can be read, as they are now.",
		answers: []answer{{status: 200, about: "The namespace", headers: []string{"ETag"}, as: asJSON[namespaceDetail]()}},
		handle:  getNamespace,
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
}

func newNamespace(v gateway.View, n event.Namespace) namespace {
	out := namespace{Name: n.Name, Group: n.Group, Revision: n.Revision, Time: gateway.FormatTime(n.Time)}
	if wish, ok := v.Wish(n.Name); ok {
		quotas, retention := gateway.NewSettings(wish)
		out.Configured = wish.Configured
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
	return c.json(madeOr(answer), placed{answer.Revision, answer.Results[0].Group})
}

// command is what was asked for. Who asks for no settings asks for nothing that an older server would not know.
func (p placement) command(name string) (commands.Command, error) {
	if p.Quotas == nil && p.Retention == nil {
		return commands.CreateNamespace{Namespace: name, Group: p.Group}, nil
	}
	configure := commands.ConfigureNamespace{Namespace: name, Group: p.Group}
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
	c.set("Etag", etagOf(max(out.Revision, out.Configured)))
	return c.json(http.StatusOK, out)
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
