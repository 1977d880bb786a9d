package machine_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/test/faultfs"
)

// installation is a replica that is behind and the snapshot that is to bring it up.
type installation struct {
	base     *vfs.MemFS // what the replica's disk holds
	snapshot []byte
	// old are the states that the replica may have after a crash before the snapshot counts: what was synced, and
	// that with what was applied behind it. The new one is the snapshot itself: the same state has the same bytes.
	old map[string]bool
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	in := installation{base: vfs.NewCrashableMem(), old: map[string]bool{}}
	giver, taker := mustOpen(t, store.NewMemFS()), mustOpen(t, in.base)
	for i, commands := range []string{"abc", "d", "efgh", "a"} {
		update(t, giver, entry(uint64(i)+1, 10, commands))
	}
	in.snapshot = state(t, giver)
	update(t, taker, entry(1, 10, "abc"))
	if err := taker.Sync(); err != nil {
		t.Fatal(err)
	}
	in.old[string(state(t, taker))] = true
	update(t, taker, entry(2, 10, "d"))
	in.old[string(state(t, taker))] = true
	if err := taker.Close(); err != nil {
		t.Fatal(err)
	}
	return in
}

// state is everything that a machine holds.
func state(t *testing.T, m *machine.Machine) []byte {
	t.Helper()
	held, err := m.Hold()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := held.Write(&b, nil); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// disk is a copy of what the replica's disk holds.
func (in installation) disk() *vfs.MemFS { return copyOf(in.base) }

func copyOf(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng(0)})
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// check opens the replica on a disk as a crash has left it: it has the old state or the new one, goes on from there,
// and takes the snapshot again where it has not got it. It tells whether the state is new.
func (in installation) check(t *testing.T, at string, disk *vfs.MemFS) bool {
	t.Helper()
	m, err := open(t, disk, nil)
	if err != nil {
		t.Fatalf("%s: the replica does not come back: %v", at, err)
	}
	got := state(t, m)
	isNew := bytes.Equal(got, in.snapshot)
	if !isNew && !in.old[string(got)] {
		t.Fatalf("%s: the state at entry %d is neither the old one nor the new one", at, m.Applied())
	}
	m.Check()
	if !isNew {
		if err := m.RecoverFromSnapshot(bytes.NewReader(in.snapshot), nil); err != nil {
			t.Fatalf("%s: the snapshot is refused afterwards: %v", at, err)
		}
	}
	update(t, m, entry(m.Applied()+1, 20, "z"))
	if err := m.Sync(); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if err := m.Close(); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if m = mustOpen(t, disk.CrashClone(vfs.CrashCloneCfg{})); m.Applied() != 5 {
		t.Errorf("%s: what was synced afterwards is lost: the state is at entry %d", at, m.Applied())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return isNew
}

// TestInstallCrash loses power before every operation of the installation of a snapshot that changes the file system,
// with nothing and with all of what was not synced on disk: the state is the old or the new one.
//
// A part of it is not tried. Pebble relies on a folder's names reaching the disk in the order in which they were made,
// as file systems with a journal have it: the name of a manifest is synced together with that of the marker that points
// to it, at every opening. The simulated file system would keep the second and lose the first.
func TestInstallCrash(t *testing.T) {
	in := newInstallation(t)
	disk := in.disk()
	fs := faultfs.New(disk)
	m := mustOpen(t, fs)
	type crash struct {
		at   string
		disk *vfs.MemFS
	}
	crashes := make(chan crash, 1<<16) // operations come from Pebble's goroutines too
	var n atomic.Int64
	take := func(at string) {
		i := n.Add(1)
		for _, percent := range []int{0, 100} {
			crashes <- crash{
				fmt.Sprintf("before operation %d (%s) with %d %% of what was not synced", i, at, percent),
				disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng(uint64(i))}),
			}
		}
	}
	fs.Arm(func(op string) faultfs.Fault {
		take(op)
		return faultfs.Works
	})
	if err := m.RecoverFromSnapshot(bytes.NewReader(in.snapshot), nil); err != nil {
		t.Fatal(err)
	}
	fs.Arm(nil)
	take("none: it is over")
	seen := map[bool]int{}
	for len(crashes) > 0 {
		c := <-crashes
		isNew := in.check(t, c.at, c.disk)
		seen[isNew]++
	}
	if n.Load() < 20 || seen[false] == 0 || seen[true] == 0 {
		t.Errorf("%d operations; the state was old %d times and new %d times", n.Load(), seen[false], seen[true])
	}
	t.Logf("%d operations; the state was old %d times and new %d times", n.Load(), seen[false], seen[true])
	if !bytes.Equal(state(t, m), in.snapshot) {
		t.Error("the state is not the snapshot's")
	}
}

// TestInstallFaults has every operation of the installation fail that changes the file system, once without and once
// with its effect. Where the installation fails, a process that starts again has the old or the new state; where it
// does not, the state is the new one.
func TestInstallFaults(t *testing.T) {
	in := newInstallation(t)
	for _, what := range []faultfs.Fault{faultfs.NotApplied, faultfs.ButItApplied} {
		survived, failed := 0, 0
		for k := int64(1); ; k++ {
			at, err := in.fail(t, k, what)
			if at == "" {
				break // there are no k operations
			}
			if err == nil {
				survived++
			} else {
				failed++
			}
		}
		if failed < 20 {
			t.Errorf("fault %d: only %d installations failed", what, failed)
		}
		t.Logf("fault %d: %d installations failed, %d did not mind", what, failed, survived)
	}
}

// fail has operation k of an installation fail, and gives that operation; none where there are fewer.
func (in installation) fail(t *testing.T, k int64, what faultfs.Fault) (at string, err error) {
	t.Helper()
	disk := in.disk()
	fs := faultfs.New(disk)
	m := mustOpen(t, fs)
	var n atomic.Int64
	var hit atomic.Pointer[string]
	fs.Arm(func(op string) faultfs.Fault {
		if !answers() || n.Add(1) != k {
			return faultfs.Works
		}
		hit.Store(&op)
		return what
	})
	err = in.install(m)
	fs.Arm(nil)
	if hit.Load() == nil {
		return "", err
	}
	at = fmt.Sprintf("operation %d (%s), fault %d", k, *hit.Load(), what)
	got := state(t, m) // readers go on meanwhile
	if isNew := bytes.Equal(got, in.snapshot); !isNew && (err == nil || !in.old[string(got)]) {
		t.Fatalf("%s: the installation gave %v, and readers see a state at entry %d that is neither", at, err, m.Applied())
	}
	before := copyOf(disk)
	power := disk.CrashClone(vfs.CrashCloneCfg{})
	_ = m.Close() // the process ends one way or another
	isNew := in.check(t, at+", then a new process", before)
	if isPower := in.check(t, at+", then a loss of power", power); err == nil && (!isNew || !isPower) {
		t.Fatalf("%s: the installation went well, and the state is the old one: %t after a new process, %t after a loss of power", at, !isNew, !isPower)
	}
	return at, err
}

// answers tells whether somebody hears of it when the present operation fails: the installation, or Pebble's writer of
// its log, which tells at the next sync. All else runs in the background, where Pebble ends the process by a panic: that
// is the crash before this operation or before the next one, of TestInstallCrash.
func answers() bool {
	stack := debug.Stack()
	return bytes.Contains(stack, []byte("RecoverFromSnapshot")) || bytes.Contains(stack, []byte("flushLoop"))
}

// install installs the snapshot. Pebble ends the process by a panic where it cannot know what is on disk, which here is
// a failure like others.
func (in installation) install(m *machine.Machine) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the process ends: %v", r)
		}
	}()
	return m.RecoverFromSnapshot(bytes.NewReader(in.snapshot), nil)
}

// TestInstallDamaged refuses snapshots that are cut short or damaged anywhere, and keeps the old state.
func TestInstallDamaged(t *testing.T) {
	in := newInstallation(t)
	m := mustOpen(t, in.disk())
	before := state(t, m)
	refuse := func(what string, r io.Reader) {
		t.Helper()
		if err := m.RecoverFromSnapshot(r, nil); err == nil {
			t.Fatalf("%s: the snapshot was taken", what)
		}
		if !bytes.Equal(state(t, m), before) {
			t.Fatalf("%s: the state has changed", what)
		}
	}
	for i := 0; i < len(in.snapshot); i += 7 {
		refuse(fmt.Sprintf("cut at %d", i), bytes.NewReader(in.snapshot[:i]))
		flipped := bytes.Clone(in.snapshot)
		flipped[i] ^= 1 << (i % 8)
		refuse(fmt.Sprintf("a bit flipped at %d", i), bytes.NewReader(flipped))
	}
	in.check(t, "afterwards", in.disk())
}

// TestHold reads a state to its end after another has taken its place, and after the machine was closed.
func TestHold(t *testing.T) {
	in := newInstallation(t)
	m := mustOpen(t, in.disk())
	before := state(t, m)
	read := func(held *machine.Held, want []byte) {
		t.Helper()
		var b bytes.Buffer
		if err := held.Write(&b, nil); err != nil || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%d bytes, %v; want %d", b.Len(), err, len(want))
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
	old, err := m.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.RecoverFromSnapshot(bytes.NewReader(in.snapshot), nil); err != nil {
		t.Fatal(err)
	}
	read(old, before)
	present, err := m.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	read(present, in.snapshot)
	if _, err := m.Hold(); err == nil {
		t.Error("a closed machine was held")
	}
}
