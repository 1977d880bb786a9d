package event

// SkipMax bounds how many revisions one event may leave out.
const SkipMax = 1 << 40

// NamespaceRestored is the first event of a ledger after a restore: the ledger goes on in another cluster. It stands
// at revision From + Skipped + 1, so that nothing that is written from now on gets a number that the old cluster
// gave to something else after the snapshot was taken.
type NamespaceRestored struct {
	Namespace string `cbor:"1,keyasint"`
	// Cluster is the id of the cluster that the ledger belongs to from here on.
	Cluster string `cbor:"2,keyasint"`
	// From is the last revision that came with the snapshot: that of the event before this one.
	From Revision `cbor:"3,keyasint"`
	// Skipped is how many revisions are left out: From + 1 up to From + Skipped exist in no ledger of this cluster.
	Skipped Revision `cbor:"4,keyasint"`
	// FromCluster is the cluster that the snapshot was taken of, Taken when that was, and Snapshot the SHA-256 of
	// its file.
	FromCluster string `cbor:"5,keyasint"`
	Taken       Time   `cbor:"6,keyasint"`
	Snapshot    []byte `cbor:"7,keyasint"`
}

// Restored is what a ledger remembers of its restores: the row that the namespaces view keeps.
type Restored struct {
	// Cluster is the one that the ledger belongs to since the last restore.
	Cluster string
	// Skipped is how many revisions all restores together have left out.
	Skipped Revision
}

// Kind implements Body.
func (NamespaceRestored) Kind() Kind { return KindNamespaceRestored }

// Type implements Body.
func (NamespaceRestored) Type() string { return "rollcall.namespace.restored" }

// Subject implements Body.
func (e NamespaceRestored) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// Skipped is how many revisions an event leaves out before itself: zero for all but those that say so.
func Skipped(b Body) Revision {
	switch b := b.(type) {
	case NamespaceOpened:
		return b.Skipped
	case NamespaceRestored:
		return b.Skipped
	}
	return 0
}
