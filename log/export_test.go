package log

import (
	"context"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// FirstEntry is the index of the first entry that Raft's log of a group still has.
func (l *Log) FirstEntry(group uint64) (uint64, error) {
	reader, err := l.host.GetLogReader(group)
	if err != nil {
		return 0, err
	}
	first, _ := reader.GetRange()
	return first, nil
}

// AddReplica has a new replica join group 1, with nothing but what Raft gives it. It returns its machine, and what
// ends it.
func (l *Log) AddReplica(ctx context.Context, c Config, domain machine.Domain) (*machine.Machine, func(), error) {
	if err := store.MakeDir(store.DefaultFS, c.raftDir()); err != nil {
		return nil, nil, err
	}
	m, err := machine.New(c.machine(1, domain, store.Options{}))
	if err != nil {
		return nil, nil, err
	}
	host, err := dragonboat.NewNodeHost(hostConfig(c))
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		host.Close()
		_ = m.Close()
	}
	members, err := l.host.SyncGetShardMembership(ctx, 1)
	if err == nil {
		err = l.host.SyncRequestAddNonVoting(ctx, 1, c.Replica, c.Address, members.ConfigChangeID)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	create := func(uint64, uint64) sm.IOnDiskStateMachine { return m }
	err = host.StartOnDiskReplica(nil, true, create, config.Config{
		ReplicaID: c.Replica, ShardID: 1, IsNonVoting: true,
		ElectionRTT: electionTicks, HeartbeatRTT: heartbeatTicks, CheckQuorum: true, PreVote: true, OrderedConfigChange: true,
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return m, stop, nil
}

// Hold takes hold of the state of a group.
func (l *Log) Hold(group uint64) (*machine.Held, error) { return l.groups[group].machine.Hold() }
