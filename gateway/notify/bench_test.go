package notify

import (
	"testing"

	"github.com/rollcall/rollcall/log/event"
)

// BenchmarkFill is the way of an event into a stream at start; BenchmarkLive the same with one live subscriber.
func BenchmarkFill(b *testing.B) {
	l := newLedgers(b)
	value := make([]byte, 256)
	for i := range value {
		value[i] = 'a' + byte(i%26)
	}
	bodies := make([]event.Body, b.N)
	for i := range bodies {
		bodies[i] = event.KeySet{Key: "app/database/pool/size", Value: value, Version: uint64(i + 1)}
	}
	l.add(event.Default, bodies...)
	b.ReportAllocs()
	b.ResetTimer()
	s := startServer(b, l, func(c *Config) { c.WindowBytes = 1 << 40 })
	b.StopTimer()
	if got := stats(s, event.Default).Revision; got != event.Revision(b.N+1) {
		b.Fatalf("got revision %d, want %d", got, b.N+1)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkLive(b *testing.B) {
	l := newLedgers(b)
	value := make([]byte, 256)
	for i := range value {
		value[i] = 'a' + byte(i%26)
	}
	s := startServer(b, l)
	nc := guest(b, s)
	sub, err := nc.SubscribeSync("rollcall.default.>")
	if err != nil {
		b.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		b.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
	bodies := make([]event.Body, b.N)
	for i := range bodies {
		bodies[i] = event.KeySet{Key: "app/database/pool/size", Value: value, Version: uint64(i + 1)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	l.add(event.Default, bodies...)
	for range b.N {
		if _, err := sub.NextMsg(patience); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
