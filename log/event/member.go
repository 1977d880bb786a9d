package event

// Member is a server of the cluster, as _system's ledger has it: the row that the members view keeps.
type Member struct {
	Name string
	// Replica is the server's number in every Raft group. It is never given to another server, nor to the same one
	// after it was wiped.
	Replica uint64
	Address string // HOST:PORT of its Raft listener
	// Nonce is what the server made up when its data folder was new: a folder that was wiped has another one. Empty
	// while nobody has come to take the place.
	Nonce string
	// Voter says that it is to vote, once it has caught up.
	Voter bool
	// Version is the highest version of the decisions that the server knows; zero, which stands for 1, where it never
	// said.
	Version  uint32
	Revision Revision // the commit that last changed it
}

// MemberAdded says that a server belongs to the cluster.
type MemberAdded struct {
	Name    string `cbor:"1,keyasint"`
	Replica uint64 `cbor:"2,keyasint"`
	Address string `cbor:"3,keyasint"`
	Nonce   string `cbor:"4,keyasint,omitempty"`
	Voter   bool   `cbor:"5,keyasint,omitempty"`
	// Version is the highest version of the decisions that the server knows.
	Version uint32 `cbor:"6,keyasint,omitempty"`
}

// Kind implements Body.
func (MemberAdded) Kind() Kind { return KindMemberAdded }

// Type implements Body.
func (MemberAdded) Type() string { return "rollcall.member.add" }

// Subject implements Body.
func (e MemberAdded) Subject() string { return MemberSubject(e.Name) }

// MemberPromoted says that a server which did not vote is to vote.
type MemberPromoted struct {
	Name    string `cbor:"1,keyasint"`
	Replica uint64 `cbor:"2,keyasint"`
}

// Kind implements Body.
func (MemberPromoted) Kind() Kind { return KindMemberPromoted }

// Type implements Body.
func (MemberPromoted) Type() string { return "rollcall.member.promote" }

// Subject implements Body.
func (e MemberPromoted) Subject() string { return MemberSubject(e.Name) }

// MemberRemoved says that a server does not belong to the cluster any more. Its replica never comes back.
type MemberRemoved struct {
	Name    string `cbor:"1,keyasint"`
	Replica uint64 `cbor:"2,keyasint"`
}

// Kind implements Body.
func (MemberRemoved) Kind() Kind { return KindMemberRemoved }

// Type implements Body.
func (MemberRemoved) Type() string { return "rollcall.member.remove" }

// Subject implements Body.
func (e MemberRemoved) Subject() string { return MemberSubject(e.Name) }

// MemberSubject is the subject of a server of the cluster.
func MemberSubject(name string) string { return "member." + EscapeSegment(name) }
