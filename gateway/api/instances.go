package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

const instancePath = "/v1/{namespace}/services/{service}/instances/{id}"

func instanceOperations() []operation {
	return []operation{{
		id: "instances.put", method: http.MethodPut, path: instancePath, group: "services", write: true,
		summary: "Register an instance",
		about:   "The body is the whole registration. Registering the same thing again changes nothing and is no event.",
		body:    jsonBody[instance]("The instance; service and id may be left out, and must be the path's where they are not"),
		answers: []answer{
			{status: 200, about: "The registration was replaced, or was there already", headers: []string{"ETag"}, as: asJSON[registered]()},
			{status: 201, about: "The instance is new", headers: []string{"ETag"}, as: asJSON[registered]()},
		},
		refusals: []commands.Code{commands.CodeInvalidInstance, commands.CodeUnknownSession, gateway.CodeInvalidJSON, gateway.CodeUnknownField, commands.CodeTooLarge, gateway.CodeInvalidBody},
		handle:   putInstance,
	}, {
		id: "instances.get", method: http.MethodGet, path: instancePath, group: "services",
		summary: "Read an instance",
		headers: []header{{"If-None-Match", "Revisions that the reader has already"}},
		answers: []answer{
			{status: 200, about: "The instance", headers: []string{"ETag"}, as: asJSON[instanceState]()},
			{status: 304, about: "The reader has it already", headers: []string{"ETag"}},
		},
		refusals: []commands.Code{commands.CodeNotFound, gateway.CodeInvalidETag},
		handle:   getInstance,
	}, {
		id: "instances.delete", method: http.MethodDelete, path: instancePath, group: "services", write: true,
		summary:  "Deregister an instance",
		answers:  []answer{{status: 200, about: "It is gone", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   deleteInstance,
	}}
}

// instance is a registration as a client gives it.
type instance struct {
	Service  string            `json:"service,omitempty"`
	ID       string            `json:"id,omitempty"`
	Node     string            `json:"node,omitempty" doc:"The host that it says it runs on"`
	Address  string            `json:"address" doc:"An IP address or a host name"`
	Port     uint16            `json:"port,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
	Version  string            `json:"version,omitempty"`
	Tags     []string          `json:"tags,omitempty" doc:"In any order"`
	Meta     map[string]string `json:"meta,omitempty"`
	Weight   *uint16           `json:"weight,omitempty" doc:"The share among equals, as in RFC 2782; 1 where it is left out"`
	Priority *uint16           `json:"priority,omitempty" doc:"Lower is asked first, as in RFC 2782; 1 where it is left out"`
	Session  string            `json:"session,omitempty" doc:"The session that it is bound to: when that ends, the instance is gone"`
}

// event is the registration as it is recorded: tags in order and once each, and the defaults spelled out.
func (i instance) event() event.Instance {
	tags := slices.Compact(slices.Sorted(slices.Values(i.Tags)))
	return event.Instance{
		Service: i.Service, ID: i.ID, Node: i.Node, Address: i.Address, Port: i.Port, Protocol: i.Protocol,
		Version: i.Version, Tags: tags, Meta: i.Meta, Weight: orOne(i.Weight), Priority: orOne(i.Priority), Session: i.Session,
	}
}

func orOne(n *uint16) uint16 {
	if n == nil {
		return 1
	}
	return *n
}

// instanceState is an instance with what is known about it.
type instanceState struct {
	Service        string            `json:"service"`
	ID             string            `json:"id"`
	Node           string            `json:"node"`
	Address        string            `json:"address"`
	Port           uint16            `json:"port"`
	Protocol       string            `json:"protocol"`
	Version        string            `json:"version"`
	Tags           []string          `json:"tags" doc:"Sorted"`
	Meta           map[string]string `json:"meta"`
	Weight         uint16            `json:"weight"`
	Priority       uint16            `json:"priority"`
	Session        string            `json:"session,omitempty"`
	Status         string            `json:"status" enum:"passing,warning,critical,maintenance"`
	Checks         []check           `json:"checks" doc:"None so far"`
	Revision       event.Revision    `json:"revision" doc:"The commit that last changed the registration; its ETag"`
	CreateRevision event.Revision    `json:"create_revision" doc:"The commit that made it"`
	Time           string            `json:"time" format:"date-time"`
}

// check is a health check of an instance; there is no kind of them so far.
type check struct{}

func newInstanceState(r event.Registration) instanceState {
	s := instanceState{
		Service: r.Service, ID: r.ID, Node: r.Node, Address: r.Address, Port: r.Port, Protocol: r.Protocol,
		Version: r.Version, Tags: r.Tags, Meta: r.Meta, Weight: r.Weight, Priority: r.Priority, Session: r.Session,
		Status: "passing", Checks: []check{}, Revision: r.Revision, CreateRevision: r.CreateRevision,
		Time: gateway.FormatTime(r.Time),
	}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if s.Meta == nil {
		s.Meta = map[string]string{}
	}
	return s
}

// registered is the answer to a registration.
type registered struct {
	Revision event.Revision `json:"revision" doc:"The commit; where nothing had to change, that of the registration"`
	Warnings []string       `json:"warnings,omitempty" doc:"What was accepted, but will not work as one may expect"`
}

func putInstance(c *call) error {
	raw, err := c.body(jsonBytesMax, "the instance")
	if err != nil {
		return err
	}
	var given instance
	if err := decode(raw, &given, commands.CodeInvalidInstance); err != nil {
		return err
	}
	for _, f := range []struct {
		name, path string
		body       *string
	}{{"service", c.param("service"), &given.Service}, {"id", c.param("id"), &given.ID}} {
		if *f.body != "" && *f.body != f.path {
			return gateway.NewProblem(commands.CodeInvalidInstance, "the body's %s is %.80q and the path's is %.80q", f.name, *f.body, f.path)
		}
		*f.body = f.path
	}
	recorded := given.event()
	answer, err := c.submit(c.namespace, commands.RegisterInstance{Instance: recorded})
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(madeOr(answer), registered{answer.Revision, warnings(recorded)})
}

// warnings name what DNS cannot ask for, and how to reach it all the same.
func warnings(i event.Instance) (all []string) {
	const rule = "a DNS label is 1 to 63 letters, digits, hyphens and underscores, with no hyphen at its ends"
	if !event.IsDNSLabel(i.Service) {
		// Nothing of it has a name in DNS then, so the rest need not be told.
		return []string{fmt.Sprintf("service %q cannot be found by DNS: %s. HTTP and NATS find it.", i.Service, rule)}
	}
	if !event.IsDNSLabel(i.ID) {
		all = append(all, fmt.Sprintf("instance %q has no DNS name of its own: %s. DNS finds it by its service, %s.service.", i.ID, rule, strings.ToLower(i.Service)))
	}
	if len(strings.TrimSuffix(i.Address, ".")) > event.DNSNameBytesMax {
		all = append(all, fmt.Sprintf("the address of instance %q is a host name of %d bytes, and DNS takes %d: DNS does not show the instance. HTTP and NATS do.", i.ID, len(i.Address), event.DNSNameBytesMax))
	}
	for _, tag := range i.Tags {
		if !event.IsDNSLabel(tag) {
			all = append(all, fmt.Sprintf("tag %q cannot be asked for by DNS: %s. HTTP finds it with ?tag=; DNS finds the instance by its service, %s.service.", tag, rule, strings.ToLower(i.Service)))
		}
	}
	return all
}

func getInstance(c *call) error {
	var found event.Registration
	err := c.view(c.namespace, func(v gateway.View) error {
		var ok bool
		if found, ok = v.Instance(c.param("service"), c.param("id")); !ok {
			return gateway.NewProblem(commands.CodeNotFound, "service %q has no instance %q", c.param("service"), c.param("id"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.set("Etag", etagOf(found.Revision))
	fresh, err := c.fresh(found.Revision)
	if err != nil {
		return err
	}
	if fresh {
		c.head(http.StatusNotModified)
		return nil
	}
	return c.json(http.StatusOK, newInstanceState(found))
}

func deleteInstance(c *call) error {
	answer, err := c.submit(c.namespace, commands.DeregisterInstance{Service: c.param("service"), ID: c.param("id")})
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}
