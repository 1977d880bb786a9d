package check

import (
	"strings"
	"testing"
)

// TestSubscribers gives the checkers of subscriptions histories that are written by hand.
func TestSubscribers(t *testing.T) {
	event := func(revision, commit uint64) Delivery {
		return Delivery{Revision: revision, Commit: commit, Bytes: "event"}
	}
	ledger := []Delivery{event(1, 1), event(2, 3), event(3, 3), event(4, 4)}
	inOrder := func(s Subscription) error { return SubscribersInOrder([]Subscription{s}) }
	missNothing := func(s Subscription) error { return SubscribersMissNothing([]Subscription{s}, ledger) }
	marks := func(s Subscription) error { return BookmarksTrue([]Subscription{s}, ledger) }
	for _, c := range []struct {
		name  string
		check func(Subscription) error
		given Subscription
		want  string // in the error; empty for none
	}{
		{"in order", inOrder, Subscription{From: 1, Events: ledger}, ""},
		{"twice", inOrder, Subscription{From: 1, Events: []Delivery{event(1, 1), event(1, 1)}}, "after revision 1"},
		{"backwards", inOrder, Subscription{From: 1, Events: []Delivery{event(2, 3), event(1, 1)}}, "after revision 2"},
		{"everything", missNothing, Subscription{From: 1, Events: ledger}, ""},
		{"from the middle", missNothing, Subscription{From: 3, Events: ledger[2:]}, ""},
		{"a gap", missNothing, Subscription{From: 1, Events: ledger[1:]}, "never got revision 1"},
		{"half a commit", missNothing, Subscription{From: 4, Events: nil}, "never got revision 4"},
		{"other bytes", missNothing, Subscription{From: 4, Events: []Delivery{{Revision: 4, Commit: 4, Bytes: "forged"}}}, "forged"},
		{"from nowhere", missNothing, Subscription{From: 4, Events: []Delivery{event(4, 4), event(5, 5)}}, "does not have"},
		{"complete", marks, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{1, 1}, {4, 4}}}, ""},
		{"complete too early", marks, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{4, 3}}}, "and had 3 events of 4"},
		{"complete inside of a commit", marks, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{2, 2}}}, "inside of commit 3"},
		{"less complete", marks, Subscription{From: 1, Events: ledger, Complete: []Bookmark{{3, 3}, {1, 3}}}, "after 3"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.check(c.given), c.want) })
	}
}

func TestRepeatsAgree(t *testing.T) {
	wantError(t, RepeatsAgree([]Repeat{{"a", []string{"200 7", "200 7"}}, {"b", nil}}), "")
	wantError(t, RepeatsAgree([]Repeat{{"a", []string{"200 7", "200 8"}}}), "when it was repeated")
}

// TestByValue has compare-and-set by value be judged: by search, and against the ledger.
func TestByValue(t *testing.T) {
	set := func(id string, call int64, was string, outcome Outcome, revision uint64) Operation {
		return Operation{
			ID: id, Call: call, Return: call + 1, If: []Condition{{Key: "x/a", ByValue: true, Value: was}},
			Writes: []Write{{Key: "x/a", Value: id}}, Outcome: outcome, Revision: revision,
		}
	}
	first := Operation{ID: "1", Call: 1, Return: 2, Writes: []Write{{Key: "x/a", Value: "1"}}, Outcome: OK, Revision: 1}
	const patience = 1e9
	good := []Operation{first, set("2", 3, "1", OK, 2), set("3", 5, "1", Refused, 0)}
	wantError(t, KeysLinearizable(good, patience), "")
	bad := []Operation{first, set("2", 3, "1", OK, 2), set("3", 5, "1", OK, 3)}
	wantError(t, KeysLinearizable(bad, patience), "no order")
	ledger := []Entry{{1, 1, "1", first.Writes[0]}, {2, 2, "2", bad[1].Writes[0]}, {3, 3, "3", bad[2].Writes[0]}}
	wantError(t, WritesMatchLedger(bad, ledger), "revision 3")
	wantError(t, WritesMatchLedger(good, ledger[:2]), "")
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}
