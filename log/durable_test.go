package log_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	raftfs "github.com/lni/vfs"

	"github.com/rollcall/rollcall/log/machine"
)

// stalled is a file system on which nothing that is appended to Raft's log becomes durable while the test holds the lock.
type stalled struct {
	raftfs.FS
	mu sync.RWMutex
}

// Create implements raftfs.FS.
func (s *stalled) Create(name string) (raftfs.File, error) {
	f, err := s.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return stalledFile{f, s}, nil
}

// GetDiskUsage implements raftfs.FS: a disk in memory is never full, but it is asked.
func (s *stalled) GetDiskUsage(string) (raftfs.DiskUsage, error) {
	return raftfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}, nil
}

// MaybeError implements the injector without which Dragonboat takes no file system of another's.
func (s *stalled) MaybeError(raftfs.Op) error { return nil }

type stalledFile struct {
	raftfs.File
	on *stalled
}

// Sync implements raftfs.File.
func (f stalledFile) Sync() error {
	f.on.mu.RLock()
	defer f.on.mu.RUnlock()
	return f.File.Sync()
}

// TestOnlyVoterKeepsWhatItCommits has a server that votes alone commit, while its disk takes its time. A non-voter must
// not take for committed what its leader may yet lose.
func TestOnlyVoterKeepsWhatItCommits(t *testing.T) {
	founder, second := listen(t, 1), listen(t, 2)
	disk := &stalled{FS: raftfs.NewMem()}
	founder.config.Founders = map[uint64]string{1: founder.config.Address}
	founder.config.RaftFS = raftfs.Wrap(disk, disk)
	founder.open(t)
	second.open(t)
	awaitLeader(t, founder.log, 1, 1)
	m, err := founder.log.Membership(deadline(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := founder.log.AddReplica(deadline(t), 1, 2, second.config.Address, m); err != nil {
		t.Fatal(err)
	}
	submit(t, founder.log, 1, "one", "x")
	if got := head(t, second.log); got != 1 {
		t.Fatalf("the non-voter has %d events", got)
	}
	disk.mu.Lock()
	written := make(chan error, 1)
	go func() {
		_, err := founder.log.Submit(deadline(t), 1, machine.Command{Ledger: "one", Time: 1, Body: []byte("y")})
		written <- err
	}()
	early := false
	for end := time.After(time.Second); !early; {
		select {
		case err := <-written:
			t.Errorf("acknowledged before it is durable: %v", err)
			early = true
		case <-end:
			end = nil
		case <-time.After(5 * time.Millisecond):
			if h, err := second.log.Head(1, "one"); err != nil || h.Leaves != 1 {
				t.Errorf("the non-voter has %d events of which its leader has one: %v", h.Leaves, err)
				early = true
			}
		}
		if end == nil {
			break
		}
	}
	disk.mu.Unlock()
	if !early {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	await(t, func() bool {
		h, err := second.log.Head(1, "one")
		return err == nil && h.Leaves == 2
	})
}
