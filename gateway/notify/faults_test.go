package notify

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/log/event"
)

// insider connects to the ledger's account, as no guest can.
func insider(t *testing.T, s *Server) *nats.Conn {
	t.Helper()
	nc, err := s.broker.connect(ledgerUser, "insider")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// intrude puts a message into a stream that is not of its ledger.
func intrude(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if _, err := nc.Request("rollcall.default.kv.forged", []byte("{}"), patience); err != nil {
		t.Fatalf("store a foreign message: %v", err)
	}
}

func TestForeignMessage(t *testing.T) {
	for _, test := range []struct {
		name  string
		audit time.Duration
		news  int // events that follow the foreign message; the first is refused, the others would fit
	}{
		{"found by the next event", time.Hour, 1},
		{"found by many next events", time.Hour, 500},
		{"found while nothing happens", 20 * time.Millisecond, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLedgers(t)
			l.put(event.Default, "a", 100)
			s := startServer(t, l, func(c *Config) { c.AuditInterval = test.audit })
			live := subscribe(t, guest(t, s), "rollcall.default.kv.b")
			intrude(t, insider(t, s))
			known := len(l.all(event.Default))
			l.put(event.Default, "b", test.news)
			eventually(t, "the feeder notices", func() bool { return stats(s, event.Default).Resyncs > 0 })
			l.put(event.Default, "b", 3)
			checkLive(t, live, event.Default, l.all(event.Default)[known:])
			checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
			if len(live) > 0 {
				t.Errorf("got %d events twice", len(live))
			}
		})
	}
}

func TestForeignMessageInTheMiddle(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	nc := insider(t, s)
	for range 20 {
		l.put(event.Default, "b", 50)
		intrude(t, nc)
	}
	head := event.Revision(len(l.all(event.Default)))
	reaches(t, s, event.Default, head)
	l.put(event.Default, "b", 1)
	reaches(t, s, event.Default, head+1)
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestConfirmationsLost(t *testing.T) {
	// What the stream holds already, by the same ledger, is taken over and not published again.
	l := newLedgers(t)
	l.put(event.Default, "a", 10)
	s := startServer(t, l)
	js := stream(t, insider(t, s))
	l.hold(event.Default, true)
	known := len(l.all(event.Default))
	l.put(event.Default, "b", 5)
	w := newWriter("test", event.Default)
	for _, e := range l.all(event.Default)[known : known+3] {
		if _, err := js.PublishMsg(t.Context(), w.write(e, false)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := js.Stream(t.Context(), Stream(event.Default))
	if err != nil {
		t.Fatal(err)
	}
	l.hold(event.Default, false)
	reaches(t, s, event.Default, event.Revision(known+5))
	after, err := js.Stream(t.Context(), Stream(event.Default))
	if err != nil {
		t.Fatal(err)
	}
	if !after.CachedInfo().Created.Equal(before.CachedInfo().Created) {
		t.Error("the stream was made anew")
	}
	if n := stats(s, event.Default).Resyncs; n != 1 {
		t.Errorf("got %d resyncs, want 1", n)
	}
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestStreamDeleted(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 100)
	s := startServer(t, l)
	if err := stream(t, insider(t, s)).DeleteStream(t.Context(), Stream(event.Default)); err != nil {
		t.Fatal(err)
	}
	l.put(event.Default, "b", 1)
	reaches(t, s, event.Default, 102)
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestStreamReplaced(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 100)
	s := startServer(t, l)
	js := stream(t, insider(t, s))
	if err := js.DeleteStream(t.Context(), Stream(event.Default)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: Stream(event.Default), Subjects: []string{"rollcall.default.>"}, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	l.put(event.Default, "b", 1)
	reaches(t, s, event.Default, 102)
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestConnectionLost(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	for range 10 {
		l.put(event.Default, "a", 200)
		if err := s.list()[1].line.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	reaches(t, s, event.Default, event.Revision(len(l.all(event.Default))))
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

// breakLine has the NATS server end the connection that a namespace's events go over, without a word.
func breakLine(t *testing.T, s *Server, namespace string) {
	t.Helper()
	i := slices.IndexFunc(s.list(), func(f *feeder) bool { return f.namespace == namespace })
	id, err := s.list()[i].line.GetClientID()
	if err != nil {
		return // it is just being made anew
	}
	_ = s.broker.server.DisconnectClientByID(id) // or was just ended
}

// TestLinesBreak has connections break on which events are under way. A plain subscriber, to one key of several, gets every
// event, or is cut off: it never stays without one that the stream has.
func TestLinesBreak(t *testing.T) {
	for range 5 {
		l := newLedgers(t)
		s := startServer(t, l, func(c *Config) { c.BookmarkInterval = 20 * time.Millisecond })
		nc := guest(t, s, nats.NoReconnect())
		got := subscribe(t, nc, "rollcall.default.kv.b")
		marks := subscribe(t, nc, "rollcall-bookmark.default")
		known := len(l.all(event.Default))
		for range 5 {
			l.put(event.Default, "b", 300)
			breakLine(t, s, event.Default)
		}
		l.put(event.Default, "b", 1)
		reaches(t, s, event.Default, event.Revision(len(l.all(event.Default))))
		all := l.all(event.Default)
		eventually(t, "a bookmark says that it has all, or it is cut off", func() bool {
			select {
			case m := <-marks:
				return m != nil && m.Header.Get(HeaderRevision) == fmt.Sprint(len(all))
			default:
				return nc.IsClosed()
			}
		})
		last := event.Revision(known)
		for len(got) > 0 {
			m := <-got
			if m == nil {
				break
			}
			revision, err := strconv.ParseUint(m.Header.Get(HeaderRevision), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if event.Revision(revision) != last+1 && !nc.IsClosed() {
				t.Fatalf("got revision %d behind %d, and was not cut off", revision, last)
			}
			last = event.Revision(revision)
		}
		if !nc.IsClosed() && last != all[len(all)-1].Revision {
			t.Fatalf("got events up to %d of %d, and was not cut off", last, len(all))
		}
		checkOrdered(t, guest(t, s), event.Default, 1, all)
		s.Close()
	}
}

func TestLedgerFails(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 10)
	s := startServer(t, l)
	live := subscribe(t, guest(t, s), "rollcall.default.>")
	known := len(l.all(event.Default))
	l.breakWith(errBroken)
	l.put(event.Default, "b", 10)
	eventually(t, "the feeder notices", func() bool { return stats(s, event.Default).Resyncs > 0 })
	l.breakWith(nil)
	l.put(event.Default, "c", 10)
	checkLive(t, live, event.Default, l.all(event.Default)[known:])
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestLedgerFailsAtStart(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 10)
	l.breakWith(errBroken)
	s := startServer(t, l, func(c *Config) { c.RebuildWait = 50 * time.Millisecond })
	live := subscribe(t, guest(t, s), "rollcall.default.>")
	l.breakWith(nil)
	eventually(t, "all is filled", func() bool { return s.Ready() == nil })
	reaches(t, s, event.Default, 11)
	l.put(event.Default, "news", 1)
	checkLive(t, live, event.Default, l.all(event.Default)[11:])
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestLedgerJumps(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 10)
	s := startServer(t, l)
	nc := guest(t, s)
	live := subscribe(t, nc, "rollcall.default.>")
	known := len(l.all(event.Default))
	l.jump(event.Default, 1_000_000, event.KeySet{Key: "restored", Value: []byte("x")})
	l.put(event.Default, "b", 10)
	all := l.all(event.Default)[known:]
	checkLive(t, live, event.Default, all)
	reaches(t, s, event.Default, 1_000_010)
	checkOrdered(t, nc, event.Default, 12, all)
	s.Close()
	s = startServer(t, l)
	checkOrdered(t, guest(t, s), event.Default, 1, all)
	if n := stats(s, event.Default).Resyncs; n != 0 {
		t.Errorf("got %d resyncs at a start after the jump, want none", n)
	}
}

func TestAuditOfAQuietStream(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l, func(c *Config) { c.AuditInterval = time.Millisecond })
	for i := range 20 {
		l.put(event.Default, "a", 1)
		reaches(t, s, event.Default, event.Revision(i+2))
	}
	if n := stats(s, event.Default).Resyncs; n != 0 {
		t.Errorf("got %d resyncs, want none", n)
	}
}

func TestConfirmations(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"the next one", `{"stream":"s","seq":8}`, ""},
		{"with more said", `{"stream":"s","seq":8,"domain":"d"}`, ""},
		{"another sequence", `{"stream":"s","seq":9}`, "revision 8: stored as sequence 9"},
		{"refused", `{"error":{"code":400,"description":"wrong last sequence: 9"}}`, "wrong last sequence: 9"},
		{"nobody there", "", "no stream takes it"},
		{"nonsense", "hello", "read confirmation"},
		{"a number too large", `{"stream":"s","seq":99999999999999999999}`, "read confirmation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &inflight{prefix: []byte(`{"stream":"s","seq":`), signal: make(chan struct{}, 1), confirmed: 7, sent: 8}
			p.answer(&nats.Msg{Data: []byte(test.answer)})
			err := p.drain(t.Context())
			if test.want == "" && err != nil {
				t.Errorf("got %v, want none", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

// dialMute subscribes to everything and reads nothing from then on.
func dialMute(t testing.TB, s *Server) net.Conn {
	t.Helper()
	slow, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write([]byte("CONNECT {}\r\nSUB rollcall.> 1\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; { // until it is subscribed; from then on it reads nothing
		n, err := slow.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(buf[:n], []byte("PONG")) {
			break
		}
	}
	return slow
}

func TestSlowClient(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	defer dialMute(t, s).Close()
	live := subscribe(t, guest(t, s), "rollcall.default.>")
	known := len(l.all(event.Default))
	value := []byte(strings.Repeat("x", 256<<10))
	for range 100 {
		l.add(event.Default, event.KeySet{Key: "big", Value: value})
	}
	checkLive(t, live, event.Default, l.all(event.Default)[known:])
}

func TestResumeOnAnotherServer(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 100)
	first, second := startServer(t, l), startServer(t, l)
	nc := guest(t, first, nats.DontRandomize(), nats.ReconnectWait(time.Millisecond), func(o *nats.Options) error {
		o.Servers = []string{"nats://" + first.Addr().String(), "nats://" + second.Addr().String()}
		return nil
	})
	c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream(event.Default), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullMaxMessages(20))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for i := range 200 {
		if i == 50 {
			first.Close()
			l.put(event.Default, "b", 99)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		m, err := messages.Next(jetstream.NextContext(ctx))
		cancel()
		if err != nil {
			t.Fatalf("revision %d: %v", i+1, err)
		}
		if diff := cmp.Diff(want(event.Default, l.all(event.Default)[i]), see(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})); diff != "" {
			t.Fatalf("revision %d (-want +got):\n%s", i+1, diff)
		}
	}
}
