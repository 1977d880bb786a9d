package client_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// echo answers puts, and nothing else happens: what is measured is the client.
func echo(b *testing.B) *client.Client {
	f := newFakeNATS(b, func(c *fakeConn, a ask) { c.answer(a, 200, `{"revision":7}`+"\n") })
	return newClient(b, client.Options{Servers: []string{f.url()}})
}

func puts(b *testing.B, c *client.Client, flight int) {
	value := make([]byte, 256)
	for i := range value {
		value[i] = 'v'
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range flight {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := c.Put(b.Context(), "app/key", value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkPut puts over NATS, with so many calls under way at a time: against a server that does nothing, and against
// the real door to a ledger in memory.
func BenchmarkPut(b *testing.B) {
	for _, flight := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("echo/%d", flight), func(b *testing.B) { puts(b, echo(b), flight) })
		b.Run(fmt.Sprintf("door/%d", flight), func(b *testing.B) {
			puts(b, newClient(b, client.Options{Servers: []string{newNATS(b, gatewaytest.New("test"))}}), flight)
		})
	}
}

// BenchmarkWatches has many watches of one client read what one writer writes.
func BenchmarkWatches(b *testing.B) {
	for _, watches := range []int{1, 1000} {
		b.Run(fmt.Sprint(watches), func(b *testing.B) {
			c := newClient(b, client.Options{Servers: []string{newNATS(b, gatewaytest.New("test"))}})
			last := uint64(b.N + 1)
			var begun, done sync.WaitGroup
			begun.Add(watches)
			for range watches {
				done.Go(func() {
					for e, err := range c.WatchWith(b.Context(), client.WatchOptions{From: 1, Bookmarks: true}) {
						if err != nil {
							b.Error(err)
							return
						}
						if e.IsBookmark() && e.Revision == 1 {
							begun.Done()
						}
						if e.Revision >= last && !e.IsBookmark() {
							return
						}
					}
				})
			}
			begun.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := c.Put(b.Context(), "app/key", []byte("value")); err != nil {
					b.Fatal(err)
				}
			}
			done.Wait()
		})
	}
}
