package event

// MemberVersion says which version of the decisions a server knows, after its binary was replaced.
type MemberVersion struct {
	Name    string `cbor:"1,keyasint"`
	Replica uint64 `cbor:"2,keyasint"`
	Version uint32 `cbor:"3,keyasint"`
}

// Kind implements Body.
func (MemberVersion) Kind() Kind { return KindMemberVersion }

// Type implements Body.
func (MemberVersion) Type() string { return "rollcall.member.version" }

// Subject implements Body.
func (e MemberVersion) Subject() string { return MemberSubject(e.Name) }

// ClusterVersion says for which version of the decisions commands may be written from now on. It only ever rises.
type ClusterVersion struct {
	Version  uint32 `cbor:"1,keyasint"`
	Previous uint32 `cbor:"2,keyasint"`
}

// Kind implements Body.
func (ClusterVersion) Kind() Kind { return KindClusterVersion }

// Type implements Body.
func (ClusterVersion) Type() string { return "rollcall.cluster.version" }

// Subject implements Body.
func (ClusterVersion) Subject() string { return "cluster.version" }
