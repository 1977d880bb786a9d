package log

import (
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/rollcall/rollcall/fault"
)

// compactions is told by Dragonboat what happens, in builds for tests: a server may be made to die when Raft's log has
// been compacted. Everything else is nothing to it.
type compactions struct{}

var _ raftio.ISystemEventListener = compactions{}

// LogCompacted implements raftio.ISystemEventListener.
func (compactions) LogCompacted(raftio.EntryInfo) { fault.Point(fault.LogCompacted) }

func (compactions) NodeHostShuttingDown()                       {}
func (compactions) NodeUnloaded(raftio.NodeInfo)                {}
func (compactions) NodeDeleted(raftio.NodeInfo)                 {}
func (compactions) NodeReady(raftio.NodeInfo)                   {}
func (compactions) MembershipChanged(raftio.NodeInfo)           {}
func (compactions) ConnectionEstablished(raftio.ConnectionInfo) {}
func (compactions) ConnectionFailed(raftio.ConnectionInfo)      {}
func (compactions) SendSnapshotStarted(raftio.SnapshotInfo)     {}
func (compactions) SendSnapshotCompleted(raftio.SnapshotInfo)   {}
func (compactions) SendSnapshotAborted(raftio.SnapshotInfo)     {}
func (compactions) SnapshotReceived(raftio.SnapshotInfo)        {}
func (compactions) SnapshotRecovered(raftio.SnapshotInfo)       {}
func (compactions) SnapshotCreated(raftio.SnapshotInfo)         {}
func (compactions) SnapshotCompacted(raftio.SnapshotInfo)       {}
func (compactions) LogDBCompacted(raftio.EntryInfo)             {}
