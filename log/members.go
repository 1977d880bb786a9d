package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/store"
)

// A replica that joins is a non-voter first: it gets every entry and counts for no majority, so that a server which
// has yet to catch up delays nobody. Its number is never used again, not even by the same server after it was wiped:
// Raft would take it for one that remembers its votes.

// Membership is who takes part in a group.
type Membership struct {
	Voters    map[uint64]string // by replica: its address
	NonVoters map[uint64]string
	Removed   []uint64 // never to come back, in order
	change    uint64   // the last change of it, which the next one must build on
}

// Replicas gives all that take part, in order.
func (m Membership) Replicas() []uint64 {
	return slices.Sorted(func(yield func(uint64) bool) {
		for _, part := range []map[uint64]string{m.Voters, m.NonVoters} {
			for r := range part {
				if !yield(r) {
					return
				}
			}
		}
	})
}

// Groups are the ids of the groups, in order.
func (l *Log) Groups() []uint64 { return slices.Sorted(maps.Keys(l.groups)) }

// Membership asks the group who takes part in it. It needs a quorum.
func (l *Log) Membership(ctx context.Context, group uint64) (Membership, error) {
	g, err := l.group(group)
	if err != nil {
		return Membership{}, err
	}
	var m *dragonboat.Membership
	err = g.attempts(ctx, func(attempt context.Context) error {
		return membershipError(g.host.await(attempt, func(ctx context.Context, raft *dragonboat.NodeHost) (err error) {
			m, err = raft.SyncGetShardMembership(ctx, group)
			return err
		}))
	})
	if err != nil {
		return Membership{}, err
	}
	return Membership{
		Voters: m.Nodes, NonVoters: m.NonVotings, Removed: slices.Sorted(maps.Keys(m.Removed)), change: m.ConfigChangeID,
	}, nil
}

// NoteVotes remembers in which groups this replica has become a voter. It asks nobody, and is to be called now and then.
func (l *Log) NoteVotes() {
	if !slices.ContainsFunc(slices.Collect(maps.Values(l.groups)), func(g *group) bool { return !g.votes.Load() }) {
		return
	}
	for id, voters := range l.Voters() {
		if g := l.groups[id]; !g.votes.Load() && slices.Contains(voters, g.replica) && g.snapshotVotes() {
			if err := g.noteVoter(); err != nil {
				l.logger.Error("cannot remember that this server votes", "group", g.id, "error", err)
			}
		}
	}
}

// Voters are, by group, the replicas that vote as far as this server has heard. It asks nobody.
func (l *Log) Voters() map[uint64][]uint64 {
	all := map[uint64][]uint64{}
	var info *dragonboat.NodeHostInfo
	_ = l.host.use(func(raft *dragonboat.NodeHost) error {
		info = raft.GetNodeHostInfo(dragonboat.NodeHostInfoOption{SkipLogInfo: true})
		return nil
	})
	if info == nil {
		return all // it was closed
	}
	for _, shard := range info.ShardInfoList {
		if l.groups[shard.ShardID] != nil {
			all[shard.ShardID] = slices.Sorted(maps.Keys(shard.Replicas))
		}
	}
	return all
}

// AddReplica has a replica take part in a group as a non-voter. The membership m is the one that the caller looked at:
// where it has changed meanwhile, nothing happens and the error is ErrMembershipChanged.
func (l *Log) AddReplica(ctx context.Context, group, replica uint64, address string, m Membership) error {
	return l.change(ctx, group, func(ctx context.Context, raft *dragonboat.NodeHost) error {
		return raft.SyncRequestAddNonVoting(ctx, group, replica, address, m.change)
	})
}

// Promote makes a voter of a non-voter.
func (l *Log) Promote(ctx context.Context, group, replica uint64, m Membership) error {
	return l.change(ctx, group, func(ctx context.Context, raft *dragonboat.NodeHost) error {
		return raft.SyncRequestAddReplica(ctx, group, replica, m.NonVoters[replica], m.change)
	})
}

// RemoveReplica ends a replica's part in a group, for good.
func (l *Log) RemoveReplica(ctx context.Context, group, replica uint64, m Membership) error {
	return l.change(ctx, group, func(ctx context.Context, raft *dragonboat.NodeHost) error {
		return raft.SyncRequestDeleteReplica(ctx, group, replica, m.change)
	})
}

func (l *Log) change(ctx context.Context, group uint64, do func(context.Context, *dragonboat.NodeHost) error) error {
	g, err := l.group(group)
	if err != nil {
		return err
	}
	fault.Point(fault.MemberBefore)
	defer fault.Point(fault.MemberAfter)
	return membershipError(g.host.await(ctx, do))
}

func membershipError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dragonboat.ErrRejected):
		return ErrMembershipChanged
	case errors.Is(err, ErrClosed), errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardClosed), errors.Is(err, dragonboat.ErrShardNotFound):
		return ErrClosed
	case errors.Is(err, dragonboat.ErrTimeout), errors.Is(err, dragonboat.ErrShardNotReady), errors.Is(err, dragonboat.ErrTimeoutTooSmall),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, dragonboat.ErrInvalidDeadline), errors.Is(err, dragonboat.ErrSystemBusy):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("change who takes part: %w", err)
}

// Leader is the replica that leads a group, as far as this server knows; zero when it knows of none.
func (l *Log) Leader(group uint64) uint64 {
	g := l.groups[group]
	if g == nil || g.host == nil {
		return 0
	}
	return g.host.leader(group)
}

// Wake has a group find out whether its leader is alive. It does not wait.
func (l *Log) Wake(group uint64) {
	g := l.groups[group]
	if g == nil || !g.checking.CompareAndSwap(false, true) {
		return
	}
	go g.find()
}

// Applied is the index of the last Raft entry that this server has applied in a group.
func (l *Log) Applied(group uint64) uint64 {
	g := l.groups[group]
	if g == nil {
		return 0
	}
	return g.machine.Applied()
}

// Transfer asks a group's leader, which is this server, to let another voter lead. It returns when that has begun;
// Leader tells when it has happened.
func (l *Log) Transfer(group, to uint64) error {
	g, err := l.group(group)
	if err != nil {
		return err
	}
	fault.Point(fault.TransferBefore)
	if err := g.host.use(func(raft *dragonboat.NodeHost) error { return raft.RequestLeaderTransfer(group, to) }); err != nil {
		return fmt.Errorf("have replica %d lead group %d: %w", to, group, err)
	}
	return nil
}

// leaderListener is told by Dragonboat who leads.
type leaderListener struct{ log *Log }

// LeaderUpdated implements raftio.IRaftEventListener. It must not wait.
func (l leaderListener) LeaderUpdated(info raftio.LeaderInfo) {
	g := l.log.groups[info.ShardID]
	if g == nil {
		return
	}
	if info.LeaderID != 0 && info.Term > g.term.Load() {
		g.term.Store(info.Term)
		g.elections.Add(1)
	}
	if g.proposer != nil {
		g.proposer.leaderIs(info.LeaderID, info.Term)
	}
}

// Elections is how many elections of a leader this server has learnt of since it started, the first one included. One
// that nobody asked for, while all servers lived, shows that they or their disks are too slow for Config.Tick.
func (l *Log) Elections(group uint64) uint64 {
	g := l.groups[group]
	if g == nil {
		return 0
	}
	return g.elections.Load()
}

// What Dragonboat wants to know at a start, and keeps to itself afterwards, is whether the replica votes. A founder
// does. One that joined is a non-voter until it was promoted, which the file "voter-N" says.
func (g *group) wasVoter(c Config) (bool, error) {
	g.fs, g.voterFile = c.FS, filepath.Join(c.raftDir(), fmt.Sprintf("voter-%d", g.id))
	if len(c.Founders) > 0 {
		g.votes.Store(true)
		return true, nil
	}
	_, err := c.FS.Stat(g.voterFile)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	g.votes.Store(err == nil)
	return err == nil, err
}

// snapshotVotes tells whether the snapshot that Raft's log begins with shows this replica as a voter.
func (g *group) snapshotVotes() bool {
	reader, err := g.host.reader(g.id)
	if err != nil {
		return false // asked again before long
	}
	_, votes := reader.Snapshot().Membership.Addresses[g.replica]
	return votes
}

// noteVoter remembers that this replica votes. The promotion itself is an entry in Raft's log, which makes a voter of
// a replica that starts as a non-voter. So the file says what the beginning of the log says (snapshotVotes): a replica
// that starts as a voter and then meets the entry that added it as a non-voter panics, at this and every other start.
func (g *group) noteVoter() error {
	if err := store.WriteFile(g.fs, g.voterFile, nil); err != nil {
		return fmt.Errorf("remember that this server votes in group %d: %w", g.id, err)
	}
	g.votes.Store(true)
	return nil
}
