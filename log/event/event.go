// Package event is the vocabulary of Rollcall: the facts that a ledger records and the nouns that they speak of.
//
// It knows no storage, no transport and no decisions. Every other package points here and this one points
// nowhere, so that a fact means the same thing on disk, on the wire and in every view.
package event

// Revision is an event's position in its ledger: 1, 2, 3 and so on. Zero is "before the first event".
type Revision uint64

// Time is an instant in nanoseconds since 1970-01-01 UTC. Inside a ledger it never goes back.
//
// It is a number and not a time.Time because decide and fold may not read a clock: whoever needs a calendar
// converts at the edge.
type Time int64

// Event is one recorded fact: what happened (Body), where in the ledger it stands, and who asked for it.
type Event struct {
	// Revision is the position of this event in its ledger.
	Revision Revision
	// Commit is the last revision of the command that this event belongs to. All events of a command share it,
	// and rows are versioned by it, so that no reader sees half of a command.
	Commit Revision
	// Time is the proposer's wall clock, moved forward where it would have been before the previous event's.
	Time Time
	// Actor is who asked for the change; empty while nobody is authenticated.
	Actor string
	// Reason is why, in the actor's words, like a commit message; empty when none was given.
	Reason string
	// Request names the request that the commit answers, where whoever made it gave it an idempotency key. Only the
	// first event of a commit has it.
	Request *Request
	// Body is what happened.
	Body Body
}

// Body is what happened. The set of bodies is closed: each has a Kind, and a codec entry in codec.go.
//
// A body, once shipped, only ever gains optional fields: its bytes are hashed into the ledger's Merkle tree.
type Body interface {
	// Kind is the number that names the body's type in the ledger's bytes.
	Kind() Kind
	// Type is the CloudEvents type, such as "rollcall.kv.put".
	Type() string
	// Subject is the path of the thing that changed, without the "rollcall.{namespace}." in front: "kv.app.db.url".
	Subject() string
}

// Kind numbers the types of bodies. Numbers are written to disk and hashed: append only, never reuse.
type Kind uint16

// The kinds of bodies. Each family has its own hundred.
const (
	KindKeySet      Kind = 100
	KindKeyDeleted  Kind = 101
	KindKeyExpired  Kind = 102
	KindKeyReleased Kind = 103

	KindInstanceRegistered   Kind = 200
	KindInstanceDeregistered Kind = 201
	KindInstanceExpired      Kind = 202
	KindInstanceCredentials  Kind = 203
	KindInstanceStatus       Kind = 204
	KindInstanceMaintenance  Kind = 205
	KindServiceConfigured    Kind = 206

	KindNodeSet         Kind = 250
	KindNodeDeleted     Kind = 251
	KindNodeMaintenance Kind = 252

	KindSessionCreated    Kind = 300
	KindSessionEnded      Kind = 301
	KindSessionExpired    Kind = 302
	KindTimekeeperClaimed Kind = 310

	KindNamespaceOpened     Kind = 900
	KindNamespaceCreated    Kind = 901
	KindNamespaceConfigured Kind = 902
	KindNamespaceUsage      Kind = 903
	KindNamespaceTrimmed    Kind = 904
	KindNamespaceClosed     Kind = 905
	KindNamespaceExpired    Kind = 906
	KindNamespaceDeleted    Kind = 907
	KindNamespaceFilled     Kind = 908

	KindMemberAdded       Kind = 920
	KindMemberPromoted    Kind = 921
	KindMemberRemoved     Kind = 922
	KindNamespaceRestored Kind = 910
	KindMemberVersion     Kind = 923

	KindClusterVersion Kind = 940
)
