// Package commands decides. A command asks for a change; Decide answers with the events that make it, or with a
// rejection, and is a pure function of the state, the time and the command.
//
// It knows no storage, no network, no clock and no randomness: every replica decides every command by itself and
// must come to the same bytes. It may import the event vocabulary and a short list of pure standard packages,
// which test/arch enforces.
package commands

import "github.com/rollcall/rollcall/log/event"

// Command asks for a change. The set is closed: each has a number in codec.go and a case in Decide.
type Command interface{ command() }

// Order is a command as it travels.
type Order struct {
	// Version is that of the decisions which the command was written for: it is decided as that one has it, by every
	// binary and for good.
	Version uint32
	// Key is the idempotency key of the request; empty for none.
	Key     string
	Command Command
}

// PutKey gives a key a value. A key that ends in a slash is a directory: it has a TTL and no value.
type PutKey struct {
	Key         string      `cbor:"1,keyasint"`
	Value       []byte      `cbor:"2,keyasint,omitempty"`
	ContentType string      `cbor:"3,keyasint,omitempty"`
	Flags       uint64      `cbor:"4,keyasint,omitempty"`
	If          []Condition `cbor:"5,keyasint,omitempty"` // all must hold
	// TTL and Session are the key's lease, at most one of them; without any the key stays for good.
	TTL     event.Time `cbor:"6,keyasint,omitempty"`
	Session string     `cbor:"7,keyasint,omitempty"`
}

// DeleteKey removes one key. Deleting a key that is not there is rejected with CodeNotFound.
type DeleteKey struct {
	Key string      `cbor:"1,keyasint"`
	If  []Condition `cbor:"2,keyasint,omitempty"`
}

// DeletePrefix removes every key that starts with a prefix, in one commit. Removing nothing is rejected with
// CodeNotFound; the empty prefix means every key.
type DeletePrefix struct {
	Prefix string `cbor:"1,keyasint"`
}

// Txn runs Then if all conditions hold, Else otherwise; all of the branch happens, in one commit, or none of it.
type Txn struct {
	If   []Condition `cbor:"1,keyasint,omitempty"`
	Then []Operation `cbor:"2,keyasint,omitempty"`
	Else []Operation `cbor:"3,keyasint,omitempty"`
}

// Operation is one step of a transaction: exactly one field is set.
type Operation struct {
	Put        *PutKey             `cbor:"1,keyasint,omitempty"`
	Delete     *Target             `cbor:"2,keyasint,omitempty"` // deleting nothing is no fault here, as in etcd
	Get        *Target             `cbor:"3,keyasint,omitempty"`
	Register   *RegisterInstance   `cbor:"4,keyasint,omitempty"`
	Deregister *DeregisterInstance `cbor:"5,keyasint,omitempty"`
}

// Target names one key, or every key below a prefix.
type Target struct {
	Key      string `cbor:"1,keyasint,omitempty"`
	Prefix   string `cbor:"2,keyasint,omitempty"`
	IsPrefix bool   `cbor:"3,keyasint,omitempty"` // tells the empty prefix from an empty key
}

// RegisterInstance says that an instance of a service runs. Registering the same thing again is no event.
type RegisterInstance struct {
	Instance event.Instance `cbor:"1,keyasint"`
	// Credentials replace those that there are; where nil they stay.
	Credentials *Credentials `cbor:"2,keyasint,omitempty"`
}

// DeregisterInstance says that an instance is gone. Removing what is not there is rejected with CodeNotFound.
type DeregisterInstance struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
}

// CreateNamespace places a new namespace on a group; it goes to the ledger of event.System. Creating what is
// there already is no event.
type CreateNamespace struct {
	Namespace string `cbor:"1,keyasint"`
	// Group is where to place it; zero lets the decision take the group that hosts the fewest.
	Group uint64 `cbor:"2,keyasint,omitempty"`
	// From is the namespace whose configuration it is to begin with, as it is at FromRevision, which whoever carries the
	// command out adds. Where the namespace exists, it must have been made from that one.
	From         string         `cbor:"3,keyasint,omitempty"`
	FromRevision event.Revision `cbor:"4,keyasint,omitempty"`
}

// OpenNamespace starts a ledger: it goes to the new ledger itself, on the group that CreateNamespace named.
// Opening what is open already is no event; a ledger that was closed is opened again once it is empty.
type OpenNamespace struct {
	Namespace string         `cbor:"1,keyasint"`
	Cluster   string         `cbor:"2,keyasint"`
	Placed    event.Revision `cbor:"3,keyasint,omitempty"`
	Groups    uint64         `cbor:"4,keyasint,omitempty"`
	// Skip is how many revisions to leave out before the ledger's first event, in a cluster that was restored.
	Skip event.Revision `cbor:"5,keyasint,omitempty"`
	// From is the namespace that this one is to be filled from, as it was at FromRevision.
	From         string         `cbor:"6,keyasint,omitempty"`
	FromRevision event.Revision `cbor:"7,keyasint,omitempty"`
	// Again says that one of that name was deleted before, so that there is a ledger to go on with.
	Again bool `cbor:"8,keyasint,omitempty"`
}

// RestoreNamespace has a ledger that came with a snapshot go on in a new cluster: it goes to that ledger before any
// other command. Where the ledger belongs to the cluster already it is no event, so that it may be repeated.
type RestoreNamespace struct {
	Namespace   string         `cbor:"1,keyasint"`
	Cluster     string         `cbor:"2,keyasint"`
	Skip        event.Revision `cbor:"3,keyasint"`
	FromCluster string         `cbor:"4,keyasint"`
	Taken       event.Time     `cbor:"5,keyasint"`
	Snapshot    []byte         `cbor:"6,keyasint"`
}

func (PutKey) command()             {}
func (DeleteKey) command()          {}
func (DeletePrefix) command()       {}
func (Txn) command()                {}
func (RegisterInstance) command()   {}
func (DeregisterInstance) command() {}
func (CreateNamespace) command()    {}
func (OpenNamespace) command()      {}
func (RestoreNamespace) command()   {}
