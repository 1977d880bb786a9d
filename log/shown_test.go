package log

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/store"
)

// TestLacks compares what a folder holds with what others saw. Whoever saw too much must be believed, and no log that
// Raft may have written is to be refused.
func TestLacks(t *testing.T) {
	held := Held{Term: 5, Vote: 2, Last: 100}
	for name, c := range map[string]struct {
		shown Shown
		lacks string // a part of it
	}{
		"nothing was seen":                            {Shown{}, ""},
		"all of it was seen":                          {Shown{Term: 5, Vote: 2, Acknowledged: 100, Committed: 100}, ""},
		"less was seen":                               {Shown{Term: 4, Vote: 3, Acknowledged: 90, Committed: 80}, ""},
		"it lost entries that were never committed":   {Shown{Term: 4, Acknowledged: 120, Committed: 80}, ""},
		"it voted for another one in an earlier term": {Shown{Term: 4, Vote: 3}, ""},
		"nobody saw whom it voted for":                {Shown{Term: 5}, ""},
		"it had applied more":                         {Shown{Committed: 101}, "committed entry 101, and the folder ends with entry 100"},
		"it had applied more, in an earlier term":     {Shown{Term: 4, Committed: 101}, "committed entry 101"},
		"it had acknowledged more":                    {Shown{Term: 5, Acknowledged: 101}, "acknowledged entry 101 in term 5"},
		"it was in a later term":                      {Shown{Term: 6}, "was in term 6, and the folder is in term 5"},
		"it had voted for another one":                {Shown{Term: 5, Vote: 3}, "voted for replica 3 in term 5"},
	} {
		if got := held.Lacks(c.shown); got != c.lacks && (c.lacks == "" || !strings.Contains(got, c.lacks)) {
			t.Errorf("%s: got %q, want %q", name, got, c.lacks)
		}
	}
	if got := (Held{Term: 5, Last: 100}).Lacks(Shown{Term: 5, Vote: 3}); !strings.Contains(got, "voted for replica 3") {
		t.Errorf("a vote that was forgotten: %q", got)
	}
}

// TestShownBy takes from messages what was durable when they were sent, and nothing else.
func TestShownBy(t *testing.T) {
	for _, c := range []struct {
		message raftpb.Message
		want    Shown
	}{
		{raftpb.Message{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 9}, Shown{Term: 3, Acknowledged: 9}},
		{raftpb.Message{Type: raftpb.ReplicateResp, Term: 3, LogIndex: 9, Reject: true}, Shown{Term: 3}},
		{raftpb.Message{Type: raftpb.Heartbeat, Term: 3, Commit: 7}, Shown{Term: 3, Committed: 7}},
		{raftpb.Message{Type: raftpb.HeartbeatResp, Term: 3}, Shown{Term: 3}},
		{raftpb.Message{Type: raftpb.RequestVote, Term: 3, From: 2, LogIndex: 9}, Shown{Term: 3, Vote: 2}},
		{raftpb.Message{Type: raftpb.RequestVoteResp, Term: 3, To: 1, From: 2}, Shown{Term: 3, Vote: 1}},
		{raftpb.Message{Type: raftpb.RequestVoteResp, Term: 3, To: 1, From: 2, Reject: true}, Shown{Term: 3}},
		// Entries travel while they are being saved.
		{raftpb.Message{Type: raftpb.Replicate, Term: 3, LogIndex: 9, Commit: 9}, Shown{}},
		// The term that a pre-vote is about is one that nobody has come to.
		{raftpb.Message{Type: raftpb.RequestPreVote, Term: 4}, Shown{}},
		{raftpb.Message{Type: raftpb.RequestPreVoteResp, Term: 4}, Shown{}},
		{raftpb.Message{Type: raftpb.Propose}, Shown{}},
	} {
		if got := shownBy(c.message); got != c.want {
			t.Errorf("%s (rejects: %v): got %+v, want %+v", c.message.Type, c.message.Reject, got, c.want)
		}
	}
}

// TestShownAndShown adds up what a replica shows in the course of a life: in whatever order that arrives, it comes to
// the same, and is never more than what the replica holds in the end.
func TestShownAndShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, committed := Held{Term: 1}, uint64(0)
		var all []Shown
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // a later term, whose leader may take back what was not committed
				at.Term, at.Vote = at.Term+1, 0
				at.Last = rapid.Uint64Range(committed, at.Last).Draw(t, "last")
			case 1:
				if at.Vote == 0 {
					at.Vote = rapid.Uint64Range(1, 3).Draw(t, "vote")
				}
				all = append(all, Shown{Term: at.Term, Vote: at.Vote})
			case 2:
				at.Last += rapid.Uint64Range(0, 5).Draw(t, "entries")
				all = append(all, Shown{Term: at.Term, Acknowledged: at.Last})
			case 3:
				committed = rapid.Uint64Range(committed, at.Last).Draw(t, "committed")
				all = append(all, Shown{Committed: committed})
			}
		}
		var inOrder, mixed Shown
		for _, s := range all {
			inOrder = inOrder.and(s)
		}
		for _, s := range rapid.Permutation(all).Draw(t, "order") {
			mixed = mixed.and(s)
		}
		if inOrder != mixed {
			t.Fatalf("in order %+v, otherwise %+v", inOrder, mixed)
		}
		if lacks := at.Lacks(mixed); lacks != "" {
			t.Fatalf("%+v lacks of %+v: it %s", at, mixed, lacks)
		}
		// Whoever is met late has seen some of it, and the process that began with nothing knows that.
		var some Shown
		for _, s := range all {
			if rapid.Bool().Draw(t, "seen") {
				some = some.and(s)
			}
		}
		if lacks := (Held{}).and(inOrder).Lacks(some); lacks != "" {
			t.Fatalf("what was shown since, %+v, does not explain %+v: it %s", inOrder, some, lacks)
		}
	})
}

// TestMemory keeps what was seen in a file, and writes it when there is something new.
func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen.json")
	m, err := ReadMemory(store.DefaultFS, path, "ours")
	if err != nil {
		t.Fatal(err)
	}
	m.note(2, 1, Shown{Term: 3, Acknowledged: 10})
	m.NoteApplied(2, 1, 8)
	m.NoteApplied(3, 4, 5)
	if err := m.Save(store.DefaultFS, path, "ours"); err != nil {
		t.Fatal(err)
	}
	again, err := ReadMemory(store.DefaultFS, path, "ours")
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]Shown{1: {Term: 3, Acknowledged: 10, Committed: 8}}
	if diff := cmp.Diff(want, again.Of(2)); diff != "" {
		t.Error(diff)
	}
	if m, err := ReadMemory(store.DefaultFS, path, "another"); err == nil || len(m.Of(2)) > 0 {
		t.Errorf("what was seen in another cluster speaks here: %v, %v", m.Of(2), err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range whole { // one digit is another one
		if c < '0' || c > '9' {
			continue
		}
		altered := bytes.Clone(whole)
		altered[i] = '0' + (c-'0'+1)%10
		if err := os.WriteFile(path, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := ReadMemory(store.DefaultFS, path, "ours"); err == nil || len(m.Of(2)) > 0 {
			t.Errorf("%s is believed", altered)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again.NoteApplied(3, 4, 5) // nothing new
	if err := again.Save(store.DefaultFS, path, "ours"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing new was written: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := ReadMemory(store.DefaultFS, path, "ours"); err == nil || m == nil {
		t.Errorf("half a file: %v, %v", m, err)
	}
}

// wire is a transport whose far end is the test.
type wire struct {
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler
}

// TestGate lets messages through to and from whom it has met, and remembers what all of them show.
func TestGate(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	memory := NewMemory()
	asked := make(chan string, 1)
	answer := make(chan error)
	g := newGate(ctx, Config{Memory: memory, Meet: func(ctx context.Context, address string) error {
		asked <- address
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, nil)
	arrived := 0
	w := wire{
		messages: g.messages(func(raftpb.MessageBatch) { arrived++ }),
		chunks:   g.chunks(func(raftpb.Chunk) bool { return true }),
	}
	batch := raftpb.MessageBatch{SourceAddress: "b", Requests: []raftpb.Message{{Type: raftpb.HeartbeatResp, From: 2, ShardID: 1, Term: 3}}}
	for range 3 {
		w.messages(batch) // asked once, however many come
	}
	if got := <-asked; got != "b" {
		t.Errorf("asked %q", got)
	}
	if arrived != 0 || w.chunks(raftpb.Chunk{}) {
		t.Errorf("%d batches went through before anybody was met", arrived)
	}
	answer <- errors.New("not yet")
	for len(asked) == 0 { // after a while
		w.messages(batch)
		<-time.After(time.Millisecond)
	}
	<-asked
	answer <- nil
	for arrived == 0 {
		w.messages(batch)
		<-time.After(time.Millisecond)
	}
	if !w.chunks(raftpb.Chunk{From: 2}) {
		t.Error("a chunk was refused after its server was met")
	}
	if w.chunks(raftpb.Chunk{From: 3}) {
		t.Error("a chunk of a server that was not met went through")
	}
	if err := g.wait(ctx, "b"); err != nil {
		t.Errorf("who was met is asked again: %v", err)
	}
	if got := memory.Of(2)[1]; got != (Shown{Term: 3}) {
		t.Errorf("remembered %+v", got)
	}
	w.messages(raftpb.MessageBatch{SourceAddress: "c"})
	<-asked
	stop()
	g.close() // does not wait for an answer
	w.messages(raftpb.MessageBatch{SourceAddress: "d"})
	if len(asked) != 0 {
		t.Error("asked after the end")
	}
}
