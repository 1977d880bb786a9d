package server

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestCloseAnswersFirst closes a server that is registering and renewing: what such a request waits for goes on until the last
// of them is answered, so that none is cut off, nor waits for its time to be over.
func TestCloseAnswersFirst(t *testing.T) {
	var said journal
	s, err := Start(t.Context(), Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: Duration(10 * time.Millisecond), RequestTimeout: Duration(time.Minute),
		Logger: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: commands.CreateSession{TTL: event.Time(time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + s.Endpoints().HTTP + "/v1/default/"
	var clients sync.WaitGroup
	var answered atomic.Int64
	many := make(chan struct{})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	put := func(path string, body func(int) string) {
		clients.Go(func() {
			for k := 1; ; k++ {
				request, err := http.NewRequest(http.MethodPut, base+path, strings.NewReader(body(k)))
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("Content-Type", "application/json")
				a, err := client.Do(request)
				if err != nil {
					return // nobody listens any more
				}
				b, err := io.ReadAll(a.Body)
				a.Body.Close()
				if a.StatusCode >= 300 || err != nil {
					t.Errorf("PUT %s: %d %s, %v", path, a.StatusCode, b, err)
					return
				}
				if answered.Add(1) == 100 {
					close(many)
				}
			}
		})
	}
	for i := range 8 {
		put(fmt.Sprintf("services/web/instances/i%d", i), func(k int) string { return fmt.Sprintf(`{"address":"192.0.2.1","port":%d}`, k) })
		put(fmt.Sprintf("sessions/%d/keepalive", made.Revision), func(int) string { return "" })
	}
	select {
	case <-many:
	case <-time.After(time.Minute):
		t.Error("few requests are answered")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	clients.Wait()
	if strings.Contains(said.String(), "cut off") {
		t.Errorf("it said: %s", said.String())
	}
}
