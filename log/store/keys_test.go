package store

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

// TestComparer holds our splitting of keys against what Pebble demands of a comparer.
func TestComparer(t *testing.T) {
	var prefixes, suffixes [][]byte
	for _, key := range []string{"", "a", "a\x00", "a\x00\x00", "a\x01", "ab", "\x00", "\xff", "\x08", "a\x00\x08"} {
		for _, l := range []LedgerID{1, 2, 0x0000ff} {
			prefixes = append(prefixes, appendRowPrefix(nil, l, TableKV, []byte(key)))
		}
	}
	for _, commit := range []event.Revision{0, 1, 255, 256, 1 << 40, ^event.Revision(0)} {
		suffixes = append(suffixes, appendVersion(nil, commit))
	}
	if err := pebble.CheckComparer(comparer, prefixes, suffixes); err != nil {
		t.Error(err)
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
