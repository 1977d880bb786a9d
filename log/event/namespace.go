package event

// System is the namespace that holds Rollcall's own ledger: which namespaces exist, and on which group.
const System = "_system"

// Default is the namespace that always exists.
const Default = "default"

// Namespace is a namespace and the group that hosts its ledger: the row that the namespaces view keeps.
type Namespace struct {
	Name     string
	Group    uint64
	Revision Revision // the commit in _system's ledger that placed it there
	Time     Time
	// Previous is the commit in _system's ledger that deleted the namespace of this name before; zero where there was none.
	Previous Revision
	// From is the namespace whose configuration it began with, as of FromRevision; empty for none.
	From         string
	FromRevision Revision
}

// NamespaceOpened is the first event of every ledger. It makes the ledger self-describing: whoever holds its
// bytes knows which namespace of which cluster they record, and the Merkle root binds that. A ledger whose namespace was
// deleted, and made again, is opened again.
type NamespaceOpened struct {
	Namespace string `cbor:"1,keyasint"`
	Cluster   string `cbor:"2,keyasint"`
	// Placed is the revision in _system's ledger that placed the namespace; zero for _system itself.
	Placed Revision `cbor:"3,keyasint,omitempty"`
	// Groups is how many groups the cluster was made with; only in _system's own ledger.
	Groups uint64 `cbor:"4,keyasint,omitempty"`
	// Skipped is how many revisions were left out before this one, because a namespace of this name may have had
	// them in a cluster that this one was restored from; see NamespaceRestored.
	Skipped Revision `cbor:"5,keyasint,omitempty"`
	// From is the namespace that this one takes its configuration from before anybody may use it, as it was at
	// FromRevision; see NamespaceFilled.
	From         string   `cbor:"6,keyasint,omitempty"`
	FromRevision Revision `cbor:"7,keyasint,omitempty"`
	// Closed is, where the ledger is opened again, the commit that had closed it.
	Closed Revision `cbor:"8,keyasint,omitempty"`
	// Again says that there was a namespace of that name before, though this is the first event of its ledger.
	Again bool `cbor:"9,keyasint,omitempty"`
}

// Kind implements Body.
func (NamespaceOpened) Kind() Kind { return KindNamespaceOpened }

// Type implements Body.
func (NamespaceOpened) Type() string { return "rollcall.namespace.open" }

// Subject implements Body.
func (e NamespaceOpened) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// NamespaceCreated says, in _system's ledger, that a namespace exists and which group hosts it.
type NamespaceCreated struct {
	Namespace string `cbor:"1,keyasint"`
	Group     uint64 `cbor:"2,keyasint"`
	// Previous is the commit that deleted the namespace of this name before; zero where there was none.
	Previous Revision `cbor:"3,keyasint,omitempty"`
	// From is the namespace whose configuration it begins with, as of FromRevision.
	From         string   `cbor:"4,keyasint,omitempty"`
	FromRevision Revision `cbor:"5,keyasint,omitempty"`
}

// Kind implements Body.
func (NamespaceCreated) Kind() Kind { return KindNamespaceCreated }

// Type implements Body.
func (NamespaceCreated) Type() string { return "rollcall.namespace.create" }

// Subject implements Body.
func (e NamespaceCreated) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }
