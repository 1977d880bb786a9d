package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

func openDB(t interface {
	Fatal(...any)
	Cleanup(func())
}, fs store.FS, dir string,
) *store.DB {
	db, err := store.Open(dir, store.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestRowsAtEveryCommit writes random commits, several in a batch, and holds reads and scans at every commit, from
// the batch that writes and from readers, against a map for each commit.
func TestRowsAtEveryCommit(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "ab", "a\x00", "a\x00\xff", "b", "\xff", "", "\x08"})
	rapid.Check(t, func(t *rapid.T) {
		db := openDB(t, store.NewMemFS(), "")
		history := []map[string]string{{}}
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			b := db.NewBatch()
			w := b.Ledger(1)
			for range rapid.IntRange(1, 4).Draw(t, "commits") {
				now := maps.Clone(history[len(history)-1])
				w.Begin(event.Revision(len(history)))
				for range rapid.IntRange(1, 4).Draw(t, "rows") {
					key := keys.Draw(t, "key")
					if rapid.Bool().Draw(t, "delete") {
						w.Delete(store.TableKV, []byte(key))
						delete(now, key)
					} else {
						now[key] = fmt.Sprintf("%s@%d", key, len(history))
						w.Set(store.TableKV, []byte(key), []byte(now[key]))
					}
				}
				history = append(history, now)
				compare(t, w, now, keys)
				past := rapid.IntRange(0, len(history)-1).Draw(t, "past")
				compare(t, w.At(event.Revision(past)), history[past], keys)
				earlier := rapid.IntRange(0, past).Draw(t, "earlier")
				compare(t, w.At(event.Revision(past)).At(event.Revision(earlier)), history[earlier], keys)
				compare(t, w, now, keys) // what reads the past leaves the present as it was
			}
			if err := errors.Join(b.Commit(), b.Close()); err != nil {
				t.Fatal(err)
			}
		}
		for at, want := range history {
			rows := db.Rows(1, event.Revision(at))
			compare(t, rows, want, keys)
			past := rapid.IntRange(0, at).Draw(t, "past")
			compare(t, rows.At(event.Revision(past)), history[past], keys)
			compare(t, rows, want, keys)
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
		}
		other := db.Rows(2, 1<<60)
		compare(t, other, nil, keys) // another ledger sees nothing of it
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func compare(t *rapid.T, r store.Reader, want map[string]string, keys *rapid.Generator[string]) {
	for range 3 {
		key := keys.Draw(t, "get")
		row, ok := r.Get(store.TableKV, []byte(key))
		if w, wok := want[key]; ok != wok || string(row) != w {
			t.Fatalf("get %q: got %q %v, want %q %v", key, row, ok, w, wok)
		}
	}
	prefix, from := keys.Draw(t, "prefix"), keys.Draw(t, "from")
	var got, expected []string
	for key, row := range r.Scan(store.TableKV, []byte(prefix), []byte(from)) {
		got = append(got, fmt.Sprintf("%q=%q", key, row))
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if strings.HasPrefix(key, prefix) && key >= from {
			expected = append(expected, fmt.Sprintf("%q=%q", key, want[key]))
		}
	}
	if !slices.Equal(got, expected) {
		t.Fatalf("scan of prefix %q from %q:\n got %v\nwant %v", prefix, from, got, expected)
	}
}

// TestEvents reads events in chunks, and finds the last one at a time.
func TestEvents(t *testing.T) {
	db := openDB(t, store.NewMemFS(), "")
	b := db.NewBatch()
	for r := event.Revision(1); r <= 100; r++ {
		e := event.Event{Revision: r, Commit: r, Time: event.Time(10 * (r / 3)), Body: event.KeyDeleted{Key: "k", Previous: r}}
		b.AppendEvent(3, r, event.Append(nil, e))
	}
	if err := errors.Join(b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	events, err := db.Events(3, 20, 90, store.Chunk{Events: 7, Bytes: 1 << 20})
	if err != nil || len(events) != 7 || events[0].Revision != 20 {
		t.Errorf("a chunk by number: %v, %v", events, err)
	}
	if events, err = db.Events(3, 20, 90, store.Chunk{Events: 100, Bytes: 1}); err != nil || len(events) != 1 {
		t.Errorf("a chunk by size: %v, %v", events, err)
	}
	if events, err = db.Events(3, 90, 200, store.Chunk{Events: 100, Bytes: 1 << 20}); err != nil || len(events) != 11 {
		t.Errorf("up to the end: %v, %v", events, err)
	}
	for at, want := range map[event.Time]event.Revision{-1: 0, 0: 2, 9: 2, 10: 5, 329: 98, 330: 100, 1 << 60: 100} {
		if got, err := db.RevisionAt(3, 100, at); err != nil || got != want {
			t.Errorf("revision at time %d: got %d, %v, want %d", at, got, err, want)
		}
	}
}

// TestSnapshotDamage restores a snapshot, and refuses every shortened and every altered one.
func TestSnapshotDamage(t *testing.T) {
	fs := store.NewMemFS()
	db := openDB(t, fs, "from")
	b := db.NewBatch()
	w := b.Ledger(1)
	w.Begin(1)
	for i := range 20 {
		w.Set(store.TableKV, fmt.Appendf(nil, "key-%d", i), []byte("value"))
	}
	b.SetApplied(42)
	if err := errors.Join(b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	snapshot := db.Snapshot()
	if err := errors.Join(snapshot.Write(&whole, nil), snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	restore := func(dir string, b []byte) error {
		return store.Restore(dir, bytes.NewReader(b), store.Options{FS: fs}, nil)
	}
	if err := restore("to", whole.Bytes()); err != nil {
		t.Fatal(err)
	}
	if applied, err := openDB(t, fs, "to").Applied(); err != nil || applied != 42 {
		t.Errorf("applied: got %d, %v", applied, err)
	}
	for i := 0; i < whole.Len(); i += 1 + i/16 {
		if err := restore(fmt.Sprintf("short-%d", i), whole.Bytes()[:i]); !errors.Is(err, store.ErrSnapshotDamaged) {
			t.Errorf("shortened to %d bytes: got %v", i, err)
		}
		altered := bytes.Clone(whole.Bytes())
		altered[i] ^= 1
		if err := restore(fmt.Sprintf("altered-%d", i), altered); !errors.Is(err, store.ErrSnapshotDamaged) {
			t.Errorf("altered at byte %d: got %v", i, err)
		}
	}
	stop := make(chan struct{})
	close(stop)
	snapshot = db.Snapshot()
	if err := snapshot.Write(&bytes.Buffer{}, stop); !errors.Is(err, store.ErrStopped) {
		t.Errorf("a stopped snapshot: got %v", err)
	}
	if err := snapshot.Close(); err != nil {
		t.Error(err)
	}
}
