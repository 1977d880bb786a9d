package notify

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/log/event"
)

// heap is how much memory lives.
func heap() int64 {
	for range 3 { // what a pool has is dropped with the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Many readers that take nothing hold no more together than was said, though none of them comes near its own bound, and who
// reads gets everything.
func TestPendingOfAllTogether(t *testing.T) {
	const readers, total = 16, PendingBytesMin
	l := newLedgers(t)
	s := startServer(t, l, func(c *Config) { c.PendingBytes, c.WindowBytes = total, WindowBytesMin })
	nc := guest(t, s)
	live := subscribe(t, nc, "rollcall.default.>")
	for range readers {
		defer dialMute(t, s).Close()
	}
	few := guest(t, s)
	if _, err := few.ChanSubscribe("rollcall.default.kv.small", make(chan *nats.Msg, 1)); err != nil {
		t.Fatal(err)
	}
	before := heap()
	value := []byte(strings.Repeat("x", 512<<10))
	put := func() {
		head := l.add(event.Default, event.KeySet{Key: "big", Value: value})
		if m := receive(t, live); m.Header.Get(HeaderRevision) != fmt.Sprint(uint64(head)) {
			t.Fatalf("the other reader got revision %s, want %d", m.Header.Get(HeaderRevision), head)
		}
		if _, err := s.relieve(); err != nil { // as is done by itself, but in time however fast this machine is
			t.Fatal(err)
		}
	}
	for range 40 { // up to 27 MiB for each, 430 MiB together
		put()
	}
	eventually(t, "enough of them are cut off", func() bool { return s.crowded.Load() > 0 })
	eventually(t, "what waits is within the bound", func() bool {
		waits, err := s.relieve()
		return err == nil && waits <= total
	})
	put()
	if n := s.crowded.Load(); n >= readers {
		t.Errorf("%d of %d were cut off, want some to stay: what waits for them is within the bound", n, readers)
	}
	if got := s.Stats().SlowClients; got < s.crowded.Load() {
		t.Errorf("%d are counted as slow, want %d at least", got, s.crowded.Load())
	}
	if few.Statistics.Reconnects != 0 || nc.Statistics.Reconnects != 0 {
		t.Error("a client that reads was cut off")
	}
	const others = 32 << 20 // the window, and the others
	// Those who were cut off hold what they had until the write that they block has taken ten seconds.
	if grew := heap() - before; grew > 3*total+others {
		t.Errorf("%d MiB more live than before, want %d at most for the readers and %d beside", grew>>20, 3*total>>20, others>>20)
	} else {
		t.Logf("%d MiB more live than before", grew>>20)
	}
}

// Readers that catch up with a full window as fast as they can are not cut off, however large its events: stock consumers
// are sent more at once than a socket takes.
func TestCatchUpWithLargeEvents(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	value := []byte(strings.Repeat("x", 512<<10))
	var head event.Revision
	for range 80 { // 55 MiB, as they are sent
		head = l.add(event.Default, event.KeySet{Key: "big", Value: value})
	}
	reaches(t, s, event.Default, head)
	nc := guest(t, s)
	for range 5 {
		c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream(event.Default), jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		messages, err := c.Messages()
		if err != nil {
			t.Fatal(err)
		}
		for want := uint64(1); want <= uint64(head); want++ {
			m, err := messages.Next(jetstream.NextContext(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != want {
				t.Fatalf("got %v (%v), want %d", meta, err, want)
			}
		}
		messages.Stop()
	}
	if n := s.Stats().SlowClients; n != 0 {
		t.Errorf("%d were cut off as slow, want none", n)
	}
}

// BenchmarkRelieve is a look at what waits for a thousand clients.
func BenchmarkRelieve(b *testing.B) {
	l := newLedgers(b)
	s := startServer(b, l)
	for range 1000 {
		guest(b, s)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.relieve(); err != nil {
			b.Fatal(err)
		}
	}
}
