package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/test/faultfs"
)

// mortal is a log that notices that Pebble ends the process, in whichever goroutine, and keeps it from doing so: who
// would have ended it waits for ever instead, and with it whatever it holds.
type mortal struct {
	slog.Handler
	once sync.Once
	died chan struct{}
}

func newMortal() *mortal { return &mortal{Handler: slog.DiscardHandler, died: make(chan struct{})} }

// Enabled implements slog.Handler.
func (*mortal) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (m *mortal) Handle(context.Context, slog.Record) error {
	if bytes.Contains(debug.Stack(), []byte("pebbleLogger.Fatalf")) {
		m.die()
	}
	return nil
}

// die ends the process, as far as the test is concerned: it does not return.
func (m *mortal) die() {
	m.once.Do(func() { close(m.died) })
	select {}
}

// panics tells whether Pebble would panic over the present operation, in a goroutine of its own where nobody can recover:
// the sync of a folder in which it has moved a marker, after which it cannot know where that is.
func panics() bool {
	stack := debug.Stack()
	return bytes.Contains(stack, []byte("(*Marker).Move")) && !bytes.Contains(stack, []byte("lifetime.live"))
}

// lifetime is what a machine does in a test of faults: it is made, applies and syncs, is closed, and opened again.
type lifetime struct {
	entries []string
	states  [][]byte // after so many entries
}

func newLifetime(t *testing.T) lifetime {
	t.Helper()
	l := lifetime{}
	m := mustOpen(t, store.NewMemFS())
	l.states = append(l.states, state(t, m))
	for i := range uint64(8) {
		l.entries = append(l.entries, strings.Repeat(string(rune('a'+i)), int(i)+1))
		update(t, m, l.entry(i+1))
		l.states = append(l.states, state(t, m))
	}
	return l
}

func (l lifetime) entry(index uint64) sm.Entry {
	return entry(index, event.Time(index), l.entries[index-1])
}

// live applies what is still to be applied, syncs every third entry, and is closed in the middle. It notes the last entry
// that was synced before it gives an error, which for a server is the end of its process.
func (l lifetime) live(fs store.FS, log slog.Handler, synced *atomic.Uint64) error {
	for _, until := range []uint64{uint64(len(l.entries)) / 2, uint64(len(l.entries))} {
		m, err := machine.New(machine.Config{
			Dir: "/data/group", Marker: "/data/synced", Domain: letters{}, Origin: origin,
			Store: store.Options{FS: fs, Logger: slog.New(log)},
		})
		if err != nil {
			return err
		}
		for index := m.Applied() + 1; index <= until; index++ {
			if _, err := m.Update([]sm.Entry{l.entry(index)}); err != nil {
				return err
			}
			if index%3 != 0 {
				continue
			}
			if err := m.Sync(); err != nil {
				return err
			}
			synced.Store(index)
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestFaults has every operation fail that changes the file system, in the life of a machine from the first start on, once
// without and once with its effect. The process goes on as if nothing was, or it ends: by an error, or because Pebble
// says so. A new one starts on what is there then, also after a loss of power; it has everything that was synced, is in
// a state that there was, goes on from there, and what it syncs is durable. (Installing a snapshot: TestInstallFaults.)
func TestFaults(t *testing.T) {
	l := newLifetime(t)
	for _, what := range []faultfs.Fault{faultfs.NotApplied, faultfs.ButItApplied} {
		survived, ended := 0, 0
		for k := int64(1); ; k++ {
			at, err := l.fail(t, k, what)
			if at == "" {
				break // there are no k operations
			}
			if err == nil {
				survived++
			} else {
				ended++
			}
		}
		if ended < 40 {
			t.Errorf("fault %d: only %d processes ended", what, ended)
		}
		t.Logf("fault %d: %d processes ended, %d did not mind", what, ended, survived)
	}
}

// fail has operation k of a life fail, and gives that operation; none where there are fewer.
func (l lifetime) fail(t *testing.T, k int64, what faultfs.Fault) (at string, err error) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	fs := faultfs.New(disk)
	log, synced, over := newMortal(), atomic.Uint64{}, make(chan error, 1)
	var n, last atomic.Int64
	var hit atomic.Pointer[string]
	fs.Arm(func(op string) faultfs.Fault {
		i := n.Add(1)
		if end := last.Load(); end > 0 && i > end {
			log.die()
		}
		if i != k {
			return faultfs.Works
		}
		hit.Store(&op)
		switch {
		case !panics():
			return what
		case what == faultfs.ButItApplied:
			last.Store(i)
			return faultfs.Works
		}
		log.die()
		return what
	})
	go func() {
		defer func() { // Pebble also panics by itself, where it cannot know whether a marker of its own was moved
			if r := recover(); r != nil {
				over <- fmt.Errorf("the process ends: %v", r)
			}
		}()
		over <- l.live(fs, log, &synced)
	}()
	select {
	case err = <-over:
	case <-log.died:
		err = errors.New("Pebble ends the process")
	}
	if hit.Load() == nil {
		return "", err
	}
	fs.Arm(func(string) faultfs.Fault { select {} }) // what is left of the process changes nothing any more
	at = fmt.Sprintf("operation %d (%s), fault %d, which gave %v", k, *hit.Load(), what, err)
	if err == nil {
		synced.Store(uint64(len(l.entries)) / 3 * 3)
	}
	power := disk.CrashClone(vfs.CrashCloneCfg{})
	l.check(t, at+", then a loss of power", power, power, synced.Load())
	l.check(t, at+", then a new process", disk, unlocked{disk}, synced.Load())
	return at, err
}

// unlocked is a file system without locks: the end of a process takes its locks away, and here no process ends.
type unlocked struct{ vfs.FS }

// Lock implements vfs.FS.
func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// check starts a machine on a disk on which an earlier one has ended; it sees it as fs. What was written and not synced
// before is still not synced: a copy of the disk would be.
func (l lifetime) check(t *testing.T, at string, disk *vfs.MemFS, fs store.FS, synced uint64) {
	t.Helper()
	m, err := open(t, fs, nil)
	if err != nil {
		t.Fatalf("%s: the replica does not come back: %v", at, err)
	}
	applied := m.Applied()
	if applied < synced || !bytes.Equal(state(t, m), l.states[applied]) {
		t.Fatalf("%s: the state at entry %d is not that of then, or older than entry %d, which was synced", at, applied, synced)
	}
	for index := applied + 1; index <= uint64(len(l.entries)); index++ {
		update(t, m, l.entry(index))
	}
	if err := m.Sync(); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := m.Close(); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if m, err = open(t, after, nil); err != nil {
		t.Fatalf("%s: what was synced afterwards is lost: %v", at, err)
	}
	if !bytes.Equal(state(t, m), l.states[len(l.entries)]) {
		t.Fatalf("%s: the state at entry %d is not what was synced afterwards", at, m.Applied())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}
