package probe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

// BenchmarkLook measures what one look costs, the target in the same process included.
func BenchmarkLook(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }))
	defer s.Close()
	for name, check := range map[string]event.Check{
		"http": httpCheck(s.URL),
		"tcp":  {TCP: &event.TCPCheck{Address: strings.TrimPrefix(s.URL, "http://")}},
	} {
		check.Timeout = event.Time(10 * time.Second)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := probe.Prober{}
			for b.Loop() {
				if r := p.Look(b.Context(), check, event.Instance{}, nil); r.Status != event.Passing {
					b.Fatal(r)
				}
			}
		})
	}
}
