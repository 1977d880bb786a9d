// Package members is the view of _system's ledger that says which servers belong to the cluster, and which replicas
// never do again.
//
// It is decisive, as package kv is. What it says is what should be: the groups' leaders bring Raft up to it.
package members

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// The keys of TableMembers: members by name, what was removed by replica, the highest replica ever given, and the
// version of the decisions that commands may be written for.
const (
	prefixMember  = 'm'
	prefixRemoved = 'r'
)

var (
	lastKey    = []byte("last")
	versionKey = []byte("version")
)

// row is a member in the table.
type row struct {
	Replica  uint64         `cbor:"1,keyasint"`
	Address  string         `cbor:"2,keyasint"`
	Nonce    string         `cbor:"3,keyasint,omitempty"`
	Voter    bool           `cbor:"4,keyasint,omitempty"`
	Revision event.Revision `cbor:"5,keyasint"`
	Version  uint32         `cbor:"6,keyasint,omitempty"`
}

var encMode = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants: this is a build mistake, seen at the first start
	}
	return m
}()

// Fold applies an event to the view; events of other families change nothing.
func Fold(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.MemberAdded:
		set(w, event.Member{Name: b.Name, Replica: b.Replica, Address: b.Address, Nonce: b.Nonce, Voter: b.Voter, Version: b.Version, Revision: e.Commit})
		if b.Replica > LastReplica(w) {
			w.Set(store.TableMembers, lastKey, binary.BigEndian.AppendUint64(nil, b.Replica))
		}
	case event.MemberPromoted:
		if m, ok := Get(w, b.Name); ok {
			m.Voter, m.Revision = true, e.Commit
			set(w, m)
		}
	case event.NamespaceRestored:
		if b.Namespace == event.System {
			forget(w)
		}
	case event.MemberVersion:
		if m, ok := Get(w, b.Name); ok {
			m.Version, m.Revision = b.Version, e.Commit
			set(w, m)
		}
	case event.ClusterVersion:
		w.Set(store.TableMembers, versionKey, binary.AppendUvarint(nil, uint64(b.Version)))
	case event.MemberRemoved:
		w.Delete(store.TableMembers, memberKey(b.Name))
		w.Set(store.TableMembers, removedKey(b.Replica), []byte(b.Name))
	}
}

// forget empties the view of servers: after a restore the groups are new ones, in which no server has had a number yet.
func forget(w store.Writer) {
	var keys [][]byte
	for key := range w.Scan(store.TableMembers, nil, nil) {
		if !bytes.Equal(key, versionKey) { // what the ledger holds was decided for that version
			keys = append(keys, bytes.Clone(key))
		}
	}
	for _, key := range keys {
		w.Delete(store.TableMembers, key)
	}
}

func set(w store.Writer, m event.Member) {
	b, err := encMode.Marshal(row{Replica: m.Replica, Address: m.Address, Nonce: m.Nonce, Voter: m.Voter, Revision: m.Revision, Version: m.Version})
	if err != nil {
		panic(fmt.Sprintf("encode member %q: %v", m.Name, err)) // plain fields always encode
	}
	w.Set(store.TableMembers, memberKey(m.Name), b)
}

func memberKey(name string) []byte { return append([]byte{prefixMember}, name...) }

func removedKey(replica uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixRemoved}, replica)
}

func decode(name string, b []byte) event.Member {
	var r row
	if err := cbor.Unmarshal(b, &r); err != nil {
		panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of member %q: %w", name, err)})
	}
	return event.Member{Name: name, Replica: r.Replica, Address: r.Address, Nonce: r.Nonce, Voter: r.Voter, Revision: r.Revision, Version: r.Version}
}

// Get gives one member.
func Get(r store.Reader, name string) (event.Member, bool) {
	b, ok := r.Get(store.TableMembers, memberKey(name))
	if !ok {
		return event.Member{}, false
	}
	return decode(name, b), true
}

// All yields every member, in name order.
func All(r store.Reader) iter.Seq[event.Member] {
	return func(yield func(event.Member) bool) {
		for key, b := range r.Scan(store.TableMembers, []byte{prefixMember}, nil) {
			if !yield(decode(string(key[1:]), b)) {
				return
			}
		}
	}
}

// Removed yields the replicas that never come back, in order.
func Removed(r store.Reader) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for key := range r.Scan(store.TableMembers, []byte{prefixRemoved}, nil) {
			if !yield(binary.BigEndian.Uint64(key[1:])) {
				return
			}
		}
	}
}

// LastReplica is the highest replica that was ever given to a server.
func LastReplica(r store.Reader) uint64 {
	b, ok := r.Get(store.TableMembers, lastKey)
	if !ok {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// ClusterVersion is the version of the decisions that commands may be written for. A cluster begins with 1.
func ClusterVersion(r store.Reader) uint32 {
	b, ok := r.Get(store.TableMembers, versionKey)
	if !ok {
		return 1
	}
	n, _ := binary.Uvarint(b)
	return uint32(n)
}
