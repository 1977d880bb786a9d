package client

import (
	"slices"
	"testing"
	"time"
)

// TestFreshKeys has keys be unlike one another, in the order of the time that they were made at, and printable.
func TestFreshKeys(t *testing.T) {
	at := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	var keys []string
	seen := map[string]bool{}
	for i := range 5_000 {
		k := freshKey(at.Add(time.Duration(i) * 7 * time.Millisecond))
		if len(k) != 26 || seen[k] {
			t.Fatalf("key %q: 26 characters, each time anew", k)
		}
		seen[k] = true
		keys = append(keys, k)
	}
	if !slices.IsSorted(keys) {
		t.Error("keys are not in the order of their time")
	}
	if a, b := freshKey(at), freshKey(at); a == b || a[:9] != b[:9] {
		t.Errorf("%q and %q of one millisecond: they share their time and nothing else", a, b)
	}
}
