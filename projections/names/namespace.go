package names

import (
	"cmp"

	"github.com/rollcall/rollcall/log/event"
)

// Namespace is the names of one namespace, as of one revision. It never changes.
type Namespace struct {
	// Name is the namespace's own name.
	Name     string
	revision event.Revision
	services sorted[slot]
	nodes    Service // its instances are the nodes
}

// Revision is the revision that the names are as of.
func (n *Namespace) Revision() event.Revision { return n.revision }

// Service finds a service by its name in lower case; nil when no instance of it is registered.
func (n *Namespace) Service(name []byte) *Service {
	if s, ok := lookup(n.services, slotKey{hash(name), name}, compareSlot); ok && s.service.instances.len() > 0 {
		return s.service
	}
	return nil
}

// Node finds a node by its name in lower case; false when there is none. Those that differ only in case answer together.
func (n *Namespace) Node(label []byte) (Set, bool) { return n.nodes.Instance(label) }

// Instances is how many instances there are.
func (n *Namespace) Instances() (all int) {
	for s := range n.services.all {
		all += s.service.instances.len()
	}
	return all
}

// slot is where a service stands among all: in the order of a hash, which takes fewer steps to compare than names do.
type slot struct {
	hash    uint64
	service *Service
}

func (s slot) compare(o slot) int {
	if c := cmp.Compare(s.hash, o.hash); c != 0 {
		return c
	}
	return cmp.Compare(s.service.Name, o.service.Name)
}

// slotKey is what a slot is looked for by.
type slotKey struct {
	hash uint64
	name []byte
}

func compareSlot(s slot, k slotKey) int {
	if c := cmp.Compare(s.hash, k.hash); c != 0 {
		return c
	}
	return compareLabel(s.service.Name, k.name)
}

// hash is FNV-1a.
func hash[T string | []byte](name T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}
