package store

import (
	"bytes"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// The keyspace of a group. Numbers are big-endian, so that byte order is number order.
//
//	01                                            index of the last Raft entry applied
//	02 name                                       ledger's number (4 bytes)
//	03 ledger                                     ledger's head
//	04 ledger revision                            event, in its canonical bytes
//	05 ledger leaf                                Merkle hashes that this leaf completed, 32 bytes each
//	06 ledger table key' 00 00 ^commit 08         row, as of that commit; empty where the row was deleted
//	07 ledger                                     how much is live as of the head (count.go)
//	08 ledger                                     what was trimmed on this replica (trim.go)
//
// key' is the row's key with every 00 written as 00 FF, so that 00 00 can only be its end. The commit is
// inverted, so that the newest version of a row comes first. The 08 at the end is the length of the version, which
// is how split finds it.
const (
	prefixApplied = 0x01
	prefixNames   = 0x02
	prefixHeads   = 0x03
	prefixEvents  = 0x04
	prefixHashes  = 0x05
	prefixRows    = 0x06
	prefixLive    = 0x07
	prefixTrimmed = 0x08
)

const (
	ledgerBytes  = 4
	versionBytes = 8
	suffixBytes  = versionBytes + 1 // the version and its length
	rowHeader    = 1 + ledgerBytes + 1
)

// LedgerID is the number of a ledger inside its group, given in the order in which ledgers were opened.
type LedgerID uint32

func appliedKey() []byte { return []byte{prefixApplied} }

func nameKey(name string) []byte { return append([]byte{prefixNames}, name...) }

func headKey(l LedgerID) []byte { return ledgerKey(prefixHeads, l) }

func eventKey(l LedgerID, r event.Revision) []byte {
	return binary.BigEndian.AppendUint64(ledgerKey(prefixEvents, l), uint64(r))
}

func hashKey(l LedgerID, leaf uint64) []byte {
	return binary.BigEndian.AppendUint64(ledgerKey(prefixHashes, l), leaf)
}

func ledgerKey(prefix byte, l LedgerID) []byte {
	b := make([]byte, 1, 1+ledgerBytes+versionBytes)
	b[0] = prefix
	return binary.BigEndian.AppendUint32(b, uint32(l))
}

// appendRowStart adds the part of a row's key up to, but without, the end of its key. It sorts before every row
// whose key begins with key.
func appendRowStart(dst []byte, l LedgerID, t Table, key []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, prefixRows), uint32(l))
	dst = append(dst, byte(t))
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 {
			return append(dst, key...)
		}
		dst = append(append(dst, key[:i]...), 0, 0xff)
		key = key[i+1:]
	}
}

// appendRowPrefix adds the part that all versions of a row share.
func appendRowPrefix(dst []byte, l LedgerID, t Table, key []byte) []byte {
	return append(appendRowStart(dst, l, t, key), 0, 0)
}

func appendVersion(dst []byte, commit event.Revision) []byte {
	return append(binary.BigEndian.AppendUint64(dst, ^uint64(commit)), versionBytes)
}

// rowKeyOf gives the row's own key and its version, out of a full key. The result may share key's bytes.
func rowKeyOf(full []byte) (key []byte, commit event.Revision) {
	n := split(full)
	key = full[rowHeader : n-2]
	if bytes.IndexByte(key, 0) >= 0 {
		key = bytes.ReplaceAll(key, []byte{0, 0xff}, []byte{0})
	}
	return key, event.Revision(^binary.BigEndian.Uint64(full[n:]))
}

// split tells how much of a key all versions of a row share. For keys that are no versioned rows that is all.
func split(key []byte) int {
	n := len(key) - suffixBytes
	if n >= rowHeader+2 && key[0] == prefixRows && key[len(key)-1] == versionBytes && key[n-1] == 0 && key[n-2] == 0 {
		return n
	}
	return len(key)
}

// successor is the least key above every key that begins with prefix; nil when there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

// comparer orders keys by their bytes and tells Pebble where a row's versions begin, so that its Bloom filters
// answer for rows and not for versions.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "rollcall.rows.v1"
	c.Split = split
	// Shortened keys would have to be split as well; whole keys cost a little more index and no thought.
	c.Separator = func(dst, a, _ []byte) []byte { return append(dst, a...) }
	c.Successor = func(dst, a []byte) []byte { return append(dst, a...) }
	c.ImmediateSuccessor = func(dst, prefix []byte) []byte { return append(dst, successor(prefix)...) }
	return &c
}()
