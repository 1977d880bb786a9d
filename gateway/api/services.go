package api

import (
	"maps"
	"net/http"
	"slices"

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
			{name: "passing", kind: flag, description: "Only instances that may be used"},
		},
		answers:  []answer{{status: 200, about: "The service; no instance of it may be left by tag and passing", as: asJSON[service]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   getService,
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
	Instances []instanceState `json:"instances" doc:"By id"`
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

// summarize counts; the instances of a service are neighbours.
func summarize(v gateway.View) []summary {
	all := []summary{}
	tags := map[string]bool{}
	for r := range v.Instances("") {
		if n := len(all); n == 0 || all[n-1].Service != r.Service {
			clear(tags)
			all = append(all, summary{Service: r.Service, Tags: []string{}})
		}
		s := &all[len(all)-1]
		s.Instances++
		s.Passing++ // nothing reports an instance's health so far
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
	found := service{Service: c.param("service"), Instances: []instanceState{}}
	exists := false
	err := c.view(c.namespace, func(v gateway.View) error {
		found.Revision = v.Head()
		for r := range v.Instances(found.Service) {
			exists = true
			if hasAll(r.Tags, c.query["tag"]) {
				found.Instances = append(found.Instances, newInstanceState(r))
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
	return c.json(http.StatusOK, found)
}

func hasAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(tag string) bool { return !slices.Contains(have, tag) })
}
