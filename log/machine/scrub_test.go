package machine_test

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

const stateDir = "/data/group/state-000001"

// behind opens the database of a closed machine behind its back.
func behind(t *testing.T, fs store.FS, do func(*pebble.DB) error) {
	t.Helper()
	c := *pebble.DefaultComparer
	c.Name = "rollcall.rows.v1"
	c.Split = func(key []byte) int {
		if n := len(key) - 9; n > 7 && key[0] == 6 && key[len(key)-1] == 8 && key[n-1] == 0 && key[n-2] == 0 {
			return n
		}
		return len(key)
	}
	db, err := pebble.Open(stateDir, &pebble.Options{FS: fs, Comparer: &c, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.LogData(nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) { panic("pebble cannot go on") }

// deleteKey removes the n-th key with a first byte.
func deleteKey(first byte, n int) func(*pebble.DB) error {
	return func(db *pebble.DB) error {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{first}, UpperBound: []byte{first + 1}})
		if err != nil {
			return err
		}
		ok := it.First()
		for range n {
			ok = ok && it.Next()
		}
		if !ok {
			return errors.Join(errors.New("there are fewer keys"), it.Close())
		}
		return errors.Join(db.Delete(it.Key(), nil), it.Close())
	}
}

// batch changes what is stored as only the machine may.
func batch(change func(*store.Batch, store.Ledger)) func(*testing.T, store.FS) {
	return func(t *testing.T, fs store.FS) {
		m := mustOpen(t, fs)
		l, _ := m.Ledger("l")
		err := m.Read(func(db *store.DB) error {
			b := db.NewBatch()
			change(b, l)
			return errors.Join(b.Commit(), b.Close())
		})
		if err := errors.Join(err, m.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// flip changes one bit in the middle of every table.
func flip(t *testing.T, fs store.FS) {
	t.Helper()
	if err := mustOpen(t, fs).Close(); err != nil { // which writes what was only logged into a table
		t.Fatal(err)
	}
	names, err := fs.List(stateDir)
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := stateDir + "/" + name
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(b)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped == 0 {
		t.Fatalf("there is no table among %v", names)
	}
}

// TestScrub finds nothing wrong with what was written, also while more is, and finds every kind of damage.
func TestScrub(t *testing.T) {
	raw := func(do func(*pebble.DB) error) func(*testing.T, store.FS) {
		return func(t *testing.T, fs store.FS) { behind(t, fs, do) }
	}
	forged := event.Append(nil, event.Event{Revision: 4, Commit: 4, Time: 1, Body: event.KeyDeleted{Key: "forged"}})
	for _, c := range []struct {
		name   string
		damage func(*testing.T, store.FS)
		want   string // in the error; empty: there is none
	}{
		{"nothing", func(*testing.T, store.FS) {}, ""},
		{"an event that is lost", raw(deleteKey(4, 2)), "revision 4"},
		{"the last event lost", raw(deleteKey(4, 6)), "no events from revision 7"},
		{"an event's bytes", batch(func(b *store.Batch, l store.Ledger) { b.AppendEvent(l.ID, 4, forged) }), "revision 4: the Merkle"},
		{"an event that is none", batch(func(b *store.Batch, l store.Ledger) { b.AppendEvent(l.ID, 4, []byte{0xa0}) }), "revision 4"},
		{"an event at another place", batch(func(b *store.Batch, l store.Ledger) { b.AppendEvent(l.ID, 3, forged) }), "revision 4"},
		{"a Merkle hash", batch(func(b *store.Batch, l store.Ledger) { b.AppendHashes(l.ID, 2, make([]byte, 32)) }), "revision 3: the Merkle"},
		{"a Merkle hash that is lost", raw(deleteKey(5, 2)), "revision 3: the Merkle"},
		{"a row that is lost", raw(deleteKey(6, 1)), "a row was lost"},
		{"a row that is there twice", batch(func(b *store.Batch, l store.Ledger) {
			b.Ledger(l.ID).Begin(3)
			b.Ledger(l.ID).Set(store.TableKV, []byte("a"), []byte{1})
		}), "a row was lost"},
		{"a row that was changed", batch(func(b *store.Batch, l store.Ledger) {
			b.Ledger(l.ID).Begin(2)
			b.Ledger(l.ID).Set(store.TableKV, []byte("a"), []byte{2})
		}), "a row was lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := store.NewMemFS()
			m := mustOpen(t, fs)
			update(t, m, entry(1, 1, "ab", "ab", "cda")) // rows of commits 2, 4 and 7
			if err := errors.Join(m.Sync(), m.Close()); err != nil {
				t.Fatal(err)
			}
			c.damage(t, fs)
			m = mustOpen(t, fs)
			err := m.Scrub("l", func(int) error { return nil })
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v of what is whole", err)
			case c.want != "" && (!errors.Is(err, machine.ErrDamaged) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want damage with %q", err, c.want)
			}
		})
	}
}

// TestScrubOfDisk finds a bit that the disk altered, in a part of the state that nobody else has read.
func TestScrubOfDisk(t *testing.T) {
	fs := store.NewMemFS()
	m := mustOpen(t, fs)
	for i := range uint64(20) {
		update(t, m, entry(i+1, 1, strings.Repeat("abcdefghijklmnopqrstuvwxyz", 20)))
	}
	if err := errors.Join(m.Sync(), m.Close()); err != nil {
		t.Fatal(err)
	}
	flip(t, fs)
	var fault *store.Fault
	var told atomic.Int32
	m, err := machine.New(machine.Config{
		Dir: "/data/group", Marker: "/data/synced", Domain: letters{}, Store: store.Options{FS: fs, Damaged: func() { told.Add(1) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	err = m.Scrub("l", func(int) error { return nil })
	if !errors.Is(err, machine.ErrDamaged) || !errors.As(err, &fault) || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got %v, want a fault", err)
	}
	if told.Load() == 0 {
		t.Error("whoever waits to be told of damage was not")
	}
}

// TestScrubWhileWriting reads in many chunks, with commits between them that write the same rows again.
func TestScrubWhileWriting(t *testing.T) {
	m := mustOpen(t, store.NewMemFS())
	index := uint64(0)
	write := func() {
		index++
		value := strings.Repeat("abcdefghijklmnopqrstuvwxyz", 20)
		e := entry(index, 1, value)
		update(t, m, e)
	}
	for range 20 {
		write()
	}
	chunks, bytes := 0, 0
	err := m.Scrub("l", func(n int) error {
		chunks, bytes = chunks+1, bytes+n
		write()
		return nil
	})
	if err != nil || chunks < 10 || bytes < 500_000 {
		t.Errorf("%d chunks, %d bytes: %v", chunks, bytes, err)
	}
	stop := errors.New("stop")
	if err := m.Scrub("l", func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what the pace said", err)
	}
	if err := m.Scrub("none", nil); err != nil {
		t.Errorf("a ledger that is not there: %v", err)
	}
}
