package store

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

// TestSum writes random commits in random batches, the same row several times in one commit too, and holds what the
// batches add up to against what reading everything gives, in parts of any size and as of every commit.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db, err := Open("", Options{FS: NewMemFS()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		keys := rapid.SampledFrom([]string{"a", "b", "a\x00", "a\x00b", "", "\x00\x00"})
		rows := rapid.SampledFrom([]string{"1", "2", "\x08", "a long row"})
		sums := []Sum{{}}
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			b := db.NewBatch()
			for range rapid.IntRange(1, 4).Draw(t, "commits") {
				w := b.Ledger(7)
				w.Begin(event.Revision(len(sums)))
				for range rapid.IntRange(0, 5).Draw(t, "writes") {
					if key := []byte(keys.Draw(t, "key")); rapid.Bool().Draw(t, "delete") {
						w.Delete(TableKV, key)
					} else {
						w.Set(TableKV, key, []byte(rows.Draw(t, "row")))
					}
				}
				sums = append(sums, sums[len(sums)-1].Plus(w.Sum()))
			}
			if err := errors.Join(b.Commit(), b.Close()); err != nil {
				t.Fatal(err)
			}
		}
		some := rapid.IntRange(1, 100).Draw(t, "bytes")
		for at, want := range sums {
			if got, err := db.SumRows(7, event.Revision(at)); err != nil || got != want {
				t.Fatalf("at commit %d: got %s, %v, want %s", at, got, err, want)
			}
			var got Sum
			for after := []byte(nil); ; {
				part, last, _, err := db.SumSome(7, event.Revision(at), after, some)
				if err != nil {
					t.Fatal(err)
				}
				if got, after = got.Plus(part), last; last == nil {
					break
				}
			}
			if got != want {
				t.Fatalf("at commit %d, %d bytes at once: got %s, want %s", at, some, got, want)
			}
		}
	})
}

// TestSumTellsApart gives another sum for another table, key, commit or row, for a deletion, and for a row that is
// there twice; and what is taken out leaves the rest.
func TestSumTellsApart(t *testing.T) {
	version := func(table Table, key string, commit event.Revision, row string) Sum {
		full := appendVersion(appendRowPrefix(nil, 1, table, []byte(key)), commit)
		return RowVersion{Key: full, Row: []byte(row)}.Sum()
	}
	seen := map[Sum]string{{}: "nothing"}
	one := version(TableKV, "k", 1, "r")
	for name, sum := range map[string]Sum{
		"one": one, "another table": version(TableSystem, "k", 1, "r"), "another key": version(TableKV, "kr", 1, ""),
		"another commit": version(TableKV, "k", 2, "r"), "another row": version(TableKV, "k", 1, "s"),
		"deleted": version(TableKV, "k", 1, ""), "twice": one.Plus(one),
	} {
		if other, ok := seen[sum]; ok {
			t.Errorf("%s has the sum of %s: %s", name, other, sum)
		}
		seen[sum] = name
		if got := sum.Plus(one).Minus(sum); got != one {
			t.Errorf("%s added and taken out: got %s, want %s", name, got, one)
		}
		var read Sum
		if text, _ := sum.MarshalText(); read.UnmarshalText(text) != nil || read != sum {
			t.Errorf("%s is written as %q and read as %s", name, text, read)
		}
	}
	full := Sum{hi: ^uint64(0), lo: ^uint64(0)}
	if got := full.Plus(Sum{lo: 1}); got != (Sum{}) {
		t.Errorf("the largest sum and one: got %s, want zero", got)
	}
	for _, text := range []string{"", "12", "zz", "00000000000000000000000000000000ff"} {
		if err := new(Sum).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a sum", text)
		}
	}
}

// TestOldHead opens a database from before heads had a sum, and refuses a head of any other length.
func TestOldHead(t *testing.T) {
	db, err := Open("", Options{FS: NewMemFS()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	b := db.NewBatch()
	w := b.Ledger(1)
	w.Begin(5)
	w.Set(TableKV, []byte("k"), []byte("row"))
	head := Head{Revision: 5, Time: 9, Leaves: 5, Rows: w.Sum()}
	b.NameLedger(1, "one")
	b.set(headKey(1), encodeHead(head)[:oldHeadBytes])
	if err := errors.Join(b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if ledgers, err := db.Ledgers(); err != nil || len(ledgers) != 1 || ledgers[0].Head != head {
		t.Errorf("got %+v, %v, want the head %+v", ledgers, err, head)
	}
	b = db.NewBatch()
	b.set(headKey(1), encodeHead(head)[:headBytes-1])
	if err := errors.Join(b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if ledgers, err := db.Ledgers(); err == nil {
		t.Errorf("a head that is cut short was taken for %+v", ledgers)
	}
}
