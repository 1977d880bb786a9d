package names

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// versioned is an item of which the key counts for the order and the rest says which version it is.
type versioned struct{ key, version int }

func (v versioned) compare(o versioned) int { return cmp.Compare(v.key, o.key) }

func compareKey(v versioned, key int) int { return cmp.Compare(v.key, key) }

// checkSorted holds a sequence against a plain one, and the shape that it must have.
func checkSorted(t *rapid.T, s sorted[versioned], want []versioned) {
	t.Helper()
	if got := slices.Collect(s.all); !slices.Equal(got, want) {
		t.Fatalf("items: got %v, want %v", got, want)
	}
	if s.len() != len(want) {
		t.Fatalf("length: got %d, want %d", s.len(), len(want))
	}
	for k := range want {
		if got := s.at(k); got != want[k] {
			t.Fatalf("item %d: got %v, want %v", k, got, want[k])
		}
	}
	if s.root != nil {
		checkBlock(t, s.root)
	}
}

// checkBlock gives the depth, and checks that it is the same everywhere, that no block is empty or too large, and that
// branches say what is below them.
func checkBlock(t *rapid.T, b *block[versioned]) (depth int) {
	t.Helper()
	if n := b.size(); n == 0 || n > fanout || len(b.items) > 0 && len(b.branches) > 0 {
		t.Fatalf("a block of %d items and %d branches", len(b.items), len(b.branches))
	}
	for i, br := range b.branches {
		if br.first != br.block.first() || br.n != br.block.branch().n {
			t.Fatalf("branch %d says %v and %d items, below are %v and %d", i, br.first, br.n, br.block.first(), br.block.branch().n)
		}
		if below := checkBlock(t, br.block) + 1; depth != 0 && below != depth {
			t.Fatalf("leaves %d and %d blocks below", depth, below)
		} else {
			depth = below
		}
	}
	return depth
}

// TestSorted: a sequence is what a plain one would be, whatever was put in and taken out, and every version of it that
// somebody may read stays as it was.
func TestSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sorted[versioned]
		var plain []versioned
		type version struct {
			s     sorted[versioned]
			plain []versioned
		}
		var published []version
		edit := uint64(1)
		keys := rapid.SampledFrom([]int{8, 300, 20_000}).Draw(t, "keys")
		for run := range rapid.IntRange(0, 40).Draw(t, "runs") {
			// Runs in order, and back, fill blocks and empty them; single steps would hardly ever.
			from, n := rapid.IntRange(0, keys).Draw(t, "from"), rapid.IntRange(1, 300).Draw(t, "n")
			step := rapid.SampledFrom([]int{1, -1, 7, 7919}).Draw(t, "step")
			takeOut := rapid.IntRange(0, 2).Draw(t, "take out") == 0
			for i := range n {
				x := versioned{((from+i*step)%keys + keys) % keys, run}
				at, found := slices.BinarySearchFunc(plain, x, versioned.compare)
				switch {
				case takeOut && found:
					s.delete(edit, x)
					plain = slices.Delete(plain, at, at+1)
				case takeOut:
					s.delete(edit, x)
				case found:
					s.set(edit, x)
					plain[at] = x
				default:
					s.set(edit, x)
					plain = slices.Insert(plain, at, x)
				}
			}
			if rapid.Bool().Draw(t, "publish") {
				published = append(published, version{s, slices.Clone(plain)})
				edit++
			}
			probe := rapid.IntRange(-1, keys).Draw(t, "probe")
			at, found := slices.BinarySearchFunc(plain, probe, compareKey)
			if got := rank(s, probe, compareKey); got != at {
				t.Fatalf("rank of %d: got %d, want %d", probe, got, at)
			}
			got, ok := lookup(s, probe, compareKey)
			if ok != found || found && got != plain[at] {
				t.Fatalf("lookup of %d: got %v, %t; want found %t", probe, got, ok, found)
			}
		}
		for _, v := range append(published, version{s, plain}) {
			checkSorted(t, v.s, v.plain)
		}
	})
}

// TestSortedRanges: the rank of a key that several items are equal to is that of the first, in whatever block it is.
func TestSortedRanges(t *testing.T) {
	var s sorted[versioned]
	for i := range 10_000 {
		s.set(1, versioned{key: i})
	}
	for hundred := range 100 {
		got := rank(s, hundred, func(v versioned, h int) int { return cmp.Compare(v.key/100, h) })
		if want := hundred * 100; got != want {
			t.Fatalf("rank of the items from %d on: got %d, want %d", want, got, want)
		}
	}
}

// addr is a key that a bag counts.
type addr int

func (a addr) compare(b addr) int { return cmp.Compare(a, b) }

func TestBag(t *testing.T) {
	var b bag[addr]
	b.remove(1, 3) // nothing there
	b.add(1, 1)
	b.add(1, 2)
	b.add(1, 1)
	before := b
	b.remove(2, 1)
	if b.len() != 2 || b.at(0) != 1 {
		t.Errorf("a key that was added twice and taken out once is gone: %d keys", b.len())
	}
	b.remove(2, 1)
	if b.len() != 1 || b.at(0) != 2 {
		t.Errorf("a key that was taken out as often as it was added is there: %d keys", b.len())
	}
	if before.len() != 2 || before.at(0) != 1 {
		t.Error("an earlier version changed")
	}
}
