package event

import "maps"

// Node is a host that instances say they run on. It need not be known for that; what is known of it is here.
type Node struct {
	Name    string
	Address string // an IP address or a host name; empty while only its maintenance is known
	Meta    map[string]string
	// Maintenance is that of every instance on it.
	Maintenance MaintenanceState
	// Revision is the commit that last changed address and meta, CreateRevision the one that made the node known.
	Revision       Revision
	CreateRevision Revision
	Time           Time
}

// Same tells whether a node says the same as an event would.
func (n Node) Same(e NodeSet) bool {
	return n.Name == e.Node && n.Address == e.Address && maps.Equal(n.Meta, e.Meta)
}

// NodeSet says what is known of a node: the whole new state.
type NodeSet struct {
	Node           string            `cbor:"1,keyasint"`
	Address        string            `cbor:"2,keyasint"`
	Meta           map[string]string `cbor:"3,keyasint,omitempty"`
	CreateRevision Revision          `cbor:"4,keyasint,omitempty"` // zero where the node is made by this very commit
	Previous       Revision          `cbor:"5,keyasint,omitempty"`
}

// Kind implements Body.
func (NodeSet) Kind() Kind { return KindNodeSet }

// Type implements Body.
func (NodeSet) Type() string { return "rollcall.node.put" }

// Subject implements Body.
func (e NodeSet) Subject() string { return NodeSubject(e.Node) }

// NodeDeleted says that a node is known no longer, and is not in maintenance either.
type NodeDeleted struct {
	Node     string   `cbor:"1,keyasint"`
	Previous Revision `cbor:"2,keyasint"`
}

// Kind implements Body.
func (NodeDeleted) Kind() Kind { return KindNodeDeleted }

// Type implements Body.
func (NodeDeleted) Type() string { return "rollcall.node.delete" }

// Subject implements Body.
func (e NodeDeleted) Subject() string { return NodeSubject(e.Node) }

// NodeMaintenance says that every instance on a node is kept out of use from here on, or no longer.
type NodeMaintenance struct {
	Node    string `cbor:"1,keyasint"`
	Enabled bool   `cbor:"2,keyasint,omitempty"`
	Reason  string `cbor:"3,keyasint,omitempty"`
}

// Kind implements Body.
func (NodeMaintenance) Kind() Kind { return KindNodeMaintenance }

// Type implements Body.
func (NodeMaintenance) Type() string { return "rollcall.node.maintenance" }

// Subject implements Body.
func (e NodeMaintenance) Subject() string { return NodeSubject(e.Node) }

// State is what the event leaves behind.
func (e NodeMaintenance) State(commit Revision, at Time) MaintenanceState {
	return MaintenanceState{e.Enabled, e.Reason, Because{commit, e.Kind(), at}}
}

// NodeSubject is the subject of a node.
func NodeSubject(node string) string { return "node." + EscapeSegment(node) }
