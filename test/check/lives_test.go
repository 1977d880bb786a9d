package check

import (
	"slices"
	"strings"
	"testing"
)

// TestLives gives the guarantees of a namespace with several lives histories that are written by hand.
func TestLives(t *testing.T) {
	begins := func(revision uint64) Delivery {
		return Delivery{Revision: revision, Commit: revision, Begins: true, Subject: "namespace.n"}
	}
	ends := func(revision uint64) Delivery {
		return Delivery{Revision: revision, Commit: revision, Ends: true, Subject: "namespace.n"}
	}
	put := func(revision uint64) Delivery {
		return Delivery{Revision: revision, Commit: revision, Subject: "kv.a", Change: Change{Key: "a"}}
	}
	gone := func(revision uint64) Delivery {
		return Delivery{Revision: revision, Commit: revision, Subject: "kv.a", Change: Change{Key: "a", Gone: true}}
	}
	ledger := []Delivery{begins(1), put(2), ends(3), gone(4), begins(5), put(6), ends(7), gone(8), begins(9), put(10)}
	lives := Lives(ledger)
	if len(lives) != 3 || len(lives[0]) != 3 || len(lives[1]) != 3 || len(lives[2]) != 2 {
		t.Fatalf("the lives are %+v", lives)
	}
	told := func(filter string, ends ...Bookmark) error {
		return EndsTrue([]Subscription{{Name: "s", From: 1, Filter: filter, Ends: ends}}, lives)
	}
	without := func(revision uint64) error {
		return LivesWhole(slices.DeleteFunc(slices.Clone(ledger), func(e Delivery) bool { return e.Revision == revision }))
	}
	for _, c := range []struct {
		name string
		got  error
		want string // in the error; empty for none
	}{
		{"lives", LivesWhole(ledger), ""},
		{"no beginning", without(1), "revision 2 is in no life"},
		{"no end", without(3), "revision 5 begins a life within another"},
		{"not emptied", without(4), "1 keys of the one before are left"},
		{"no next beginning", without(5), "revision 6 is in no life"},

		{"told of ends", told("", Bookmark{3, 3}, Bookmark{7, 6}), ""},
		{"told of ends of a subject", told("kv.>", Bookmark{3, 1}, Bookmark{7, 2}), ""},
		{"told of an end that was none", told("", Bookmark{2, 2}), "where nothing ended"},
		{"told of the end of what goes on", told("", Bookmark{10, 8}), "where nothing ended"},
		{"told too early", told("", Bookmark{3, 2}), "had 2 events, and there are 3"},
		{"told too late", told("", Bookmark{3, 4}), "had 4 events, and there are 3"},

		{"acknowledged", AcknowledgedInLife([][]uint64{{2}, nil, {6}, {10}}, lives), ""},
		{"acknowledged and gone", AcknowledgedInLife([][]uint64{{2}, {4}}, lives), "revision 4 was acknowledged in life 1 and is in none"},
		{"acknowledged behind a deletion that was none", AcknowledgedInLife([][]uint64{{6}, {6}}, lives), "from before it"},
	} {
		if c.want == "" && c.got != nil || c.want != "" && (c.got == nil || !strings.Contains(c.got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, c.got, c.want)
		}
	}
}
