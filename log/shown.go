package log

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"sync"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/rollcall/rollcall/log/store"
)

// A data folder that is brought back as a whole from an old copy cannot tell by itself that it is old: its vote, its
// log and its marker are old together. Raft counts on what a replica told the others, so they remember the most that it
// did, and it compares before it takes part again.
//
// What counts as told is what Dragonboat sends, or applies, after it has saved it: entries that were acknowledged,
// votes, and whatever bears a term; not a leader's own entries, which travel while they are being saved, and not the
// terms of pre-votes, which nobody has come to.

// Shown is the most that others saw of a replica in one group.
type Shown struct {
	// Term is the highest that it was in; Vote is whom it voted for then, and Acknowledged the last entry that it
	// acknowledged then. In a later term it may have lost entries of an earlier one that were never committed.
	Term         uint64 `json:"term,omitempty"`
	Vote         uint64 `json:"vote,omitempty"`
	Acknowledged uint64 `json:"acknowledged,omitempty"`
	// Committed is the last entry that it had and knew to be committed, in whatever term.
	Committed uint64 `json:"committed,omitempty"`
}

// and gives the most of both.
func (s Shown) and(o Shown) Shown {
	committed := max(s.Committed, o.Committed)
	switch {
	case o.Term > s.Term:
		s = o
	case o.Term == s.Term:
		s.Acknowledged = max(s.Acknowledged, o.Acknowledged)
		if o.Vote != 0 {
			s.Vote = o.Vote // a replica votes once in a term
		}
	}
	s.Committed = committed
	return s
}

// shownBy is what a message shows of the replica that sent it.
func shownBy(m raftpb.Message) Shown {
	switch m.Type {
	case raftpb.ReplicateResp:
		if !m.Reject {
			return Shown{Term: m.Term, Acknowledged: m.LogIndex}
		}
	case raftpb.Heartbeat:
		return Shown{Term: m.Term, Committed: m.Commit}
	case raftpb.RequestVote:
		return Shown{Term: m.Term, Vote: m.From}
	case raftpb.RequestVoteResp:
		if !m.Reject {
			return Shown{Term: m.Term, Vote: m.To}
		}
	case raftpb.HeartbeatResp:
	default:
		return Shown{}
	}
	return Shown{Term: m.Term}
}

// Held is what the Raft log of a replica holds of one group, at least.
type Held struct {
	Term, Vote uint64
	Last       uint64 // the index of the last entry
}

// and adds what the replica has shown since. A server that is met late has seen some of that, too.
func (h Held) and(s Shown) Held {
	switch {
	case s.Term > h.Term:
		h.Term, h.Vote = s.Term, s.Vote
	case s.Term == h.Term && s.Vote != 0:
		h.Vote = s.Vote
	}
	h.Last = max(h.Last, s.Acknowledged, s.Committed)
	return h
}

// Lacks says what of what others saw is not there; it is empty where nothing is missing.
func (h Held) Lacks(s Shown) string {
	switch {
	case s.Committed > h.Last:
		return fmt.Sprintf("had committed entry %d, and the folder ends with entry %d", s.Committed, h.Last)
	case s.Term > h.Term:
		return fmt.Sprintf("was in term %d, and the folder is in term %d", s.Term, h.Term)
	case s.Term == h.Term && s.Acknowledged > h.Last:
		return fmt.Sprintf("acknowledged entry %d in term %d, and the folder ends with entry %d", s.Acknowledged, s.Term, h.Last)
	case s.Term == h.Term && s.Vote != 0 && s.Vote != h.Vote:
		return fmt.Sprintf("voted for replica %d in term %d, and the folder does not say so", s.Vote, s.Term)
	}
	return ""
}

// Memory is what this server saw of the other replicas. Its methods may be called concurrently.
type Memory struct {
	mu    sync.Mutex
	shown map[uint64]map[uint64]Shown // by replica and by group
	dirty bool                        // it holds more than was saved
}

// NewMemory makes one that is empty.
func NewMemory() *Memory { return &Memory{shown: map[uint64]map[uint64]Shown{}} }

// saved is a memory in a file. A digit that a disk has altered would speak against a server that is well, so that there is
// a checksum; and a replica's number says nothing in another cluster.
type saved struct {
	Cluster string                      `json:"cluster"`
	CRC32C  uint32                      `json:"crc32c"` // of the cluster's id and of shown, as it stands here
	Shown   map[uint64]map[uint64]Shown `json:"shown"`
}

func (s saved) checksum() (uint32, error) {
	b, err := json.Marshal(s.Shown) // maps are written in the order of their keys
	return crc32.Checksum(append(b, s.Cluster...), crc32.MakeTable(crc32.Castagnoli)), err
}

// ReadMemory reads what an earlier process has saved of a cluster; where that is nothing, of another cluster, or altered,
// what it gives is empty.
func ReadMemory(fs store.FS, path, cluster string) (*Memory, error) {
	m := NewMemory()
	b, err := store.ReadFile(fs, path)
	if err != nil || b == nil {
		return m, err
	}
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return m, fmt.Errorf("read what was seen of other servers, %s: %w", path, err)
	}
	if sum, err := s.checksum(); err != nil || sum != s.CRC32C {
		return m, fmt.Errorf("read what was seen of other servers, %s: it is not what was written: checksum %d, and it says %d", path, sum, s.CRC32C)
	}
	if s.Cluster != cluster {
		return m, fmt.Errorf("read what was seen of other servers, %s: it is of cluster %q, and this server belongs to %q", path, s.Cluster, cluster)
	}
	for replica, groups := range s.Shown {
		for group, s := range groups {
			m.note(replica, group, s)
		}
	}
	m.dirty = false
	return m, nil
}

// Save writes the memory to a file, as what was seen in a cluster, if it has changed since the last time.
func (m *Memory) Save(fs store.FS, path, cluster string) error {
	m.mu.Lock()
	if !m.dirty {
		m.mu.Unlock()
		return nil
	}
	s := saved{Cluster: cluster, Shown: make(map[uint64]map[uint64]Shown, len(m.shown))}
	for replica, groups := range m.shown {
		s.Shown[replica] = maps.Clone(groups)
	}
	m.dirty = false
	m.mu.Unlock()
	var b []byte
	var err error
	if s.CRC32C, err = s.checksum(); err == nil {
		b, err = json.Marshal(s)
	}
	if err == nil {
		err = store.WriteFile(fs, path, append(b, '\n'))
	}
	if err != nil {
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
		return fmt.Errorf("write what was seen of other servers: %w", err)
	}
	return nil
}

// NoteApplied remembers that a replica has said which entry it applied last.
func (m *Memory) NoteApplied(replica, group, index uint64) {
	m.note(replica, group, Shown{Committed: index})
}

func (m *Memory) noteBatch(batch raftpb.MessageBatch) {
	for _, message := range batch.Requests {
		m.note(message.From, message.ShardID, shownBy(message))
	}
}

func (m *Memory) note(replica, group uint64, s Shown) {
	if s == (Shown{}) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.shown[replica][group]
	after := before.and(s)
	if after == before {
		return
	}
	if m.shown[replica] == nil {
		m.shown[replica] = map[uint64]Shown{}
	}
	m.shown[replica][group], m.dirty = after, true
}

// Of is what was seen of a replica, by group.
func (m *Memory) Of(replica uint64) map[uint64]Shown {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.shown[replica])
}
