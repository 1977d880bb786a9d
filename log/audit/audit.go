// Package audit hashes a ledger's events into a Merkle tree (RFC 6962 section 2.1), as they are appended.
//
// It knows no events and no storage: it is given leaves' bytes, and gives back the hashes to keep. The hashes and
// their numbering are those of golang.org/x/mod/sumdb/tlog, whose proofs work on them.
package audit

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// HashSize is the size of a hash in bytes.
const HashSize = tlog.HashSize

// Hash is the hash of a tree.
type Hash = tlog.Hash

// Frontier is the right edge of a tree: the roots of the complete subtrees that make it up, the largest first. It
// is all that appending needs, and follows from the hashes that are kept.
type Frontier struct {
	size  uint64
	roots []tlog.Hash
}

// Size is how many leaves the tree has.
func (f *Frontier) Size() uint64 { return f.size }

// Append adds a leaf and gives the hashes that it completes, concatenated: the leaf's own, its parent's where the
// leaf is a right child, and so on up. They are to be kept under the leaf's number (the size before).
func (f *Frontier) Append(leaf []byte) []byte {
	h := tlog.RecordHash(leaf)
	completed := append(make([]byte, 0, (bits.TrailingZeros64(^f.size)+1)*HashSize), h[:]...)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		h = tlog.NodeHash(f.roots[last], h)
		f.roots = f.roots[:last]
		completed = append(completed, h[:]...)
	}
	f.roots = append(f.roots, h)
	f.size++
	return completed
}

// Root is the hash of the whole tree; that of the empty tree is the hash of nothing.
func (f *Frontier) Root() tlog.Hash {
	if len(f.roots) == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	h := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.roots[i], h)
	}
	return h
}

// Reader gives the hashes that were kept for a leaf, as Append gave them.
type Reader func(leaf uint64) ([]byte, error)

// Load finds the frontier of a tree of a size among the hashes that were kept.
func Load(size uint64, read Reader) (Frontier, error) {
	f := Frontier{size: size}
	for rest := size; rest != 0; {
		level := bits.Len64(rest) - 1
		rest &^= 1 << level
		h, err := node(level, (size>>level)-1, read)
		if err != nil {
			return Frontier{}, err
		}
		f.roots = append(f.roots, h)
	}
	return f, nil
}

// RootAt is the hash of the tree as it was when it had so many leaves.
func RootAt(size uint64, read Reader) (Hash, error) {
	f, err := Load(size, read)
	if err != nil {
		return Hash{}, err
	}
	return f.Root(), nil
}

// node is the hash of the complete subtree of 2^level leaves that is the n-th of its level. The leaf that completed
// it holds it.
func node(level int, n uint64, read Reader) (tlog.Hash, error) {
	leaf := (n+1)<<level - 1
	b, err := read(leaf)
	if err != nil {
		return tlog.Hash{}, err
	}
	if len(b) < (level+1)*HashSize {
		return tlog.Hash{}, fmt.Errorf("leaf %d keeps %d bytes of hashes; level %d is not among them", leaf, len(b), level)
	}
	return tlog.Hash(b[level*HashSize:][:HashSize]), nil
}

// HashReader presents the hashes that were kept as tlog wants them, for roots and proofs.
func HashReader(read Reader) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			h, err := node(level, uint64(n), read)
			if err != nil {
				return nil, err
			}
			hashes[i] = h
		}
		return hashes, nil
	})
}
