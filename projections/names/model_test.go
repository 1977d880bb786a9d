package names_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// model is what the view should show, in the plainest form: what is known, looked through for every question.
type model struct {
	instances   map[[2]string]names.Registered
	nodes       map[string]event.NodeSet
	maintenance map[string]event.MaintenanceState // of nodes
	settings    map[string]event.ServiceSettings
}

func newModel() *model {
	return &model{
		instances: map[[2]string]names.Registered{}, nodes: map[string]event.NodeSet{},
		maintenance: map[string]event.MaintenanceState{}, settings: map[string]event.ServiceSettings{},
	}
}

func (m *model) apply(e event.Event) {
	switch b := e.Body.(type) {
	case event.InstanceRegistered:
		k := [2]string{b.Instance.Service, b.Instance.ID}
		r, ok := m.instances[k]
		before := &r.Instance
		if !ok {
			before = nil
		}
		m.instances[k] = names.Registered{Instance: b.Instance, Health: r.Health.Registered(before, b.Instance, e.Commit, e.Time)}
	case event.InstanceDeregistered:
		delete(m.instances, [2]string{b.Service, b.ID})
	case event.InstanceExpired:
		delete(m.instances, [2]string{b.Service, b.ID})
	case event.InstanceStatus:
		m.judge(b.Service, b.ID, func(h event.Health) event.Health { return h.Changed(b.Check, b.Status, e.Commit, e.Time) })
	case event.InstanceMaintenance:
		m.judge(b.Service, b.ID, func(h event.Health) event.Health {
			return event.Health{Checks: h.Checks, Maintenance: b.State(e.Commit, e.Time)}
		})
	case event.NodeSet:
		m.nodes[b.Node] = b
	case event.NodeDeleted:
		delete(m.nodes, b.Node)
		delete(m.maintenance, b.Node)
	case event.NodeMaintenance:
		m.maintenance[b.Node] = b.State(e.Commit, e.Time)
	case event.ServiceConfigured:
		m.settings[b.Service] = b.Settings()
	}
}

func (m *model) judge(service, id string, health func(event.Health) event.Health) {
	k := [2]string{service, id}
	if r, ok := m.instances[k]; ok {
		m.instances[k] = names.Registered{Instance: r.Instance, Health: health(r.Health)}
	}
}

// passing tells whether DNS may show an instance.
func (m *model) passing(r names.Registered) bool {
	status := r.Health.Verdict(event.Registration{}, m.maintenance[r.Instance.Node]).Status
	return m.settings[r.Instance.Service].Usable(status)
}

// state is the model as a server finds it in its rows.
func (m *model) state() names.State {
	return names.State{
		Instances: maps.Values(m.instances),
		Services:  maps.All(m.settings),
		Nodes: func(yield func(event.Node) bool) {
			for name := range merged(m.nodes, m.maintenance) {
				n := event.Node{Name: name, Address: m.nodes[name].Address, Meta: m.nodes[name].Meta, Maintenance: m.maintenance[name]}
				if !yield(n) {
					return
				}
			}
		},
	}
}

func merged[A, B any](a map[string]A, b map[string]B) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// pick gives what a name should answer whose instances are those that keep takes.
func (m *model) pick(service string, keep func(event.Instance) bool) shown {
	var s shown
	for _, r := range m.instances {
		i := r.Instance
		if !event.IsDNSLabel(i.Service) || strings.ToLower(i.Service) != service || !keep(i) {
			continue
		}
		if s.found = true; m.passing(r) {
			s.add(i.Address, i.Meta)
			s.ports = append(s.ports, i.Port)
		}
	}
	return s.normal()
}

// node gives what a node's name should answer.
func (m *model) node(label string) shown {
	var s shown
	for name, n := range m.nodes {
		if event.IsDNSLabel(name) && strings.ToLower(name) == label {
			s.found = true
			s.add(n.Address, n.Meta)
			s.ports = append(s.ports, 0)
		}
	}
	return s.normal()
}

// pointers gives the names of an address, without their targets, as "ports" that tell instances apart are no use there.
func (m *model) pointers(a netip.Addr) (all []string, known bool) {
	for _, r := range m.instances {
		if !event.IsDNSLabel(r.Instance.Service) || !sameAddress(r.Instance.Address, a) {
			continue
		}
		if known = true; m.passing(r) {
			all = append(all, strings.ToLower(r.Instance.Service))
		}
	}
	for name, n := range m.nodes {
		if event.IsDNSLabel(name) && sameAddress(n.Address, a) {
			known = true
			all = append(all, "")
		}
	}
	slices.Sort(all)
	return all, known
}

func sameAddress(s string, a netip.Addr) bool {
	b, err := netip.ParseAddr(s)
	return err == nil && b.Unmap() == a
}

// ttl is what a service wishes for.
func (m *model) ttl(service string) (seconds uint32) {
	for name, s := range m.settings {
		wish := uint32(time.Duration(s.DNSTTL) / time.Second)
		if strings.ToLower(name) == service && wish > 0 && (seconds == 0 || wish < seconds) {
			seconds = wish
		}
	}
	return seconds
}

// shown is a set in a form that can be compared.
type shown struct {
	found           bool
	ports           []uint16
	addresses, text []string
}

func (s *shown) add(address string, meta map[string]string) {
	for k, v := range meta {
		s.text = append(s.text, k+"="+v)
	}
	if a, err := netip.ParseAddr(address); err == nil {
		s.addresses = append(s.addresses, a.String())
	}
}

func (s shown) normal() shown {
	slices.Sort(s.ports)
	slices.Sort(s.addresses)
	slices.Sort(s.text)
	s.addresses, s.text = slices.Compact(s.addresses), slices.Compact(s.text)
	return s
}

// show does not take out repeats: a set must have none.
func show(set names.Set, found bool) shown {
	s := shown{found: found}
	for k := range set.TextLen() {
		s.text = append(s.text, set.TextAt(k))
	}
	for k := range set.Len() {
		s.ports = append(s.ports, set.At(k).Port)
	}
	for k := range set.V4Len() {
		s.addresses = append(s.addresses, netip.AddrFrom4(set.V4At(k)).String())
	}
	for k := range set.V6Len() {
		s.addresses = append(s.addresses, netip.AddrFrom16(set.V6At(k)).String())
	}
	slices.Sort(s.ports)
	slices.Sort(s.addresses)
	slices.Sort(s.text)
	return s
}
