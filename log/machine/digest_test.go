package machine_test

import (
	"bytes"
	"slices"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

func digest(t *testing.T, m *machine.Machine, at event.Revision) (machine.Digest, bool) {
	t.Helper()
	d, known, err := m.Digest("l", at)
	if err != nil {
		t.Fatal(err)
	}
	return d, known
}

// TestDigest gives the same digest at the same commit in whatever batches entries came, and knows which commits it has
// none for.
func TestDigest(t *testing.T) {
	apart, together := mustOpen(t, store.NewMemFS()), mustOpen(t, store.NewMemFS())
	entries := []string{"ab", "aa", "c", "abcabc", "a"}
	commits := []event.Revision{2, 4, 5, 11, 12}
	if _, known := digest(t, apart, 0); known {
		t.Error("a ledger that is not there has a digest")
	}
	for i, e := range entries {
		update(t, apart, entry(uint64(i+1), 1, e))
	}
	update(t, together, entry(1, 1, entries[:3]...), entry(2, 1, entries[3:]...))
	seen := map[machine.Digest]bool{}
	for _, at := range commits {
		a, knownA := digest(t, apart, at)
		b, knownB := digest(t, together, at)
		if !knownA || !knownB || a != b {
			t.Errorf("revision %d: %+v (%v) and %+v (%v) differ", at, a, knownA, b, knownB)
		}
		if a.Revision != at || a.Leaves != uint64(at) || seen[a] {
			t.Errorf("revision %d: got %+v", at, a)
		}
		seen[a] = true
	}
	for _, at := range []event.Revision{1, 3, 7, 13} {
		if d, known := digest(t, apart, at); known {
			t.Errorf("revision %d, where no commit ends, has the digest %+v", at, d)
		}
	}
	newest, _ := digest(t, apart, 0)
	if last, _ := digest(t, apart, 12); newest != last {
		t.Errorf("the newest is %+v, and at 12 it is %+v", newest, last)
	}
}

// TestDigestAfterwards finds the newest digest again after a restart and after a snapshot has arrived, and goes on alike.
func TestDigestAfterwards(t *testing.T) {
	fs := store.NewMemFS()
	m := mustOpen(t, fs)
	update(t, m, entry(1, 1, "ab"), entry(2, 1, "c"))
	want, _ := digest(t, m, 0)
	var snapshot bytes.Buffer
	state, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SaveSnapshot(state, &snapshot, nil); err != nil {
		t.Fatal(err)
	}
	update(t, m, entry(3, 1, "ba"))
	later, _ := digest(t, m, 0)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, fs)
	if got, known := digest(t, again, 5); !known || got != later {
		t.Errorf("after a restart: got %+v (%v), want %+v", got, known, later)
	}
	if d, known := digest(t, again, 3); known {
		t.Errorf("after a restart there is the digest %+v of a commit before it", d)
	}
	taker := mustOpen(t, store.NewMemFS())
	update(t, taker, entry(1, 1, "ab"))
	if err := taker.RecoverFromSnapshot(&snapshot, nil); err != nil {
		t.Fatal(err)
	}
	if got, known := digest(t, taker, 3); !known || got != want {
		t.Errorf("after a snapshot: got %+v (%v), want %+v", got, known, want)
	}
	update(t, taker, entry(3, 1, "ba"))
	if got, known := digest(t, taker, 5); !known || got != later {
		t.Errorf("after a snapshot and an entry: got %+v (%v), want %+v", got, known, later)
	}
}

// TestRecentCommits remembers so many commits and forgets those before.
func TestRecentCommits(t *testing.T) {
	m := mustOpen(t, store.NewMemFS())
	const perEntry = 4 // of what the domain lets an entry read
	var entries []sm.Entry
	for i := range uint64(2*machine.RecentCommits/perEntry + 2) {
		entries = append(entries, entry(i+1, 1, slices.Repeat([]string{"a"}, perEntry)...))
	}
	for batch := range slices.Chunk(entries, 512) {
		update(t, m, batch...)
	}
	l, _ := m.Ledger("l")
	head := l.Head.Revision
	if head <= 2*machine.RecentCommits {
		t.Fatalf("there are only %d commits", head)
	}
	for _, at := range []event.Revision{head, head - 1, head - machine.RecentCommits + 1} {
		if d, known := digest(t, m, at); !known || d.Revision != at {
			t.Errorf("revision %d of %d: got %+v (%v)", at, head, d, known)
		}
	}
	if _, known := digest(t, m, head-2*machine.RecentCommits); known {
		t.Error("nothing is forgotten")
	}
}

// deaf folds as letters does, but for the letter x.
type deaf struct{ letters }

func (d deaf) Fold(rows store.Writer, e event.Event) {
	if e.Body.(event.KeySet).Key != "x" {
		d.letters.Fold(rows, e)
	}
}

// TestDigestOfBrokenFold tells a replica that folds otherwise from the others, from the commit on where it did.
func TestDigestOfBrokenFold(t *testing.T) {
	whole := mustOpen(t, store.NewMemFS())
	broken, err := machine.New(machine.Config{Dir: "/g", Marker: "/m", Domain: deaf{}, Store: store.Options{FS: store.NewMemFS()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broken.Close() })
	for _, m := range []*machine.Machine{whole, broken} {
		update(t, m, entry(1, 1, "ab"), entry(2, 1, "ax"), entry(3, 1, "a"))
	}
	for at, same := range map[event.Revision]bool{2: true, 4: false, 5: false} {
		a, _ := digest(t, whole, at)
		b, _ := digest(t, broken, at)
		if (a == b) != same || a.Root != b.Root {
			t.Errorf("revision %d: %+v and %+v, same: want %v", at, a, b, same)
		}
	}
}
