package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A tree is what a map and a sort would be, every earlier one stays as it was, and the difference of any two is all that
// differs.
func TestKeyTree(t *testing.T) {
	keys := rapid.StringMatching(`[ab]{0,3}/?[ab]{0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree *keyTree
			want map[string]*Entry
		}
		start := map[string]*Entry{}
		for _, key := range rapid.SliceOf(keys).Draw(t, "start") {
			start[key] = &Entry{Key: key}
		}
		sorted := slices.Sorted(maps.Keys(start))
		versions := []version{{nil, map[string]*Entry{}}, {keyTreeOf(func(yield func(*Entry) bool) {
			for _, key := range sorted {
				if !yield(start[key]) {
					return
				}
			}
		}), start}}
		for i, key := range rapid.SliceOfN(keys, 0, 40).Draw(t, "changes") {
			last := versions[len(versions)-1]
			next := version{last.tree, maps.Clone(last.want)}
			if rapid.Bool().Draw(t, "put") {
				e := &Entry{Key: key, Revision: uint64(i)}
				next.tree, next.want[key] = last.tree.put(e), e
			} else {
				next.tree = last.tree.remove(key)
				delete(next.want, key)
			}
			versions = append(versions, next)
		}
		prefix := keys.Draw(t, "prefix")
		for _, v := range versions {
			var got, want []*Entry
			v.tree.all(prefix, func(e *Entry) bool { got = append(got, e); return true })
			for _, key := range slices.Sorted(maps.Keys(v.want)) {
				if strings.HasPrefix(key, prefix) {
					want = append(want, v.want[key])
				}
				if v.tree.get(key) != v.want[key] {
					t.Fatalf("key %q: got %v", key, v.tree.get(key))
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("prefix %q: got %v, want %v", prefix, got, want)
			}
		}
		from := rapid.SampledFrom(versions).Draw(t, "from")
		to := rapid.SampledFrom(versions).Draw(t, "to")
		differ := map[string]bool{}
		last := ""
		from.tree.diff(to.tree, func(was, now *Entry) bool {
			key := keyOf(was)
			if was == nil {
				key = keyOf(now)
			}
			if was != from.want[key] || now != to.want[key] || was == now || len(differ) > 0 && key <= last {
				t.Fatalf("key %q behind %q: got %v, then %v", key, last, was, now)
			}
			differ[key], last = true, key
			return true
		})
		for key := range start {
			if from.want[key] != to.want[key] && !differ[key] {
				t.Fatalf("the difference leaves out %q", key)
			}
		}
		for key, e := range to.want {
			if from.want[key] != e && !differ[key] {
				t.Fatalf("the difference leaves out %q", key)
			}
		}
	})
}

// The shape of a tree follows from what is in it, and not from how it came about: that is what makes differences cheap.
func TestKeyTreeHasOneShape(t *testing.T) {
	var built, grown *keyTree
	entries := make([]*Entry, 1000)
	for i := range entries {
		entries[i] = &Entry{Key: fmt.Sprintf("%04d", i)}
	}
	built = keyTreeOf(slices.Values(entries))
	for _, i := range []int{7, 3} { // steps that visit all, in other orders
		grown = nil
		for n := range entries {
			grown = grown.put(entries[n*i%len(entries)])
		}
		grown = grown.put(&Entry{Key: "gone"}).remove("gone")
		if !sameShape(built, grown) {
			t.Fatalf("the order of step %d makes another shape", i)
		}
	}
	seen := 0
	changed := grown.put(&Entry{Key: "0500", Revision: 1})
	grown.diff(changed, func(was, now *Entry) bool { seen++; return was.Key == "0500" && now.Revision == 1 })
	if seen != 1 {
		t.Errorf("got %d differences", seen)
	}
}

func sameShape(a, b *keyTree) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.entry == b.entry && sameShape(a.left, b.left) && sameShape(a.right, b.right)
}

func BenchmarkKeyTree(b *testing.B) {
	const n = 100_000
	entries := make([]*Entry, n)
	for i := range entries {
		entries[i] = &Entry{Key: fmt.Sprintf("app/%06d/url", i)}
	}
	tree := keyTreeOf(slices.Values(entries))
	b.Run("get", func(b *testing.B) {
		for i := range b.N {
			if tree.get(entries[i%n].Key) == nil {
				b.Fatal("a key is missing")
			}
		}
	})
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			tree = tree.put(entries[i*7919%n])
		}
	})
	b.Run("build", func(b *testing.B) {
		for range b.N {
			keyTreeOf(slices.Values(entries))
		}
	})
	b.Run("new key", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			tree.put(&Entry{Key: "app/" + strconv.Itoa(i)})
		}
	})
}
