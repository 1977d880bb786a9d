package api

import (
	"maps"
	"net/http"
	"slices"

	"github.com/hashicorp/go-bexpr"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func serviceOperations() []operation {
	return []operation{{
		id: "services.list", method: http.MethodGet, path: "/v1/{namespace}/services", group: "services",
		summary: "List the services",
		answers: []answer{{status: 200, about: "All services that have an instance, by name", as: asJSON[services]()}},
		handle:  listServices,
	}, {
		id: "services.get", method: http.MethodGet, path: "/v1/{namespace}/services/{service}", group: "services",
		summary: "Find the instances of a service",
		query: []parameter{
			{name: "tag", kind: text, repeat: true, description: "Only instances that have the tag; given more than once, all of them"},
			{name: "passing", kind: flag, description: "Only instances that may be used: those that are passing, or in warning unless the service's settings say `only_passing`"},
			{name: "status", kind: text, repeat: true, description: "Only instances with one of these statuses: passing, warning, critical, maintenance"},
			{name: "filter", kind: text, description: "Only instances for which a go-bexpr expression over the fields of the answer holds, such as `meta.zone == \"a\" and \"v2\" in tags`"},
		},
		answers:  []answer{{status: 200, about: "The service; no instance of it may be left by what was asked for", as: asJSON[service]()}},
		refusals: []commands.Code{commands.CodeNotFound, gateway.CodeInvalidParameter},
		handle:   getService,
	}, {
		id: "services.put", method: http.MethodPut, path: "/v1/{namespace}/services/{service}", group: "services", write: true,
		summary: "Configure a service",
		about:   "The body is all that holds for the service as a whole, whether or not it has instances; what it leaves out is the default.",
		body:    jsonBody[serviceSettings]("The settings"),
		answers: []answer{
			{status: 200, about: "So it is", headers: []string{"ETag"}, as: asJSON[written]()},
			{status: 201, about: "It had no settings before", headers: []string{"ETag"}, as: asJSON[written]()},
		},
		refusals: []commands.Code{commands.CodeInvalidArgument, commands.CodeInvalidTTL, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody, commands.CodeTooLarge},
		handle:   putService,
	}}
}

// services is a list of services.
type services struct {
	Revision event.Revision `json:"revision" doc:"The state that is shown"`
	Services []summary      `json:"services"`
}

// summary is a service in a list.
type summary struct {
	Service   string   `json:"service"`
	Instances int      `json:"instances" doc:"How many there are"`
	Passing   int      `json:"passing" doc:"How many of them may be used"`
	Tags      []string `json:"tags" doc:"The tags of all of them, sorted"`
}

// service is a service with its instances.
type service struct {
	Service   string          `json:"service"`
	Revision  event.Revision  `json:"revision" doc:"The state that is shown"`
	Settings  serviceSettings `json:"settings"`
	Instances []instanceState `json:"instances" doc:"By id"`
}

// serviceSettings are what holds for a service as a whole.
type serviceSettings struct {
	DNSTTL      string `json:"dns_ttl,omitempty" doc:"For how long DNS answers may be cached, in whole seconds; not at all unless told otherwise"`
	OnlyPassing bool   `json:"only_passing,omitempty" doc:"Keeps instances in warning out of use; else warning counts as passing"`
}

func newServiceSettings(s event.ServiceSettings) serviceSettings {
	return serviceSettings{DNSTTL: gateway.FormatTTL(s.DNSTTL), OnlyPassing: s.OnlyPassing}
}

func listServices(c *call) error {
	all := services{Services: []summary{}}
	err := c.view(c.namespace, func(v gateway.View) error {
		all.Revision = v.Head()
		all.Services = summarize(v)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, all)
}

// judge is newInstanceState with the node's maintenance, which many instances share.
type judge struct {
	view  gateway.View
	nodes map[string]event.MaintenanceState
}

func newJudge(v gateway.View) judge { return judge{v, map[string]event.MaintenanceState{}} }

func (j judge) node(name string) event.MaintenanceState {
	if name == "" {
		return event.MaintenanceState{}
	}
	m, ok := j.nodes[name]
	if !ok {
		n, _ := j.view.Node(name)
		m = n.Maintenance
		j.nodes[name] = m
	}
	return m
}

// summarize counts; the instances of a service are neighbours.
func summarize(v gateway.View) []summary {
	all := []summary{}
	tags := map[string]bool{}
	judge, settings := newJudge(v), event.ServiceSettings{}
	for r, h := range v.WithHealth("") {
		if n := len(all); n == 0 || all[n-1].Service != r.Service {
			clear(tags)
			all = append(all, summary{Service: r.Service, Tags: []string{}})
			settings, _ = v.ServiceSettings(r.Service)
		}
		s := &all[len(all)-1]
		s.Instances++
		if settings.Usable(h.Verdict(r, judge.node(r.Node)).Status) {
			s.Passing++
		}
		known := len(tags)
		for _, tag := range r.Tags {
			tags[tag] = true
		}
		if len(tags) > known {
			s.Tags = slices.Sorted(maps.Keys(tags))
		}
	}
	return all
}

func getService(c *call) error {
	wanted, err := c.wanted()
	if err != nil {
		return err
	}
	found := service{Service: c.param("service"), Instances: []instanceState{}}
	exists := false
	err = c.view(c.namespace, func(v gateway.View) error {
		found.Revision = v.Head()
		settings, configured := v.ServiceSettings(found.Service)
		found.Settings = newServiceSettings(settings)
		exists = configured > 0
		judge := newJudge(v)
		for r, h := range v.WithHealth(found.Service) {
			exists = true
			s := newInstanceState(r, h, judge.node(r.Node))
			ok, err := wanted.takes(s, settings)
			if err != nil {
				return err
			}
			if ok {
				found.Instances = append(found.Instances, s)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !exists {
		return gateway.NewProblem(commands.CodeNotFound, "service %q has no instances", found.Service)
	}
	c.observe(found.Service, found.Instances)
	return c.json(http.StatusOK, found)
}

// wanted is which instances a reader asked for.
type wanted struct {
	tags     []string
	passing  bool
	statuses map[string]bool // none: any
	filter   *bexpr.Evaluator
}

// filterBytesMax bounds an expression: each is parsed, and evaluated for each instance.
const filterBytesMax = 4096

func (c *call) wanted() (w wanted, err error) {
	w.tags, w.passing = c.query["tag"], c.flag("passing")
	if w.statuses, err = parseStatuses(c.query["status"]); err != nil {
		return w, err
	}
	expression := c.query.Get("filter")
	if expression == "" {
		return w, nil
	}
	if len(expression) > filterBytesMax {
		return w, gateway.NewProblem(gateway.CodeInvalidParameter, "\"filter\" has %d bytes; at most %d", len(expression), filterBytesMax)
	}
	w.filter, err = bexpr.CreateEvaluator(expression, bexpr.WithMaxExpressions(filterPartsMax), bexpr.WithTagName("json"))
	if err != nil {
		return w, gateway.NewProblem(gateway.CodeInvalidParameter, "\"filter\" cannot be read: %.300v", err)
	}
	return w, nil
}

// filterPartsMax bounds what parsing an expression may cost: nested brackets are parsed again and again.
const filterPartsMax = 200_000

func (w wanted) takes(s instanceState, settings event.ServiceSettings) (bool, error) {
	if !hasAll(s.Tags, w.tags) || w.passing && !settings.Usable(s.verdict.Status) || len(w.statuses) > 0 && !w.statuses[s.Status] {
		return false, nil
	}
	if w.filter == nil {
		return true, nil
	}
	ok, err := w.filter.Evaluate(s)
	if err != nil {
		return false, gateway.NewProblem(gateway.CodeInvalidParameter, "\"filter\" cannot be used on an instance: %.300v", err)
	}
	return ok, nil
}

func hasAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(tag string) bool { return !slices.Contains(have, tag) })
}

func putService(c *call) error {
	raw, err := c.body(jsonBytesMax, "the settings")
	if err != nil {
		return err
	}
	var given serviceSettings
	if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
		return err
	}
	command := commands.ConfigureService{Service: c.param("service"), OnlyPassing: given.OnlyPassing}
	if given.DNSTTL != "" && given.DNSTTL != "0s" {
		if command.DNSTTL, err = parseTTL("dns_ttl", given.DNSTTL); err != nil {
			return err
		}
	}
	answer, err := c.submit(c.namespace, command)
	if err != nil {
		return err
	}
	return c.written(madeOr(answer), answer.Revision)
}
