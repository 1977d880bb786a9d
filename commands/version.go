package commands

import "github.com/rollcall/rollcall/log/event"

// A cluster's version is that of the decisions which commands may be written for. It moves by an event in _system's
// ledger, when every server says that it knows the new one, and never back.
//
// The commands of this file are what moves it, so they belong to version 1 for good: the servers that know no more
// must decide them too.

// The versions of the decisions. Each says what it brought.
const (
	// VersionFirst is what clusters begin with.
	VersionFirst = 1
	// VersionKeys lets commands carry idempotency keys.
	VersionKeys = 2
	// VersionLeases brings sessions, keys and directories that expire, whole documents, quotas and retention.
	VersionLeases = 3
	// VersionHealth brings health checks, maintenance, nodes, credentials, and the end of namespaces.
	VersionHealth = 4

	// Version is the newest, for which this binary writes commands once the cluster has come to it.
	Version = VersionHealth
)

// Since is the version that a command needs. An order that was written for an older one is malformed, as it is to a
// binary that knows no more than that.
func Since(c Command) uint32 {
	if newer, ok := c.(interface{ since() uint32 }); ok {
		return newer.since()
	}
	return VersionFirst
}

// AnnounceVersion says which version a server knows; it goes to the ledger of event.System. Saying it again is no event.
type AnnounceVersion struct {
	Name    string `cbor:"1,keyasint"`
	Replica uint64 `cbor:"2,keyasint"`
	Version uint32 `cbor:"3,keyasint"`
}

// SetClusterVersion lets commands be written for a version; it goes to the ledger of event.System. It is refused while
// a server does not know that version. Setting what is set is no event.
type SetClusterVersion struct {
	Version uint32 `cbor:"1,keyasint"`
}

func (AnnounceVersion) command()   {}
func (SetClusterVersion) command() {}

func decideAnnounceVersion(s State, c AnnounceVersion) (Decision, *Rejection) {
	m, exists := s.Member(c.Name)
	switch {
	case !exists || m.Replica != c.Replica:
		return Decision{}, reject(CodeNotFound, "there is no server %q with number %d", c.Name, c.Replica)
	case c.Version < s.ClusterVersion():
		return Decision{}, reject(CodeUnsupportedVersion, "server %q knows version %d of the decisions, and the cluster is at %d: start it with a newer binary", c.Name, c.Version, s.ClusterVersion())
	case c.Version == versionOf(m):
		return nothing(m.Revision, Result{Replica: m.Replica}), nil
	}
	return one(event.MemberVersion(c), Result{Replica: m.Replica}), nil
}

func decideSetClusterVersion(s State, ledger string, c SetClusterVersion) (Decision, *Rejection) {
	if ledger != event.System {
		return Decision{}, reject(CodeUnsupportedVersion, "the cluster's version is set in %q, not in %q", event.System, ledger)
	}
	present := s.ClusterVersion()
	if c.Version < present {
		return Decision{}, reject(CodeUnsupportedVersion, "version %d: the cluster is at %d, and never goes back", c.Version, present)
	}
	if c.Version == present {
		return nothing(s.Head(), Result{}), nil
	}
	servers := 0
	for m := range s.Members() {
		if m.Nonce == "" {
			continue // its place is kept, and it will have to know the version when it comes
		}
		if versionOf(m) < c.Version {
			return Decision{}, reject(CodeUnsupportedVersion, "version %d: server %q knows up to %d; start it with a newer binary first", c.Version, m.Name, versionOf(m))
		}
		servers++
	}
	if servers == 0 {
		return Decision{}, reject(CodeUnsupportedVersion, "version %d: no server has said that it knows it", c.Version)
	}
	return one(event.ClusterVersion{Version: c.Version, Previous: present}, Result{}), nil
}

// versionOf is the version that a server knows: what it never said is the first.
func versionOf(m event.Member) uint32 { return max(m.Version, VersionFirst) }
