package log_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/vfs"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/test/address"
)

// words is a domain of its own: a command is a number of letters, each of which becomes the event that sets the key
// of that name. The command "no" is refused. It shows that package log needs no knowledge of Rollcall's meaning.
type words struct{}

func (words) Decide(_ store.Reader, at machine.Situation, command []byte) machine.Decision {
	if string(command) == "no" {
		return machine.Decision{Reply: func(event.Revision) []byte { return []byte("refused") }}
	}
	var bodies []event.Body
	for _, c := range command {
		bodies = append(bodies, event.KeySet{Key: string(c), Value: command, Version: 1})
	}
	return machine.Decision{Events: bodies, Reply: func(commit event.Revision) []byte {
		return fmt.Appendf(nil, "%s@%d", at.Ledger, commit)
	}}
}

func (words) Fold(rows store.Writer, e event.Event) {
	set := e.Body.(event.KeySet)
	rows.Set(store.TableKV, []byte(set.Key), set.Value)
}

func open(t *testing.T, c log.Config) *log.Log {
	t.Helper()
	l, err := log.Open(c, words{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.WaitReady(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return l
}

// deadline is for what would hang otherwise: a busy machine may take long.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func config(t *testing.T) log.Config {
	t.Helper()
	at := address.Free(t)
	return log.Config{
		Dir: filepath.Join(t.TempDir(), "data"), Address: at, Replica: 1, Groups: 2, Tick: 10 * time.Millisecond,
		Founders: map[uint64]string{1: at},
	}
}

func submit(t *testing.T, l *log.Log, group uint64, ledger, word string) string {
	t.Helper()
	reply, err := l.Submit(deadline(t), group, machine.Command{Ledger: ledger, Time: 1, Body: []byte(word)})
	if err != nil {
		t.Fatal(err)
	}
	return string(reply)
}

// TestLedgersAcrossRestart writes to ledgers on two groups, and finds everything after a restart.
func TestLedgersAcrossRestart(t *testing.T) {
	c := config(t)
	l := open(t, c)
	for i, want := range []string{"one@3", "one@4"} {
		if got := submit(t, l, 1, "one", []string{"abc", "d"}[i]); got != want {
			t.Errorf("reply %d: got %q, want %q", i, got, want)
		}
	}
	if got, want := submit(t, l, 2, "two", "xy"), "two@2"; got != want {
		t.Errorf("another ledger counts by itself: got %q, want %q", got, want)
	}
	if got, want := submit(t, l, 1, "one", "no"), "refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	check := func(l *log.Log) {
		t.Helper()
		if head, err := l.Head(1, "one"); err != nil || head.Revision != 4 || head.Leaves != 4 {
			t.Errorf("head of one: %+v, %v", head, err)
		}
		if d, known, err := l.Digest(1, "one", 4); err != nil || !known || d.Leaves != 4 {
			t.Errorf("digest of one: %+v, %v, %v", d, known, err)
		}
		if _, _, err := l.Digest(2, "one", 0); !errors.Is(err, log.ErrNoLedger) {
			t.Errorf("the digest of a ledger on the wrong group: got %v, want %v", err, log.ErrNoLedger)
		}
		if _, err := l.Head(2, "one"); !errors.Is(err, log.ErrNoLedger) {
			t.Errorf("a ledger on the wrong group: got %v, want %v", err, log.ErrNoLedger)
		}
		f, err := l.Follow(1, "one", 1)
		if err != nil {
			t.Fatal(err)
		}
		events, err := f.Next(deadline(t))
		if err != nil || len(events) != 4 || events[0].Commit != 3 || events[3].Commit != 4 {
			t.Errorf("events of one: %+v, %v", events, err)
		}
		err = l.View(1, "one", func(*store.DB, store.Ledger) (event.Revision, error) { return 3, nil }, func(r store.Reader, _ event.Revision) error {
			if _, ok := r.Get(store.TableKV, []byte("d")); ok {
				t.Error("the view at revision 3 shows what came at 4")
			}
			if row, ok := r.Get(store.TableKV, []byte("a")); !ok || string(row) != "abc" {
				t.Errorf("row a at revision 3: %q, %v", row, ok)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(deadline(t), 1, machine.Command{Ledger: "one", Body: []byte("z")}); !errors.Is(err, log.ErrClosed) {
		t.Errorf("submit after Close: got %v", err)
	}
	check(open(t, c))
}

// TestFollowers has followers begin everywhere while writers write, some slow enough to fall back to the store, and
// holds what each got against the ledger: every event, once, in order, in whole commits.
func TestFollowers(t *testing.T) {
	l := open(t, config(t))
	submit(t, l, 1, "one", "a")
	const writers, each = 8, 400
	total := event.Revision(1)
	for i := range writers * each {
		total += event.Revision(len(word(i)))
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := l.Submit(deadline(t), 1, machine.Command{Ledger: "one", Body: []byte(word(w*each + i))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, from := range []event.Revision{0, 1, 2, total / 2, total} {
		wg.Go(func() { follow(t, l, from, total) })
	}
	wg.Wait()
	follow(t, l, 1, total) // all of it from the store
	f, err := l.Follow(1, "one", total+1)
	if err != nil {
		t.Fatal(err)
	}
	if events, err := f.TryNext(); err != nil || len(events) != 0 {
		t.Errorf("behind the end: got %v, %v", events, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with a context that has ended: got %v", err)
	}
}

func word(i int) string { return "abcdefgh"[:1+i%8] }

func follow(t *testing.T, l *log.Log, from, total event.Revision) {
	t.Helper()
	f, err := l.Follow(1, "one", from)
	if err != nil {
		t.Error(err)
		return
	}
	// A follower that begins in the middle may begin inside a commit; from the next one on they are whole.
	next, begun := max(from, 1), from <= 2
	for next <= total {
		events, err := f.Next(deadline(t))
		if err != nil {
			t.Errorf("from %d, at %d: %v", from, next, err)
			return
		}
		for _, e := range events {
			if e.Revision != next {
				t.Errorf("from %d: got revision %d, want %d", from, e.Revision, next)
				return
			}
			next++
		}
		if last := events[len(events)-1]; begun && last.Commit != last.Revision {
			t.Errorf("from %d: a batch ends at %d, inside commit %d", from, last.Revision, last.Commit)
		}
		begun = true
	}
}

// TestSubmitWithoutTime shows what a caller learns whose time runs out before its command was proposed: that nothing
// was written.
func TestSubmitWithoutTime(t *testing.T) {
	l := open(t, config(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := l.Submit(ctx, 1, machine.Command{Ledger: "one", Body: []byte("a")})
	if !errors.Is(err, log.ErrUnavailable) && !errors.Is(err, log.ErrOutcomeUnknown) {
		t.Errorf("got %v, want to be told about the outcome", err)
	}
	// Less time than Raft counts in is no fault either.
	short, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
	defer cancel()
	for _, err := range []error{
		l.Barrier(short, 1),
		func() error {
			_, err := l.Submit(short, 1, machine.Command{Ledger: "one", Body: []byte("a")})
			return err
		}(),
	} {
		if err != nil && !errors.Is(err, log.ErrUnavailable) && !errors.Is(err, log.ErrOutcomeUnknown) {
			t.Errorf("got %v, want to be told about the outcome", err)
		}
	}
	big := machine.Command{Ledger: "one", Body: make([]byte, 5<<20)}
	if _, err := l.Submit(deadline(t), 1, big); !errors.Is(err, log.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, log.ErrTooLarge)
	}
	if _, err := l.Submit(deadline(t), 9, machine.Command{}); err == nil {
		t.Error("a group that does not exist took a command")
	}
}

// TestRaftCannotStart opens a log on a file system that Dragonboat does not take, at which it gives no host and no error.
func TestRaftCannotStart(t *testing.T) {
	c := config(t)
	c.RaftFS = struct{ log.RaftFS }{vfs.Default}
	l, err := log.Open(c, words{})
	if err == nil {
		_ = l.Close()
		t.Fatal("a log opened without Raft")
	}
	if want := "start Raft on"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error that says %q", err, want)
	}
}
