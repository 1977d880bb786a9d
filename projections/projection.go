// Package projections folds events into views and reads them.
//
// A view can always be thrown away and folded again from the ledger, to the same bytes. Views that decisions read
// (kv, registry, sessions, namespaces, members, requests) are folded in the very batch that writes the events; views that only readers use
// (names) follow the tail in memory.
//
// It knows no transport and no Raft: it is given a reader and writer of rows.
package projections

import (
	"iter"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/kv"
	"github.com/rollcall/rollcall/projections/members"
	"github.com/rollcall/rollcall/projections/namespaces"
	"github.com/rollcall/rollcall/projections/registry"
	"github.com/rollcall/rollcall/projections/requests"
	"github.com/rollcall/rollcall/projections/sessions"
)

// Fold applies an event to every view that is folded in the write batch.
func Fold(w store.Writer, e event.Event) {
	kv.Fold(w, e)
	registry.Fold(w, e)
	namespaces.Fold(w, e)
	members.Fold(w, e)
	requests.Fold(w, e)
	sessions.Fold(w, e)
}

// View is the state of one namespace at one revision. It has the methods that commands.State asks for.
type View struct {
	rows store.Reader
	head event.Revision
}

// NewView reads the rows of a ledger whose last visible revision is head.
func NewView(rows store.Reader, head event.Revision) View { return View{rows: rows, head: head} }

// Head is the revision that the view shows.
func (v View) Head() event.Revision { return v.head }

// At is the same namespace as it was at an earlier revision.
func (v View) At(r event.Revision) View { return View{rows: v.rows.At(r), head: min(r, v.head)} }

// Done gives the request that last bore an idempotency key.
func (v View) Done(key string) (event.Done, bool) { return requests.Get(v.rows, key) }

// Key gives the entry of a key.
func (v View) Key(key string) (event.Entry, bool) { return kv.Get(v.rows, key) }

// Keys yields the entries whose key starts with prefix, in key order.
func (v View) Keys(prefix string) iter.Seq[event.Entry] { return kv.Scan(v.rows, prefix, "") }

// KeysAfter yields the entries behind a key, in key order; behind "" are all of them.
func (v View) KeysAfter(after string) iter.Seq[event.Entry] {
	if after != "" {
		after += "\x00"
	}
	return kv.Scan(v.rows, "", after)
}

// KeyRevisions yields the keys that start with prefix and the revision of each, in key order.
func (v View) KeyRevisions(prefix string) iter.Seq2[string, event.Revision] {
	return kv.Revisions(v.rows, prefix, "")
}

// KeyRevisionsFrom yields those of all keys from one of them on.
func (v View) KeyRevisionsFrom(key string) iter.Seq2[string, event.Revision] {
	return kv.Revisions(v.rows, "", key)
}

// List gives one page of a list of keys.
func (v View) List(q kv.Query) (items []kv.Item, next string) { return kv.List(v.rows, q) }

// Instance gives one registration.
func (v View) Instance(service, id string) (event.Registration, bool) {
	return registry.Get(v.rows, service, id)
}

// Instances yields a service's registrations in the order of their ids; the empty service means all services.
func (v View) Instances(service string) iter.Seq[event.Registration] {
	if service == "" {
		return registry.All(v.rows)
	}
	return registry.Instances(v.rows, service)
}

// WithHealth yields a service's registrations in the order of their ids, with what else is known of each; the empty
// service means all services.
func (v View) WithHealth(service string) iter.Seq2[event.Registration, event.Health] {
	return registry.WithHealth(v.rows, service)
}

// Health gives what is known of an instance besides its registration.
func (v View) Health(service, id string) event.Health { return registry.Health(v.rows, service, id) }

// Due gives what becomes of a check, or with none of the instance itself, when time passes.
func (v View) Due(service, id, check string) (event.Due, bool) {
	return registry.Due(v.rows, service, id, check)
}

// AllDue yields what is due of an instance, or with no service of all, in the order of service, id and check.
func (v View) AllDue(service, id string) iter.Seq[event.Due] {
	return registry.AllDue(v.rows, service, id)
}

// Credentials gives those of an instance, and the revision that set them; zero where there are none.
func (v View) Credentials(service, id string) (map[string]string, event.Revision) {
	return registry.Credentials(v.rows, service, id)
}

// ServiceSettings are what holds for a service, and the revision that said so; zero where that is the default.
func (v View) ServiceSettings(service string) (event.ServiceSettings, event.Revision) {
	return registry.Settings(v.rows, service)
}

// AllServiceSettings yields the settings of the services that have any, by name.
func (v View) AllServiceSettings() iter.Seq2[string, event.ServiceSettings] {
	return registry.AllSettings(v.rows)
}

// Node gives what is known of a node. Where that is its maintenance only, its revision is zero.
func (v View) Node(name string) (event.Node, bool) { return registry.Node(v.rows, name) }

// Nodes yields the nodes of which anything is known, by name.
func (v View) Nodes() iter.Seq[event.Node] { return registry.Nodes(v.rows) }

// Spellings gives the services with instances whose names differ from one in upper and lower case only.
func (v View) Spellings(service string) []string { return registry.Spellings(v.rows, service) }

// NodeSpellings gives the nodes of which anything is known likewise.
func (v View) NodeSpellings(node string) []string { return registry.NodeSpellings(v.rows, node) }

// Namespace gives one namespace; only _system's view knows any.
func (v View) Namespace(name string) (event.Namespace, bool) { return namespaces.Get(v.rows, name) }

// Namespaces yields all namespaces in name order; only _system's view knows any.
func (v View) Namespaces() iter.Seq[event.Namespace] { return namespaces.All(v.rows) }

// Restored is what restores have done to the ledger; zero where there was none.
func (v View) Restored() event.Restored { return namespaces.Restored(v.rows) }

// Groups is how many groups the cluster was made with; only _system's view knows.
func (v View) Groups() uint64 { return namespaces.Groups(v.rows) }

// Member gives one server of the cluster; only _system's view knows any.
func (v View) Member(name string) (event.Member, bool) { return members.Get(v.rows, name) }

// Members yields the servers of the cluster in name order; only _system's view knows any.
func (v View) Members() iter.Seq[event.Member] { return members.All(v.rows) }

// RemovedReplicas yields the replicas that never come back, in order; only _system's view knows any.
func (v View) RemovedReplicas() iter.Seq[uint64] { return members.Removed(v.rows) }

// LastReplica is the highest replica that any server ever had; only _system's view knows.
func (v View) LastReplica() uint64 { return members.LastReplica(v.rows) }

// ClusterVersion is the version of the decisions that commands may be written for; only _system's view knows.
func (v View) ClusterVersion() uint32 { return members.ClusterVersion(v.rows) }

// Session gives one session.
func (v View) Session(id string) (event.Session, bool) { return sessions.Get(v.rows, id) }

// Sessions yields the sessions behind one, in the order of their ids as text; behind "" are all of them.
func (v View) Sessions(after string) iter.Seq[event.Session] { return sessions.All(v.rows, after) }

// KeysHeld yields the keys that are bound to a session, in key order.
func (v View) KeysHeld(session string) iter.Seq[string] { return kv.Held(v.rows, session) }

// InstancesHeld yields the instances that are bound to a session, in the order of service and id.
func (v View) InstancesHeld(session string) iter.Seq[event.Registration] {
	return registry.Held(v.rows, session)
}

// Leases yields the keys that have a TTL of their own, in key order.
func (v View) Leases() iter.Seq[kv.Lease] { return kv.Leases(v.rows) }

// Timekeeper is the epoch of who keeps the time of the ledger's leases; zero while nobody does.
func (v View) Timekeeper() event.Revision { return sessions.Timekeeper(v.rows) }
