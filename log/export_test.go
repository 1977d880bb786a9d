package log

import "github.com/rollcall/rollcall/log/machine"

// FirstEntry is the index of the first entry that Raft's log of a group still has.
func (l *Log) FirstEntry(group uint64) (uint64, error) {
	reader, err := l.host.reader(group)
	if err != nil {
		return 0, err
	}
	first, _ := reader.GetRange()
	return first, nil
}

// Hold takes hold of the state of a group.
func (l *Log) Hold(group uint64) (*machine.Held, error) { return l.groups[group].machine.Hold() }

// SnapshotVotes tells whether Raft's log of a group begins where this replica votes.
func SnapshotVotes(l *Log, group uint64) bool { return l.groups[group].snapshotVotes() }
