package names

import (
	"iter"
	"math"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// State is a namespace at some revision, for Load and Fold. What is nil is empty.
type State struct {
	// Nodes are all nodes of which anything is known, their maintenance included.
	Nodes iter.Seq[event.Node]
	// Services are the services that have settings.
	Services  iter.Seq2[string, event.ServiceSettings]
	Instances iter.Seq[Registered]
}

// Registered is an instance with what is known of how it is.
type Registered struct {
	Instance event.Instance
	Health   event.Health
}

// Fold gives the names of a namespace as of a revision, which no view follows. A part of its state is enough for who
// asks about that part only: a service with its instances, and the nodes that these are on.
func Fold(namespace string, at event.Revision, state State) *Namespace {
	f := newFolder(namespace)
	f.load(state)
	return f.publish(at)
}

// folder folds the events of one namespace, one call at a time.
type folder struct {
	edit uint64
	now  Namespace
	// hosts are the nodes that instances say they run on, or that are in maintenance, by the names in the ledger.
	hosts map[string]*host
	// settings are those of services that have any, by the name in DNS and then by that in the ledger, of which several
	// may be one in DNS.
	settings map[string]map[string]event.ServiceSettings
	// changes are the versions of instances since the last publication.
	changes []change
}

// host is a node as instances see it.
type host struct {
	maintenance event.MaintenanceState
	instances   sorted[*Instance]
}

func newFolder(namespace string) *folder {
	return &folder{
		edit: 1, now: Namespace{Name: namespace},
		hosts: map[string]*host{}, settings: map[string]map[string]event.ServiceSettings{},
	}
}

// publish gives what was folded so far, which stays as it is.
func (f *folder) publish(at event.Revision) *Namespace {
	f.now.revision = at
	n := f.now
	f.edit++
	f.changes = nil
	return &n
}

func (f *folder) load(s State) {
	if s.Nodes != nil {
		for n := range s.Nodes {
			if n.Address != "" {
				f.setNode(n.Name, n.Address, n.Meta)
			}
			f.maintainNode(n.Name, n.Maintenance)
		}
	}
	if s.Services != nil {
		for name, settings := range s.Services {
			f.configure(name, settings)
		}
	}
	if s.Instances != nil {
		for r := range s.Instances {
			f.register(r.Instance, func(*Instance) event.Health { return r.Health })
		}
	}
}

// fold applies one event. Those that say nothing about names change nothing.
func (f *folder) fold(e *event.Event) {
	switch b := e.Body.(type) {
	case event.InstanceRegistered:
		f.register(b.Instance, func(before *Instance) event.Health {
			if before == nil {
				return event.Health{}.Registered(nil, b.Instance, e.Commit, e.Time)
			}
			return before.health().Registered(&event.Instance{Checks: before.checks()}, b.Instance, e.Commit, e.Time)
		})
	case event.InstanceDeregistered:
		f.remove(b.Service, b.ID)
	case event.InstanceExpired:
		f.remove(b.Service, b.ID)
	case event.InstanceStatus:
		f.alter(b.Service, b.ID, func(h event.Health) event.Health { return h.Changed(b.Check, b.Status, e.Commit, e.Time) })
	case event.InstanceMaintenance:
		f.alter(b.Service, b.ID, func(h event.Health) event.Health {
			h.Maintenance = b.State(e.Commit, e.Time)
			return h
		})
	case event.NodeSet:
		f.setNode(b.Node, b.Address, b.Meta)
	case event.NodeDeleted:
		f.deleteNode(b.Node)
	case event.NodeMaintenance:
		f.maintainNode(b.Node, b.State(e.Commit, e.Time))
	case event.ServiceConfigured:
		f.configure(b.Service, b.Settings())
	}
}

// service is a service that may be changed; nil for a name that DNS cannot ask for.
func (f *folder) service(name string) *Service {
	if !event.IsDNSLabel(name) {
		return nil
	}
	name = fold(name)
	found, ok := lookup(f.now.services, slotKey{hash(name), []byte(name)}, compareSlot)
	if ok && found.service.edit == f.edit {
		return found.service
	}
	s := &Service{Name: name}
	if ok {
		*s = *found.service
	}
	s.edit = f.edit
	f.now.services.set(f.edit, slot{hash(name), s})
	return s
}

// tidy takes a service away of which there is nothing left to know.
func (f *folder) tidy(s *Service) {
	if s.instances.len() == 0 && s.TTL == 0 {
		f.now.services.delete(f.edit, slot{hash(s.Name), s})
	}
}

// register puts an instance in, whose health is made from that of its earlier version.
func (f *folder) register(e event.Instance, health func(before *Instance) event.Health) {
	s := f.service(e.Service)
	if s == nil {
		return
	}
	i := newInstance(f.now.Name, s.Name, e)
	before, ok := s.instances.get(i)
	if !ok {
		before = nil
	}
	f.judge(i, e.Checks, health(before))
	s.put(f.edit, i, f.changed)
}

func (f *folder) remove(service, id string) {
	if s, i := f.find(service, id); i != nil {
		s.remove(f.edit, i, f.changed)
		f.tidy(s)
	}
}

// alter puts an instance's next version in, whose health is made from that of the one before.
func (f *folder) alter(service, id string, health func(event.Health) event.Health) {
	if s, i := f.find(service, id); i != nil {
		f.rejudge(s, i, health(i.health()))
	}
}

func (f *folder) rejudge(s *Service, i *Instance, h event.Health) {
	c := *i
	f.judge(&c, i.checks(), h)
	s.put(f.edit, &c, f.changed)
}

// judge says how an instance is, which nobody has seen yet, and whether it is shown.
func (f *folder) judge(i *Instance, checks []event.Check, h event.Health) {
	i.condition = nil
	if len(checks) > 0 || !h.Zero() {
		i.condition = &condition{checks, h}
	}
	status := h.Verdict(event.Registration{}, f.maintenance(i.node)).Status
	i.usable = f.settings[i.service][i.key.service].Usable(status)
}

// find gives an instance and its service, which may be changed; nil when it is not registered.
func (f *folder) find(service, id string) (*Service, *Instance) {
	if !event.IsDNSLabel(service) {
		return nil, nil
	}
	k := instanceKey{service, id}
	probe := &Instance{key: k, label: labelOf(k)}
	found, ok := lookup(f.now.services, slotKey{hash(fold(service)), []byte(fold(service))}, compareSlot)
	if !ok {
		return nil, nil
	}
	i, ok := found.service.instances.get(probe)
	if !ok {
		return nil, nil
	}
	return f.service(service), i
}

// changed keeps up what finds instances by something else than their name.
func (f *folder) changed(before, now *Instance) {
	f.changes = append(f.changes, change{before, now})
	if before != nil && before.node != "" && (now == nil || now.node != before.node) {
		h := f.hosts[before.node]
		h.instances.delete(f.edit, before)
		f.tidyHost(before.node, h)
	}
	if now != nil && now.node != "" {
		f.host(now.node).instances.set(f.edit, now)
	}
}

func (f *folder) host(node string) *host {
	h := f.hosts[node]
	if h == nil {
		h = new(host)
		f.hosts[node] = h
	}
	return h
}

func (f *folder) tidyHost(node string, h *host) {
	if h.instances.len() == 0 && h.maintenance == (event.MaintenanceState{}) {
		delete(f.hosts, node)
	}
}

// maintenance is that of a node.
func (f *folder) maintenance(node string) event.MaintenanceState {
	if h := f.hosts[node]; h != nil {
		return h.maintenance
	}
	return event.MaintenanceState{}
}

// maintainNode sets a node's maintenance, and judges every instance on it again.
func (f *folder) maintainNode(node string, state event.MaintenanceState) {
	h := f.host(node)
	was := h.maintenance.Enabled
	h.maintenance = state
	if state.Enabled != was {
		f.rejudgeAll(h.instances, func(*Instance) bool { return true })
	}
	f.tidyHost(node, h)
}

func (f *folder) setNode(node, address string, meta map[string]string) {
	if event.IsDNSLabel(node) {
		i := newInstance(f.now.Name, "", event.Instance{ID: node, Address: address, Meta: meta})
		i.usable = true
		f.now.nodes.put(f.edit, i, f.changed)
	}
}

func (f *folder) deleteNode(node string) {
	k := instanceKey{id: node}
	if i, ok := f.now.nodes.instances.get(&Instance{key: k, label: labelOf(k)}); ok {
		f.now.nodes.remove(f.edit, i, f.changed)
	}
	f.maintainNode(node, event.MaintenanceState{})
}

// configure sets what holds for a service, and judges its instances again where that changes which are used.
func (f *folder) configure(service string, now event.ServiceSettings) {
	s := f.service(service)
	if s == nil {
		return
	}
	all := f.settings[s.Name]
	was := all[service]
	switch {
	case now != (event.ServiceSettings{}) && all == nil:
		f.settings[s.Name] = map[string]event.ServiceSettings{service: now}
	case now != (event.ServiceSettings{}):
		all[service] = now
	default:
		if delete(all, service); len(all) == 0 {
			delete(f.settings, s.Name)
		}
	}
	s.TTL = f.ttl(s.Name)
	if was.OnlyPassing != now.OnlyPassing {
		f.rejudgeAll(s.instances, func(i *Instance) bool { return i.key.service == service })
		s = f.service(service)
	}
	f.tidy(s)
}

// ttl is the one that a service has of its own, in seconds. Where several names are one in DNS, the shortest keeps the
// promise of them all.
func (f *folder) ttl(service string) (seconds uint32) {
	for _, s := range f.settings[service] {
		ttl := uint32(min(int64(s.DNSTTL)/int64(time.Second), math.MaxInt32)) // RFC 2181 section 8
		if ttl > 0 && (seconds == 0 || ttl < seconds) {
			seconds = ttl
		}
	}
	return seconds
}

// rejudgeAll judges those instances again that which takes.
func (f *folder) rejudgeAll(all sorted[*Instance], which func(*Instance) bool) {
	if all.len() == 0 {
		return
	}
	f.edit++ // the sequence gets new versions meanwhile: this one stays as it is
	for i := range all.all {
		if which(i) {
			f.rejudge(f.service(i.key.service), i, i.health())
		}
	}
}
