package commands

import (
	"iter"

	"github.com/rollcall/rollcall/log/event"
)

// State is what a decision may look at: the views of one namespace, as they are after every command before this
// one. Iteration is in key order, which is part of the contract: map order would differ between replicas.
type State interface {
	// Head is the ledger's last revision; zero means that the ledger is not open.
	Head() event.Revision
	// Done gives the request that last bore an idempotency key.
	Done(key string) (event.Done, bool)
	// Key gives the entry of a key that exists.
	Key(key string) (event.Entry, bool)
	// Keys yields every existing entry whose key starts with the prefix, in key order.
	Keys(prefix string) iter.Seq[event.Entry]
	// KeyRevisions yields the key and the revision of each of them, without the cost of their values.
	KeyRevisions(prefix string) iter.Seq2[string, event.Revision]
	// KeyRevisionsFrom yields those of all keys from one of them on.
	KeyRevisionsFrom(key string) iter.Seq2[string, event.Revision]
	// Instance gives the registration of an instance that exists.
	Instance(service, id string) (event.Registration, bool)
	// Health is what is known of an instance besides its registration; zero where that is nothing. Due is what becomes of
	// an instance, or of one check of it, when time passes; the empty check stands for the instance itself.
	Health(service, id string) event.Health
	Due(service, id, check string) (event.Due, bool)
	// Credentials gives those of an instance, and the revision that set them: zero where there are none.
	Credentials(service, id string) (map[string]string, event.Revision)
	// ServiceSettings are what holds for a service, and the revision that said so last: zero where none did.
	ServiceSettings(service string) (event.ServiceSettings, event.Revision)
	// Node gives a node of which anything is known.
	Node(name string) (event.Node, bool)
	// Nodes yields the nodes of which anything is known, and AllServiceSettings the settings of services that have any, by
	// name.
	Nodes() iter.Seq[event.Node]
	AllServiceSettings() iter.Seq2[string, event.ServiceSettings]
	// Instances yields those of a service, in the order of their ids; the empty service means all, in the order of services.
	Instances(service string) iter.Seq[event.Registration]
	// Sessions yields those behind one, in the order of their ids as text; behind "" are all of them.
	Sessions(after string) iter.Seq[event.Session]
	// Life is where the namespace's own ledger stands. Gone gives a namespace that was deleted and not made again; it is
	// known in the ledger of event.System only.
	Life() event.Life
	Gone(namespace string) (event.Gone, bool)
	// Session gives a session that exists; KeysHeld and InstancesHeld yield what is bound to it, in the order of their
	// names.
	Session(id string) (event.Session, bool)
	KeysHeld(session string) iter.Seq[string]
	InstancesHeld(session string) iter.Seq[event.Registration]
	// Timekeeper is the epoch of who keeps the time of the ledger's leases; zero while nobody does.
	Timekeeper() event.Revision
	// Namespace gives a namespace that exists, Namespaces all of them in name order; Groups is how many groups
	// the cluster was made with. They are known in the ledger of event.System only.
	Namespace(name string) (event.Namespace, bool)
	Namespaces() iter.Seq[event.Namespace]
	Groups() uint64
	// Member gives a server of the cluster, Members all of them in name order; LastReplica is the highest number that
	// any ever had. They are known in the ledger of event.System only.
	Member(name string) (event.Member, bool)
	Members() iter.Seq[event.Member]
	LastReplica() uint64
	// Restored says what the last restore of this ledger did; it is zero where there was none.
	Restored() event.Restored
	// Settings are what the namespace keeps to, and Level how close to its quotas it said that it is. Wish is what a
	// namespace was asked to keep to; it is known in the ledger of event.System only.
	Settings() event.Settings
	Level() event.Level
	Wish(namespace string) (event.Settings, bool)
	// Floor is the oldest revision whose state Situation.Past may be asked for.
	Floor() event.Revision
	// ClusterVersion is the version of the decisions that commands may be written for; only in the ledger of
	// event.System.
	ClusterVersion() uint32
}
