package api

import (
	"errors"
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
		about: "The body is the whole registration; only credentials that it leaves out stay as they are. Registering the same thing again changes nothing and is no event, and " +
			"renews the TTL of an instance that has one. A check that asks the same of the same as before keeps its status; any other begins anew.",
		body: jsonBody[instance]("The instance; service and id may be left out, and must be the path's where they are not"),
		answers: []answer{
			{status: 200, about: "The registration was replaced, or was there already", headers: []string{"ETag"}, as: asJSON[registered]()},
			{status: 201, about: "The instance is new", headers: []string{"ETag"}, as: asJSON[registered]()},
		},
		refusals: []commands.Code{commands.CodeInvalidInstance, commands.CodeInvalidCheck, commands.CodeInvalidTTL, commands.CodeUnknownSession, gateway.CodeInvalidJSON, gateway.CodeUnknownField, commands.CodeTooLarge, gateway.CodeInvalidBody},
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
	Service     string            `json:"service,omitempty"`
	ID          string            `json:"id,omitempty"`
	Node        string            `json:"node,omitempty" doc:"The host that it says it runs on"`
	Address     string            `json:"address" doc:"An IP address or a host name"`
	Port        uint16            `json:"port,omitempty"`
	Protocol    string            `json:"protocol,omitempty"`
	Version     string            `json:"version,omitempty"`
	Tags        []string          `json:"tags,omitempty" doc:"In any order"`
	Meta        map[string]string `json:"meta,omitempty"`
	Weight      *uint16           `json:"weight,omitempty" doc:"The share among equals, as in RFC 2782; 1 where it is left out"`
	Priority    *uint16           `json:"priority,omitempty" doc:"Lower is asked first, as in RFC 2782; 1 where it is left out"`
	Session     string            `json:"session,omitempty" doc:"The session that it is bound to: when that ends, the instance is gone"`
	TTL         string            `json:"ttl,omitempty" doc:"The instance is gone when it was not registered again for so long"`
	Checks      []gateway.Check   `json:"checks,omitempty" doc:"All must pass; without any the instance counts as passing"`
	Credentials map[string]string `json:"credentials,omitempty" doc:"What its users need to know in secret. They are in no other answer and no event; left out they stay, an empty object removes them"`
}

// command is the registration as it is recorded: tags in order and once each, and the defaults spelled out. wrong says
// what cannot be read.
func (i instance) command() (c commands.RegisterInstance, wrong *gateway.Problem) {
	tags := slices.Compact(slices.Sorted(slices.Values(i.Tags)))
	ttl, bad := duration(i.TTL)
	if bad != "" {
		return c, gateway.NewProblem(commands.CodeInvalidTTL, "ttl is %.40q; %s", i.TTL, bad)
	}
	c.Instance = event.Instance{
		Service: i.Service, ID: i.ID, Node: i.Node, Address: i.Address, Port: i.Port, Protocol: i.Protocol,
		Version: i.Version, Tags: tags, Meta: i.Meta, Weight: orOne(i.Weight), Priority: orOne(i.Priority), Session: i.Session,
		TTL: ttl,
	}
	for n, given := range i.Checks {
		check, err := given.Event()
		if err != nil {
			return c, gateway.NewProblem(commands.CodeInvalidCheck, "checks[%d]: %v", n, err)
		}
		c.Instance.Checks = append(c.Instance.Checks, check)
	}
	if i.Credentials != nil {
		c.Credentials = &commands.Credentials{Values: i.Credentials}
	}
	return c, nil
}

func orOne(n *uint16) uint16 {
	if n == nil {
		return 1
	}
	return *n
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
	command, problem := given.command()
	if problem != nil {
		return problem
	}
	answer, err := c.submit(c.namespace, command)
	if err != nil {
		return err
	}
	if command.Instance.TTL != 0 {
		if answer, err = c.renewInstance(command, answer); err != nil {
			return err
		}
	}
	c.committed(answer.Revision)
	return c.json(madeOr(answer), registered{answer.Revision, warnings(command.Instance)})
}

// renewInstance has a registration that may have been there already live for its whole TTL again. One that ran out
// between the two is made anew.
func (c *call) renewInstance(command commands.RegisterInstance, answer commands.Answer) (commands.Answer, error) {
	lease := gateway.Lease{Service: command.Instance.Service, ID: command.Instance.ID}
	for range reportTries {
		_, err := c.api.Backend.Renew(c.ctx, c.namespace, lease)
		if !errors.Is(err, gateway.ErrNoLease) {
			return answer, err
		}
		// It is no repeat of the request, so it has no idempotency key.
		if answer, err = c.submitNext(command); err != nil {
			return answer, err
		}
	}
	return answer, gateway.NewProblem(commands.CodeBusy, "instance %q was changed by others at this moment; try again", lease.ID)
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
	var found instanceState
	err := c.view(c.namespace, func(v gateway.View) error {
		r, ok := v.Instance(c.param("service"), c.param("id"))
		if !ok {
			return gateway.NewProblem(commands.CodeNotFound, "service %q has no instance %q", c.param("service"), c.param("id"))
		}
		node, _ := v.Node(r.Node)
		found = newInstanceState(r, v.Health(r.Service, r.ID), node.Maintenance)
		return nil
	})
	if err != nil {
		return err
	}
	shown := found.shows()
	c.set("Etag", etagOf(shown))
	fresh, err := c.fresh(shown)
	if err != nil {
		return err
	}
	if fresh {
		c.head(http.StatusNotModified)
		return nil
	}
	all := []instanceState{found}
	c.observe(found.Service, all)
	return c.json(http.StatusOK, all[0])
}

func deleteInstance(c *call) error {
	answer, err := c.submit(c.namespace, commands.DeregisterInstance{Service: c.param("service"), ID: c.param("id")})
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}
