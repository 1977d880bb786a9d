package store

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

// TestComparer holds our splitting of keys against what Pebble demands of a comparer: the part before the split is
// what all versions of a row share, and comparing first those parts and then the rest is comparing whole keys.
// (pebble.CheckComparer also demands that keys without their first bytes split alike, for tables that are shared
// under another prefix. Ours are not.)
func TestComparer(t *testing.T) {
	keys := [][]byte{appliedKey(), nameKey("default"), nameKey("a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08")}
	for _, l := range []LedgerID{0, 1, 2, 0xff, 0x06000000} {
		keys = append(keys, headKey(l), eventKey(l, 8), eventKey(l, 7), eventKey(l, 0x0800), hashKey(l, 8))
		for _, key := range []string{"", "a", "a\x00", "a\x00\x00", "a\x01", "ab", "\x00", "\xff", "\x08", "a\x00\x08", "\x00\x00\x08\x00\x00\x08"} {
			prefix := appendRowPrefix(nil, l, TableKV, []byte(key))
			keys = append(keys, appendRowStart(nil, l, TableKV, []byte(key)), prefix, successor(prefix))
			for _, commit := range []event.Revision{0, 1, 8, 255, 256, 1 << 40, ^event.Revision(0)} {
				full := appendVersion(append([]byte(nil), prefix...), commit)
				if got, want := comparer.Split(full), len(prefix); got != want {
					t.Errorf("split of %x: got %d, want %d", full, got, want)
				}
				keys = append(keys, full)
			}
		}
	}
	for _, a := range keys {
		for _, b := range keys {
			i, j := comparer.Split(a), comparer.Split(b)
			parts := bytes.Compare(a[:i], b[:j])
			if parts == 0 {
				parts = bytes.Compare(a[i:], b[j:])
			}
			if whole := comparer.Compare(a, b); parts != whole {
				t.Errorf("%x against %x: %d by parts, %d as a whole", a, b, parts, whole)
			}
		}
	}
}

// TestRowKeys checks that a row's key comes back from the full key, and that full keys are ordered as rows are.
func TestRowKeys(t *testing.T) {
	name := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 8, 'a', 'b', 0xfe, 0xff}), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		m, n := event.Revision(rapid.Uint64().Draw(t, "m")), event.Revision(rapid.Uint64().Draw(t, "n"))
		full := func(key []byte, commit event.Revision) []byte {
			return appendVersion(appendRowPrefix(nil, 7, TableKV, key), commit)
		}
		key, commit := rowKeyOf(full(a, m))
		if !bytes.Equal(key, a) || commit != m {
			t.Fatalf("%q at %d came back as %q at %d", a, m, key, commit)
		}
		want := bytes.Compare(a, b)
		if want == 0 { // the newer version comes first
			want = map[bool]int{true: -1, false: 1}[m > n]
			if m == n {
				want = 0
			}
		}
		if got := bytes.Compare(full(a, m), full(b, n)); got != want {
			t.Fatalf("%q at %d against %q at %d: got %d, want %d", a, m, b, n, got, want)
		}
		start := appendRowStart(nil, 7, TableKV, a)
		if got, want := bytes.HasPrefix(full(b, n), start), bytes.HasPrefix(b, a); got != want {
			t.Fatalf("%q is below the prefix %q: got %v, want %v", b, a, got, want)
		}
	})
}
