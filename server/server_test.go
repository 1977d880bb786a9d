package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/server"
)

// TestTakenRaftPort refuses a port that somebody else listens on, and does not hold the server to it afterwards.
func TestTakenRaftPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := server.Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", Raft: taken.Addr().String(), NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: server.Duration(10 * time.Millisecond),
	}
	if s, err := server.Start(context.Background(), c); err == nil {
		t.Error("a port that is taken was taken again", s.Close())
	}
	c.Raft = "127.0.0.1:0"
	s, err := server.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadAtTime reads the past and the edges of time.
func TestReadAtTime(t *testing.T) {
	s := startServer(t)
	shown := func(at time.Time) (revision event.Revision) {
		t.Helper()
		err := s.View(context.Background(), event.Default, gateway.ReadOptions{AtTime: at}, func(v gateway.View) error {
			revision = v.Head()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	head, err := s.Head(event.Default)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at   time.Time
		want event.Revision
	}{
		"now":                     {time.Now(), head},
		"an hour ago":             {time.Now().Add(-time.Hour), 0},
		"before 1970":             {time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), 0},
		"beyond what nanos count": {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), head},
	} {
		if got := shown(c.at); got != c.want {
			t.Errorf("%s: revision %d, want %d", name, got, c.want)
		}
	}
}
