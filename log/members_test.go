package log_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/transport"
)

// member is one server of a cluster of logs.
type member struct {
	config    log.Config
	transport *transport.Transport
	log       *log.Log
}

// listen takes an address for a member that is to have a number.
func listen(t *testing.T, replica uint64) *member {
	t.Helper()
	tr, err := transport.Listen(transport.Config{Address: "127.0.0.1:0", Name: fmt.Sprint(replica)})
	if err != nil {
		t.Fatal(err)
	}
	tr.Join("test")
	m := &member{transport: tr, config: log.Config{
		Dir: filepath.Join(t.TempDir(), "data"), Address: tr.Address(), Replica: replica, Groups: 2,
		Tick: 20 * time.Millisecond, Cluster: "test", Transport: tr,
	}}
	t.Cleanup(func() { m.close(t) })
	return m
}

func (m *member) open(t *testing.T) {
	t.Helper()
	var err error
	if m.log, err = log.Open(m.config, words{}); err != nil {
		t.Fatal(err)
	}
}

func (m *member) close(t *testing.T) {
	t.Helper()
	if m.log != nil {
		if err := m.log.Close(); err != nil {
			t.Error(err)
		}
		m.log = nil
	}
	if err := m.transport.Close(); err != nil {
		t.Error(err)
	}
}

// found makes a cluster of n.
func found(t *testing.T, n int) []*member {
	t.Helper()
	members, founders := make([]*member, n), map[uint64]string{}
	for i := range members {
		members[i] = listen(t, uint64(i+1))
		founders[uint64(i+1)] = members[i].config.Address
	}
	for _, m := range members {
		m.config.Founders = founders
		m.open(t)
	}
	for _, m := range members {
		if err := m.log.WaitReady(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	return members
}

// retry submits until it is accepted, and gives the commit: what is not known to have happened may happen twice here, so it
// gives the number of attempts as well.
func retry(t *testing.T, l *log.Log, word string) (commit, attempts uint64) {
	t.Helper()
	ctx := deadline(t)
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		reply, err := l.Submit(attempt, 1, machine.Command{Ledger: "one", Time: 1, Body: []byte(word)})
		cancel()
		attempts++
		if err == nil {
			if _, err := fmt.Sscanf(string(reply), "one@%d", &commit); err != nil {
				t.Fatalf("answered with %q: %v", reply, err)
			}
			return commit, attempts
		}
		if !errors.Is(err, log.ErrUnavailable) && !errors.Is(err, log.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
}

func head(t *testing.T, l *log.Log) uint64 {
	t.Helper()
	if err := l.Barrier(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	h, err := l.Head(1, "one")
	if err != nil {
		t.Fatal(err)
	}
	return h.Leaves
}

// TestEveryServerTakesCommands writes on each of three servers and reads on each other.
func TestEveryServerTakesCommands(t *testing.T) {
	members := found(t, 3)
	last, most := uint64(0), uint64(0)
	for i, m := range members {
		commit, attempts := retry(t, m.log, "x")
		if most += attempts; commit <= last || commit > most {
			t.Errorf("server %d: got %d behind %d, after %d attempts", i+1, commit, last, most)
		}
		last = commit
		for j, other := range members {
			if got := head(t, other.log); got < commit || got > most {
				t.Errorf("server %d after a write on %d: got %d events, want %d to %d", j+1, i+1, got, commit, most)
			}
		}
	}
}

// TestLeaderDies has the leader vanish under a writer on another server, whose next commands must not wait for the
// time of those that died with the leader.
func TestLeaderDies(t *testing.T) {
	members := found(t, 3)
	retry(t, members[0].log, "x")
	var leader, elections uint64
	var survivor *log.Log
	await(t, func() bool { // it may have changed just now, and servers are told one after the other
		if leader = members[0].log.Leader(1); leader == 0 {
			return false
		}
		survivor = members[leader%3].log
		elections = survivor.Elections(1)
		return elections > 0 && survivor.Leader(1) == leader
	})
	members[leader-1].close(t)
	// More than there are slots for entries, so that what died with the leader would block what comes after.
	results := make(chan error, 8)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for range cap(results) {
		go func() {
			_, err := survivor.Submit(ctx, 1, machine.Command{Ledger: "one", Time: 1, Body: []byte("y")})
			results <- err
		}()
	}
	for range cap(results) {
		select {
		case err := <-results:
			if err != nil && !errors.Is(err, log.ErrOutcomeUnknown) {
				t.Error(err)
			}
		case <-deadline(t).Done():
			t.Fatal("a command waits for the time of those that died with the leader")
		}
	}
	retry(t, survivor, "z")
	await(t, func() bool { return survivor.Elections(1) > elections }) // of which it is told by and by
}

// TestMembershipUnknown asks a server that was not added yet who takes part: it cannot know, which is no fault.
func TestMembershipUnknown(t *testing.T) {
	m := listen(t, 7)
	m.open(t)
	for _, patience := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if got, err := m.log.Membership(ctx, 1); !errors.Is(err, log.ErrUnavailable) {
			t.Errorf("after %s: got %+v, %v, want %v", patience, got, err, log.ErrUnavailable)
		}
		cancel()
	}
}

// TestJoinPromoteRemove adds a fourth server, makes it a voter, and removes one.
func TestJoinPromoteRemove(t *testing.T) {
	members := found(t, 3)
	last, most := uint64(0), uint64(0)
	write := func(l *log.Log, word string) {
		t.Helper()
		commit, attempts := retry(t, l, word)
		if most += attempts; commit <= last || commit > most {
			t.Errorf("got %d behind %d, after %d attempts", commit, last, most)
		}
		last = commit
	}
	for range 5 {
		write(members[0].log, "x")
	}
	first := members[0].log
	before, err := first.Membership(deadline(t), 1)
	if err != nil || len(before.Voters) != 3 || len(before.NonVoters) != 0 {
		t.Fatalf("membership of three: %+v, %v", before, err)
	}
	fourth := listen(t, 40)
	fourth.open(t)
	m := changed(t, first, func(ctx context.Context, m log.Membership) error {
		return first.AddReplica(ctx, 1, 40, fourth.config.Address, m)
	}, func(m log.Membership) bool { return m.NonVoters[40] == fourth.config.Address })
	if len(m.Voters) != 3 || len(m.NonVoters) != 1 {
		t.Fatalf("membership with a fourth: %+v", m)
	}
	if err := asked(t, func(ctx context.Context) error {
		return first.AddReplica(ctx, 1, 41, "127.0.0.1:1", before)
	}); !errors.Is(err, log.ErrMembershipChanged) {
		t.Errorf("a change that builds on an old membership: got %v, want %v", err, log.ErrMembershipChanged)
	}
	if got := head(t, fourth.log); got < last || got > most {
		t.Errorf("the fourth server has %d events, want %d to %d", got, last, most)
	}
	m = changed(t, first, func(ctx context.Context, m log.Membership) error { return first.Promote(ctx, 1, 40, m) },
		func(m log.Membership) bool { return m.Voters[40] == fourth.config.Address })
	if len(m.Voters) != 4 || len(m.NonVoters) != 0 {
		t.Fatalf("membership after the promotion: %+v", m)
	}
	m = changed(t, fourth.log, func(ctx context.Context, m log.Membership) error { return fourth.log.RemoveReplica(ctx, 1, 2, m) },
		func(m log.Membership) bool { return m.Voters[2] == "" })
	if len(m.Voters) != 3 || len(m.Removed) != 1 {
		t.Fatalf("membership after the removal: %+v", m)
	}
	if err := asked(t, func(ctx context.Context) error {
		return fourth.log.AddReplica(ctx, 1, 2, members[1].config.Address, m)
	}); err == nil {
		t.Error("a replica that was removed came back under its number")
	}
	write(fourth.log, "y")
}

// asked asks for a change until there is a leader to decide it.
func asked(t *testing.T, ask func(context.Context) error) (err error) {
	t.Helper()
	for ctx := deadline(t); ctx.Err() == nil; {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = ask(attempt)
		cancel()
		if !errors.Is(err, log.ErrUnavailable) {
			break
		}
	}
	return err
}

// changed asks for a change until it was made, for what came of it is not known where the leader changes meanwhile. It gives
// the membership then.
func changed(t *testing.T, l *log.Log, ask func(context.Context, log.Membership) error, made func(log.Membership) bool) log.Membership {
	t.Helper()
	for tried := 0; ; {
		m, err := l.Membership(deadline(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		if made(m) {
			return m
		}
		err = asked(t, func(ctx context.Context) error { tried++; return ask(ctx, m) })
		if err != nil && (tried == 1 || !errors.Is(err, log.ErrMembershipChanged)) {
			t.Fatal(err)
		}
	}
}

// TestPromotedThenCrashed promotes a server, has Raft's log begin behind the promotion, and ends the server before it
// has noted that it votes. It votes at its next start all the same, for Raft takes that from the snapshot.
func TestPromotedThenCrashed(t *testing.T) {
	founder := listen(t, 1)
	founder.config.Founders = map[uint64]string{1: founder.config.Address}
	second := listen(t, 2)
	for _, m := range []*member{founder, second} {
		m.config.SnapshotEntries, m.config.CompactionOverhead = 10, 1
		m.open(t)
	}
	for _, id := range founder.log.Groups() {
		awaitLeader(t, founder.log, id, 1)
		m, err := founder.log.Membership(deadline(t), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := founder.log.AddReplica(deadline(t), id, 2, second.config.Address, m); err != nil {
			t.Fatal(err)
		}
		if m, err = founder.log.Membership(deadline(t), id); err != nil {
			t.Fatal(err)
		}
		if err := founder.log.Promote(deadline(t), id, 2, m); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool {
		retry(t, second.log, "x")
		return log.SnapshotVotes(second.log, 1)
	})
	if _, err := os.Stat(filepath.Join(second.config.Dir, "raft", "voter-1")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("it has noted that it votes: %v", err)
	}
	second.reopen(t)
	retry(t, second.log, "y")
	await(t, func() bool { // Raft gives it up where the other one is slow
		if founder.log.Leader(1) == 2 {
			return true
		}
		_ = founder.log.Transfer(1, 2) // refused while one is under way
		return founder.log.Leader(1) == 2
	})
	second.log.NoteVotes()
	second.reopen(t) // as a voter from the beginning
	retry(t, second.log, "z")
}

// reopen closes the log and opens it again, on the same transport.
func (m *member) reopen(t *testing.T) {
	t.Helper()
	if err := m.log.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func await(t *testing.T, holds func() bool) {
	t.Helper()
	for ctx := deadline(t); !holds(); {
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func awaitLeader(t *testing.T, l *log.Log, group, leader uint64) {
	t.Helper()
	await(t, func() bool { return l.Leader(group) == leader })
}
