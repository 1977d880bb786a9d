package names_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// model is what the view should show, in the plainest form: the registrations, looked through for every question.
type model map[[2]string]event.Instance

func (m model) apply(b event.Body) {
	switch b := b.(type) {
	case event.InstanceRegistered:
		m[[2]string{b.Instance.Service, b.Instance.ID}] = b.Instance
	case event.InstanceDeregistered:
		delete(m, [2]string{b.Service, b.ID})
	}
}

// pick gives what a set of the instances that pass should look like.
func (m model) pick(service string, keep func(event.Instance) bool) shown {
	s := shown{found: false}
	for _, i := range m {
		if !event.IsDNSLabel(i.Service) || strings.ToLower(i.Service) != service || !keep(i) {
			continue
		}
		s.found = true
		s.ports = append(s.ports, i.Port)
		for k, v := range i.Meta {
			s.text = append(s.text, k+"="+v)
		}
		if a, err := netip.ParseAddr(i.Address); err == nil {
			s.addresses = append(s.addresses, a.String())
		}
	}
	return s.normal()
}

// shown is a set in a form that can be compared.
type shown struct {
	found           bool
	ports           []uint16
	addresses, text []string
}

func (s shown) normal() shown {
	slices.Sort(s.ports)
	slices.Sort(s.addresses)
	slices.Sort(s.text)
	s.addresses, s.text = slices.Compact(s.addresses), slices.Compact(s.text)
	return s
}

func show(set names.Set, found bool) shown {
	s := shown{found: found, text: slices.Clone(set.Text)}
	for _, i := range set.Instances {
		s.ports = append(s.ports, i.Port)
	}
	for _, a := range set.V4 {
		s.addresses = append(s.addresses, netip.AddrFrom4(a).String())
	}
	for _, a := range set.V6 {
		s.addresses = append(s.addresses, netip.AddrFrom16(a).String())
	}
	return s.normal()
}

var (
	someServices = []string{"web", "Web", "db", "no label"}
	someIDs      = []string{"a", "A", "b", "c", "/d", "/D"}
	someTags     = []string{"x", "X", "y", "no label"}
)

// drawBody draws a change. Ports are all different, which tells the instances apart.
func drawBody(t *rapid.T, port uint16) event.Body {
	service := rapid.SampledFrom(someServices).Draw(t, "service")
	id := rapid.SampledFrom(someIDs).Draw(t, "id")
	if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		return event.InstanceDeregistered{Service: service, ID: id}
	}
	tags := rapid.SliceOfNDistinct(rapid.SampledFrom(someTags), 0, 3, rapid.ID).Draw(t, "tags")
	slices.Sort(tags)
	return event.InstanceRegistered{Instance: event.Instance{
		Service: service, ID: id, Port: port, Tags: tags,
		Address:  rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "fd00::1", "host.example"}).Draw(t, "address"),
		Protocol: rapid.SampledFrom([]string{"", "x", "http"}).Draw(t, "protocol"),
		Meta:     rapid.SampledFrom([]map[string]string{nil, {"k": "v"}, {"k": "w", "l": "v"}}).Draw(t, "meta"),
	}}
}

// TestAgainstModel: after any changes, in whatever portions they come, every lookup shows what is registered.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, m := names.New(), model{}
		n := rapid.IntRange(0, 60).Draw(t, "events")
		var waiting []event.Event
		for i := range n {
			body := drawBody(t, uint16(i+1))
			m.apply(body)
			revision := event.Revision(i + 1)
			waiting = append(waiting, event.Event{Revision: revision, Commit: revision, Body: body})
			if rapid.Bool().Draw(t, "apply") {
				v.Apply(event.Default, waiting)
				waiting = waiting[:0]
			}
		}
		v.Apply(event.Default, waiting)
		check(t, v.Namespace([]byte(event.Default)), m)
		if got := v.Namespace([]byte(event.Default)).Revision(); got != event.Revision(n) {
			t.Errorf("revision: got %d, want %d", got, n)
		}
	})
}

// check compares every lookup that the drawn names allow with the model.
func check(t *rapid.T, ns *names.Namespace, m model) {
	for _, service := range []string{"web", "db", "none"} {
		s := ns.Service([]byte(service))
		all := m.pick(service, func(event.Instance) bool { return true })
		if s == nil {
			if all.found {
				t.Errorf("service %q is missing; it has ports %v", service, all.ports)
			}
			continue
		}
		compare(t, service, show(s.All, true), all)
		for _, label := range []string{"x", "y", "z"} {
			tagged := m.pick(service, func(i event.Instance) bool { return hasTag(i, label) })
			compare(t, label+"."+service, show(s.Tagged([]byte(label))), tagged)
			offering := m.pick(service, func(i event.Instance) bool { return hasTag(i, label) || i.Protocol == label })
			instances, found := s.Offering([]byte(label))
			compare(t, "_"+service+"._"+label, shown{found: found, ports: show(names.Set{Instances: instances}, found).ports},
				shown{found: offering.found, ports: offering.ports})
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
	for _, i := range s.All.Instances {
		set, found := s.Instance([]byte(i.Target))
		if !event.IsDNSLabel(i.Target) || !found || len(set.Instances) != 1 || set.Instances[0] != i {
			t.Errorf("target %q of the instance at port %d: found %t, %d instances", i.Target, i.Port, found, len(set.Instances))
		}
	}
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

func TestNamespaces(t *testing.T) {
	v := names.New()
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
	if ns.Service([]byte("web")) == nil || ns.Revision() != 1 {
		t.Error("adding a namespace again emptied it")
	}
	if v.Namespace([]byte(event.Default)).Service([]byte("web")) != nil {
		t.Error("the service is in another namespace too")
	}
	v.DropNamespace("prod")
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

// TestUnreachable: a host name that no message can hold leaves the instance out, and only it.
func TestUnreachable(t *testing.T) {
	v := names.New()
	long := strings.Repeat("abcdefg.", 31) + "abcdef" // 254 bytes
	v.Apply(event.Default, []event.Event{
		{Revision: 1, Body: event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "a", Address: long}}},
		{Revision: 2, Body: event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "b", Address: long[1:]}}},
	})
	s := v.Namespace([]byte(event.Default)).Service([]byte("web"))
	if got := s.All.Instances; len(got) != 1 || got[0].Host != long[1:] {
		t.Errorf("instances: got %d, want the one with the host name of 253 bytes", len(got))
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
					Service: "web", ID: fmt.Sprint(i % 50), Address: fmt.Sprintf("10.0.%d.%d", i/256, i%256), Tags: []string{"x"},
				}}}})
			}
		})
	}
	for _, namespace := range []string{event.Default, "other"} {
		ns := v.Namespace([]byte(namespace))
		for ns.Revision() < 2000 {
			s := ns.Service([]byte("web"))
			if s == nil {
				continue
			}
			kept := maps.Collect(slices.All(s.All.V4))
			if tagged, ok := s.Tagged([]byte("x")); !ok || len(tagged.Instances) != len(s.All.Instances) {
				t.Errorf("%d instances, %d with the tag that all have", len(s.All.Instances), len(tagged.Instances))
			}
			if diff := cmp.Diff(maps.Collect(slices.All(s.All.V4)), kept); diff != "" {
				t.Errorf("a record changed under its reader:\n%s", diff)
			}
		}
	}
	running.Wait()
}
