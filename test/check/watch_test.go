package check

import "testing"

// TestWatches gives the guarantees of a watch histories that are written by hand.
func TestWatches(t *testing.T) {
	event := func(revision, commit uint64, subject string) Delivery {
		return Delivery{Revision: revision, Commit: commit, Bytes: "event", Subject: subject}
	}
	a1, a2, b2, a3, b4 := event(1, 1, "kv.a"), event(2, 3, "kv.a"), event(3, 3, "kv.b"), event(4, 4, "kv.a"), event(5, 5, "kv.b")
	ledger := []Delivery{a1, a2, b2, a3, b4}
	whole := func(s Subscription) error { return CommitsWhole([]Subscription{s}, ledger) }
	resumes := func(s Subscription) error { return ResumesExact([]Subscription{s}, ledger) }
	filter := func(s Subscription) error { return FilterRight([]Subscription{s}, ledger) }
	nothing := func(s Subscription) error { return SubscribersMissNothing([]Subscription{s}, ledger) }
	marks := func(s Subscription) error { return BookmarksTrue([]Subscription{s}, ledger) }
	advance := func(s Subscription) error { return BookmarksAdvance([]Subscription{s}, 5) }
	forged := a3
	forged.Bytes = "forged"
	for _, c := range []struct {
		name  string
		check func(Subscription) error
		given Subscription
		want  string // in the error; empty for none
	}{
		{"whole", whole, Subscription{From: 1, Events: ledger}, ""},
		{"whole of the subject", whole, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b2, b4}}, ""},
		{"whole from within", whole, Subscription{From: 3, Events: ledger[2:]}, ""},
		{"over several connections", whole, Subscription{From: 1, Events: ledger, Connections: []Connection{{1, 0}, {3, 2}}}, ""},
		{"not yet whole", whole, Subscription{From: 1, Events: ledger[:2], Complete: []Bookmark{{1, 2}}}, ""},
		{"half, and more", whole, Subscription{From: 1, Events: []Delivery{a1, a2, a3, b4}}, "1 events of commit 3"},
		{"apart", whole, Subscription{From: 1, Events: []Delivery{a1, a2, a3, b2, b4}}, "when that was over"},
		{"half, and told complete", whole, Subscription{From: 1, Events: ledger[:2], Complete: []Bookmark{{3, 2}}}, "1 events of commit 3"},
		{"told complete within", whole, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{3, 2}}}, "a part of commit 3"},

		{"uninterrupted", resumes, Subscription{From: 1, Events: ledger, Connections: []Connection{{1, 0}}}, ""},
		{"resumed", resumes, Subscription{From: 1, Events: ledger, Connections: []Connection{{1, 0}, {3, 2}, {6, 5}}}, ""},
		{"resumed behind a bookmark", resumes, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b2, b4}, Connections: []Connection{{1, 0}, {5, 1}}}, ""},
		{"resumed too late", resumes, Subscription{From: 1, Events: []Delivery{a1, a2, a3, b4}, Connections: []Connection{{1, 0}, {3, 2}}}, "where revision 3 was to come"},
		{"repeated when resumed", resumes, Subscription{From: 1, Events: []Delivery{a1, a2, a2, b2, a3, b4}, Connections: []Connection{{1, 0}, {3, 2}}}, "has revision 2, where revision 3"},
		{"other bytes", resumes, Subscription{From: 1, Events: []Delivery{a1, a2, b2, forged}, Connections: []Connection{{1, 0}, {4, 3}}}, "forged"},
		{"more than there is", resumes, Subscription{From: 5, Events: []Delivery{b4, b4}, Connections: []Connection{{5, 0}}}, "one too many"},
		{"asked again", resumes, Subscription{From: 1, Events: ledger, Connections: []Connection{{1, 0}, {2, 2}}}, "and had 2"},
		{"asked for too little", resumes, Subscription{From: 1, Events: ledger[:2], Connections: []Connection{{1, 0}, {4, 2}}}, "had not got 3"},

		{"of the subject", filter, Subscription{From: 2, Filter: "kv.a", Events: []Delivery{a2, a3}}, ""},
		{"of another subject", filter, Subscription{From: 2, Filter: "kv.a", Events: []Delivery{a2, b2, a3}}, `revision 3, about "kv.b"`},
		{"not all of the subject", filter, Subscription{From: 2, Filter: "kv.*", Events: []Delivery{a2, a3, b4}}, "did not get revision 3"},
		{"whatever there is", filter, Subscription{From: 1, Events: ledger[:1]}, ""},
		{"nothing of the subject missing", nothing, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b2, b4}}, ""},
		{"one of the subject missing", nothing, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b4}}, "never got revision 3"},
		{"from before", nothing, Subscription{From: 5, Events: []Delivery{a3, b4}}, "from 5 on"},

		{"complete of the subject", marks, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b2, b4}, Complete: []Bookmark{{1, 0}, {4, 1}, {5, 2}}}, ""},
		{"complete too early of the subject", marks, Subscription{From: 1, Filter: "kv.b", Events: []Delivery{b2, b4}, Complete: []Bookmark{{3, 0}}}, "had 0 events of 1"},
		{"complete beyond the end", marks, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{6, 5}}}, "ends at 5"},
		{"told on a quiet subject", advance, Subscription{From: 1, Filter: "kv.c", Marked: true, Complete: []Bookmark{{3, 0}, {5, 0}}}, ""},
		{"not told any more", advance, Subscription{From: 1, Filter: "kv.c", Marked: true, Complete: []Bookmark{{3, 0}}}, "beyond 3"},
		{"never told", advance, Subscription{From: 1, Marked: true}, "beyond 0"},
		{"not to be told", advance, Subscription{From: 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.check(c.given), c.want) })
	}
}

// TestChanges gives the checkers of what events say of their keys histories that are written by hand.
func TestChanges(t *testing.T) {
	change := func(revision, commit uint64, c Change) Delivery {
		return Delivery{Revision: revision, Commit: commit, Bytes: "event", Change: c}
	}
	put := func(revision, commit, previous, created, version uint64) Delivery {
		return change(revision, commit, Change{Key: "a", Previous: previous, Created: created, Version: version})
	}
	gone := func(revision, previous uint64) Delivery {
		return change(revision, revision, Change{Key: "a", Gone: true, Previous: previous})
	}
	other := change(2, 2, Change{})
	for _, c := range []struct {
		name                  string
		given                 []Delivery
		wantPrevious, created string // in the errors; empty for none
	}{
		{"right", []Delivery{put(1, 1, 0, 1, 1), other, put(3, 4, 1, 1, 2), gone(5, 4), put(6, 6, 0, 6, 1)}, "", ""},
		{"another key", []Delivery{put(1, 1, 0, 1, 1), change(2, 2, Change{Key: "b", Created: 2, Version: 1}), put(3, 3, 1, 1, 2)}, "", ""},
		{"the event instead of the commit", []Delivery{put(1, 2, 0, 2, 1), put(3, 3, 1, 2, 2)}, "was at 1 before; it was at 2", ""},
		{"none before", []Delivery{put(1, 1, 0, 1, 1), put(2, 2, 0, 1, 2)}, "it was at 1", ""},
		{"one before, though it was gone", []Delivery{put(1, 1, 0, 1, 1), gone(2, 1), put(3, 3, 1, 3, 1)}, "was at 1 before; it was at 0", ""},
		{"a wrong end", []Delivery{put(1, 1, 0, 1, 1), gone(2, 7)}, "was at 7", ""},
		{"versions count on over an end", []Delivery{put(1, 1, 0, 1, 1), gone(2, 1), put(3, 3, 0, 3, 2)}, "", "and this is 1"},
		{"created before its end", []Delivery{put(1, 1, 0, 1, 1), gone(2, 1), put(3, 3, 0, 1, 1)}, "", "created at 1"},
		{"created anew", []Delivery{put(1, 1, 0, 1, 1), put(2, 2, 1, 2, 1)}, "", "created at 2"},
		{"a version left out", []Delivery{put(1, 1, 0, 1, 1), put(2, 2, 1, 1, 3)}, "", "has version 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, PreviousRight(c.given), c.wantPrevious)
			wantError(t, CreationRight(c.given), c.created)
		})
	}
}
