package event

// Phase is where a namespace's own ledger stands between being opened and being closed. Rows hold the numbers: append
// only.
type Phase uint8

// The phases. Every ledger of before there were others is open.
const (
	Open    Phase = 0
	Filling Phase = 1 // it takes over what another namespace holds, and nobody sees it yet
	Closed  Phase = 2 // somebody deleted the namespace
	Expired Phase = 3 // nobody renewed it
)

// Ended tells whether the namespace is gone, however that came.
func (p Phase) Ended() bool { return p == Closed || p == Expired }

// Life is what a namespace's own ledger says of its beginning and its end: the row that the namespaces view keeps. A
// ledger that was opened once, from nothing, and goes on has none: that is the zero Life.
type Life struct {
	Phase Phase
	// Placed is the revision of _system's ledger that placed the namespace. Of one that has ended it may be any revision
	// of that ledger from then on at which the namespace still was there: to be made again, it must be placed later.
	Placed Revision
	// Since is the commit that the phase began with.
	Since Revision
	// Began is the commit of the opening; zero where the ledger was opened once, at its beginning.
	Began Revision
	// From is the namespace that this one was filled from, as it was at FromRevision; empty for none.
	From         string
	FromRevision Revision
}

// Gone is a namespace that was deleted, as _system's ledger remembers it: its ledger stays where it is, and goes on
// there if the namespace is made again.
type Gone struct {
	Name     string
	Group    uint64
	Placed   Revision // the commit that had placed it
	Closed   Revision // of its own ledger
	Revision Revision // the commit that says so
	Time     Time
}

// NamespaceClosed says, in a namespace's own ledger, that somebody deleted it. Behind it there is nothing to read and
// nothing is taken but what empties the ledger, until it is opened again.
type NamespaceClosed struct {
	Namespace string `cbor:"1,keyasint"`
	// Placed is the newest revision of _system's ledger that is known to speak of the namespace that ends here.
	Placed Revision `cbor:"2,keyasint,omitempty"`
}

// Kind implements Body.
func (NamespaceClosed) Kind() Kind { return KindNamespaceClosed }

// Type implements Body.
func (NamespaceClosed) Type() string { return "rollcall.namespace.close" }

// Subject implements Body.
func (e NamespaceClosed) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// NamespaceExpired says, in a namespace's own ledger, that nobody renewed it for its whole TTL. It ends as with
// NamespaceClosed.
type NamespaceExpired struct {
	Namespace string   `cbor:"1,keyasint"`
	Placed    Revision `cbor:"2,keyasint,omitempty"` // as NamespaceClosed has it
	// Epoch is that of the timekeeper who found it, see TimekeeperClaimed.
	Epoch Revision `cbor:"3,keyasint"`
	TTL   Time     `cbor:"4,keyasint"`
}

// Kind implements Body.
func (NamespaceExpired) Kind() Kind { return KindNamespaceExpired }

// Type implements Body.
func (NamespaceExpired) Type() string { return "rollcall.namespace.expire" }

// Subject implements Body.
func (e NamespaceExpired) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// NamespaceDeleted says, in _system's ledger, that a namespace is no more: its own ledger was closed before.
type NamespaceDeleted struct {
	Namespace string   `cbor:"1,keyasint"`
	Group     uint64   `cbor:"2,keyasint"`           // where its ledger is
	Placed    Revision `cbor:"3,keyasint"`           // the commit that had placed it
	Closed    Revision `cbor:"4,keyasint,omitempty"` // the commit of its own ledger that closed it
	Expired   bool     `cbor:"5,keyasint,omitempty"` // nobody renewed it
}

// Kind implements Body.
func (NamespaceDeleted) Kind() Kind { return KindNamespaceDeleted }

// Type implements Body.
func (NamespaceDeleted) Type() string { return "rollcall.namespace.delete" }

// Subject implements Body.
func (e NamespaceDeleted) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// NamespaceFilled says, in a namespace's own ledger, that it holds all that it was to take over from another one: from
// here on it can be used.
type NamespaceFilled struct {
	Namespace    string   `cbor:"1,keyasint"`
	From         string   `cbor:"2,keyasint"`
	FromRevision Revision `cbor:"3,keyasint"`
}

// Kind implements Body.
func (NamespaceFilled) Kind() Kind { return KindNamespaceFilled }

// Type implements Body.
func (NamespaceFilled) Type() string { return "rollcall.namespace.fill" }

// Subject implements Body.
func (e NamespaceFilled) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }
