// Package gateway holds what the doors share: what they need from a server (Backend), how a fact looks to the
// outside (CloudEvent), and how a refusal does (Problem).
//
// The doors themselves are its children: api is HTTP, notify is NATS. They know no Raft and no Pebble; they never
// import one another.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections"
)

// Backend is what a door needs from the server behind it. Every method may be called concurrently.
type Backend interface {
	// Cluster is the cluster's id, as it stands in every ledger's first event.
	Cluster() string
	// Namespaces are the names of the namespaces that this server knows, _system included, sorted.
	Namespaces() []string
	// Submit has a command decided, and waits for the outcome. A refusal is a *commands.Rejection; see also
	// the errors of this package.
	Submit(ctx context.Context, namespace string, r Request) (commands.Answer, error)
	// Rehearse decides a command as Submit would have it decided now, and writes nothing.
	Rehearse(ctx context.Context, namespace string, r Request) (commands.Rehearsal, error)
	// View runs fn on the state of a namespace. What fn gets is valid until it returns.
	View(ctx context.Context, namespace string, o ReadOptions, fn func(View) error) error
	// History gives the events of one key, instance, service or node, by its subject, newest first; see History. A subject that has
	// no history of its own is ErrNoHistory, with what is wrong. It goes back to the first event, whatever states are kept.
	History(ctx context.Context, namespace string, o ReadOptions, subject string, limit int) (History, error)
	// Follow reads a namespace's events from a revision on (0 and 1: from the first), then goes on live. Zero
	// waiting costs zero work. Close it after use.
	Follow(namespace string, from event.Revision) (Follower, error)
	// Renew gives a lease its whole TTL again, and is no event. A lease that ended, or a key without a TTL, is ErrNoLease.
	Renew(ctx context.Context, namespace string, lease Lease) (Renewal, error)
	// Left says how long each of at most LeasesMax leases has if nobody renews it, leaving out what is not known.
	Left(ctx context.Context, namespace string, leases []Lease) (map[Lease]time.Duration, error)
	// Observations are what the last looks at the targets of a service's checks gave, from every server that answers soon:
	// none of it is in a ledger. What nobody has looked at, or remembers, is left out.
	Observations(ctx context.Context, namespace, service string) (map[CheckKey]Observation, error)
	// Note has this server remember what an instance reported of a TTL check, beside its status.
	Note(namespace, service string, k CheckKey, o Observation)
	// Members are the servers of the cluster, in name order, as far as this server knows.
	Members(ctx context.Context) ([]Member, error)
	// Groups are the Raft groups, in order. It asks each of them.
	Groups(ctx context.Context) ([]Group, error)
	// Head is the last revision that this server has applied; it does not ask the other servers.
	Head(namespace string) (event.Revision, error)
	// Snapshot takes hold of the ledgers and views of every namespace, with everything in them that was acknowledged
	// anywhere before the call, to be written into a file. Writes go on meanwhile. Close it after use.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is the state of a whole cluster, to be written into a file.
type Snapshot interface {
	// Head is the revision of _system's ledger in it.
	Head() event.Revision
	// Write writes the file; stop, when closed, ends it early. What breaks off does not pass for a whole file.
	Write(w io.Writer, stop <-chan struct{}) error
	Close() error
}

// Member is a server of the cluster.
type Member struct {
	Name    string
	Replica uint64 // its number in every Raft group
	Raft    string // HOST:PORT, as are the next three; those are empty while it has not been heard of
	HTTP    string
	NATS    string
	DNS     string
	Voter   bool // it votes, or is to vote once it has caught up
	Alive   bool // it answers
	// Revision is the last one of _system that it is known to have applied.
	Revision event.Revision
}

// Group is a Raft group: the namespaces on it, and who takes part in it. Servers go by their names.
type Group struct {
	ID         uint64
	Leader     string // empty while there is none
	Members    []string
	NonVoters  []string
	Namespaces []string
}

// Lease names a session, a key or directory with a TTL of its own, an instance with one, a check of an instance as long as
// it has a status, or the namespace itself: exactly one of them.
type Lease struct {
	Session string `json:"session,omitempty"`
	Key     string `json:"key,omitempty"`
	Service string `json:"service,omitempty"`
	ID      string `json:"id,omitempty"`
	// Check is empty for the instance itself. Status is that of the check: a report of the same one renews it.
	Check     string       `json:"check,omitempty"`
	Status    event.Status `json:"status,omitempty"`
	Namespace bool         `json:"whole_namespace,omitempty"`
}

// CheckKey names a check of a service.
type CheckKey struct {
	ID    string `json:"id"` // the instance
	Check string `json:"check"`
}

// Observation is what the last look at a target gave.
type Observation struct {
	Status event.Status `json:"status"` // of this look alone, whatever thresholds make of it
	// Output is text that the target chose, for people. It is bounded, and has no control characters.
	Output string    `json:"output,omitempty"`
	At     time.Time `json:"at"`
	Server string    `json:"server"` // that looked, or that was told
	// Fault says, where the server takes itself for what fails, what it saw, and what becomes of it: the check keeps the
	// status that it had.
	Fault string `json:"fault,omitempty"`
}

// Renewal is the answer to a renewal.
type Renewal struct {
	TTL      time.Duration  `json:"ttl"`
	Revision event.Revision `json:"revision"` // the commit that made the lease what it is
}

// LeasesMax is how many leases Left is asked about at a time.
const LeasesMax = 1000

// Request is a command and who asks for it.
type Request struct {
	Command commands.Command
	// Key is the idempotency key; empty for none.
	Key    string
	Actor  string
	Reason string
}

// ReadOptions say which state a reader wants to see. The zero value is a linearizable read of the present.
type ReadOptions struct {
	// Stale reads what this server has, without asking whether it is current.
	Stale bool
	// MinRevision waits until this server has applied that revision.
	MinRevision event.Revision
	// At is the revision to read as of; AtTime the instant. At most one is set; zero means the present.
	At     event.Revision
	AtTime time.Time
}

// View is the state of a namespace, and how current it is.
type View struct {
	projections.View
	// Staleness is how long ago the state was last known to be current; zero for a linearizable read.
	Staleness time.Duration
	// Usage is how much the newest state holds, also where an older one is shown.
	Usage event.Usage
}

// History is what happened to one thing.
type History struct {
	// Events are in the order of revisions, the newest first.
	Events []event.Event
	// Head is the state that was looked back from.
	Head event.Revision
	// Next is the revision to look back from for older ones, where there may be some; zero otherwise.
	Next event.Revision
	// Staleness is as in View.
	Staleness time.Duration
}

// Follower yields the events of one ledger in order, without gap or repeat. It is used by one goroutine.
type Follower interface {
	// Next gives the events that come next, waiting for the first of them. They are whole commits where the
	// follower began at the start of one. The slice is valid until the next call.
	Next(ctx context.Context) ([]event.Event, error)
	// TryNext is Next without the wait: it gives nothing when the follower has read everything there is.
	TryNext() ([]event.Event, error)
	// Fork is another follower of the same ledger, from a revision on, for one of many readers: it gives less at once, since
	// each may hold what it was given for long. As with this one, the namespace may have ended since:
	// what is up to its end can be read.
	Fork(from event.Revision) Follower
	// Close releases what the follower holds.
	Close()
}

// The errors of a Backend that are no rejections. Compare with errors.Is.
var (
	// ErrUnavailable says that no leader could be asked in time: nothing was written.
	ErrUnavailable = errors.New("no quorum")
	// ErrOutcomeUnknown says that the time ran out after the command was proposed: it may yet take effect.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrBusy says that too much is waiting already: nothing was written, try again later.
	ErrBusy = errors.New("too busy")
	// ErrNoHistory says that a subject is not that of one thing.
	ErrNoHistory = errors.New("a history is that of one key (kv.…), one instance (service.{service}.{id}), one service (service.{service}) or one node (node.{node})")
	// ErrNoLease says that there is no such lease, or no longer.
	ErrNoLease = errors.New("there is no such lease")
	// ErrClosed says that the server is stopping.
	ErrClosed = errors.New("server is stopping")
)

// UnknownNamespaceError says that no such namespace exists.
type UnknownNamespaceError struct{ Namespace string }

// Error implements error.
func (e UnknownNamespaceError) Error() string {
	return fmt.Sprintf("namespace %q does not exist", e.Namespace)
}

// RevisionError says that a read asked for a revision that the ledger has not reached.
type RevisionError struct {
	Asked, Head event.Revision
}

// Error implements error.
func (e RevisionError) Error() string {
	return fmt.Sprintf("revision %d does not exist yet; the last one is %d", e.Asked, e.Head)
}

// AbsentError says that a read asked for a state in which the namespace was not there: it was deleted, and made again since,
// or was still being made.
type AbsentError struct {
	Namespace string
	At        event.Revision
}

// Error implements error.
func (e AbsentError) Error() string {
	return fmt.Sprintf("there was no namespace %q at revision %d: it was deleted, or still being made", e.Namespace, e.At)
}

// TrimmedError says that a read asked for a state that is no longer kept.
type TrimmedError struct {
	Asked, KeptFrom event.Revision
	Time            event.Time // of the oldest revision whose state is kept
}

// Error implements error.
func (e TrimmedError) Error() string {
	return fmt.Sprintf("the state at revision %d is no longer kept; the oldest that is kept is that of revision %d, from %s", e.Asked, e.KeptFrom, FormatTime(e.Time))
}
