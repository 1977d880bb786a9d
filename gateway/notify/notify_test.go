package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/rollcall/rollcall/log/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLiveSubscription(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "before", 10)
	s := startServer(t, l)
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.default.>")
	before := len(l.all(event.Default))
	l.put(event.Default, "app/db/url", 300)
	l.add(event.Default,
		event.InstanceRegistered{Instance: event.Instance{Service: "web", ID: "web-1", Address: "10.0.0.1", Port: 80}},
		event.KeyDeleted{Key: "app/db/url", Previous: 9})
	checkLive(t, got, event.Default, l.all(event.Default)[before:])
	reaches(t, s, event.Default, l.all(event.Default)[len(l.all(event.Default))-1].Revision)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(got) != 0 {
		t.Errorf("got %d more messages than events", len(got))
	}
}

func TestOrderedConsumer(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a/b", 500)
	s := startServer(t, l)
	l.put(event.Default, "c", 500)
	for _, from := range []uint64{1, 2, 400, 700, 1001} {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			checkOrdered(t, guest(t, s), event.Default, from, l.all(event.Default)[from-1:])
		})
	}
	t.Run("_system", func(t *testing.T) {
		checkOrdered(t, guest(t, s), event.System, 1, l.all(event.System))
	})
}

func TestOrderedConsumerOfOldClients(t *testing.T) {
	// The older client interface makes push consumers and finds the stream by its subject.
	l := newLedgers(t)
	l.put(event.Default, "a/b", 50)
	s := startServer(t, l)
	js, err := guest(t, s).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := js.SubscribeSync("rollcall.default.>", nats.OrderedConsumer(), nats.StartSequence(1))
	if err != nil {
		t.Fatalf("make ordered push consumer: %v", err)
	}
	l.put(event.Default, "a/b", 50)
	for _, e := range l.all(event.Default) {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("revision %d: %v", e.Revision, err)
		}
		if diff := cmp.Diff(want(event.Default, e), see(m)); diff != "" {
			t.Fatalf("revision %d (-want +got):\n%s", e.Revision, diff)
		}
	}
}

func TestAcknowledgingConsumer(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	c, err := stream(t, guest(t, s)).CreateConsumer(t.Context(), Stream(event.Default), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatalf("acknowledge: %v", err)
	}
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.AckFloor.Stream != 1 {
		t.Errorf("got acknowledged up to %d, want 1", info.AckFloor.Stream)
	}
	// The status messages of a fetch that finds nothing come through as well. One that is late by as much again ends it.
	batch, err := c.Fetch(1, jetstream.FetchMaxWait(5*time.Second), jetstream.FetchHeartbeat(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		t.Errorf("got an unexpected message on %s", m.Subject())
	}
	if err := batch.Error(); err != nil {
		t.Errorf("an empty fetch ended with: %v", err)
	}
}

func TestDirectGet(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 3)
	s := startServer(t, l)
	str, err := stream(t, guest(t, s)).Stream(t.Context(), Stream(event.Default))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l.all(event.Default) {
		m, err := str.GetMsg(t.Context(), uint64(e.Revision))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want(event.Default, e), see(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})); diff != "" {
			t.Errorf("revision %d (-want +got):\n%s", e.Revision, diff)
		}
	}
}

func TestRestart(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 700)
	dir := t.TempDir()
	keep := filepath.Join(dir, "mine")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inDir := func(c *Config) { c.StoreDir = dir }
	first := startServer(t, l, inDir)
	checkOrdered(t, guest(t, first), event.Default, 1, l.all(event.Default))
	first.Close()
	l.put(event.Default, "b", 300)
	second := startServer(t, l, inDir)
	l.put(event.Default, "c", 10)
	checkOrdered(t, guest(t, second), event.Default, 1, l.all(event.Default))
	if _, err := os.Stat(keep); err != nil {
		t.Errorf("a file beside the streams: %v", err)
	}
}

func TestWindowByBytes(t *testing.T) {
	l := newLedgers(t)
	value := []byte(strings.Repeat("x", 100<<10))
	write := func(n int) {
		for range n {
			l.add(event.Default, event.KeySet{Key: "big", Value: value})
		}
	}
	write(30)
	small := func(c *Config) { c.WindowBytes = WindowBytesMin }
	s := startServer(t, l, small)
	write(30)
	head := event.Revision(len(l.all(event.Default)))
	reaches(t, s, event.Default, head)
	check := func(s *Server) {
		t.Helper()
		str, err := stream(t, guest(t, s)).Stream(t.Context(), Stream(event.Default))
		if err != nil {
			t.Fatal(err)
		}
		state := str.CachedInfo().State
		if state.FirstSeq <= 1 || state.LastSeq != uint64(head) || state.Bytes > WindowBytesMin {
			t.Fatalf("got sequences %d to %d in %d bytes, want a tail of 1 to %d in at most %d", state.FirstSeq, state.LastSeq, state.Bytes, head, WindowBytesMin)
		}
		if state.Bytes < WindowBytesMin*3/4 {
			t.Errorf("the window of %d bytes holds only %d", WindowBytesMin, state.Bytes)
		}
		checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default)[state.FirstSeq-1:])
	}
	check(s)
	s.Close()
	// Filled from the ledger alone, it is the same kind of window, and not everything went through it.
	s = startServer(t, l, small)
	check(s)
	if n := stats(s, event.Default).Events; n > 50 {
		t.Errorf("published %d of %d events to fill a window that holds about 40", n, head)
	}
}

func TestWindowByAge(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 20)
	l.mu.Lock()
	for i := range 15 {
		l.events[event.Default][i].Time = event.Time(time.Now().Add(-2 * time.Hour).UnixNano())
	}
	l.mu.Unlock()
	s := startServer(t, l, func(c *Config) { c.WindowAge = time.Hour })
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default)[15:])
}

func TestNewNamespace(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.staging.>")
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1}) // before its ledger is there
	eventually(t, "the feeder found no ledger", func() bool { return stats(s, "staging").Resyncs > 0 })
	l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test"})
	l.put("staging", "a", 20)
	checkLive(t, got, "staging", l.all("staging"))
	checkOrdered(t, nc, "staging", 1, l.all("staging"))
}

// TestDeletedNamespace deletes a namespace: the last that is told of it is that, and its stream goes. One of that name that
// is made again has a stream of its own, which begins with it.
func TestDeletedNamespace(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	l.put("staging", "a", 20)
	s := startServer(t, l)
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.staging.>")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	streamIs := func(want bool) func() bool {
		return func() bool {
			_, err := js.Stream(t.Context(), Stream("staging"))
			return (err == nil) == want
		}
	}
	known := len(l.all("staging"))
	l.remove("staging")
	checkLive(t, got, "staging", l.all("staging")[known:])
	eventually(t, "the stream is gone", streamIs(false))

	l.add("staging", event.KeyDeleted{Key: "a", Previous: 21})
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: 22})
	eventually(t, "the feeder is gone", func() bool {
		return !slices.ContainsFunc(s.list(), func(f *feeder) bool { return f.namespace == "staging" })
	})

	known = len(l.all("staging"))
	l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test", Closed: 22})
	l.put("staging", "b", 5)
	l.mu.Lock()
	delete(l.ended, "staging")
	l.mu.Unlock()
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 3})
	checkLive(t, got, "staging", l.all("staging")[known:])
	checkOrdered(t, nc, "staging", 1, l.all("staging")[known:])
}

// TestDeletedNamespaceTellsItsEnd deletes a namespace whose feeder is behind: a plain subscriber is told all up to the end
// nevertheless, and then, on the subject of the bookmarks, that there will be nothing more.
func TestDeletedNamespaceTellsItsEnd(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l, func(c *Config) { c.BookmarkInterval = 10 * time.Millisecond })
	nc := guest(t, s)
	// Both come over one subscription, so that their order is seen.
	got := make(chan *nats.Msg, 10_000)
	for _, subject := range []string{"rollcall.staging.>", "rollcall-bookmark.staging"} {
		if _, err := nc.ChanSubscribe(subject, got); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	known := len(l.all("staging"))
	l.hold("staging", true)
	l.put("staging", "a", 300)
	l.remove("staging")
	closed := event.Revision(len(l.all("staging")))
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	reaches(t, s, event.System, event.Revision(len(l.all(event.System))))
	l.hold("staging", false)
	next := event.Revision(known + 1)
	for {
		m := receive(t, got)
		revision := m.Header.Get(HeaderRevision)
		if m.Subject != Bookmark("staging") {
			if revision != fmt.Sprint(next) {
				t.Fatalf("got revision %s, want %d", revision, next)
			}
			next++
			continue
		}
		if string(m.Data) == fmt.Sprintf(`{"namespace":"staging","revision":%s,"ended":true}`, revision) {
			if next != closed+1 || revision != fmt.Sprint(closed) {
				t.Errorf("it ended at revision %s, and the last event was %d, want %d", revision, next-1, closed)
			}
			break
		}
	}
	eventually(t, "the feeder is gone", func() bool { return len(s.list()) == 2 })
	if n := len(got); n > 0 {
		t.Errorf("got %d messages more, the first is %s", n, (<-got).Data)
	}
}

// TestDeletedNamespaceIsReadToItsEnd deletes a namespace while consumers read its stream, of which they get all: it goes with its
// namespace, but not before they have its end.
func TestDeletedNamespaceIsReadToItsEnd(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l, func(c *Config) { c.LastRead = patience })
	nc := guest(t, s)
	const readers = 20
	var all []jetstream.MessagesContext
	for range readers {
		c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream("staging"), jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1, MaxResetAttempts: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		messages, err := c.Messages()
		if err != nil {
			t.Fatal(err)
		}
		defer messages.Stop()
		all = append(all, messages)
	}
	l.put("staging", "a", 300)
	read := func(from, to event.Revision) {
		t.Helper()
		for i, messages := range all {
			for want := from; want <= to; want++ {
				m, err := messages.Next(jetstream.NextMaxWait(patience))
				if err != nil {
					t.Fatalf("reader %d, revision %d of %d: %v", i, want, to, err)
				}
				if got := m.Headers().Get(HeaderRevision); got != fmt.Sprint(want) {
					t.Fatalf("reader %d got revision %s, want %d", i, got, want)
				}
			}
		}
	}
	known := event.Revision(len(l.all("staging")))
	read(1, known) // most of it before the end, so that what is left is the end
	l.put("staging", "b", 5)
	l.remove("staging")
	closed := event.Revision(len(l.all("staging")))
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	read(known+1, closed)
	eventually(t, "the feeder is gone", func() bool { return len(s.list()) == 2 })
	if _, err := stream(t, nc).Stream(t.Context(), Stream("staging")); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("its stream: %v", err)
	}
}

// TestDeletedNamespaceHoldsUpNobody deletes a namespace that has a consumer who does not read: meanwhile another one is created,
// and one of the same name waits until the consumer is gone.
func TestDeletedNamespaceHoldsUpNobody(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l, func(c *Config) { c.LastRead = time.Hour })
	js := stream(t, guest(t, s))
	if _, err := js.CreateConsumer(t.Context(), Stream("staging"), jetstream.ConsumerConfig{Name: "sleeper"}); err != nil {
		t.Fatal(err)
	}
	has := func(namespace string, first uint64) func() bool {
		return func() bool {
			have, err := js.Stream(t.Context(), Stream(namespace))
			return err == nil && have.CachedInfo().Config.FirstSeq == first && have.CachedInfo().State.LastSeq == uint64(len(l.all(namespace)))
		}
	}
	l.remove("staging")
	closed := event.Revision(len(l.all("staging")))
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	l.create("other")
	l.add(event.System, event.NamespaceCreated{Namespace: "other", Group: 1})
	eventually(t, "another namespace has its stream", has("other", 1))

	l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test", Closed: closed})
	l.mu.Lock()
	delete(l.ended, "staging")
	l.mu.Unlock()
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 3})
	l.put("other", "a", 1)
	eventually(t, "another namespace goes on", has("other", 1))
	if err := js.DeleteConsumer(t.Context(), Stream("staging"), "sleeper"); err != nil {
		t.Errorf("the stream did not wait for its consumer: %v", err)
	}
	eventually(t, "the next one of that name has its stream", has("staging", uint64(closed)+1))
}

// TestLivesBeforeTheirNews tells a server that a namespace was made, deleted and made again when that is long done: its feeder feeds
// the second one from the beginning, and goes on when it is heard that the first has ended.
func TestLivesBeforeTheirNews(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l, func(c *Config) { c.BookmarkInterval = 10 * time.Millisecond })
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.staging.>")
	bookmarks := subscribe(t, nc, Bookmark("staging"))
	const closed = 5 // what was before is gone
	l.jump("staging", 10, event.NamespaceOpened{Namespace: "staging", Cluster: "test", Closed: closed})
	l.put("staging", "b", 5)
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1})
	reaches(t, s, "staging", 15)
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 3})
	l.create("other")
	eventually(t, "the news is heard", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.feeders["other"] != nil && len(s.turns) == 0
	})
	l.put("staging", "b", 5)
	checkLive(t, got, "staging", l.all("staging"))
	for {
		m := receive(t, bookmarks)
		if strings.Contains(string(m.Data), "ended") {
			t.Fatalf("told that it ended: %s", m.Data)
		}
		if m.Header.Get(HeaderRevision) == "20" {
			break
		}
	}
}

// TestLivesThatWereMissed has a feeder be too late for the end of a namespace, or for all of the next one, or both: plain subscribers
// are told what they lack when there is one of that name again, and nothing of how those before were emptied.
func TestLivesThatWereMissed(t *testing.T) {
	for _, late := range []bool{true, false} {
		t.Run(fmt.Sprintf("late for the first end %t", late), func(t *testing.T) {
			t.Parallel()
			missLives(t, late)
		})
	}
}

func missLives(t *testing.T, late bool) {
	t.Helper()
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l)
	got := subscribe(t, guest(t, s), "rollcall.staging.>")
	begins := len(l.all("staging"))
	var want []event.Event
	live := func() { // and die
		l.put("staging", "a", 5)
		l.remove("staging")
		want = append(want, l.all("staging")[begins:]...)
	}
	empty := func() {
		l.add("staging", event.KeyDeleted{Key: "a"}, event.KeyDeleted{Key: "b"})
		begins = len(l.all("staging"))
		l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test"})
	}
	has := func(n int) func() bool { return func() bool { return len(s.list()) == n } }

	l.hold("staging", late)
	live()
	first := event.Revision(len(l.all("staging")))
	if !late {
		reaches(t, s, "staging", first)
	}
	l.hold("staging", true)
	empty()
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: first})
	eventually(t, "the first is gone", has(2))

	live()
	second := event.Revision(len(l.all("staging")))
	empty()
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 3}) // its feeder is too late
	eventually(t, "the second has a feeder", has(3))
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 4, Closed: second})
	eventually(t, "the second is gone", has(2))

	l.put("staging", "a", 5)
	want = append(want, l.all("staging")[begins:]...)
	l.mu.Lock()
	delete(l.ended, "staging")
	l.mu.Unlock()
	l.hold("staging", false)
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 5})
	checkLive(t, got, "staging", want)
	checkOrdered(t, guest(t, s), "staging", uint64(begins+1), l.all("staging")[begins:])
}

// TestDeletedNamespaceKeepsNobodyFromStarting deletes a namespace whose window is being filled while the server starts, which does
// not wait for it any more.
func TestDeletedNamespaceKeepsNobodyFromStarting(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	l.put("staging", "a", 5)
	l.hold("staging", true)
	defer l.hold("staging", false)
	go func() {
		// The server's feeder of _system follows that, and so does who hears the news.
		for deadline := time.Now().Add(patience); l.followers(event.System) < 2 && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
		closed := l.add("staging", event.NamespaceClosed{Namespace: "staging"})
		l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	}()
	startServer(t, l, func(c *Config) { c.RebuildWait = time.Hour })
}

// TestLivesBehindTheFeeder deletes a namespace and makes it again while its feeder is behind: a plain subscriber sees the
// events of both, and nothing of how the first was emptied.
func TestLivesBehindTheFeeder(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l)
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.staging.>")
	known := len(l.all("staging"))
	l.hold("staging", true)
	l.put("staging", "a", 100)
	l.add("staging", event.NamespaceClosed{Namespace: "staging"})
	want := l.all("staging")[known:]
	closed := want[len(want)-1].Revision
	for range 10 {
		l.add("staging", event.KeyDeleted{Key: "a", Previous: closed - 1})
	}
	begins := len(l.all("staging"))
	l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test", Closed: closed})
	l.put("staging", "b", 5)
	l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Placed: 2, Closed: closed})
	l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: 3})
	l.hold("staging", false)
	checkLive(t, got, "staging", append(want, l.all("staging")[begins:]...))
	checkOrdered(t, nc, "staging", uint64(begins+1), l.all("staging")[begins:])
}

// TestLines gives each feeder a connection of its own, as long as there are enough, and takes it back.
func TestLines(t *testing.T) {
	l := newLedgers(t)
	for i := range linesMax {
		l.create(fmt.Sprint("n", i))
	}
	s := startServer(t, l)
	users := func() (all []int) {
		s.lines.mu.Lock()
		defer s.lines.mu.Unlock()
		for _, one := range s.lines.all {
			all = append(all, one.users)
		}
		slices.Sort(all)
		return all
	}
	want := slices.Repeat([]int{1}, linesMax)
	want[linesMax-1], want[linesMax-2] = 2, 2 // there are _system and default as well
	if diff := cmp.Diff(want, users()); diff != "" {
		t.Errorf("feeders of each connection (-want +got):\n%s", diff)
	}
	for i := range linesMax {
		name := fmt.Sprint("n", i)
		l.remove(name)
		l.add(event.System, event.NamespaceDeleted{Namespace: name, Group: 1, Closed: 2})
	}
	eventually(t, "the feeders are gone", func() bool { return len(s.list()) == 2 })
	if diff := cmp.Diff(append(make([]int, linesMax-2), 1, 1), users()); diff != "" {
		t.Errorf("feeders of each connection, after most are gone (-want +got):\n%s", diff)
	}
	// What is left works.
	live := subscribe(t, guest(t, s), "rollcall.default.>")
	l.put(event.Default, "a", 3)
	checkLive(t, live, event.Default, l.all(event.Default)[1:])
}

func TestBookmark(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 4)
	s := startServer(t, l, func(c *Config) { c.BookmarkInterval = 10 * time.Millisecond })
	got := subscribe(t, guest(t, s), "rollcall-bookmark.default")
	m := receive(t, got)
	if got, want := string(m.Data), `{"namespace":"default","revision":5}`; got != want {
		t.Errorf("got bookmark %s, want %s", got, want)
	}
	if got := m.Header.Get(HeaderRevision); got != "5" {
		t.Errorf("got %s %q, want 5", HeaderRevision, got)
	}
	l.put(event.Default, "a", 1)
	eventually(t, "the bookmark moves on", func() bool { return receive(t, got).Header.Get(HeaderRevision) == "6" })
}

func TestStats(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 4)
	s := startServer(t, l)
	guest(t, s)
	l.hold(event.Default, true)
	l.put(event.Default, "a", 3)
	want := Stats{Clients: 1, Namespaces: []NamespaceStats{
		{Namespace: event.System, Revision: 2, Events: 2},
		{Namespace: event.Default, Revision: 5, Lag: 3, Events: 5},
	}}
	var got Stats
	eventually(t, "the client has been sent its greeting", func() bool { got = s.Stats(); return got.PendingBytes == 0 })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStartRefuses(t *testing.T) {
	l := newLedgers(t)
	taken := startServer(t, l).Addr().String()
	good := Config{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Backend: l}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"address without a port", func(c *Config) { c.Listen = "127.0.0.1" }, "HOST:PORT"},
		{"no number for a port", func(c *Config) { c.Listen = "127.0.0.1:nats" }, "port"},
		{"address in use", func(c *Config) { c.Listen = taken }, "address already in use"},
		{"no folder", func(c *Config) { c.StoreDir = "" }, "store folder"},
		{"no backend", func(c *Config) { c.Backend = nil }, "backend"},
		{"small window", func(c *Config) { c.WindowBytes = 1000 }, "at least 4194304"},
		{"negative interval", func(c *Config) { c.BookmarkInterval = -1 }, "bookmark interval -1ns"},
		{"short window", func(c *Config) { c.WindowAge = time.Millisecond }, "at least 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			s, err := Start(t.Context(), c)
			if err == nil {
				s.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestStartGivesUp(t *testing.T) {
	l := newLedgers(t)
	l.hold(event.Default, true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, Config{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Backend: l})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

func TestOneStuckNamespace(t *testing.T) {
	l := newLedgers(t)
	l.create("stuck")
	l.put("stuck", "a", 5)
	l.hold("stuck", true)
	s := startServer(t, l, func(c *Config) { c.RebuildWait = 100 * time.Millisecond })
	nc := guest(t, s)
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("got ready %v, want it to name the namespace", err)
	}
	l.put(event.Default, "a", 100)
	checkOrdered(t, nc, event.Default, 1, l.all(event.Default))
	l.hold("stuck", false)
	reaches(t, s, "stuck", 1)
	checkOrdered(t, nc, "stuck", 1, l.all("stuck"))
	eventually(t, "all are ready", func() bool { return s.Ready() == nil })
}
