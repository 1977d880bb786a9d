package requests_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/requests"
)

// TestSweep has old requests go little by little, however many there are, and the others stay.
func TestSweep(t *testing.T) {
	db, err := store.Open("", store.Options{FS: store.NewMemFS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	revision := event.Revision(0)
	fold := func(at event.Time, body event.Body, request *event.Request) {
		t.Helper()
		revision++
		b := db.NewBatch()
		w := b.Ledger(1)
		w.Begin(revision)
		requests.Fold(w, event.Event{Revision: revision, Commit: revision, Time: at, Body: body, Request: request})
		if err := errors.Join(b.Commit(), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	const old, young = 5000, 1000
	for i := range old + young {
		at := event.Time(0)
		if i%6 == 0 {
			at = 2 * event.RequestKept
		}
		fold(at, event.KeyDeleted{Key: "k"}, &event.Request{Key: fmt.Sprintf("%05d", i), Fingerprint: []byte{1}})
	}
	left := func() (n int) {
		rows := db.Rows(1, revision)
		defer func() { _ = rows.Close() }()
		for range rows.Scan(store.TableRequests, nil, nil) {
			n++
		}
		return n
	}
	now := 2*event.RequestKept + 1
	var got []int
	for range 5 {
		fold(now, event.NamespaceTrimmed{Namespace: "n"}, nil)
		got = append(got, left())
	}
	// Six thousand are looked at in three steps; a fourth one finds that there are no more, and a fifth begins again.
	if fmt.Sprint(got[2:]) != "[1000 1000 1000]" || got[0] <= got[1] || got[0] < 4000 {
		t.Errorf("%v are left", got)
	}
	fold(now+event.RequestKept*3, event.NamespaceTrimmed{Namespace: "n"}, nil)
	if n := left(); n != 0 {
		t.Errorf("%d are left when all are old", n)
	}
}
