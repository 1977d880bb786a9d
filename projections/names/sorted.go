package names

import "slices"

// fanout is how many items a leaf, or branches a block above leaves, has at most. A change copies one block of each
// level, of which 100,000 items make three.
const fanout = 64

// ordered is what can be sorted. Items that compare as equal are the same one, in two versions.
type ordered[T any] interface{ compare(other T) int }

// sorted is a sequence of items in order, of which every version stays as it is: a change copies the blocks on the way
// to where it happens and shares the others, so it costs about as much in a sequence of one as in one of 100,000. It
// is a B-tree that counts. The zero value is empty; a copy of it is a version.
//
// Changes that belong together carry the number of their edit, and change in place what the same edit has copied
// already. The number is one that no version which somebody may read has seen.
type sorted[T ordered[T]] struct {
	root *block[T]
	n    int
}

// block is a leaf, which has items, or is above others, which has branches.
type block[T ordered[T]] struct {
	edit     uint64 // the one that made it, and may change it
	items    []T
	branches []branch[T]
}

type branch[T ordered[T]] struct {
	first T   // the least item below
	n     int // how many are below
	block *block[T]
}

// len is how many items there are.
func (s sorted[T]) len() int { return s.n }

// at gives the k-th item, counted from zero.
func (s sorted[T]) at(k int) T {
	b := s.root
	for b.branches != nil {
		i := 0
		for k >= b.branches[i].n {
			k -= b.branches[i].n
			i++
		}
		b = b.branches[i].block
	}
	return b.items[k]
}

// all yields the items in order.
func (s sorted[T]) all(yield func(T) bool) {
	if s.root != nil {
		s.root.all(yield)
	}
}

func (b *block[T]) all(yield func(T) bool) bool {
	for _, x := range b.items {
		if !yield(x) {
			return false
		}
	}
	for i := range b.branches {
		if !b.branches[i].block.all(yield) {
			return false
		}
	}
	return true
}

// get gives the version of an item that is there.
func (s sorted[T]) get(x T) (T, bool) { return lookup(s, x, T.compare) }

// lookup finds the one item that compares as equal to a key.
func lookup[T ordered[T], K any](s sorted[T], key K, compare func(T, K) int) (found T, ok bool) {
	b := s.root
	if b == nil {
		return found, false
	}
	for b.branches != nil {
		b = b.branches[lastUpTo(b.branches, key, compare)].block
	}
	at, ok := slices.BinarySearchFunc(b.items, key, compare)
	if ok {
		found = b.items[at]
	}
	return found, ok
}

// rank is how many items are less than a key.
func rank[T ordered[T], K any](s sorted[T], key K, compare func(T, K) int) int {
	b, before := s.root, 0
	if b == nil {
		return 0
	}
	for b.branches != nil {
		// The first item that is not less may be the first of the next branch, whose rank is the same.
		i, _ := slices.BinarySearchFunc(b.branches, key, func(b branch[T], k K) int { return compare(b.first, k) })
		i = max(i-1, 0)
		for _, passed := range b.branches[:i] {
			before += passed.n
		}
		b = b.branches[i].block
	}
	at, _ := slices.BinarySearchFunc(b.items, key, compare)
	return before + at
}

// lastUpTo is the last branch whose first item is not greater than a key; the first branch when there is none.
func lastUpTo[T ordered[T], K any](all []branch[T], key K, compare func(T, K) int) int {
	low, high := 0, len(all)-1
	for low < high {
		middle := (low + high + 1) / 2
		if compare(all[middle].first, key) <= 0 {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

// set puts an item in, in place of its earlier version.
func (s *sorted[T]) set(edit uint64, x T) {
	if s.root == nil {
		s.root, s.n = &block[T]{edit: edit, items: []T{x}}, 1
		return
	}
	left, right, added := s.root.set(edit, x)
	s.root = left
	if right != nil {
		s.root = &block[T]{edit: edit, branches: []branch[T]{left.branch(), right.branch()}}
	}
	if added {
		s.n++
	}
}

// set gives the block that takes the place of this one, and the one behind it where it had to be divided.
func (b *block[T]) set(edit uint64, x T) (left, right *block[T], added bool) {
	b = b.owned(edit)
	if b.branches == nil {
		at, found := slices.BinarySearchFunc(b.items, x, T.compare)
		if found {
			b.items[at] = x
			return b, nil, false
		}
		var rest []T
		if b.items, rest = insert(b.items, at, x); rest != nil {
			right = &block[T]{edit: edit, items: rest}
		}
		return b, right, true
	}
	at := lastUpTo(b.branches, x, T.compare)
	below, behind, added := b.branches[at].block.set(edit, x)
	if behind == nil {
		b.branches[at] = branch[T]{below.first(), b.branches[at].n, below}
		if added {
			b.branches[at].n++
		}
		return b, nil, added
	}
	b.branches[at] = below.branch()
	var rest []branch[T]
	if b.branches, rest = insert(b.branches, at+1, behind.branch()); rest != nil {
		right = &block[T]{edit: edit, branches: rest}
	}
	return b, right, added
}

// insert puts an element into a block's elements, which it divides when they are too many. Who appends in order, as a
// start does, gets full blocks.
func insert[E any](all []E, at int, x E) (left, right []E) {
	if len(all) < fanout {
		return slices.Insert(all, at, x), nil
	}
	if at == fanout {
		return all, []E{x}
	}
	const half = fanout / 2
	right = append(make([]E, 0, half+1), all[half:]...)
	clear(all[half:])
	if left = all[:half]; at <= half {
		return slices.Insert(left, at, x), right
	}
	return left, slices.Insert(right, at-half, x)
}

// delete takes an item out; nothing happens when it is not there.
func (s *sorted[T]) delete(edit uint64, x T) {
	if _, ok := s.get(x); !ok {
		return
	}
	s.root = s.root.delete(edit, x)
	for s.root != nil && len(s.root.branches) == 1 {
		s.root = s.root.branches[0].block
	}
	s.n--
}

// delete takes out an item that is there, and gives nil when nothing is left.
func (b *block[T]) delete(edit uint64, x T) *block[T] {
	b = b.owned(edit)
	if b.branches == nil {
		at, _ := slices.BinarySearchFunc(b.items, x, T.compare)
		if b.items = slices.Delete(b.items, at, at+1); len(b.items) == 0 {
			return nil
		}
		return b
	}
	at := lastUpTo(b.branches, x, T.compare)
	below := b.branches[at].block.delete(edit, x)
	if below == nil {
		if b.branches = slices.Delete(b.branches, at, at+1); len(b.branches) == 0 {
			return nil
		}
		return b
	}
	b.branches[at] = branch[T]{below.first(), b.branches[at].n - 1, below}
	if below.size() < fanout/4 {
		b.join(edit, at)
	}
	return b
}

// join puts a branch that has become small together with a neighbour, where both are no more than three quarters of
// a block: they need not be divided again at once.
func (b *block[T]) join(edit uint64, at int) {
	for _, left := range []int{at - 1, at} {
		if left < 0 || left+1 >= len(b.branches) {
			continue
		}
		first, second := b.branches[left].block, b.branches[left+1].block
		if first.size()+second.size() > fanout*3/4 {
			continue
		}
		first = first.owned(edit)
		first.items = append(first.items, second.items...)
		first.branches = append(first.branches, second.branches...)
		n := b.branches[left].n + b.branches[left+1].n
		b.branches[left] = branch[T]{first.first(), n, first}
		b.branches = slices.Delete(b.branches, left+1, left+2)
		return
	}
}

// owned is the block itself where the edit has made it, else a copy that the edit may change.
func (b *block[T]) owned(edit uint64) *block[T] {
	if b.edit == edit {
		return b
	}
	c := &block[T]{edit: edit}
	// Room for one more: most changes add one at most.
	if b.branches == nil {
		c.items = append(make([]T, 0, min(len(b.items)+1, fanout)), b.items...)
	} else {
		c.branches = append(make([]branch[T], 0, min(len(b.branches)+1, fanout)), b.branches...)
	}
	return c
}

func (b *block[T]) size() int { return len(b.items) + len(b.branches) }

func (b *block[T]) first() T {
	if b.branches == nil {
		return b.items[0]
	}
	return b.branches[0].first
}

// branch is the block as one above it holds it.
func (b *block[T]) branch() branch[T] {
	n := len(b.items)
	for i := range b.branches {
		n += b.branches[i].n
	}
	return branch[T]{b.first(), n, b}
}

// bag is different keys in order, each with how many times it was added. The zero value is empty.
type bag[K ordered[K]] struct{ keys sorted[counted[K]] }

type counted[K ordered[K]] struct {
	key K
	n   uint32
}

func (c counted[K]) compare(o counted[K]) int { return c.key.compare(o.key) }

func (b bag[K]) len() int   { return b.keys.len() }
func (b bag[K]) at(k int) K { return b.keys.at(k).key }

func (b *bag[K]) add(edit uint64, k K) {
	c, _ := b.keys.get(counted[K]{key: k})
	b.keys.set(edit, counted[K]{k, c.n + 1})
}

func (b *bag[K]) remove(edit uint64, k K) {
	c, ok := b.keys.get(counted[K]{key: k})
	switch {
	case !ok:
	case c.n == 1:
		b.keys.delete(edit, c)
	default:
		b.keys.set(edit, counted[K]{k, c.n - 1})
	}
}
