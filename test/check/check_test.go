package check_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

// write, read and the others make operations that end before the next one of the list begins, unless a test says else.
func write(id, key string, revision uint64) check.Operation {
	return check.Operation{ID: id, Writes: []check.Write{{Key: key, Value: id}}, Outcome: check.OK, Revision: revision}
}

func read(id, key, value string, revision, shown uint64) check.Operation {
	return check.Operation{ID: id, Reads: []check.Read{{Key: key, Value: value, Revision: revision}}, Outcome: check.OK, Revision: shown}
}

func (o op) with(outcome check.Outcome) check.Operation {
	o.Outcome, o.Revision = outcome, 0
	return check.Operation(o)
}

type op check.Operation

// inOrder gives operations their times, one after the other.
func inOrder(history ...check.Operation) []check.Operation {
	for i := range history {
		history[i].Call, history[i].Return = int64(2*i+1), int64(2*i+2)
	}
	return history
}

func entry(revision uint64, o check.Operation) check.Entry {
	return check.Entry{Revision: revision, Commit: revision, ID: o.ID, Write: o.Writes[0]}
}

func wantFault(t *testing.T, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("a good history: %v", err)
	case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
		t.Errorf("got %v, want an error that says %q", err, words)
	}
}

func TestKeysLinearizable(t *testing.T) {
	if1 := func(o check.Operation, revision uint64) check.Operation {
		o.If = []check.Condition{{Key: o.Writes[0].Key, Revision: revision}}
		return o
	}
	stale := read("r", "k", "w1", 1, 1)
	stale.Consistency = check.Stale
	lost := op(write("w2", "k", 0)).with(check.Unknown)
	for _, test := range []struct {
		name    string
		history []check.Operation
		fault   string
	}{
		{"a read sees the write before it", inOrder(write("w1", "k", 1), read("r", "k", "w1", 1, 1)), ""},
		{"a read is shown what was before", inOrder(write("w1", "k", 1), write("w2", "k", 2), read("r", "k", "w1", 1, 1)), "no order"},
		{"a stale read may be", inOrder(write("w1", "k", 1), write("w2", "k", 2), stale), ""},
		{"a lost write that happened", inOrder(write("w1", "k", 1), lost, read("r", "k", "w2", 2, 2)), ""},
		{"a lost write that did not", inOrder(write("w1", "k", 1), lost, read("r", "k", "w1", 1, 1)), ""},
		{"a lost write that happens late", inOrder(write("w1", "k", 1), lost, read("r", "k", "w1", 1, 1), read("s", "k", "w2", 2, 2)), ""},
		{"a lost write that comes and goes", inOrder(write("w1", "k", 1), lost, read("r", "k", "w2", 2, 2), read("s", "k", "w1", 1, 2)), "no order"},
		{"two winners of a compare-and-set", inOrder(write("w1", "k", 1), if1(write("w2", "k", 2), 1), if1(write("w3", "k", 3), 1)), "no order"},
		{"one winner", inOrder(write("w1", "k", 1), if1(write("w2", "k", 2), 1), if1(op(write("w3", "k", 0)).with(check.Refused), 1)), ""},
		{"refused though its condition held", inOrder(write("w1", "k", 1), if1(op(write("w3", "k", 0)).with(check.Refused), 1)), "no order"},
		{"a write under an old revision", inOrder(write("w1", "k", 5), write("w2", "k", 4)), "no order"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantFault(t, check.KeysLinearizable(test.history, time.Minute), test.fault)
		})
	}
	if err := check.KeysLinearizable([]check.Operation{{
		ID: "two parts", Outcome: check.OK, Writes: []check.Write{{Key: "a/1"}, {Key: "b/1"}},
	}}, time.Minute); err == nil {
		t.Error("an operation on two parts was judged")
	}
}

func TestNoAcknowledgedWriteLost(t *testing.T) {
	w := write("w1", "k", 1)
	other := entry(1, w)
	other.Write.Value = "x"
	for _, test := range []struct {
		name   string
		asked  check.Operation
		ledger []check.Entry
		fault  string
	}{
		{"there", w, []check.Entry{entry(1, w)}, ""},
		{"lost", w, nil, "is lost"},
		{"elsewhere", w, []check.Entry{entry(2, w)}, "is at 2"},
		{"twice", w, []check.Entry{entry(1, w), entry(2, w)}, "two effects"},
		{"something else", w, []check.Entry{other}, "lacks"},
		{"refused", op(w).with(check.Refused), []check.Entry{entry(1, w)}, "did not happen"},
		{"failed", op(w).with(check.Failed), []check.Entry{entry(1, w)}, "did not happen"},
		{"unknown and there", op(w).with(check.Unknown), []check.Entry{entry(1, w)}, ""},
		{"unknown and not there", op(w).with(check.Unknown), nil, ""},
		{"from nowhere", w, []check.Entry{entry(1, w), entry(2, write("ghost", "k", 2))}, "no client asked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantFault(t, check.NoAcknowledgedWriteLost([]check.Operation{test.asked}, test.ledger), test.fault)
		})
	}
}

func TestRevisionsContiguous(t *testing.T) {
	for _, test := range []struct {
		name   string
		ledger []check.Entry
		fault  string
	}{
		{"two commits", []check.Entry{{Revision: 1, Commit: 2}, {Revision: 2, Commit: 2}, {Revision: 3, Commit: 3}}, ""},
		{"gap", []check.Entry{{Revision: 1, Commit: 1}, {Revision: 3, Commit: 3}}, "has revision 3"},
		{"repeat", []check.Entry{{Revision: 1, Commit: 1}, {Revision: 1, Commit: 1}}, "has revision 1"},
		{"mixed commits", []check.Entry{{Revision: 1, Commit: 2}, {Revision: 2, Commit: 3}}, "in the middle"},
		{"half a commit", []check.Entry{{Revision: 1, Commit: 2}}, "ends inside"},
	} {
		t.Run(test.name, func(t *testing.T) { wantFault(t, check.RevisionsContiguous(test.ledger), test.fault) })
	}
}

func TestReadsAndWritesMatchLedger(t *testing.T) {
	one, two := write("w1", "k", 1), write("w2", "k", 2)
	ledger := []check.Entry{entry(1, one), entry(2, two)}
	for _, test := range []struct {
		name  string
		shown check.Operation
		fault string
	}{
		{"old state, honestly", read("r", "k", "w1", 1, 1), ""},
		{"old state as a new one", read("r", "k", "w1", 1, 2), "does not say"},
		{"what was never there", read("r", "k", "", 0, 2), "does not say"},
		{"what is yet to come", read("r", "k", "w2", 2, 3), "does not reach"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantFault(t, check.ReadsMatchLedger([]check.Operation{test.shown}, ledger), test.fault)
		})
	}
	two.If = []check.Condition{{Key: "k", Revision: 1}}
	wantFault(t, check.WritesMatchLedger([]check.Operation{one, two}, ledger), "")
	two.If = []check.Condition{{Key: "k"}}
	wantFault(t, check.WritesMatchLedger([]check.Operation{one, two}, ledger), "was written though")
}

func TestRealTimeOrder(t *testing.T) {
	wantFault(t, check.RealTimeOrder(inOrder(write("w1", "a", 1), write("w2", "b", 2), read("r", "a", "w1", 1, 2))), "")
	wantFault(t, check.RealTimeOrder(inOrder(write("w1", "a", 2), write("w2", "b", 1))), "told before it began")
	wantFault(t, check.RealTimeOrder(inOrder(write("w1", "a", 1), write("w2", "b", 2), read("r", "a", "w1", 1, 1))), "older state")
	same := inOrder(write("w1", "a", 2), write("w2", "b", 1))
	same[1].Call = same[0].Call // neither was before the other
	wantFault(t, check.RealTimeOrder(same), "")
}

func TestMinRevisionHonoured(t *testing.T) {
	r := read("r", "k", "w1", 1, 4)
	r.MinRevision = 4
	wantFault(t, check.MinRevisionHonoured([]check.Operation{r}), "")
	r.MinRevision = 5
	wantFault(t, check.MinRevisionHonoured([]check.Operation{r}), "older than it asked for")
}

func TestRevisionsNeverFall(t *testing.T) {
	at := func(life int, revision uint64, current bool) check.Sample {
		return check.Sample{Server: "a", Life: life, Revision: revision, Current: current}
	}
	wantFault(t, check.RevisionsNeverFall([]check.Sample{at(1, 5, false), at(2, 3, false), at(2, 5, true)}), "")
	wantFault(t, check.RevisionsNeverFall([]check.Sample{at(1, 5, false), at(1, 4, false)}), "fell from revision 5 to 4")
	wantFault(t, check.RevisionsNeverFall([]check.Sample{at(1, 5, false), at(2, 4, true)}), "showed 5 in another life")
}

func TestServersEqual(t *testing.T) {
	wantFault(t, check.ServersEqual([]check.Digest{{Server: "a", Revision: 1, Sum: "x"}, {Server: "b", Revision: 1, Sum: "x"}, {Server: "a", Revision: 2, Sum: "y"}}), "")
	wantFault(t, check.ServersEqual([]check.Digest{{Server: "a", Revision: 1, Sum: "x"}, {Server: "b", Revision: 1, Sum: "y"}}), "of b y")
}

func TestLeasesLastTheirTime(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	held := func(gone bool, calls ...int) check.Lease {
		l := check.Lease{ID: "7", TTL: 5 * time.Second, Gone: gone}
		for _, c := range calls {
			l.Renewals = append(l.Renewals, check.Renewal{Call: at(c)})
		}
		return l
	}
	for _, c := range []struct {
		name  string
		lease check.Lease
		end   *check.LeaseEnd
		wrong bool
	}{
		{"it lives", held(false, 0, 3), nil, false},
		{"it expired in time", held(true, 0, 3), &check.LeaseEnd{at(8), true}, false},
		{"it was ended", held(true, 0, 3), &check.LeaseEnd{at(4), false}, false},
		{"it expired early", held(false, 0, 3), &check.LeaseEnd{at(7), true}, true},
		{"it was renewed behind its end", held(false, 0, 9), &check.LeaseEnd{at(5), true}, true},
		{"it is said to be gone", held(true, 0), nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ends := map[string]check.LeaseEnd{}
			if c.end != nil {
				ends["7"] = *c.end
			}
			if err := check.LeasesLastTheirTime([]check.Lease{c.lease}, ends); (err != nil) != c.wrong {
				t.Errorf("said %v", err)
			}
		})
	}
}
