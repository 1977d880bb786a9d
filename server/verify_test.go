package server_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/server"
)

// TestVerify finds nothing wrong with what was applied, and every kind of tampering with it.
func TestVerify(t *testing.T) {
	entries := history(rand.New(rand.NewPCG(7, 7)), 120)
	verify := func(r *replica) ([]machine.Verified, error) {
		return machine.Verify(context.Background(), machine.Config{
			Dir: "/group", Marker: "/raft/synced", Domain: server.Domain{}, Store: store.Options{FS: r.fs},
		}, "")
	}
	whole := newReplica(t)
	whole.apply(entries, 10)
	if err := whole.machine.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := verify(whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 3 || found[0].Events == 0 || found[0].Rows == 0 {
		t.Errorf("found %+v, want three ledgers with events and rows", found)
	}

	cases := []struct {
		name   string
		tamper func(*store.Batch, store.Ledger)
		want   string
	}{
		{"an event's bytes", func(b *store.Batch, l store.Ledger) {
			b.AppendEvent(l.ID, 2, event.Append(nil, event.Event{Revision: 2, Commit: 2, Time: 1 << 61, Body: event.KeyDeleted{Key: "forged"}}))
		}, "revision 2: the Merkle hashes"},
		{"an event that is none", func(b *store.Batch, l store.Ledger) { b.AppendEvent(l.ID, 3, []byte{0xa0}) }, "revision 3: malformed"},
		{"a hash", func(b *store.Batch, l store.Ledger) { b.AppendHashes(l.ID, 4, make([]byte, 32)) }, "revision 5: the Merkle hashes"},
		{"the head, shortened", func(b *store.Batch, l store.Ledger) {
			h := l.Head
			h.Revision--
			b.SetHead(l.ID, h)
		}, ""},
		{"the head, lengthened", func(b *store.Batch, l store.Ledger) {
			h := l.Head
			h.Revision++
			b.SetHead(l.ID, h)
		}, "there is no event"},
		{"the sum of the rows", func(b *store.Batch, l store.Ledger) {
			h := l.Head
			h.Rows = h.Rows.Plus(h.Rows)
			b.SetHead(l.ID, h)
		}, "sum of the rows"},
		{"an event behind the head", func(b *store.Batch, l store.Ledger) {
			b.AppendEvent(l.ID, l.Head.Revision+1, []byte{0xa0})
		}, "behind the head"},
		{"hashes behind the tree", func(b *store.Batch, l store.Ledger) {
			b.AppendHashes(l.ID, l.Head.Leaves, make([]byte, 32))
		}, "and the tree has"},
		{"a head without a ledger", func(b *store.Batch, l store.Ledger) { b.SetHead(77, l.Head) }, "77, which has no name"},
		{"rows without a ledger", func(b *store.Batch, _ store.Ledger) {
			w := b.Ledger(77)
			w.Begin(1)
			w.Set(store.TableKV, []byte("k"), []byte("v"))
		}, "77, which has no name"},
		{"another ledger's name", func(b *store.Batch, l store.Ledger) { b.NameLedger(l.ID, "green") }, ""},
		{"a row that no event made", func(b *store.Batch, l store.Ledger) {
			w := b.Ledger(l.ID)
			w.Begin(5)
			w.Set(store.TableKV, []byte("zzz"), []byte("forged"))
		}, `"zzz" of table 1 at commit 5`},
		{"a row that was changed", func(b *store.Batch, l store.Ledger) {
			w := b.Ledger(l.ID)
			w.Begin(1)
			w.Set(store.TableSystem, []byte("groups"), []byte{9})
		}, `"groups" of table 4`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(entries, 10)
			l, ok := r.machine.Ledger(event.System)
			if !ok {
				t.Fatal("there is no ledger to tamper with")
			}
			err := r.machine.Read(func(db *store.DB) error {
				b := db.NewBatch()
				defer func() { _ = b.Close() }()
				c.tamper(b, l)
				return b.Commit()
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.machine.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := verify(r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
