package event

// Session is a lease: who holds it keeps it alive, and what is bound to it ends with it. It is etcd's lease, Consul's
// session and ZooKeeper's ephemeral owner in one.
type Session struct {
	// ID is the revision that created the session, in decimal digits: the same request, decided again, gives the same.
	ID string
	// TTL is for how long the session lives after it was last kept alive, in nanoseconds.
	TTL   Time
	OnEnd OnEnd
	// LockDelay is for how long after the session expired nobody may take a lock that it held.
	LockDelay Time
	// Revision is the commit that created the session.
	Revision Revision
	Time     Time
}

// OnEnd says what becomes of the keys that are bound to a session when it ends. Instances are always removed.
type OnEnd uint8

// What becomes of keys.
const (
	Release OnEnd = 0 // they stay, bound to nothing
	Delete  OnEnd = 1
)

// SessionCreated says that a session begins.
type SessionCreated struct {
	ID        string `cbor:"1,keyasint"`
	TTL       Time   `cbor:"2,keyasint"`
	OnEnd     OnEnd  `cbor:"3,keyasint,omitempty"`
	LockDelay Time   `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (SessionCreated) Kind() Kind { return KindSessionCreated }

// Type implements Body.
func (SessionCreated) Type() string { return "rollcall.session.create" }

// Subject implements Body.
func (e SessionCreated) Subject() string { return SessionSubject(e.ID) }

// Session is the state that the event leaves behind, as of the commit it belongs to.
func (e SessionCreated) Session(commit Revision, at Time) Session {
	return Session{ID: e.ID, TTL: e.TTL, OnEnd: e.OnEnd, LockDelay: e.LockDelay, Revision: commit, Time: at}
}

// SessionEnded says that somebody ended a session. What was bound to it is released or deleted in the same commit.
type SessionEnded struct {
	ID string `cbor:"1,keyasint"`
}

// Kind implements Body.
func (SessionEnded) Kind() Kind { return KindSessionEnded }

// Type implements Body.
func (SessionEnded) Type() string { return "rollcall.session.end" }

// Subject implements Body.
func (e SessionEnded) Subject() string { return SessionSubject(e.ID) }

// SessionExpired says that nobody kept a session alive for its whole TTL.
type SessionExpired struct {
	ID string `cbor:"1,keyasint"`
	// Epoch is that of the timekeeper who found it, see TimekeeperClaimed.
	Epoch Revision `cbor:"2,keyasint"`
}

// Kind implements Body.
func (SessionExpired) Kind() Kind { return KindSessionExpired }

// Type implements Body.
func (SessionExpired) Type() string { return "rollcall.session.expire" }

// Subject implements Body.
func (e SessionExpired) Subject() string { return SessionSubject(e.ID) }

// TimekeeperClaimed says that a server keeps the time of this ledger's leases from here on. Its commit is
// its epoch: what an earlier timekeeper finds expired is refused behind it.
type TimekeeperClaimed struct {
	Namespace string `cbor:"1,keyasint"`
	Server    string `cbor:"2,keyasint"`
	// Previous is the epoch of the timekeeper before; zero when there was none.
	Previous Revision `cbor:"3,keyasint,omitempty"`
}

// Kind implements Body.
func (TimekeeperClaimed) Kind() Kind { return KindTimekeeperClaimed }

// Type implements Body.
func (TimekeeperClaimed) Type() string { return "rollcall.namespace.timekeeper" }

// Subject implements Body.
func (e TimekeeperClaimed) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// SessionSubject is the subject of a session.
func SessionSubject(id string) string { return "session." + EscapeSegment(id) }
