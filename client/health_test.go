package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// everyCheck has a check of each kind, with everything that one can say.
var everyCheck = []client.Check{
	{
		ID: "http", HTTP: &client.HTTPCheck{
			URL: "https://10.0.0.1/health", Method: "POST", Headers: map[string]string{"Authorization": "Bearer ${token}"}, Body: "{}", Status: 204,
			TLS: &client.CheckTLS{ServerName: "web", CA: "-----BEGIN CERTIFICATE-----", SkipVerify: true},
		},
		Interval: 2 * time.Second, Timeout: 500 * time.Millisecond, SuccessThreshold: 2, FailureThreshold: 3, DeregisterAfter: time.Hour, InitialStatus: client.Warning,
	},
	{ID: "tcp", TCP: &client.TCPCheck{Address: "10.0.0.1:80", TLS: &client.CheckTLS{}}, Interval: 10 * time.Second, Timeout: 5 * time.Second},
	{ID: "grpc", GRPC: &client.GRPCCheck{Address: "10.0.0.1:81", Service: "s"}, Interval: 10 * time.Second, Timeout: 5 * time.Second},
	{ID: "ttl", TTL: 15 * time.Second, DeregisterAfter: time.Minute},
	{ID: "command", Command: &client.CommandCheck{Args: []string{"true", "x"}}, Interval: 10 * time.Second, Timeout: 5 * time.Second},
	{ID: "alias", Alias: &client.AliasCheck{Service: "db", ID: "db-1"}, Interval: 10 * time.Second},
}

// What is registered comes back as it was, so that it can be changed and registered again; only credentials do not.
func TestRegistrationsComeBack(t *testing.T) {
	overDoors(t, client.Options{}, testRegistrationsComeBack)
}

func testRegistrationsComeBack(t *testing.T, c *client.Client) {
	ctx, one := t.Context(), uint16(1)
	given := client.Instance{
		Service: "web", ID: "web-1", Address: "10.0.0.1", TTL: time.Minute, Checks: everyCheck, Weight: &one, Priority: &one,
		Tags: []string{"a"}, Meta: map[string]string{"zone": "a"}, Credentials: client.Credentials{"token": "secret"},
	}
	must(c.Register(ctx, given))(t)
	found := must(c.Instance(ctx, "web", "web-1"))(t)
	given.Credentials = nil
	if diff := cmp.Diff(found.Instance, given); diff != "" {
		t.Errorf("instance (-got +want):\n%s", diff)
	}
	for i, check := range found.Checks {
		want := client.Critical
		if check.InitialStatus != "" {
			want = check.InitialStatus
		}
		if check.Status != want || !check.Since.Equal(gatewaytest.Start) || check.Revision != 3 || cmp.Diff(check.Check, everyCheck[i]) != "" {
			t.Errorf("got check %+v", check)
		}
	}
	again := must(c.Register(ctx, found.Instance))(t)
	if again.Revision != 3 || again.Created {
		t.Errorf("registering what was read: got %+v, want no change", again)
	}
	r := must(c.Txn(ctx, client.Txn{Then: []client.Operation{{Register: &given}}}))(t)
	if !r.Succeeded || r.Revision != 3 {
		t.Errorf("the same in a transaction: got %+v", r)
	}
	var decoded client.InstanceState
	if err := json.Unmarshal(must(json.Marshal(found))(t), &decoded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded, found); diff != "" {
		t.Errorf("as JSON (-got +want):\n%s", diff)
	}
}

// What a server has in memory about a check comes with it.
func TestCheckStatesAreRead(t *testing.T) {
	const text = `{"id":"http","http":{"url":"http://a/"},"interval":"10s","timeout":"5s","status":"critical","since":"2026-01-02T03:04:05Z",` +
		`"revision":7,"output":"503","server":"a","looked":"2026-01-02T03:04:06Z","fault":"no route"}`
	want := client.CheckState{
		Check:  client.Check{ID: "http", HTTP: &client.HTTPCheck{URL: "http://a/"}, Interval: 10 * time.Second, Timeout: 5 * time.Second},
		Status: client.Critical, Since: gatewaytest.Start, Revision: 7, Output: "503", Server: "a", Looked: gatewaytest.Start.Add(time.Second), Fault: "no route",
	}
	var got client.CheckState
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("check (-got +want):\n%s", diff)
	}
	var again client.CheckState
	if err := json.Unmarshal(must(json.Marshal(got))(t), &again); err != nil || cmp.Diff(again, want) != "" {
		t.Errorf("as JSON it became %+v (%v)", again, err)
	}
}

func TestHealthAtTheDoor(t *testing.T) {
	overDoors(t, client.Options{Reason: "trying"}, testHealthAtTheDoor)
}

func testHealthAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	state := func() client.InstanceState {
		t.Helper()
		return must(c.Instance(ctx, "web/x", "."))(t)
	}
	because := func(revision uint64, kind string) client.Because {
		return client.Because{Revision: revision, Type: "rollcall." + kind, Time: gatewaytest.Start}
	}
	must(c.Register(ctx, client.Instance{Service: "web/x", ID: ".", Node: "n/1", Address: "10.0.0.1", Checks: []client.Check{{ID: "a/b", TTL: 15 * time.Second}}}))(t)
	if s := state(); s.Status != client.Critical || s.Because != because(2, "service.register") {
		t.Errorf("got %+v", s)
	}
	for range 2 { // the second time it is no event
		if r := must(c.Report(ctx, "web/x", ".", "a/b", client.Passing, "fine"))(t); r.Revision != 3 || r.TTL != 15*time.Second {
			t.Errorf("got %+v", r)
		}
	}
	if s := state(); s.Status != client.Passing || s.Because != because(3, "service.status") {
		t.Errorf("got %+v", s)
	}
	if r := must(c.Report(ctx, "web/x", ".", "a/b", client.Critical, ""))(t); r.Revision != 4 || r.TTL != 0 {
		t.Errorf("got %+v", r)
	}
	var plan client.Rehearsal
	must(c.Report(ctx, "web/x", ".", "a/b", client.Warning, "", client.DryRun(&plan)))(t)
	if len(plan.Events) != 1 || plan.Events[0].Type != "rollcall.service.status" {
		t.Errorf("got %+v", plan)
	}

	must(c.SetMaintenance(ctx, "web/x", ".", true, "new disk"))(t)
	if s := state(); s.Status != client.Maintenance || s.Because != because(5, "service.maintenance") || s.Reason != "new disk" {
		t.Errorf("got %+v", s)
	}
	must(c.SetMaintenance(ctx, "web/x", ".", false, "over"))(t)
	must(c.SetNodeMaintenance(ctx, "n/1", true, "new rack"))(t)
	if s := state(); s.Status != client.Maintenance || s.Because != because(7, "node.maintenance") || s.Reason != "new rack" {
		t.Errorf("got %+v", s)
	}
	for _, err := range []error{
		second(c.Instance(ctx, "web/x", "none")), second(c.Report(ctx, "web/x", ".", "none", client.Passing, "")),
		second(c.SetMaintenance(ctx, "web/x", "none", true, "")), second(c.Credentials(ctx, "none", ".")),
	} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	}
}

func TestServiceSettingsAndQueriesAtTheDoor(t *testing.T) {
	overDoors(t, client.Options{}, testServiceSettingsAndQueriesAtTheDoor)
}

func testServiceSettingsAndQueriesAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	for id, status := range map[string]client.Status{"1": client.Passing, "2": client.Warning, "3": client.Critical} {
		must(c.Register(ctx, client.Instance{
			Service: "web", ID: id, Address: "10.0.0.1", Meta: map[string]string{"zone": "z" + id}, Checks: []client.Check{{TTL: 15 * time.Second, InitialStatus: status}},
		}))(t)
	}
	settings := client.ServiceSettings{DNSTTL: 30 * time.Second, OnlyPassing: true}
	if w := must(c.ConfigureService(ctx, "web", settings))(t); !w.Created {
		t.Errorf("got %+v, want settings that are new", w)
	}
	for _, tt := range []struct {
		query client.Query
		want  string
	}{
		{client.Query{}, "1 2 3"},
		{client.Query{Passing: true}, "1"},
		{client.Query{Statuses: []client.Status{client.Warning, client.Critical}}, "2 3"},
		{client.Query{Filter: `meta.zone == "z3" or status == "passing"`}, "1 3"},
	} {
		found := must(c.Instances(ctx, "web", tt.query))(t)
		var ids []string
		for _, i := range found.Instances {
			ids = append(ids, i.ID)
		}
		if got := strings.Join(ids, " "); got != tt.want || found.Settings != settings {
			t.Errorf("%+v: got %s with %+v, want %s", tt.query, got, found.Settings, tt.want)
		}
	}
	if _, err := c.Instances(ctx, "web", client.Query{Filter: "nonsense"}); !errors.Is(err, client.Code("invalid-parameter")) {
		t.Errorf("got %v, want an invalid parameter", err)
	}
	must(c.ConfigureService(ctx, "web", client.ServiceSettings{}))(t)
	if found := must(c.Instances(ctx, "web", client.Query{}))(t); found.Settings != (client.ServiceSettings{}) {
		t.Errorf("got %+v", found.Settings)
	}
}

func TestCredentialsAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testCredentialsAtTheDoor) }

func testCredentialsAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	i := client.Instance{Service: "db", ID: "1", Address: "10.0.0.1", Credentials: client.Credentials{"user": "u", "password": "hidden"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, i); strings.Contains(text, "hidden") {
			t.Errorf("%s shows a secret: %s", verb, text)
		}
	}
	for _, tt := range []struct {
		given, want client.Credentials
		revision    uint64
	}{
		{i.Credentials, i.Credentials, 3},
		{nil, i.Credentials, 3},
		{client.Credentials{}, client.Credentials{}, 0},
	} {
		i.Credentials = tt.given
		must(c.Register(ctx, i))(t)
		got := must(c.Credentials(ctx, "db", "1"))(t)
		if cmp.Diff(map[string]string(got.Credentials), map[string]string(tt.want)) != "" || got.Revision != tt.revision {
			t.Errorf("given %d: got %d at %d", len(tt.given), len(got.Credentials), got.Revision)
		}
	}
}

func TestNodesAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testNodesAtTheDoor) }

func testNodesAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	node := client.Node{Name: "host/1", Address: "192.0.2.1", Meta: map[string]string{"rack": "7"}}
	if w := must(c.PutNode(ctx, node))(t); !w.Created || w.Revision != 2 {
		t.Errorf("got %+v", w)
	}
	must(c.Register(ctx, client.Instance{Service: "web", ID: "1", Node: node.Name, Address: "10.0.0.1"}))(t)
	must(c.SetNodeMaintenance(ctx, node.Name, true, "new disk"))(t)
	want := client.NodeState{
		Node: node, Maintenance: true, Reason: "new disk", Revision: 2, CreateRevision: 2,
		Because: &client.Because{Revision: 4, Type: "rollcall.node.maintenance", Time: gatewaytest.Start},
	}
	if diff := cmp.Diff(must(c.Nodes(ctx))(t), []client.NodeState{want}); diff != "" {
		t.Errorf("nodes (-got +want):\n%s", diff)
	}
	want.Instances = []client.InstanceRef{{Service: "web", ID: "1"}}
	if diff := cmp.Diff(must(c.Node(ctx, node.Name))(t), want); diff != "" {
		t.Errorf("node (-got +want):\n%s", diff)
	}
	var plan client.Rehearsal
	must(c.DeleteNode(ctx, node.Name, client.DryRun(&plan)))(t)
	if len(plan.Events) != 1 || plan.Events[0].Subject != client.NodeSubject(node.Name) {
		t.Errorf("got %+v", plan)
	}
	must(c.DeleteNode(ctx, node.Name))(t)
	if _, err := c.DeleteNode(ctx, node.Name); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := c.Node(ctx, "nowhere"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if len(must(c.Nodes(ctx))(t)) != 0 {
		t.Error("a node that was forgotten is listed")
	}
}

// The subjects are those that the server's events have.
func TestSubjectsAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testSubjectsAtTheDoor) }

func testSubjectsAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	const service, id = "we b.x/>", "*"
	must(c.Register(ctx, client.Instance{Service: service, ID: id, Address: "10.0.0.1"}))(t)
	must(c.ConfigureService(ctx, service, client.ServiceSettings{OnlyPassing: true}))(t)
	for subject, want := range map[string]string{
		client.InstancesSubject(service): "rollcall.service.register", client.InstanceSubject(service, id): "rollcall.service.register",
		client.ServiceSubject(service): "rollcall.service.configure",
	} {
		n := 0
		for e, err := range c.Events(ctx, client.Range{Subject: subject}) {
			if err != nil || e.Type != want {
				t.Errorf("%s: got %s (%v), want %s", subject, e.Type, err, want)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%s: got %d events", subject, n)
		}
	}
}
