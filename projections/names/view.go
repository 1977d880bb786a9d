// Package names is the view that DNS answers from: which services there are, and where their instances run.
//
// It is folded in memory from the ledgers' events and is never written to disk: a server folds it again when it
// starts. It knows the shape of names (labels, upper and lower case) but no DNS messages, no sockets and no Raft.
//
// Readers take no lock: what a lookup returns never changes, and a change puts a new record in its place.
package names

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/rollcall/rollcall/log/event"
)

// View is the names of all namespaces that this server follows. Lookups may run concurrently with each other and
// with everything else; Apply has one caller at a time per namespace.
type View struct {
	mu         sync.Mutex // serializes AddNamespace and DropNamespace
	namespaces atomic.Pointer[map[string]*Namespace]
}

// New gives a view that knows the namespace "default", which always exists, and nothing in it.
func New() *View {
	v := new(View)
	v.namespaces.Store(&map[string]*Namespace{})
	v.AddNamespace(event.Default)
	return v
}

// AddNamespace makes a namespace known, with nothing in it and at revision zero. One that is known already stays
// as it is.
func (v *View) AddNamespace(name string) {
	v.replace(func(all map[string]*Namespace) {
		if all[name] == nil {
			all[name] = newNamespace(name)
		}
	})
}

// DropNamespace forgets a namespace and everything in it; what Apply is given for it afterwards is ignored.
func (v *View) DropNamespace(name string) {
	v.replace(func(all map[string]*Namespace) { delete(all, name) })
}

// replace costs O(namespaces). They are few, and come and go seldom compared with lookups.
func (v *View) replace(change func(map[string]*Namespace)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := maps.Clone(*v.namespaces.Load())
	change(all)
	v.namespaces.Store(&all)
}

// Namespace finds a namespace by its name, which is in lower case; nil when there is none.
func (v *View) Namespace(name []byte) *Namespace { return (*v.namespaces.Load())[string(name)] }

// Apply folds the next events of a namespace's ledger: whole commits, in order. Events that were applied before
// are skipped, so that a follower may begin anew anywhere before the end.
//
// A lookup of one name shows the state before the call or the state after it, hence never half of a commit.
func (v *View) Apply(namespace string, events []event.Event) {
	if n := (*v.namespaces.Load())[namespace]; n != nil {
		n.apply(events)
	}
}

// Load takes a namespace's instances as they are at a revision, in place of folding its ledger up to there. It is
// for a namespace that nothing was applied to yet; Apply goes on behind that revision.
func (v *View) Load(namespace string, at event.Revision, instances iter.Seq[event.Instance]) {
	n := (*v.namespaces.Load())[namespace]
	if n == nil {
		return
	}
	touched := map[string]*builder{}
	for i := range instances {
		if b := n.builder(i.Service); b != nil {
			b.put(newInstance(i))
			touched[b.name] = b
		}
	}
	n.publish(touched)
	n.revision.Store(uint64(at))
}

// Namespace is the names of one namespace.
type Namespace struct {
	// Name is the namespace's own name.
	Name     string
	revision atomic.Uint64
	services table
	// builders belongs to the one caller of Apply.
	builders map[string]*builder
}

func newNamespace(name string) *Namespace {
	return &Namespace{Name: name, builders: map[string]*builder{}}
}

// Revision is the revision that lookups show at least: it moves after what it brings has become visible.
func (n *Namespace) Revision() event.Revision { return event.Revision(n.revision.Load()) }

// Service finds a service by its name in lower case; nil when no instance of it is registered.
func (n *Namespace) Service(name []byte) *Service { return n.services.get(name) }

// apply changes the builders event by event and publishes each service that changed once, at the end: folding a
// long ledger costs one copy of a service per call, not per event.
func (n *Namespace) apply(events []event.Event) {
	head, touched := n.Revision(), map[string]*builder{}
	for i := range events {
		e := &events[i]
		if e.Revision <= head {
			continue
		}
		head = e.Revision
		switch body := e.Body.(type) {
		case event.InstanceRegistered:
			if b := n.builder(body.Instance.Service); b != nil {
				b.put(newInstance(body.Instance))
				touched[b.name] = b
			}
		case event.InstanceDeregistered:
			n.remove(touched, body.Service, body.ID)
		case event.InstanceExpired:
			n.remove(touched, body.Service, body.ID)
		}
	}
	n.publish(touched)
	n.revision.Store(uint64(head))
}

func (n *Namespace) remove(touched map[string]*builder, service, id string) {
	if b := n.builder(service); b != nil {
		b.remove(instanceKey{service: service, id: id})
		touched[b.name] = b
	}
}

// builder is where a service is put together; nil for a name that DNS cannot ask for.
func (n *Namespace) builder(service string) *builder {
	if !event.IsDNSLabel(service) {
		return nil
	}
	name := fold(service)
	b := n.builders[name]
	if b == nil {
		b = newBuilder(name)
		n.builders[name] = b
	}
	return b
}

func (n *Namespace) publish(touched map[string]*builder) {
	records := make(map[string]*Service, len(touched))
	for name, b := range touched {
		records[name] = b.service() // nil when the last instance is gone
		if records[name] == nil {
			delete(n.builders, name)
		}
	}
	n.services.set(records)
}
