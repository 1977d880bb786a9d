package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rollcall/rollcall/log/store"
)

// TestLive counts rows as they are written, over again where a database was written by who does not count.
func TestLive(t *testing.T) {
	fs := store.NewMemFS()
	counted := store.Counted{Table: store.TableKV, Size: func(key, row []byte) int { return len(key) + len(row) }}
	var head store.Head
	write := func(c store.Counted, change func(*store.LedgerBatch)) store.Live {
		t.Helper()
		db, err := store.Open("db", store.Options{FS: fs, Counted: c})
		if err != nil {
			t.Fatal(err)
		}
		b := db.NewBatch()
		b.NameLedger(1, "l")
		head.Revision++
		w := b.Ledger(1)
		w.Begin(head.Revision)
		change(w)
		head.Live = head.Live.Plus(w.Grown())
		b.SetHead(1, head)
		if err := errors.Join(b.Commit(), b.Close(), db.Sync(), db.Close()); err != nil {
			t.Fatal(err)
		}
		if db, err = store.Open("db", store.Options{FS: fs, Counted: counted}); err != nil {
			t.Fatal(err)
		}
		ledgers, err := db.Ledgers()
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		head.Live = ledgers[0].Head.Live
		return head.Live
	}
	for i, step := range []struct {
		counted store.Counted
		change  func(*store.LedgerBatch)
		want    store.Live
	}{
		{counted, func(w *store.LedgerBatch) { w.Set(store.TableKV, []byte("a"), []byte("one")) }, store.Live{Rows: 1, Bytes: 4}},
		{counted, func(w *store.LedgerBatch) { w.Set(store.TableRequests, []byte("a"), []byte("one")) }, store.Live{Rows: 1, Bytes: 4}},
		{counted, func(w *store.LedgerBatch) {
			w.Set(store.TableKV, []byte("a"), []byte("o"))
			w.Set(store.TableKV, []byte("a"), []byte("on"))
			w.Delete(store.TableKV, []byte("none"))
			w.Set(store.TableKV, []byte("b"), []byte("x"))
			w.Delete(store.TableKV, []byte("b"))
			w.Set(store.TableKV, []byte("b"), []byte("xx"))
		}, store.Live{Rows: 2, Bytes: 6}},
		{store.Counted{}, func(w *store.LedgerBatch) { w.Delete(store.TableKV, []byte("a")) }, store.Live{Rows: 1, Bytes: 3}},
		{counted, func(w *store.LedgerBatch) { w.Delete(store.TableKV, []byte("b")) }, store.Live{}},
	} {
		if got := write(step.counted, step.change); got != step.want {
			t.Errorf("step %d: %s, want %s", i, fmt.Sprint(got), fmt.Sprint(step.want))
		}
	}
}
