package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
)

// DefaultRevisionJump is how many revisions a restore leaves out in every ledger.
const DefaultRevisionJump = 1_000_000

// restored is what a server's identity says where its data came from a snapshot.
type restored struct {
	Cluster  string         `json:"cluster"`  // that the snapshot was taken of
	Taken    time.Time      `json:"taken"`    // when it was
	Snapshot string         `json:"snapshot"` // SHA-256 of its file, in hex
	Jump     event.Revision `json:"jump"`     // how many revisions every ledger leaves out
	// Done says that every ledger goes on in this cluster, and that Raft's logs no longer have their first entries:
	// before that no other server may join, see Server.joinable.
	Done bool `json:"done"`
}

// RestoreConfig says what to make of a snapshot.
type RestoreConfig struct {
	File string // the snapshot
	Data string // the data folder to make; it must hold nothing
	Name string // of the server; default: the host's
	Raft string // HOST:PORT for the other servers
	Jump uint64 // how many revisions to leave out in every ledger; default DefaultRevisionJump
}

// restoreFolder is where a data folder's groups are built. What is in there counts for nothing.
const restoreFolder = "restore.tmp"

// Restore makes the data folder of the first server of a new cluster out of a snapshot, and gives what is in it. It
// checks the whole file before it writes anything. The identity is written last: without it a folder is no server's,
// and no server starts on it.
func Restore(ctx context.Context, r RestoreConfig) (_ SnapshotInfo, err error) {
	c := Config{Name: r.Name, Data: r.Data, Raft: r.Raft, Insecure: true}
	if err := c.Check(); err != nil {
		return SnapshotInfo{}, err
	}
	if r.Jump == 0 {
		r.Jump = DefaultRevisionJump
	}
	if r.Jump > event.SkipMax {
		return SnapshotInfo{}, fmt.Errorf("a jump of %d revisions: at most %d", r.Jump, uint64(event.SkipMax))
	}
	if err := checkEmpty(c.Data); err != nil {
		return SnapshotInfo{}, err
	}
	f, info, err := openSnapshot(ctx, r.File)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lock, err := lockFolder(c.Data)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := build(ctx, &c, f, info, event.Revision(r.Jump)); err != nil {
		return SnapshotInfo{}, errors.Join(err, removeRestored(c.Data))
	}
	return info, nil
}

// checkEmpty refuses a folder that holds anything but what a restore that was cut off has left in it.
func checkEmpty(data string) error {
	entries, err := os.ReadDir(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{lockFile, restoreFolder}, e.Name()) {
			return fmt.Errorf("%s holds %s: a snapshot is restored into a folder that holds nothing; give another one, or empty it", data, e.Name())
		}
	}
	return nil
}

// build makes the groups beside their place, moves them there, and then writes the identity.
func build(ctx context.Context, c *Config, f *os.File, info SnapshotInfo, jump event.Revision) error {
	next := filepath.Join(c.Data, restoreFolder)
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	summary, err := log.Restore(log.Config{Dir: next, Groups: info.Groups}, f, ctx.Done())
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(summary.Checksum[:]); got != info.Checksum {
		return fmt.Errorf("the snapshot changed while it was read: its SHA-256 was %s and is %s", info.Checksum, got)
	}
	if err := os.Rename(filepath.Join(next, groupsFolder), filepath.Join(c.Data, groupsFolder)); err != nil {
		return err
	}
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	id := identity{Name: c.Name, Replica: 1, Groups: info.Groups, Restored: &restored{
		Cluster: info.Cluster, Taken: info.Taken, Snapshot: info.Checksum, Jump: jump,
	}}
	if id.Cluster, err = randomID(); err != nil {
		return err
	}
	if id.Nonce, err = randomID(); err != nil {
		return err
	}
	if id.Raft, err = fixPort(c.advertised()); err != nil {
		return err
	}
	id.Founders = []founder{{Name: id.Name, Nonce: id.Nonce, Replica: id.Replica, Raft: id.Raft, Version: commands.Version}}
	return id.write(c.Data) // this syncs the folder too
}

// fixPort replaces port 0 by one that is free now: the groups must know the address before anybody listens there.
func fixPort(address string) (string, error) {
	if !isFreePort(address) {
		return address, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("find a free port for the other servers: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// removeRestored removes what a restore has made, the identity first.
func removeRestored(data string) error {
	var errs []error
	for _, name := range []string{identityFile, groupsFolder, restoreFolder} {
		errs = append(errs, os.RemoveAll(filepath.Join(data, name)))
	}
	return errors.Join(errs...)
}

// finishRestore has every ledger that came with a snapshot go on in this cluster, before anything else is written to
// any of them. All of it may be repeated: a crash in the middle leaves some ledgers done and the others not.
func (s *Server) finishRestore(ctx context.Context) error {
	r := s.unfinished()
	if r == nil {
		return nil
	}
	if err := s.log.WaitReady(ctx); err != nil {
		return err
	}
	checksum, err := hex.DecodeString(r.Snapshot)
	if err != nil {
		return fmt.Errorf("%s: the snapshot's checksum %q: %w", identityFile, r.Snapshot, err)
	}
	for group := uint64(1); group <= s.identity.Groups; group++ {
		ledgers, err := s.log.Ledgers(group)
		if err != nil {
			return err
		}
		for _, l := range ledgers {
			request := gateway.Request{Command: commands.RestoreNamespace{
				Namespace: l.Name, Cluster: s.identity.Cluster, Skip: r.Jump,
				FromCluster: r.Cluster, Taken: event.Time(r.Taken.UnixNano()), Snapshot: checksum,
			}}
			err := untilAvailable(ctx, time.Duration(s.config.RequestTimeout), func(attempt context.Context) error {
				_, err := s.submit(attempt, group, l.Name, request)
				return err
			})
			if err != nil {
				return fmt.Errorf("restore namespace %q: %w", l.Name, err)
			}
		}
	}
	if err := s.log.Compact(ctx); err != nil {
		return err
	}
	done, id := *r, s.identity
	done.Done = true
	id.Restored = &done
	return s.become(id)
}

// unfinished gives the restore that this server was made by, while it is not over; nil otherwise. No other server may
// join meanwhile: it would replay Raft's log on top of nothing, because the log does not lead to what was restored.
func (s *Server) unfinished() *restored {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.identity.Restored; r != nil && !r.Done {
		return r
	}
	return nil
}

// checkNoGroups refuses to make a new identity where there are ledgers: the one that they had was lost, or a restore
// was cut off.
func checkNoGroups(data string) error {
	for _, name := range []string{groupsFolder, restoreFolder} {
		if _, err := os.Stat(filepath.Join(data, name)); !errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s holds %s but no %s: a restore was cut off, or the file was lost; "+
				"bring it back, or empty the folder and begin again", data, name, identityFile))
		}
	}
	return nil
}
