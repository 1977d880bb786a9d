package names

import (
	"bytes"
	"cmp"
	"net/netip"
	"sync"
	"sync/atomic"
)

// reverse finds the instances and nodes of all namespaces that have an address. Readers take no lock.
type reverse struct {
	mu    sync.Mutex // held by who changes it
	edit  uint64     // guarded by mu
	shown atomic.Pointer[sorted[holder]]
}

// holder is an instance or a node, by its address and then by whether it is shown: those that are come first.
type holder struct{ instance *Instance }

func (h holder) compare(o holder) int {
	a, b := h.instance, o.instance
	if c := bytes.Compare(a.address[:], b.address[:]); c != 0 {
		return c
	}
	return cmp.Or(
		oneIf(b.shown())-oneIf(a.shown()), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.service, b.service), a.compare(b),
	)
}

// change is one instance that has another version now; nil for either means that there is none.
type change struct{ before, now *Instance }

// apply makes changes visible, all at once.
func (r *reverse) apply(changes []change) {
	if len(changes) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.edit++
	var all sorted[holder]
	if shown := r.shown.Load(); shown != nil {
		all = *shown
	}
	for _, c := range changes {
		before, now := c.before.ifAddressed(), c.now.ifAddressed()
		if before != nil && (now == nil || (holder{before}).compare(holder{now}) != 0) {
			all.delete(r.edit, holder{before})
		}
		if now != nil {
			all.set(r.edit, holder{now})
		}
	}
	r.shown.Store(&all)
}

// ifAddressed is the instance itself, or nil when it has no address.
func (i *Instance) ifAddressed() *Instance {
	if i == nil || i.family == familyNone {
		return nil
	}
	return i
}

// Pointers are the names that an address has. They never change.
type Pointers struct {
	all  sorted[holder]
	from int
	n    int
}

// Pointer is one of them: of an instance or, where there is no service, of a node.
type Pointer struct {
	Namespace string
	Service   string // in lower case
	Label     string // that names it, and no other
}

// Pointers gives the names of what is shown at an address, in all namespaces; false when nothing that is registered has
// the address, shown or not.
func (v *View) Pointers(address netip.Addr) (Pointers, bool) {
	shown := v.reverse.shown.Load()
	if shown == nil {
		return Pointers{}, false
	}
	wanted := address.As16()
	from := rank(*shown, wanted, func(h holder, a [16]byte) int { return bytes.Compare(h.instance.address[:], a[:]) })
	if from == shown.len() || shown.at(from).instance.address != wanted {
		return Pointers{}, false
	}
	to := rank(*shown, wanted, func(h holder, a [16]byte) int {
		return cmp.Or(bytes.Compare(h.instance.address[:], a[:]), -oneIf(h.instance.shown()))
	})
	return Pointers{*shown, from, to - from}, true
}

// Len is how many there are.
func (p *Pointers) Len() int { return p.n }

// At gives the k-th.
func (p *Pointers) At(k int) Pointer {
	i := p.all.at(p.from + k).instance
	return Pointer{Namespace: i.namespace, Service: i.service, Label: i.Target}
}
