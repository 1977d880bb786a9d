package commands

import (
	"net/netip"
	"strings"

	"github.com/rollcall/rollcall/log/event"
)

// AddMember makes a server belong to the cluster; it goes to the ledger of event.System. Adding the same server again
// (the same nonce) is no event, so that a server may ask until it gets an answer.
type AddMember struct {
	Name    string `cbor:"1,keyasint"`
	Address string `cbor:"2,keyasint"` // HOST:PORT of its Raft listener
	// Nonce is what the server's data folder was made with; empty reserves the place for a server to come.
	Nonce string `cbor:"3,keyasint,omitempty"`
	Voter bool   `cbor:"4,keyasint,omitempty"` // it is to vote, once it has caught up
	// Replica is the number that a founder has already; zero gives the next one.
	Replica uint64 `cbor:"5,keyasint,omitempty"`
	// Replace lets it take the place of a server of that name with another nonce, which is removed: that one was wiped.
	Replace bool `cbor:"6,keyasint,omitempty"`
	// Version is the version of the decisions that the server knows; zero stands for the first.
	Version uint32 `cbor:"7,keyasint,omitempty"`
}

// PromoteMember says that a server is to vote. Promoting one that votes is no event.
type PromoteMember struct {
	Name string `cbor:"1,keyasint"`
}

// RemoveMember says that a server does not belong to the cluster any more.
type RemoveMember struct {
	Name string `cbor:"1,keyasint"`
}

func (AddMember) command()     {}
func (PromoteMember) command() {}
func (RemoveMember) command()  {}

func validateMember(c AddMember) *Rejection {
	if r := validateMemberName(c.Name); r != nil {
		return r
	}
	if !isHostPort(c.Address) {
		return reject(CodeInvalidMember, "Raft address %.80q of server %q: HOST:PORT, such as 10.0.0.7:7601", c.Address, c.Name)
	}
	if len(c.Nonce) > event.NonceBytesMax || !printable(c.Nonce) {
		return reject(CodeInvalidMember, "nonce of server %q: at most %d printable ASCII characters", c.Name, event.NonceBytesMax)
	}
	return nil
}

func validateMemberName(name string) *Rejection {
	if !event.IsMemberName(name) {
		return reject(CodeInvalidMember, "server name %.80q: 1 to %d letters, digits, hyphens, dots and underscores, first and last a letter or digit", name, event.MemberBytesMax)
	}
	return nil
}

func isHostPort(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || len(s) > event.NameBytesMax || !printable(s) {
		return false
	}
	host, port := s[:i], s[i+1:]
	if _, err := netip.ParseAddrPort("127.0.0.1:" + port); err != nil || port == "0" {
		return false
	}
	if unbracketed, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(unbracketed, "]")
	}
	return isAddress(host)
}

func decideAddMember(s State, ledger string, c AddMember) (Decision, *Rejection) {
	if ledger != event.System {
		return Decision{}, reject(CodeInvalidMember, "servers are added in %q, not in %q", event.System, ledger)
	}
	var events []event.Body
	replica := max(c.Replica, s.LastReplica()+1)
	switch old, exists := s.Member(c.Name); {
	case exists && old.Nonce == c.Nonce:
		return nothing(old.Revision, Result{Replica: old.Replica}), nil
	case c.Replica != 0 && c.Replica <= s.LastReplica():
		return Decision{}, reject(CodeMemberExists, "number %d was given to a server before; numbers up to %d were", c.Replica, s.LastReplica())
	case c.Nonce != "" && max(c.Version, VersionFirst) < s.ClusterVersion():
		return Decision{}, reject(CodeUnsupportedVersion, "server %q knows version %d of the decisions, and the cluster is at %d: start it with a newer binary", c.Name, max(c.Version, VersionFirst), s.ClusterVersion())
	case exists && old.Nonce == "":
		replica = old.Replica // the place was kept for it
		c.Voter = c.Voter || old.Voter
	case exists && !c.Replace:
		return Decision{}, reject(CodeMemberExists, "there is a server %q at %s already, with other data: give the new one another name, or remove the old one first", c.Name, old.Address)
	case exists:
		events = append(events, event.MemberRemoved{Name: old.Name, Replica: old.Replica})
		c.Voter = old.Voter
	}
	for m := range s.Members() {
		if m.Address == c.Address && m.Name != c.Name {
			return Decision{}, reject(CodeMemberExists, "server %q has the Raft address %s already", m.Name, c.Address)
		}
	}
	events = append(events, event.MemberAdded{Name: c.Name, Replica: replica, Address: c.Address, Nonce: c.Nonce, Voter: c.Voter, Version: c.Version})
	return Decision{Events: events, Answer: Answer{Results: []Result{{Created: true, Replica: replica}}}}, nil
}

func decidePromoteMember(s State, c PromoteMember) (Decision, *Rejection) {
	m, exists := s.Member(c.Name)
	if !exists {
		return Decision{}, reject(CodeNotFound, "there is no server %q", c.Name)
	}
	if m.Voter {
		return nothing(m.Revision, Result{Replica: m.Replica}), nil
	}
	return one(event.MemberPromoted{Name: m.Name, Replica: m.Replica}, Result{Replica: m.Replica}), nil
}

func decideRemoveMember(s State, c RemoveMember) (Decision, *Rejection) {
	m, exists := s.Member(c.Name)
	if !exists {
		return Decision{}, reject(CodeNotFound, "there is no server %q", c.Name)
	}
	others := 0
	for o := range s.Members() {
		if o.Voter && o.Nonce != "" && o.Name != m.Name {
			others++
		}
	}
	if m.Voter && others == 0 {
		return Decision{}, reject(CodeQuorumAtRisk, "server %q is the last one that votes: without it nothing could be changed any more", c.Name)
	}
	return one(event.MemberRemoved{Name: m.Name, Replica: m.Replica}, Result{Replica: m.Replica}), nil
}
