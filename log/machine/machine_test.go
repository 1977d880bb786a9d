package machine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// letters is a domain of its own: each letter of a command is the event that sets the key of that name.
type letters struct{}

func (letters) Decide(_ store.Reader, at machine.Situation, command []byte) machine.Decision {
	if at.ReadBytes < len(command) {
		return machine.Decision{Reply: func(event.Revision) []byte { return []byte("no") }}
	}
	var bodies []event.Body
	for _, c := range command {
		bodies = append(bodies, event.KeySet{Key: string(c), Value: []byte{}, Version: 1})
	}
	return machine.Decision{Events: bodies, Read: machine.EntryReadBytesMax / 4, Reply: func(commit event.Revision) []byte {
		return fmt.Append(nil, commit)
	}}
}

func (letters) Fold(rows store.Writer, e event.Event) {
	rows.Set(store.TableKV, []byte(e.Body.(event.KeySet).Key), []byte{1})
}

// origin is the number under which the machine's own process proposes.
const origin = 7

func open(t *testing.T, fs store.FS, publish func(string, []event.Event)) (*machine.Machine, error) {
	t.Helper()
	m, err := machine.New(machine.Config{
		Dir: "/data/group", Marker: "/data/synced", Domain: letters{}, Store: store.Options{FS: fs}, Publish: publish, Origin: origin,
	})
	if err == nil {
		t.Cleanup(func() { _ = m.Close() })
	}
	return m, err
}

func mustOpen(t *testing.T, fs store.FS) *machine.Machine {
	t.Helper()
	m, err := open(t, fs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func entry(index uint64, time event.Time, commands ...string) sm.Entry {
	var encoded [][]byte
	for _, c := range commands {
		encoded = append(encoded, machine.EncodeCommand(machine.Command{Ledger: "l", Time: time, Body: []byte(c)}))
	}
	return sm.Entry{Index: index, Cmd: machine.EncodeEntry(origin, encoded)}
}

func update(t *testing.T, m *machine.Machine, entries ...sm.Entry) []sm.Entry {
	t.Helper()
	done, err := m.Update(entries)
	if err != nil {
		t.Fatal(err)
	}
	m.Check()
	return done
}

// TestUpdate shows what an entry leaves behind: replies for each command, time that never goes back, events that are
// published once they can be read, and nothing at all of an entry that is none.
func TestUpdate(t *testing.T) {
	var published []event.Event
	var m *machine.Machine
	m, err := open(t, store.NewMemFS(), func(ledger string, events []event.Event) {
		l, ok := m.Ledger(ledger)
		if last := events[len(events)-1]; !ok || l.Head.Revision < last.Revision {
			t.Errorf("revision %d was published before it could be read", last.Revision)
		}
		published = append(published, events...)
	})
	if err != nil {
		t.Fatal(err)
	}
	done := update(t, m, entry(1, 100, "ab", ""), sm.Entry{Index: 2, Cmd: []byte{9, 9}}, entry(3, 50, "c"))
	var got []string
	for _, e := range done {
		replies, err := machine.SplitFrames(e.Result.Data)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s", e.Result.Value, replies))
	}
	if diff := cmp.Diff([]string{"0 [2 2]", "1 []", "0 [3]"}, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	var events []string
	for _, e := range published {
		events = append(events, fmt.Sprintf("%d/%d at %d", e.Revision, e.Commit, e.Time))
	}
	if diff := cmp.Diff([]string{"1/2 at 100", "2/2 at 100", "3/3 at 100"}, events); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if m.Applied() != 3 {
		t.Errorf("applied %d", m.Applied())
	}
}

// TestReplies makes replies only where their callers wait, and lets an entry's commands read only so much together.
func TestReplies(t *testing.T) {
	m := mustOpen(t, store.NewMemFS())
	command := machine.EncodeCommand(machine.Command{Ledger: "l", Body: []byte("a")})
	foreign := sm.Entry{Index: 1, Cmd: machine.EncodeEntry(origin+1, [][]byte{command})}
	if done := update(t, m, foreign); len(done[0].Result.Data) != 0 {
		t.Errorf("somebody else's entry got the replies %q", done[0].Result.Data)
	}
	replies, err := machine.SplitFrames(update(t, m, entry(2, 1, "a", "b", "c", "d", "e", "f"))[0].Result.Data)
	if got := fmt.Sprintf("%s", replies); err != nil || got != "[2 3 4 5 no no]" {
		t.Errorf("got %s, %v: four commands of a quarter each fit, the others are refused", got, err)
	}
	if l, _ := m.Ledger("l"); l.Head.Revision != 5 {
		t.Errorf("revision %d, want 5", l.Head.Revision)
	}
}

// TestCurrentMissing refuses to begin anew where there is a state already, and deletes nothing.
func TestCurrentMissing(t *testing.T) {
	fs := store.NewMemFS()
	m := mustOpen(t, fs)
	update(t, m, entry(1, 1, "a"))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	current, err := store.ReadFile(fs, "/data/group/CURRENT")
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove("/data/group/CURRENT"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fs, nil); err == nil {
		t.Error("a state without CURRENT was taken for none")
	}
	if err := store.WriteFile(fs, "/data/group/CURRENT", current); err != nil {
		t.Fatal(err)
	}
	if m := mustOpen(t, fs); m.Applied() != 1 {
		t.Errorf("the state is at entry %d afterwards, want 1", m.Applied())
	}
}

// TestStateLost refuses a database that is older than what was synced, and one whose CURRENT names no state.
func TestStateLost(t *testing.T) {
	fs := store.NewMemFS()
	m := mustOpen(t, fs)
	update(t, m, entry(1, 1, "a"), entry(2, 2, "b"))
	if err := errors.Join(m.Sync(), m.Close()); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, fs).Close(); err != nil { // nothing is lost yet
		t.Fatal(err)
	}
	if err := fs.RemoveAll("/data/group"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fs, nil); !errors.Is(err, machine.ErrStateLost) {
		t.Errorf("the database is gone: got %v, want %v", err, machine.ErrStateLost)
	}
	for _, bad := range []string{"", "state-", "state-0\n", "elsewhere\n"} {
		if err := store.WriteFile(fs, "/data/group/CURRENT", []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if m, err := open(t, fs, nil); err == nil {
			t.Errorf("CURRENT %q was taken for a state at entry %d", bad, m.Applied())
		}
	}
	if err := store.WriteFile(fs, "/data/synced", []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("/data/group"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fs, nil); err == nil {
		t.Error("a damaged marker was taken")
	}
}

// TestSnapshotThatBreaksOff leaves the state as it was, and the next snapshot is taken all the same.
func TestSnapshotThatBreaksOff(t *testing.T) {
	giver, fs := mustOpen(t, store.NewMemFS()), vfs.NewCrashableMem()
	taker := mustOpen(t, fs)
	update(t, giver, entry(1, 1, "abc"), entry(2, 2, "d"))
	update(t, taker, entry(1, 1, "abc"))
	var snapshot bytes.Buffer
	state, err := giver.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := giver.SaveSnapshot(state, &snapshot, nil); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 10, snapshot.Len() / 2, snapshot.Len() - 1} {
		err := taker.RecoverFromSnapshot(io.LimitReader(bytes.NewReader(snapshot.Bytes()), int64(size)), nil)
		if !errors.Is(err, store.ErrSnapshotDamaged) {
			t.Errorf("%d bytes: got %v, want %v", size, err, store.ErrSnapshotDamaged)
		}
		if l, _ := taker.Ledger("l"); l.Head.Revision != 3 || taker.Applied() != 1 {
			t.Errorf("%d bytes: the state is at entry %d, revision %d", size, taker.Applied(), l.Head.Revision)
		}
	}
	if err := taker.RecoverFromSnapshot(bytes.NewReader(snapshot.Bytes()), nil); err != nil {
		t.Fatal(err)
	}
	if l, _ := taker.Ledger("l"); l.Head.Revision != 4 || taker.Applied() != 2 {
		t.Errorf("the state is at entry %d, revision %d", taker.Applied(), l.Head.Revision)
	}
	// A loss of power right after the installation keeps it.
	again := mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if again.Applied() != 2 {
		t.Errorf("after a crash the state is at entry %d, want 2", again.Applied())
	}
}

// FuzzDecodeEntry looks for bytes that make a replica panic: what cannot be decoded is skipped, by all alike.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(entry(1, 1, "a", "b").Cmd)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		from, commands, err := machine.DecodeEntry(b)
		if err != nil {
			return
		}
		var encoded [][]byte
		for _, c := range commands {
			encoded = append(encoded, machine.EncodeCommand(c))
		}
		whence, again, err := machine.DecodeEntry(machine.EncodeEntry(from, encoded))
		if diff := cmp.Diff(commands, again); err != nil || whence != from || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// jumpers is letters, but that the command "j" leaves out revisions before its event.
type jumpers struct{ letters }

func (d jumpers) Decide(rows store.Reader, at machine.Situation, command []byte) machine.Decision {
	decision := d.letters.Decide(rows, at, command)
	if string(command) == "j" {
		decision.Skip = 1000
	}
	return decision
}

// announcers is jumpers, and says of the event of "j" that it leaves out revisions.
type announcers struct{ jumpers }

func (announcers) Opens(event.Event) (string, bool) { return "l", true }

func (announcers) Skipped(e event.Event) event.Revision {
	if e.Body.(event.KeySet).Key == "j" {
		return 1000
	}
	return 0
}

// TestJump leaves out revisions before one event. Leaves are counted on, what lies in between is the state before, and
// verification takes the gap only where the event says so.
func TestJump(t *testing.T) {
	fs := store.NewMemFS()
	c := machine.Config{Dir: "/data/group", Marker: "/data/synced", Domain: jumpers{}, Store: store.Options{FS: fs}, Origin: origin}
	m, err := machine.New(c)
	if err != nil {
		t.Fatal(err)
	}
	update(t, m, entry(1, 10, "ab", "j"), entry(2, 30, "c"))
	l, ok := m.Ledger("l")
	if !ok || l.Head.Revision != 1004 || l.Head.Leaves != 4 {
		t.Errorf("the head is %+v", l.Head)
	}
	err = m.Read(func(db *store.DB) error {
		for r, want := range map[event.Revision]event.Revision{0: 0, 1: 1, 2: 2, 3: 2, 1002: 2, 1003: 1003, 1004: 1004, 9999: 1004} {
			if got, err := db.Floor(l.ID, r); err != nil || got != want {
				t.Errorf("the last revision up to %d: got %d, %v, want %d", r, got, err, want)
			}
		}
		for r, want := range map[event.Revision]event.Revision{0: 1, 2: 2, 3: 1003, 1003: 1003, 1005: 0} {
			if got, _, err := db.NextEvent(l.ID, r); err != nil || got != want {
				t.Errorf("the first revision from %d on: got %d, %v, want %d", r, got, err, want)
			}
		}
		for at, want := range map[event.Time]event.Revision{9: 0, 10: 1003, 29: 1003, 30: 1004} {
			if got, err := db.RevisionAt(l.ID, l.Head.Revision, at); err != nil || got != want {
				t.Errorf("the last revision at %d: got %d, %v, want %d", at, got, err, want)
			}
		}
		return nil
	})
	if err = errors.Join(err, m.Sync(), m.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := machine.Verify(t.Context(), c, ""); err == nil {
		t.Error("a gap that no event speaks of was taken")
	}
	c.Domain = announcers{}
	if found, err := machine.Verify(t.Context(), c, ""); err != nil || found[0].Events != 4 {
		t.Errorf("got %+v, %v", found, err)
	}
}

// TestLargeUpdate hands over in one call what is too much for one batch: what is written is the same as one entry at a
// time, and followers get whole commits meanwhile.
func TestLargeUpdate(t *testing.T) {
	letters := strings.Repeat("abcdefghijklmnopqrstuvwxyz", 20)
	var entries []sm.Entry
	for i := range uint64(80) {
		entries = append(entries, entry(i+1, 1, letters, letters))
	}
	published := 0
	atOnce, err := open(t, store.NewMemFS(), func(_ string, events []event.Event) {
		if last := events[len(events)-1]; last.Revision != last.Commit {
			t.Errorf("published up to revision %d, inside of commit %d", last.Revision, last.Commit)
		}
		published++
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := atOnce.Update(slices.Clone(entries))
	if err != nil {
		t.Fatal(err)
	}
	if published < 2 || published > 20 {
		t.Errorf("%d batches, want some", published)
	}
	oneByOne := mustOpen(t, store.NewMemFS())
	for i, e := range entries {
		one, err := oneByOne.Update([]sm.Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one[0].Result.Data, results[i].Result.Data) {
			t.Errorf("entry %d is answered otherwise", i+1)
		}
	}
	if a, b := atOnce.Applied(), oneByOne.Applied(); a != 80 || b != 80 {
		t.Errorf("applied %d and %d, want 80", a, b)
	}
	if a, b := saved(t, atOnce), saved(t, oneByOne); !bytes.Equal(a, b) {
		t.Error("the states differ")
	}
}

// saved is a machine's whole state, as it is streamed.
func saved(t *testing.T, m *machine.Machine) []byte {
	t.Helper()
	state, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.SaveSnapshot(state, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
