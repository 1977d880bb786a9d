package sim

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	raftfs "github.com/lni/vfs"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/test/faultfs"
)

// disk is what one server keeps: a file system for our state and one for Raft's log. Both lose what was not synced when
// the power goes, which happens at one moment for both, between any two operations on either.
type disk struct {
	raft  *raftfs.MemFS
	state *vfs.MemFS

	mu      sync.Mutex
	random  *rand.Rand
	slow    time.Duration // what a sync of Raft's log takes at most
	fuse    int           // the power goes at the so many'th operation from now; zero for never
	onCrash func()        // at that moment, before anything is lost
	next    *vfs.MemFS    // what is left of state; nil while the power is there

	spoiled int         // the so many'th change of the state's file system from now fails; zero for none
	failed  failedWhere // who was told of that failure
}

// A change of a file system that fails has had no effect or all of it (faultfs.NotApplied, faultfs.ButItApplied). What
// comes of the error depends on who is told.
//
// A start is: it fails, and the next one has to do. A job of Pebble's in the background is, that writes a table or removes
// what nobody needs: Pebble goes on and does it again. Everybody else ends the process: Dragonboat panics where its
// log, or an update, a sync or an installation of our state, gives an error; so does Pebble where it cannot know what its
// log or its manifest holds, and where it fails to open while it compacts already. These panics come in goroutines of theirs, and would end this test. So here the power goes
// instead, before the operation (not applied) or before the next one (applied), and takes nothing of our state: nobody is
// answered anything in between, so it is the same. (Raft's log does lose what was not synced.)
//
// That the process really ends there, and on what a machine starts again, is shown with the errors themselves by
// TestFaults and TestInstallFaults of log/machine. Raft's own file system gives no errors here, for all of them end the
// process: they are the crashes, whose operations are counted over both file systems. With real processes and a real
// kernel's errors test/chaos does it ("full disk").
type failedWhere int

const (
	failedNowhere failedWhere = iota
	failedInStart
	failedInBackground
	failedForGood // the process ends
)

func newDisk(random *rand.Rand) *disk {
	return &disk{raft: raftfs.NewStrictMem(), state: vfs.NewCrashableMem(), random: random}
}

// stateFS gives the file system for the groups' states.
func (d *disk) stateFS() store.FS {
	failing := faultfs.New(d.state)
	failing.Arm(d.fate)
	return errorfs.Wrap(failing, errorfs.InjectorFunc(func(errorfs.Op) error { d.operation(); return nil }))
}

// raftFS gives the file system for Raft's log. Dragonboat takes no other type than this.
func (d *disk) raftFS() log.RaftFS { return raftfs.Wrap(slowFS{d.raft, d}, d) }

// MaybeError implements the injector of Raft's file system. It injects no errors, but it is told of each operation.
func (d *disk) MaybeError(raftfs.Op) error {
	d.operation()
	return nil
}

// operation is called before each operation on either file system. The one at which the power goes still runs, on disks
// that nobody will look at any more; so do those after it, until the server has noticed.
func (d *disk) operation() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fuse > 0 {
		if d.fuse--; d.fuse == 0 {
			d.crash()
		}
	}
}

// fate says what becomes of a change of the state's file system.
func (d *disk) fate(string) faultfs.Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spoiled == 0 || d.next != nil {
		return faultfs.Works
	}
	if d.spoiled--; d.spoiled > 0 {
		return faultfs.Works
	}
	what := faultfs.NotApplied
	if d.random.IntN(2) == 0 {
		what = faultfs.ButItApplied
	}
	d.failed = told(string(debug.Stack()))
	switch {
	case d.failed != failedForGood:
		return what
	case what == faultfs.NotApplied:
		d.crash()
	default:
		d.fuse = 1
	}
	return faultfs.Works
}

// told gives who hears of it when the present operation fails, from the names of who has called whom.
func told(stack string) failedWhere {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(stack, name) })
	}
	switch {
	case has("(*versionSet)", "(*Marker).Move", "flushLoop", "pebble/v2.Open("):
		return failedForGood
	case has("(*DB).flush1", "(*DB).compact1", "(*cleanupManager)"):
		return failedInBackground
	case has("rollcall/log.Open("):
		return failedInStart
	}
	return failedForGood
}

// spoil has the so many'th change of the state's file system from now fail.
func (d *disk) spoil(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoiled, d.failed = changes, failedNowhere
}

// mend has nothing fail any more, and tells what has.
func (d *disk) mend() failedWhere {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoiled = 0
	return d.failed
}

// hurt tells whether what was to fail has failed.
func (d *disk) hurt() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed != failedNowhere
}

// light lets the power go at the so many'th operation from now.
func (d *disk) light(operations int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse = operations
}

// pull lets the power go now, if it has not gone yet.
func (d *disk) pull() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fuse = 0; d.next == nil {
		d.crash()
	}
}

// crash takes what is left at this moment. The caller holds mu, so no operation begins meanwhile. Raft's log comes first:
// then an operation that is under way can make our state no newer than the log that it was made from.
func (d *disk) crash() {
	d.onCrash()
	d.raft.SetIgnoreSyncs(true)
	percent := d.random.IntN(101)
	if d.failed == failedForGood {
		percent = 100 // only the process ends
	}
	d.next = d.state.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: d.random})
}

// restore gives the disk as it is found when the power comes back. Nobody may use the old one any more.
func (d *disk) restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.raft.ResetToSyncedState()
	d.raft.SetIgnoreSyncs(false)
	d.state, d.next, d.failed = d.next, nil, failedNowhere
}

func (d *disk) setSlow(most time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = most
}

func (d *disk) syncTime() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow == 0 {
		return 0
	}
	return time.Duration(d.random.Int64N(int64(d.slow)))
}

// slowFS lets the syncs of Raft's log take time. Only those of the log itself, and not the one with which a log's file is
// closed: Pebble holds a mutex during the others, and who waits for a mutex keeps a bubble's clock from going on.
type slowFS struct {
	raftfs.FS
	disk *disk
}

// Create implements raftfs.FS.
func (s slowFS) Create(name string) (raftfs.File, error) {
	f, err := s.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return slowFile{f, s.disk}, nil
}

// ReuseForWrite implements raftfs.FS: Pebble makes its second log from an old one, and so all later ones.
func (s slowFS) ReuseForWrite(old, name string) (raftfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return slowFile{f, s.disk}, nil
}

// GetDiskUsage implements raftfs.FS: a disk in memory is never full, but it is asked.
func (s slowFS) GetDiskUsage(string) (raftfs.DiskUsage, error) {
	return raftfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}, nil
}

type slowFile struct {
	raftfs.File
	disk *disk
}

// Sync implements raftfs.File.
func (f slowFile) Sync() error {
	if d := f.disk.syncTime(); d > 0 && !closing() {
		wait(context.Background(), d)
	}
	return f.File.Sync()
}

// closing tells whether the caller's caller closes a log's file. There is no other way to know.
func closing() bool {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for more := true; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); strings.HasSuffix(frame.Function, "(*LogWriter).Close") {
			return true
		}
	}
	return false
}

// whole tells that the power has not gone since the disk was restored.
func (d *disk) whole() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next == nil
}
