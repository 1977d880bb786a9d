package sim

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	raftfs "github.com/lni/vfs"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/store"
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
}

func newDisk(random *rand.Rand) *disk {
	return &disk{raft: raftfs.NewStrictMem(), state: vfs.NewCrashableMem(), random: random}
}

// stateFS gives the file system for the groups' states.
func (d *disk) stateFS() store.FS {
	return errorfs.Wrap(d.state, errorfs.InjectorFunc(func(errorfs.Op) error { d.operation(); return nil }))
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
	d.next = d.state.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.random.IntN(101), RNG: d.random})
}

// restore gives the disk as it is found when the power comes back. Nobody may use the old one any more.
func (d *disk) restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.raft.ResetToSyncedState()
	d.raft.SetIgnoreSyncs(false)
	d.state, d.next = d.next, nil
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
