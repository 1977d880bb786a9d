package notify

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// testTime is about now, so that events are inside the window.
var testTime = event.Time(time.Now().UnixNano())

// patience is how long a test waits for what must come; longer than a feeder waits for a lost confirmation. Nothing depends on its
// length.
const patience = 12 * confirmWait

// startServer runs a server on ledgers. It may be closed by the test.
func startServer(t testing.TB, l *ledgers, change ...func(*Config)) *Server {
	t.Helper()
	c := Config{
		Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Backend: l, ServerName: "test",
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	for _, f := range change {
		f(&c)
	}
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// guest connects as any client would.
func guest(t testing.TB, s *Server, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr().String(), append(options, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func stream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		wait := time.NewTimer(5 * time.Millisecond)
		<-wait.C
	}
}

func reaches(t testing.TB, s *Server, namespace string, revision event.Revision) {
	t.Helper()
	eventually(t, fmt.Sprintf("the stream of %s has revision %d", namespace, revision), func() bool {
		return stats(s, namespace).Revision >= revision
	})
}

func stats(s *Server, namespace string) NamespaceStats {
	for _, n := range s.Stats().Namespaces {
		if n.Namespace == namespace {
			return n
		}
	}
	return NamespaceStats{}
}

// subscribe collects what arrives on a subject.
func subscribe(t testing.TB, nc *nats.Conn, subject string) chan *nats.Msg {
	t.Helper()
	got := make(chan *nats.Msg, 10_000)
	if _, err := nc.ChanSubscribe(subject, got); err != nil {
		t.Fatalf("subscribe to %s: %v", subject, err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return got
}

func receive(t testing.TB, from chan *nats.Msg) *nats.Msg {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatal("no message arrived")
		return nil
	}
}

// seen is what a test compares of a message.
type seen struct {
	Subject, Revision, Commit, Type, Key, Data string
}

func see(m *nats.Msg) seen {
	return seen{
		m.Subject, m.Header.Get(HeaderRevision), m.Header.Get(HeaderCommit), m.Header.Get(HeaderType), m.Header.Get(HeaderKey), string(m.Data),
	}
}

func want(namespace string, e event.Event) seen {
	w := seen{
		Subject(namespace, e), fmt.Sprint(uint64(e.Revision)), fmt.Sprint(uint64(e.Commit)), e.Body.Type(), "",
		string(gateway.AppendCloudEvent(nil, "test", namespace, e)),
	}
	if key, ok := eventKey(e); ok {
		w.Key = EscapeHeader(key)
	}
	return w
}

// checkLive compares the next messages of a plain subscription with events.
func checkLive(t testing.TB, from chan *nats.Msg, namespace string, events []event.Event) {
	t.Helper()
	for _, e := range events {
		if diff := cmp.Diff(want(namespace, e), see(receive(t, from))); diff != "" {
			t.Fatalf("revision %d (-want +got):\n%s", e.Revision, diff)
		}
	}
}

// checkOrdered reads a stream with a stock ordered consumer from a sequence and compares it with events.
func checkOrdered(t testing.TB, nc *nats.Conn, namespace string, from uint64, events []event.Event) {
	t.Helper()
	c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream(namespace), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		t.Fatalf("make ordered consumer: %v", err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatalf("read ordered consumer: %v", err)
	}
	defer messages.Stop()
	for _, e := range events {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		m, err := messages.Next(jetstream.NextContext(ctx))
		cancel()
		if err != nil {
			t.Fatalf("revision %d: %v", e.Revision, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream != uint64(e.Revision) {
			t.Fatalf("got stream sequence %d, want revision %d", meta.Sequence.Stream, e.Revision)
		}
		got := see(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
		if diff := cmp.Diff(want(namespace, e), got); diff != "" {
			t.Fatalf("revision %d (-want +got):\n%s", e.Revision, diff)
		}
	}
}
