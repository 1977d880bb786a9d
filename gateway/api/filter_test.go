package api

import (
	"net/url"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestFilter has the expressions that the documents name, and what becomes of those that fit no instance.
func TestFilter(t *testing.T) {
	s := newInstanceState(event.Registration{Instance: event.Instance{
		Service: "web", ID: "web-1", Node: "n", Port: 8080, Tags: []string{"v2"}, Meta: map[string]string{"zone": "a"}, Weight: 10,
		Checks: []event.Check{{ID: "c", TTL: 15e9}},
	}, Revision: 3}, event.Health{Checks: []event.CheckState{{ID: "c", Status: event.Warning, Because: event.Because{Revision: 4}}}}, event.MaintenanceState{})
	for expression, want := range map[string]string{
		`meta.zone == "a" and "v2" in tags`:         "yes",
		`meta.zone == "b"`:                          "no",
		`meta.rack == "b"`:                          "no", // what is not there equals nothing
		`meta.rack != "b"`:                          "yes",
		`meta.rack is empty`:                        "yes",
		`"rack" in meta`:                            "no",
		`status == "warning"`:                       "yes",
		`port == 8080 and weight != 1`:              "yes",
		`because.revision == 4`:                     "yes",
		`node matches "^n$"`:                        "yes",
		`not (service == "web")`:                    "no",
		`any checks as c { c.status == "warning" }`: "yes",
		`address is empty`:                          "yes",
		`nonsense == 1`:                             "invalid-parameter",
		`port == "x"`:                               "invalid-parameter",
		`node matches "("`:                          "invalid-parameter",
		`status ==`:                                 "invalid-parameter",
		`verdict.Status == 1`:                       "invalid-parameter", // not a part of the answer
	} {
		c := &call{query: url.Values{"filter": {expression}}}
		w, err := c.wanted()
		got := "no"
		if err == nil {
			var ok bool
			if ok, err = w.takes(s, event.ServiceSettings{}); ok {
				got = "yes"
			}
		}
		if err != nil {
			got = string(gatewayCode(err))
		}
		if got != want {
			t.Errorf("%s: got %s, want %s (%v)", expression, got, want, err)
		}
	}
}

func gatewayCode(err error) commands.Code { return gateway.ProblemOf(err).Code }

// FuzzExpression: no filter makes the door fault, or takes long.
func FuzzExpression(f *testing.F) {
	for _, expression := range []string{
		`meta.zone == "a" and "v2" in tags`, `any checks as c { c.status == "warning" }`, `all tags as i, t { t != "" }`, `((((((((((id == "a"))))))))))`,
		`meta["a"]["b"] == 1`, `"/meta/zone" == "a"`, `tags is empty or not meta is empty`, `id matches "^(a+)+$"`, "id == `a`", `checks.0.http.url == "x"`,
		`because == "a"`, `checks contains "a"`, `latest == 1`, "",
	} {
		f.Add(expression)
	}
	s := newInstanceState(event.Registration{Instance: event.Instance{
		Service: "web", ID: "aaaaaaaaaaaaaaaaaaaaaaaa!", Tags: []string{"v2"}, Meta: map[string]string{"zone": "a"},
		Checks: []event.Check{{ID: "c", HTTP: &event.HTTPCheck{URL: "x"}}},
	}}, event.Health{Checks: []event.CheckState{{ID: "c", Status: event.Warning}}}, event.MaintenanceState{})
	f.Fuzz(func(t *testing.T, expression string) {
		w, err := (&call{query: url.Values{"filter": {expression}}}).wanted()
		if err == nil {
			_, err = w.takes(s, event.ServiceSettings{})
		}
		if err != nil && gatewayCode(err) != gateway.CodeInvalidParameter {
			t.Errorf("%q: %v", expression, err)
		}
	})
}
