package log_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/archive"
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

// TestJoinRestored has a server join one that was restored. Raft's log does not lead to the base state, so it must get
// the state itself: afterwards that is the one of the server that was restored, to the byte.
func TestJoinRestored(t *testing.T) {
	file := backup(t)
	first := listen(t, 1)
	first.config.Founders = map[uint64]string{1: first.config.Address}
	if _, err := log.Restore(first.config, bytes.NewReader(file), nil); err != nil {
		t.Fatal(err)
	}
	if l, err := log.Open(first.config, words{}); err == nil {
		_ = l.Close()
		t.Fatal("ledgers that are in no Raft log were taken, though nobody said that this server was restored")
	}
	first.config.Base = true
	reopen := func() {
		t.Helper()
		if first.log != nil {
			if err := first.log.Close(); err != nil {
				t.Fatal(err)
			}
		}
		first.open(t)
		if err := first.log.WaitReady(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	for group, ledger := range map[uint64]string{1: "one", 2: "two"} {
		if at, err := first.log.FirstEntry(group); err != nil || at != 1 {
			t.Errorf("group %d: the log begins at %d, %v", group, at, err)
		}
		submit(t, first.log, group, ledger, "abc")
	}
	for range 2 { // it may be repeated
		if err := first.log.Compact(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	first.config.Base = false // it has applied entries of its own now
	reopen()
	for group := uint64(1); group <= 2; group++ {
		if at, err := first.log.FirstEntry(group); err != nil || at == 1 {
			t.Errorf("group %d: after a restart the log begins at %d, %v", group, at, err)
		}
	}
	submit(t, first.log, 1, "one", "defg")
	second := listen(t, 2)
	second.open(t)
	m, err := first.log.Membership(deadline(t), 1)
	if err == nil {
		err = first.log.AddReplica(deadline(t), 1, 2, second.config.Address, m)
	}
	if err != nil {
		t.Fatal(err)
	}
	submit(t, first.log, 1, "one", "h")
	awaitHead(t, second.log, first.log)
	if got, want := stateOf(t, second.log), stateOf(t, first.log); !bytes.Equal(got, want) {
		t.Errorf("the server that joined holds %d bytes that are not the %d of the one that was restored", len(got), len(want))
	}
}

// awaitHead waits until a server has what another has.
func awaitHead(t *testing.T, l, other *log.Log) {
	t.Helper()
	want, err := other.Head(1, "one")
	if err != nil {
		t.Fatal(err)
	}
	for ctx := deadline(t); ; {
		got, err := l.Head(1, "one")
		if err == nil && got.Revision >= want.Revision {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the server is at revision %d (%v), and does not get to %d", got.Revision, err, want.Revision)
		}
	}
}

// stateOf is everything that a server holds of the first group.
func stateOf(t *testing.T, l *log.Log) []byte {
	t.Helper()
	held, err := l.Hold(1)
	if err != nil {
		t.Fatal(err)
	}
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
