package log

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lni/dragonboat/v4"

	"github.com/rollcall/rollcall/log/archive"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// Backup is the state of all groups, each at one moment. Close it after use; the groups go on meanwhile.
type Backup struct {
	header archive.Header
	groups []*machine.Held // by id, from 1
}

// Backup takes hold of the state of every group, with everything in it that was acknowledged anywhere before the
// call. Of the groups, last is taken after all others: what its ledgers say of the others' is then never less than
// what there is.
func (l *Log) Backup(ctx context.Context, h archive.Header, last uint64) (_ *Backup, err error) {
	b := &Backup{header: h, groups: make([]*machine.Held, len(l.groups))}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	take := func(id uint64) error {
		g, err := l.group(id)
		if err != nil {
			return err
		}
		if err := g.barrier(ctx); err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
		b.groups[id-1], err = g.machine.Hold()
		return err
	}
	for id := uint64(1); id <= uint64(len(l.groups)); id++ {
		if id == last {
			continue
		}
		if err := take(id); err != nil {
			return nil, err
		}
	}
	if err := take(last); err != nil {
		return nil, err
	}
	return b, nil
}

// Write writes an archive of what is held. Stop, when closed, ends it early.
func (b *Backup) Write(w io.Writer, stop <-chan struct{}) error {
	groups := make([]*store.Snapshot, len(b.groups))
	for i, g := range b.groups {
		groups[i] = g.Snapshot
	}
	return archive.Write(w, b.header, groups, stop)
}

// Close lets go of the groups.
func (b *Backup) Close() error {
	var errs []error
	for _, g := range b.groups {
		if g != nil {
			errs = append(errs, g.Close())
		}
	}
	return errors.Join(errs...)
}

// Restore makes the groups' states in a data folder that holds none out of an archive. They have applied nothing:
// Raft begins anew above them. Open takes them only where Config.Base says that this is known.
func Restore(c Config, from io.Reader, stop <-chan struct{}) (archive.Summary, error) {
	return archive.Read(from, func(id uint64, in io.Reader) error {
		return machine.Restore(c.machine(id, nil, store.Options{}), in, stop)
	})
}

// checkBase refuses ledgers that no Raft log has led to, unless this server is known to have been restored: a replica
// that is missing the base of its log would come to other decisions than the others, in silence.
func (l *Log) checkBase(c Config) error {
	for _, g := range l.groups {
		if g.machine.Base() && !c.Base {
			return fmt.Errorf("group %d holds ledgers though no entry of Raft's log was applied, and this server was not restored: "+
				"its state %s is another server's, or was put there by hand", g.id, c.machine(g.id, nil, store.Options{}).Dir)
		}
	}
	return nil
}

// Compact takes a snapshot of every group for Raft, and drops all of Raft's log before it. When it returns, a replica
// that joins gets the state, and never the log from its first entry on.
//
// A server that was restored does this before it lets any other join. Its base state is in no log, so replaying the
// log from entry 1 on top of nothing would give another state, in silence. The other way to keep replicas from entry
// 1 is to begin the log at a higher index, with Dragonboat's ImportSnapshot. That needs a file in a form that only
// Dragonboat's internal packages write, keeps the whole state twice, and for a state machine on disk it marks the
// snapshot as imported, which has every start load it again over a newer state until there is a newer snapshot. A snapshot that Dragonboat took
// itself is what it is tested with: its record is synced before the log is compacted, and a start takes the log from
// that record on, whether or not the entries before were removed from disk.
func (l *Log) Compact(ctx context.Context) error {
	for _, g := range l.groups {
		if err := g.compact(ctx); err != nil {
			return fmt.Errorf("compact Raft's log of group %d: %w", g.id, err)
		}
	}
	return nil
}

func (g *group) compact(ctx context.Context) error {
	for {
		done, err := g.compacted()
		if err != nil || done {
			return err
		}
		// It does nothing where there is a snapshot of this very entry already: then only the log is awaited.
		attempt, cancel := context.WithTimeout(ctx, defaultTimeout)
		err = g.host.await(attempt, func(ctx context.Context, raft *dragonboat.NodeHost) error {
			_, err := raft.SyncRequestSnapshot(ctx, g.id, dragonboat.SnapshotOption{OverrideCompactionOverhead: true})
			return err
		})
		cancel()
		if err != nil && !dragonboat.IsTempError(err) && !errors.Is(err, dragonboat.ErrRejected) {
			return err
		}
		if err := pause(ctx, retryWithNoLeader); err != nil {
			return err
		}
	}
}

// compacted tells whether Raft's log has no longer its first entry.
func (g *group) compacted() (bool, error) {
	reader, err := g.host.reader(g.id)
	if err != nil {
		return false, err
	}
	first, _ := reader.GetRange()
	return first > 1, nil
}
