package api

import (
	"bytes"
	"net/http"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func namespaceOperations() []operation {
	return []operation{{
		id: "namespaces.put", method: http.MethodPut, path: "/v1/_system/namespaces/{name}", group: "namespaces", write: true,
		summary: "Make a namespace",
		about:   "It may be used as soon as the answer is there. Making what exists changes nothing and is no event.",
		body:    optional(jsonBody[placement]("Where to place it")),
		answers: []answer{
			{status: 200, about: "It existed already", headers: []string{"ETag"}, as: asJSON[placed]()},
			{status: 201, about: "It is new", headers: []string{"ETag"}, as: asJSON[placed]()},
		},
		refusals: []commands.Code{commands.CodeInvalidNamespace, commands.CodeConditionFailed, gateway.CodeInvalidJSON, gateway.CodeUnknownField, commands.CodeInvalidArgument, commands.CodeTooLarge, gateway.CodeInvalidBody},
		handle:   putNamespace,
	}, {
		id: "namespaces.get", method: http.MethodGet, path: "/v1/_system/namespaces/{name}", group: "namespaces",
		summary: "Read a namespace",
		answers: []answer{{status: 200, about: "The namespace", headers: []string{"ETag"}, as: asJSON[namespace]()}},
		handle:  getNamespace,
	}, {
		id: "namespaces.list", method: http.MethodGet, path: "/v1/_system/namespaces", group: "namespaces",
		summary: "List the namespaces",
		answers: []answer{{status: 200, about: "All but _system, by name", as: asJSON[namespaces]()}},
		handle:  listNamespaces,
	}}
}

// placement is what a client may say about a new namespace.
type placement struct {
	Group uint64 `json:"group,omitempty" doc:"The Raft group that is to host it; the one that hosts the fewest where it is left out"`
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
}

func newNamespace(n event.Namespace) namespace {
	return namespace{n.Name, n.Group, n.Revision, gateway.FormatTime(n.Time)}
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
	answer, err := c.submit(event.System, commands.CreateNamespace{Namespace: c.param("name"), Group: given.Group})
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(madeOr(answer), placed{answer.Revision, answer.Results[0].Group})
}

func getNamespace(c *call) error {
	var found event.Namespace
	err := c.view(event.System, func(v gateway.View) error {
		var ok bool
		if found, ok = v.Namespace(c.param("name")); !ok {
			return gateway.UnknownNamespaceError{Namespace: c.param("name")}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.set("Etag", etagOf(found.Revision))
	return c.json(http.StatusOK, newNamespace(found))
}

func listNamespaces(c *call) error {
	all := namespaces{Namespaces: []namespace{}}
	err := c.view(event.System, func(v gateway.View) error {
		all.Revision = v.Head()
		for n := range v.Namespaces() {
			all.Namespaces = append(all.Namespaces, newNamespace(n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, all)
}
