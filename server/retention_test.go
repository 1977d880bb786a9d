package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/server"
)

func startRetaining(t *testing.T, data string) *server.Server {
	t.Helper()
	s, err := server.Start(context.Background(), server.WithGrace(server.Config{
		Data: data, HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: server.Duration(10 * time.Millisecond), RetentionEvery: server.Duration(100 * time.Millisecond),
		RequestTimeout: server.Duration(time.Minute), // a busy machine may take long
	}, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func settings(namespace string, keys, revisions uint64) commands.ConfigureNamespace {
	return commands.ConfigureNamespace{Namespace: namespace, Keys: &keys, Revisions: &revisions}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	patience := time.After(time.Minute)
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-patience:
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// TestRetentionOfServer has a running server let old states go by itself: reads of them are refused, the history goes
// back to the beginning, versions are deleted, what is left verifies, and all that holds after a restart.
func TestRetentionOfServer(t *testing.T) {
	data := t.TempDir()
	s := startRetaining(t, data)
	submit := func(namespace string, c commands.Command) error {
		t.Helper()
		_, err := s.Submit(t.Context(), namespace, gateway.Request{Command: c, Key: fmt.Sprintf("key-%d", time.Now().UnixNano())})
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(submit(event.System, settings(event.Default, 5, 50)))
	for i := range 300 {
		must(submit(event.Default, commands.PutKey{Key: fmt.Sprintf("k%d", i%3), Value: fmt.Appendf(nil, "%d", i)}))
	}
	var floor event.Revision
	settled := func() bool { // another revision would not be worth an event
		must(s.View(t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
			floor = v.Floor()
			if (v.Usage != event.Usage{Keys: 3, Bytes: 3 * (2 + 3)}) {
				t.Fatalf("usage %+v", v.Usage)
			}
			return nil
		}))
		head, err := s.Head(event.Default)
		must(err)
		return floor+52 > head
	}
	eventually(t, "rows are trimmed", func() bool {
		rows, err := s.Trimmed(event.Default)
		must(err)
		return settled() && rows > 150
	})
	check := func() {
		t.Helper()
		nothing := func(gateway.View) error { return nil }
		var trimmed gateway.TrimmedError
		for _, o := range []gateway.ReadOptions{{At: floor - 1}, {At: 1}, {AtTime: time.Now().Add(-time.Hour)}} {
			err := s.View(t.Context(), event.Default, o, nothing)
			if !errors.As(err, &trimmed) || trimmed.KeptFrom != floor || trimmed.Time == 0 {
				t.Errorf("%+v: got %v, want a refusal that names %d", o, err, floor)
			}
			if p := gateway.ProblemOf(err); p.Status != 410 || p.KeptFrom != floor {
				t.Errorf("%+v: %+v", o, p)
			}
		}
		must(s.View(t.Context(), event.Default, gateway.ReadOptions{At: floor}, func(v gateway.View) error {
			for i := range 3 {
				if _, ok := v.Key(fmt.Sprintf("k%d", i)); !ok {
					t.Errorf("k%d is not there at the floor", i)
				}
			}
			return nil
		}))
		var versions []uint64
		for o := (gateway.ReadOptions{}); ; {
			h, err := s.History(t.Context(), event.Default, o, "kv.k0", 30)
			must(err)
			for _, e := range h.Events {
				versions = append(versions, e.Body.(event.KeySet).Version)
			}
			if o.At = h.Next; h.Next == 0 {
				break
			}
		}
		for i, v := range versions {
			if v != uint64(100-i) {
				t.Fatalf("the history is %v", versions)
			}
		}
		if len(versions) != 100 {
			t.Errorf("%d events of the history, want 100", len(versions))
		}
	}
	check()
	head, err := s.Head(event.Default)
	must(err)
	for range 5 {
		must(s.RetainNow(t.Context(), event.Default))
	}
	if now, err := s.Head(event.Default); err != nil || now != head {
		t.Errorf("an idle namespace went on from revision %d to %d: %v", head, now, err)
	}
	must(s.Close())
	ledgers, _, err := server.Verify(t.Context(), data)
	must(err)
	for _, l := range ledgers {
		if l.Namespace == event.Default && l.Trimmed < 150 {
			t.Errorf("verified %+v", l)
		}
	}
	s = startRetaining(t, data)
	check()
	restored := t.TempDir()
	restore(t, s, restored)
	must(s.Close())
	s = startRetaining(t, restored)
	must(s.RetainNow(t.Context(), event.Default)) // what the restoring wrote may have an older state go
	settled()
	check()
	must(s.Close())
	_, _, err = server.Verify(t.Context(), restored)
	must(err)
}

// restore makes a data folder out of a snapshot of a server.
func restore(t *testing.T, s *server.Server, data string) {
	t.Helper()
	snapshot, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "snapshot")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(snapshot.Write(f, nil), snapshot.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Restore(t.Context(), server.RestoreConfig{File: file, Data: data, Raft: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
}

// TestQuotaOfServer refuses what a quota has no room for, tells when it is close, and has the leader carry settings into
// the namespace's ledger where the server died that was asked.
func TestQuotaOfServer(t *testing.T) {
	s := startRetaining(t, t.TempDir())
	defer func() { _ = s.Close() }()
	if err := s.ConfigureAndDie(t.Context(), settings(event.Default, 5, 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the settings are in the namespace's ledger", func() bool {
		var keys uint64
		_ = s.View(t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
			keys = v.Settings().Keys
			return nil
		})
		return keys == 5
	})
	var refused *commands.Rejection
	for i := range 8 {
		_, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: commands.PutKey{Key: fmt.Sprint(i)}})
		if i < 5 && err != nil || i >= 5 && (!errors.As(err, &refused) || refused.Code != commands.CodeQuotaExceeded) {
			t.Errorf("key %d: %v", i, err)
		}
	}
	f, err := s.Follow(event.Default, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var levels []string
	for events, err := f.TryNext(); len(events) > 0 || err != nil; events, err = f.TryNext() {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if usage, ok := e.Body.(event.NamespaceUsage); ok {
				levels = append(levels, fmt.Sprintf("%s at %d keys", usage.Level, usage.Keys))
			}
		}
	}
	if fmt.Sprint(levels) != "[warning at 4 keys]" {
		t.Errorf("said %v", levels)
	}
}

// TestHistoryBelowFloor reads the ledger itself where there is no index any more, so much at a time: a page may be empty
// and say where to go on.
func TestHistoryBelowFloor(t *testing.T) {
	s := startServer(t)
	submit := func(c commands.Command) event.Revision {
		t.Helper()
		a, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		return a.Revision
	}
	var want []event.Revision
	for i := range 5 {
		want = append(want, submit(commands.PutKey{Key: "old", Flags: uint64(i)}))
	}
	want = append(want, submit(commands.DeleteKey{Key: "old"}))
	for range 48 {
		var many commands.Txn
		for j := range event.TxnOperationsMax {
			many.Then = append(many.Then, commands.Operation{Put: &commands.PutKey{Key: fmt.Sprintf("many/%d", j)}})
		}
		submit(many)
	}
	floor := submit(commands.PutKey{Key: "old"})
	want = append(want, floor)
	submit(commands.TrimHistory{To: floor})
	want = append(want, submit(commands.PutKey{Key: "old"}))
	var got []event.Revision
	empty, pages := 0, 0
	for o := (gateway.ReadOptions{}); ; pages++ {
		h, err := s.History(t.Context(), event.Default, o, "kv.old", 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h.Events {
			got = append([]event.Revision{e.Revision}, got...)
		}
		if len(h.Events) == 0 {
			empty++
		}
		if o.At = h.Next; h.Next == 0 {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || pages < 3 {
		t.Errorf("%d pages, %d of them empty: %v, want %v", pages, empty, got, want)
	}
}
