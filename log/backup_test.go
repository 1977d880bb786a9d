package log_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/archive"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// backup fills a log and gives an archive of it.
func backup(t *testing.T) []byte {
	t.Helper()
	l := open(t, config(t))
	for i := range 20 {
		submit(t, l, 1, "one", word(i))
	}
	submit(t, l, 2, "two", "xy")
	b, err := l.Backup(deadline(t), archive.Header{Cluster: "c"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, l, 1, "one", "z") // after it
	var file bytes.Buffer
	if err := b.Write(&file, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestJoinRestored has a replica join a log that was restored. Raft's log does not lead to the base state, so the
// replica must get the state itself: afterwards it is that of the replica that was restored, to the byte.
func TestJoinRestored(t *testing.T) {
	file := backup(t)
	c := config(t)
	if _, err := log.Restore(c, bytes.NewReader(file), nil); err != nil {
		t.Fatal(err)
	}
	if l, err := log.Open(c, words{}); err == nil {
		_ = l.Close()
		t.Fatal("ledgers that are in no Raft log were taken, though nobody said that this server was restored")
	}
	c.Base = true
	l := open(t, c)
	for group, ledger := range map[uint64]string{1: "one", 2: "two"} {
		if first, err := l.FirstEntry(group); err != nil || first != 1 {
			t.Errorf("group %d: the log begins at %d, %v", group, first, err)
		}
		submit(t, l, group, ledger, "abc")
	}
	for range 2 { // it may be repeated
		if err := l.Compact(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.Base = false // it has applied entries of its own now
	l = open(t, c)
	for group := uint64(1); group <= 2; group++ {
		if first, err := l.FirstEntry(group); err != nil || first == 1 {
			t.Errorf("group %d: after a restart the log begins at %d, %v", group, first, err)
		}
	}
	submit(t, l, 1, "one", "defg")
	second := config(t)
	second.Replica = 2
	joined, stop, err := l.AddReplica(deadline(t), second, words{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	submit(t, l, 1, "one", "h")
	head, err := l.Head(1, "one")
	if err != nil {
		t.Fatal(err)
	}
	awaitHead(t, joined, "one", head.Revision)
	held, err := joined.Hold()
	if err != nil {
		t.Fatal(err)
	}
	want, err := l.Hold(1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stateOf(t, held), stateOf(t, want); !bytes.Equal(got, want) {
		t.Errorf("the replica that joined holds %d bytes that are not the %d of the one that was restored", len(got), len(want))
	}
}

func awaitHead(t *testing.T, m *machine.Machine, ledger string, revision event.Revision) {
	t.Helper()
	for ctx := deadline(t); ; {
		if l, ok := m.Ledger(ledger); ok && l.Head.Revision >= revision {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			l, _ := m.Ledger(ledger)
			t.Fatalf("the replica is at revision %d, and does not get to %d", l.Head.Revision, revision)
		}
	}
}

func stateOf(t *testing.T, held *machine.Held) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := held.Write(&b, nil); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBackupArchive checks what a backup's file says, and that no part of it can be damaged or missing unnoticed.
func TestBackupArchive(t *testing.T) {
	file := backup(t)
	events := 0
	s, err := archive.Check(bytes.NewReader(file), nil, func(string, []byte) error { events++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if s.Groups != 2 || s.Cluster != "c" || s.Bytes != int64(len(file)) || len(s.Ledgers) != 2 || events != int(s.Ledgers[0].Leaves+s.Ledgers[1].Leaves) {
		t.Errorf("it is described as %+v, and has %d events", s, events)
	}
	if two := s.Ledgers[1]; two.Name != "two" || two.Group != 2 || two.Revision != 2 {
		t.Errorf("the second ledger: %+v", two)
	}
	for i := 0; i < len(file); i += 1 + len(file)/500 {
		flipped := bytes.Clone(file)
		flipped[i] ^= 1 << (i % 8)
		if _, err := archive.Check(bytes.NewReader(flipped), nil, nil); err == nil {
			t.Errorf("a bit flipped in byte %d of %d was not noticed", i, len(file))
		}
		if _, err := archive.Check(bytes.NewReader(file[:i]), nil, nil); err == nil {
			t.Errorf("the first %d bytes of %d were taken for the whole", i, len(file))
		}
	}
	if _, err := archive.Check(bytes.NewReader(append(bytes.Clone(file), 0)), nil, nil); err == nil {
		t.Error("a byte behind the end was not noticed")
	}
}

// FuzzArchive looks for bytes that make reading an archive panic, or take memory without end.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("rollcall backup 1\n\x05\xa3\x01\x61c\x02\x01rollcall snapshot 1\n"))
	f.Add([]byte("rollcall backup 1\n\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = archive.Check(bytes.NewReader(b), nil, nil) // any answer will do
	})
}
