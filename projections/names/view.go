// Package names is the view that DNS answers from: which services, tags, protocols, instances and nodes exist in each
// namespace, and what answers for them.
//
// It is kept in memory, ready to be copied into a reply. It follows the ledgers' events and is never written to disk: a
// server fills it from the registry's rows when it starts. It knows the shape of names (labels, upper and lower case) but
// no DNS messages, no sockets and no Raft.
//
// Readers take no lock: what a lookup returns never changes, and whole commits put a new version in its place, which
// shares with the one before what they have in common.
//
// An instance is shown where its status is passing or warning. One that is not, and all others of its names that have
// nothing left to show, still exist.
package names

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/rollcall/rollcall/log/event"
)

// View is the names of all namespaces that this server follows. Lookups may run concurrently with each other and
// with everything else.
type View struct {
	mu         sync.Mutex // serializes AddNamespace and DropNamespace
	namespaces atomic.Pointer[map[string]*follower]
	reverse    reverse
}

// follower is a namespace that changes.
type follower struct {
	shown atomic.Pointer[Namespace]

	mu      sync.Mutex // held by who changes it
	folder  *folder    // guarded by mu
	dropped bool       // guarded by mu
}

// New gives a view that knows the namespace "default", which always exists, and nothing in it.
func New() *View {
	v := new(View)
	v.namespaces.Store(&map[string]*follower{})
	v.AddNamespace(event.Default)
	return v
}

// AddNamespace makes a namespace known, with nothing in it and at revision zero. One that is known already stays
// as it is.
func (v *View) AddNamespace(name string) {
	v.replace(func(all map[string]*follower) {
		if all[name] == nil {
			f := &follower{folder: newFolder(name)}
			f.shown.Store(f.folder.publish(0))
			all[name] = f
		}
	})
}

// DropNamespace forgets a namespace and everything in it; what Apply is given for it afterwards is ignored.
func (v *View) DropNamespace(name string) {
	f := (*v.namespaces.Load())[name]
	v.replace(func(all map[string]*follower) { delete(all, name) })
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dropped {
		f.dropped = true
		v.reverse.apply(f.shown.Load().gone())
	}
}

// gone is the change that takes everything away.
func (n *Namespace) gone() (all []change) {
	for i := range n.nodes.instances.all {
		all = append(all, change{before: i})
	}
	for s := range n.services.all {
		for i := range s.service.instances.all {
			all = append(all, change{before: i})
		}
	}
	return all
}

// replace costs O(namespaces). They are few, and come and go seldom compared with lookups.
func (v *View) replace(change func(map[string]*follower)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := maps.Clone(*v.namespaces.Load())
	change(all)
	v.namespaces.Store(&all)
}

// Namespace finds a namespace by its name, which is in lower case, as it is now; nil when there is none.
func (v *View) Namespace(name []byte) *Namespace {
	if f := (*v.namespaces.Load())[string(name)]; f != nil {
		return f.shown.Load()
	}
	return nil
}

// Apply folds the next events of a namespace's ledger: whole commits, in order. Events that were applied before
// are skipped, so that a follower may begin anew anywhere before the end.
//
// What a lookup of the namespace gives is as before the call or as after it, hence never half of a commit. So are the
// names of one address, but those of two addresses may be as of different moments.
func (v *View) Apply(namespace string, events []event.Event) {
	v.change(namespace, func(f *folder) event.Revision {
		head := f.now.revision
		for i := range events {
			if e := &events[i]; e.Revision > head {
				head = e.Revision
				f.fold(e)
			}
		}
		return head
	})
}

// Load takes a namespace as it is at a revision, in place of folding its ledger up to there. It is for a namespace that
// nothing was applied to yet; Apply goes on behind that revision.
func (v *View) Load(namespace string, at event.Revision, state State) {
	v.change(namespace, func(f *folder) event.Revision {
		f.load(state)
		return at
	})
}

// change lets readers see what fold does to a namespace, and the revision that it gives.
func (v *View) change(namespace string, fold func(*folder) event.Revision) {
	f := (*v.namespaces.Load())[namespace]
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped {
		return
	}
	head := fold(f.folder)
	v.reverse.apply(f.folder.changes) // first, so that addresses show at least the revision that is claimed
	f.shown.Store(f.folder.publish(head))
}
