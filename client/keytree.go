package client

import (
	"hash/maphash"
	"iter"
	"strings"
)

// keyTree is an immutable ordered map from keys to entries: a change makes a new one that shares with the old one all but
// the O(log n) nodes above the change. So whoever holds one reads it without a lock, for as long as they like.
//
// It is a treap whose priorities are hashes of the keys: what is in it determines its shape. So two trees of which one came
// from the other have the same nodes wherever they hold the same, and diff skips those.
type keyTree struct {
	entry       *Entry
	priority    uint64
	left, right *keyTree
}

// keySeed is made anew by each process, so that nobody can choose keys that make a tree deep.
var keySeed = maphash.MakeSeed()

func newKeyTree(e *Entry) *keyTree {
	return &keyTree{entry: e, priority: maphash.String(keySeed, e.Key)}
}

// above tells which of two nodes with different keys stands higher.
func (t *keyTree) above(o *keyTree) bool {
	return t.priority > o.priority || t.priority == o.priority && t.entry.Key < o.entry.Key
}

func (t *keyTree) get(key string) *Entry {
	for t != nil {
		switch c := strings.Compare(key, t.entry.Key); {
		case c == 0:
			return t.entry
		case c < 0:
			t = t.left
		default:
			t = t.right
		}
	}
	return nil
}

// put gives the tree with an entry in the place of the one of that key.
func (t *keyTree) put(e *Entry) *keyTree {
	if t.get(e.Key) == nil {
		return t.insert(newKeyTree(e))
	}
	return t.replace(e)
}

// replace changes the entry of a key that is there.
func (t *keyTree) replace(e *Entry) *keyTree {
	n := *t
	switch c := strings.Compare(e.Key, t.entry.Key); {
	case c == 0:
		n.entry = e
	case c < 0:
		n.left = t.left.replace(e)
	default:
		n.right = t.right.replace(e)
	}
	return &n
}

// insert adds a node whose key is not there.
func (t *keyTree) insert(node *keyTree) *keyTree {
	if t == nil {
		return node
	}
	if node.above(t) {
		node.left, _, node.right = t.split(node.entry.Key)
		return node
	}
	n := *t
	if node.entry.Key < t.entry.Key {
		n.left = t.left.insert(node)
	} else {
		n.right = t.right.insert(node)
	}
	return &n
}

// split gives what is before a key, at it and behind it.
func (t *keyTree) split(key string) (before *keyTree, at *Entry, behind *keyTree) {
	if t == nil {
		return nil, nil, nil
	}
	n := *t
	switch c := strings.Compare(key, t.entry.Key); {
	case c == 0:
		return t.left, t.entry, t.right
	case c < 0:
		before, at, n.left = t.left.split(key)
		return before, at, &n
	default:
		n.right, at, behind = t.right.split(key)
		return &n, at, behind
	}
}

// remove gives the tree without a key; itself where it is not there.
func (t *keyTree) remove(key string) *keyTree {
	if t.get(key) == nil {
		return t
	}
	return t.cut(key)
}

// cut removes a key that is there.
func (t *keyTree) cut(key string) *keyTree {
	n := *t
	switch c := strings.Compare(key, t.entry.Key); {
	case c == 0:
		return joinTrees(t.left, t.right)
	case c < 0:
		n.left = t.left.cut(key)
	default:
		n.right = t.right.cut(key)
	}
	return &n
}

// joinTrees makes one tree of two, of which all of the first comes before the second.
func joinTrees(a, b *keyTree) *keyTree {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.above(b):
		n := *a
		n.right = joinTrees(a.right, b)
		return &n
	}
	n := *b
	n.left = joinTrees(a, b.left)
	return &n
}

// all yields the entries whose key starts with a prefix, in key order, until yield wants no more.
func (t *keyTree) all(prefix string, yield func(*Entry) bool) bool {
	if t == nil {
		return true
	}
	key := t.entry.Key
	if key >= prefix && !t.left.all(prefix, yield) {
		return false
	}
	if strings.HasPrefix(key, prefix) && !yield(t.entry) {
		return false
	}
	if key < prefix || strings.HasPrefix(key, prefix) {
		return t.right.all(prefix, yield)
	}
	return true // it is behind all of them, and so is what comes behind it
}

// diff yields what differs from one tree to another, in key order: nil stands for no entry.
func (t *keyTree) diff(to *keyTree, yield func(was, now *Entry) bool) bool {
	if t == to {
		return true
	}
	if t == nil {
		return to.all("", func(e *Entry) bool { return yield(nil, e) })
	}
	before, at, behind := to.split(t.entry.Key)
	return t.left.diff(before, yield) && (t.entry == at || yield(t.entry, at)) && t.right.diff(behind, yield)
}

// keyTreeOf makes a tree of entries that come in key order, in one go: the nodes of its right edge wait for what is to hang
// below them.
func keyTreeOf(entries iter.Seq[*Entry]) *keyTree {
	var edge []*keyTree
	for e := range entries {
		node := newKeyTree(e)
		for len(edge) > 0 && node.above(edge[len(edge)-1]) {
			node.left = edge[len(edge)-1]
			edge = edge[:len(edge)-1]
		}
		if len(edge) > 0 {
			edge[len(edge)-1].right = node
		}
		edge = append(edge, node)
	}
	if len(edge) == 0 {
		return nil
	}
	return edge[0]
}
