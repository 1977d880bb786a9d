package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/server"
)

func startServer(tb testing.TB) *server.Server {
	tb.Helper()
	s, err := server.Start(context.Background(), server.Config{
		Data: tb.TempDir(), HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: server.Duration(10 * time.Millisecond), RequestTimeout: server.Duration(time.Minute), // a busy machine may take long
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// BenchmarkSubmit measures a put through Raft without HTTP, at several numbers of callers; BenchmarkPut the same
// through HTTP, with the client in the same process.
func BenchmarkSubmit(b *testing.B) {
	s := startServer(b)
	value := make([]byte, 256)
	benchmarkCallers(b, func(i int64) error {
		_, err := s.Submit(context.Background(), "default", gateway.Request{
			Command: commands.PutKey{Key: fmt.Sprintf("bench/%d", i%10_000), Value: value},
		})
		return err
	})
}

func BenchmarkPut(b *testing.B) {
	s := startServer(b)
	value := make([]byte, 256)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	benchmarkCallers(b, func(i int64) error {
		r, err := http.NewRequest(http.MethodPut, fmt.Sprintf("http://%s/v1/default/kv/bench/%d", s.Endpoints().HTTP, i%10_000), bytes.NewReader(value))
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode >= 300 {
			err = fmt.Errorf("put: %s", answer.Status)
		}
		return err
	})
}

func benchmarkCallers(b *testing.B, do func(i int64) error) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var next atomic.Int64
			done := make(chan error, callers)
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				go func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if err := do(i); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
