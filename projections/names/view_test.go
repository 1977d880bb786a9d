package names_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

var (
	someServices  = []string{"web", "Web", "db", "no label"}
	someIDs       = []string{"a", "A", "b", "c", "/d", "/D"}
	someTags      = []string{"x", "X", "y", "no label"}
	someNodes     = []string{"n1", "N1", "n 2"}
	someAddresses = []string{"10.0.0.1", "10.0.0.2", "fd00::1", "host.example"}
	someChecks    = []event.Check{
		{ID: "ttl", TTL: 1, Initial: event.Passing},
		{ID: "ttl", TTL: 2, Initial: event.Warning},
		{ID: "tcp", TCP: &event.TCPCheck{Address: "a:1"}},
		{ID: "tcp", TCP: &event.TCPCheck{Address: "b:1"}},
	}
	someStatuses = []event.Status{event.Passing, event.Warning, event.Critical}
)

// drawBody draws a change. Ports are all different, which tells the instances apart.
func drawBody(t *rapid.T, port uint16) event.Body {
	service := rapid.SampledFrom(someServices).Draw(t, "service")
	id := rapid.SampledFrom(someIDs).Draw(t, "id")
	node := rapid.SampledFrom(someNodes).Draw(t, "node")
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0:
		return event.InstanceDeregistered{Service: service, ID: id}
	case 1:
		return event.InstanceExpired{Service: service, ID: id}
	case 2, 3:
		return event.InstanceStatus{
			Service: service, ID: id, Check: rapid.SampledFrom([]string{"ttl", "tcp", "none"}).Draw(t, "check"),
			Status: rapid.SampledFrom(someStatuses).Draw(t, "status"),
		}
	case 4:
		return event.InstanceMaintenance{Service: service, ID: id, Enabled: rapid.Bool().Draw(t, "enabled")}
	case 5:
		return event.NodeMaintenance{Node: node, Enabled: rapid.Bool().Draw(t, "enabled")}
	case 6:
		return event.NodeSet{Node: node, Address: rapid.SampledFrom(someAddresses).Draw(t, "address"), Meta: drawMeta(t)}
	case 7:
		return event.NodeDeleted{Node: node}
	case 8:
		ttl := event.Time(rapid.IntRange(0, 3).Draw(t, "ttl")) * event.Time(time.Second)
		return event.ServiceConfigured{Service: service, DNSTTL: ttl, OnlyPassing: rapid.Bool().Draw(t, "only passing")}
	}
	tags := rapid.SliceOfNDistinct(rapid.SampledFrom(someTags), 0, 3, rapid.ID).Draw(t, "tags")
	slices.Sort(tags)
	return event.InstanceRegistered{Instance: event.Instance{
		Service: service, ID: id, Port: port, Tags: tags, Meta: drawMeta(t),
		Node:     rapid.SampledFrom([]string{"", node}).Draw(t, "on a node"),
		Address:  rapid.SampledFrom(someAddresses).Draw(t, "address"),
		Protocol: rapid.SampledFrom([]string{"", "x", "http"}).Draw(t, "protocol"),
		Checks: rapid.SliceOfNDistinct(rapid.SampledFrom(someChecks), 0, 2, func(c event.Check) string { return c.ID }).
			Draw(t, "checks"),
	}}
}

func drawMeta(t *rapid.T) map[string]string {
	return rapid.SampledFrom([]map[string]string{nil, {"k": "v"}, {"k": "w", "l": "v"}}).Draw(t, "meta")
}

// TestAgainstModel: after any changes, in whatever portions they come, every lookup shows what is registered and
// passes. So it does in a view that is loaded in the middle of them, and in a fold of the end.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, m := names.New(), newModel()
		n := rapid.IntRange(0, 80).Draw(t, "events")
		loadAt := rapid.IntRange(0, n).Draw(t, "loaded at")
		var waiting []event.Event
		for i := range n {
			if i == loadAt {
				v, waiting = names.New(), nil
				v.Load(event.Default, event.Revision(i), m.state())
			}
			e := event.Event{Revision: event.Revision(i + 1), Commit: event.Revision(i + 1), Body: drawBody(t, uint16(i+1))}
			m.apply(e)
			if waiting = append(waiting, e); rapid.Bool().Draw(t, "apply") {
				v.Apply(event.Default, waiting)
				waiting = nil
			}
		}
		v.Apply(event.Default, waiting)
		for _, ns := range []*names.Namespace{v.Namespace([]byte(event.Default)), names.Fold(event.Default, event.Revision(n), m.state())} {
			check(t, ns, m)
			if got := ns.Revision(); got != event.Revision(n) {
				t.Errorf("revision: got %d, want %d", got, n)
			}
		}
		checkPointers(t, v, m)
	})
}

// check compares every lookup that the drawn names allow with the model.
func check(t *rapid.T, ns *names.Namespace, m *model) {
	for _, label := range []string{"n1", "none"} {
		compare(t, label+" (node)", show(ns.Node([]byte(label))), m.node(label))
	}
	for _, service := range []string{"web", "db", "none"} {
		s := ns.Service([]byte(service))
		all := m.pick(service, func(event.Instance) bool { return true })
		if s == nil {
			if all.found {
				t.Errorf("service %q is missing; it has ports %v", service, all.ports)
			}
			continue
		}
		if got, want := s.TTL, m.ttl(service); got != want {
			t.Errorf("TTL of %s: got %d, want %d", service, got, want)
		}
		compare(t, service, show(s.All, true), all)
		for _, label := range []string{"x", "y", "z", "http"} {
			tagged := m.pick(service, func(i event.Instance) bool { return hasTag(i, label) })
			compare(t, label+"."+service, show(s.Tagged([]byte(label))), tagged)
			offering := m.pick(service, func(i event.Instance) bool { return hasTag(i, label) || i.Protocol == label })
			tags, protocols, found := s.Offering([]byte(label))
			ports := shown{ports: slices.Concat(show(tags, found).ports, show(protocols, found).ports)}.normal().ports
			compare(t, "_"+service+"._"+label, shown{found: found, ports: ports}, shown{found: offering.found, ports: offering.ports})
		}
		for _, id := range []string{"a", "b", "c", "d"} {
			one := m.pick(service, func(i event.Instance) bool { return strings.ToLower(i.ID) == id })
			compare(t, id+"."+service+" (id)", show(s.Instance([]byte(id))), one)
		}
		checkTargets(t, s)
	}
}

// checkTargets: a target is a label that names its instance and no other.
func checkTargets(t *rapid.T, s *names.Service) {
	for k := range s.All.Len() {
		i := s.All.At(k)
		set, found := s.Instance([]byte(i.Target))
		if !event.IsDNSLabel(i.Target) || !found || set.Len() != 1 || set.At(0) != i {
			t.Errorf("target %q of the instance at port %d: found %t, %d instances", i.Target, i.Port, found, set.Len())
		}
	}
}

// checkPointers: an address has the names of all that is shown there, and each leads back to it.
func checkPointers(t *rapid.T, v *names.View, m *model) {
	for _, address := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"} {
		a := netip.MustParseAddr(address)
		want, wantKnown := m.pointers(a)
		pointers, known := v.Pointers(a)
		var got []string
		for k := range pointers.Len() {
			p := pointers.At(k)
			got = append(got, p.Service)
			if !leadsBack(v, p, a) {
				t.Errorf("%s is called %+v, which is not there or elsewhere", address, p)
			}
		}
		slices.Sort(got)
		if known != wantKnown || !slices.Equal(got, want) {
			t.Errorf("names of %s: got those of services %q, known %t; want %q, %t", address, got, known, want, wantKnown)
		}
	}
}

func leadsBack(v *names.View, p names.Pointer, a netip.Addr) bool {
	ns := v.Namespace([]byte(p.Namespace))
	set, ok := ns.Node([]byte(p.Label))
	if p.Service != "" {
		set, ok = ns.Service([]byte(p.Service)).Instance([]byte(p.Label))
	}
	return ok && set.Len() == 1 && slices.Equal(show(set, true).addresses, []string{a.String()})
}

func hasTag(i event.Instance, label string) bool {
	return slices.ContainsFunc(i.Tags, func(tag string) bool { return strings.ToLower(tag) == label })
}

func compare(t *rapid.T, what string, got, want shown) {
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(shown{}), cmpEmpty); diff != "" {
		t.Errorf("%s (-got +want):\n%s", what, diff)
	}
}

// cmpEmpty takes a nil slice and an empty one for equal.
var cmpEmpty = cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())

// TestNamespaces: each has names of its own, but the names of an address are those of all.
func TestNamespaces(t *testing.T) {
	v, address := names.New(), netip.MustParseAddr("10.0.0.1")
	if v.Namespace([]byte(event.Default)) == nil {
		t.Error("a new view has no default namespace")
	}
	registered := []event.Event{{Revision: 1, Commit: 1, Body: event.InstanceRegistered{Instance: event.Instance{
		Service: "web", ID: "a", Address: "10.0.0.1",
	}}}}
	v.Apply("prod", registered) // nobody knows it yet
	v.AddNamespace("prod")
	if got := v.Namespace([]byte("prod")).Revision(); got != 0 {
		t.Errorf("revision of a new namespace: got %d, want 0", got)
	}
	v.Apply("prod", registered)
	v.AddNamespace("prod") // again: it stays
	ns := v.Namespace([]byte("prod"))
	if ns.Service([]byte("web")) == nil || ns.Revision() != 1 || ns.Instances() != 1 {
		t.Error("adding a namespace again emptied it")
	}
	if v.Namespace([]byte(event.Default)).Service([]byte("web")) != nil {
		t.Error("the service is in another namespace too")
	}
	v.Apply(event.Default, registered)
	for want := 2; want > 0; want-- {
		if p, known := v.Pointers(address); !known || p.Len() != want {
			t.Errorf("names of the address: got %d, known %t; want %d", p.Len(), known, want)
		}
		v.DropNamespace("prod")
	}
	if v.Namespace([]byte("prod")) != nil {
		t.Error("a dropped namespace is still known")
	}
}

// TestRepeatedEvents: a follower that begins anew brings events again, which must not undo later ones.
func TestRepeatedEvents(t *testing.T) {
	v := names.New()
	events := []event.Event{
		{Revision: 1, Commit: 1, Body: event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "a", Address: "10.0.0.1"}}},
		{Revision: 2, Commit: 2, Body: event.InstanceDeregistered{Service: "web", ID: "a"}},
	}
	v.Apply(event.Default, events)
	v.Apply(event.Default, events[:1])
	ns := v.Namespace([]byte(event.Default))
	if ns.Service([]byte("web")) != nil || ns.Revision() != 2 {
		t.Errorf("after an old event: service %v at revision %d, want none at 2", ns.Service([]byte("web")), ns.Revision())
	}
}

// TestUnreachable: a host name that no message can hold leaves the instance out of the answers, and only it.
func TestUnreachable(t *testing.T) {
	v := names.New()
	long := strings.Repeat("abcdefg.", 31) + "abcdef" // 254 bytes
	v.Apply(event.Default, []event.Event{
		{Revision: 1, Body: event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "a", Address: long}}},
		{Revision: 2, Body: event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "b", Address: long[1:]}}},
	})
	s := v.Namespace([]byte(event.Default)).Service([]byte("web"))
	if s.All.Len() != 1 || s.All.At(0).Host != long[1:] {
		t.Errorf("instances: got %d, want the one with the host name of 253 bytes", s.All.Len())
	}
}

// TestForgottenHealth: who registers again after he was gone begins anew; who only changes his registration does not.
func TestForgottenHealth(t *testing.T) {
	checks := []event.Check{{ID: "ttl", TTL: 1, Initial: event.Passing}}
	register := event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "a", Address: "10.0.0.1", Checks: checks}}
	gone := event.InstanceDeregistered{Service: "web", ID: "a"}
	critical := event.InstanceStatus{Service: "web", ID: "a", Check: "ttl", Status: event.Critical}
	maintained := event.InstanceMaintenance{Service: "web", ID: "a", Enabled: true}
	for _, tt := range []struct {
		name   string
		bodies []event.Body
		want   int
	}{
		{"critical", []event.Body{register, critical}, 0},
		{"critical, registered again", []event.Body{register, critical, register}, 0},
		{"critical, gone and registered", []event.Body{register, critical, gone, register}, 1},
		{"critical, expired and registered", []event.Body{register, critical, event.InstanceExpired{Service: "web", ID: "a"}, register}, 1},
		{"in maintenance, registered again", []event.Body{register, maintained, register}, 0},
		{"in maintenance, gone and registered", []event.Body{register, maintained, gone, register}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := names.New()
			for i, b := range tt.bodies {
				v.Apply(event.Default, []event.Event{{Revision: event.Revision(i + 1), Commit: event.Revision(i + 1), Body: b}})
			}
			if got := v.Namespace([]byte(event.Default)).Service([]byte("web")).All.Len(); got != tt.want {
				t.Errorf("shown: got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestLookupsWhileApplying is for the race detector; and what a lookup gave must not change afterwards.
func TestLookupsWhileApplying(t *testing.T) {
	v := names.New()
	v.AddNamespace("other")
	var running sync.WaitGroup
	for _, namespace := range []string{event.Default, "other"} {
		running.Go(func() {
			for i := range 2000 {
				v.Apply(namespace, []event.Event{{Revision: event.Revision(i + 1), Body: event.InstanceRegistered{Instance: event.Instance{
					Service: "web", ID: fmt.Sprint(i % 50), Address: fmt.Sprintf("10.0.%d.%d", i/256, i%256), Tags: []string{"x"}, Node: "n",
				}}}})
			}
		})
	}
	for _, namespace := range []string{event.Default, "other"} {
		for v.Namespace([]byte(namespace)).Revision() < 2000 {
			s := v.Namespace([]byte(namespace)).Service([]byte("web"))
			if s == nil {
				continue
			}
			kept := show(s.All, true)
			if tagged, ok := s.Tagged([]byte("x")); !ok || tagged.Len() != s.All.Len() {
				t.Errorf("%d instances, %d with the tag that all have", s.All.Len(), tagged.Len())
			}
			v.Pointers(netip.MustParseAddr("10.0.0.7"))
			if diff := cmp.Diff(show(s.All, true), kept, cmp.AllowUnexported(shown{})); diff != "" {
				t.Errorf("a record changed under its reader:\n%s", diff)
			}
		}
	}
	running.Wait()
}
