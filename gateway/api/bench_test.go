package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// sink is an answer that nobody reads.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// BenchmarkPut is the door's own share of a put: what is behind it answers at once.
func BenchmarkPut(b *testing.B) {
	backend := strange{Backend: gatewaytest.New("test")}
	backend.submit = func(context.Context, gateway.Request) (commands.Answer, error) {
		return commands.Answer{Revision: 123456, Results: []commands.Result{{Revision: 123456}}}, nil
	}
	h := api.New(api.Config{Backend: backend})
	value := make([]byte, 256)
	body := bytes.NewReader(value)
	r, err := http.NewRequest(http.MethodPut, "http://test/v1/default/kv/app/database/url", io.NopCloser(body))
	if err != nil {
		b.Fatal(err)
	}
	r.ContentLength = 256
	r.Header.Set("Content-Type", "text/plain")
	run(b, h, r, http.StatusOK, func() { body.Reset(value) })
}

// BenchmarkGet is a get of a key from the backend in memory.
func BenchmarkGet(b *testing.B) {
	backend := gatewaytest.New("test")
	seed(backend, "app/database/url")
	r, err := http.NewRequest(http.MethodGet, "http://test/v1/default/kv/app/database/url", nil)
	if err != nil {
		b.Fatal(err)
	}
	run(b, api.New(api.Config{Backend: backend}), r, http.StatusOK, func() {})
}

func BenchmarkTxn(b *testing.B) {
	backend := strange{Backend: gatewaytest.New("test")}
	backend.submit = func(context.Context, gateway.Request) (commands.Answer, error) {
		return commands.Answer{Revision: 7, Branch: commands.BranchThen, Results: []commands.Result{{Revision: 7}, {Revision: 7}}}, nil
	}
	txn := []byte(`{"if":[{"key":"a","revision":{"op":">","to":5}}],"then":[{"put":{"key":"a","value":"some text"}},{"put":{"key":"b","value":"other text"}}]}`)
	body := bytes.NewReader(txn)
	r, err := http.NewRequest(http.MethodPost, "http://test/v1/default/txn", io.NopCloser(body))
	if err != nil {
		b.Fatal(err)
	}
	r.ContentLength = body.Size()
	run(b, api.New(api.Config{Backend: backend}), r, http.StatusOK, func() { body.Reset(txn) })
}

func run(b *testing.B, h http.Handler, r *http.Request, want int, rewind func()) {
	b.Helper()
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		rewind()
		clear(w.header)
		h.ServeHTTP(w, r)
		if w.status != want {
			b.Fatalf("got status %d, want %d", w.status, want)
		}
	}
}

// The same over messages: BenchmarkPutCall, BenchmarkGetCall and BenchmarkTxnCall.
func BenchmarkPutCall(b *testing.B) {
	backend := strange{Backend: gatewaytest.New("test")}
	backend.submit = func(context.Context, gateway.Request) (commands.Answer, error) {
		return commands.Answer{Revision: 123456, Results: []commands.Result{{Revision: 123456}}}, nil
	}
	value := strings.Repeat("some text, ", 23)
	for name, body := range map[string]string{
		"plain": `{"key":"app/database/url","value":"` + value + `"}`,
		"cas":   `{"key":"app/database/url","value":"` + value + `","if":[{"revision":123455}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			runCall(b, api.New(api.Config{Backend: backend}), gateway.Call{
				Namespace: "default", Operation: "kv.put", Header: map[string][]string{"Idempotency-Key": {"0123456789abcdef"}}, Body: []byte(body),
			})
		})
	}
}

func BenchmarkGetCall(b *testing.B) {
	backend := gatewaytest.New("test")
	seed(backend, "app/database/url")
	runCall(b, api.New(api.Config{Backend: backend}), gateway.Call{Namespace: "default", Operation: "kv.get", Body: []byte(`{"key":"app/database/url"}`)})
}

func BenchmarkTxnCall(b *testing.B) {
	backend := strange{Backend: gatewaytest.New("test")}
	backend.submit = func(context.Context, gateway.Request) (commands.Answer, error) {
		return commands.Answer{Revision: 7, Branch: commands.BranchThen, Results: []commands.Result{{Revision: 7}, {Revision: 7}}}, nil
	}
	runCall(b, api.New(api.Config{Backend: backend}), gateway.Call{Namespace: "default", Operation: "txn", Body: []byte(
		`{"if":[{"key":"a","revision":{"op":">","to":5}}],"then":[{"put":{"key":"a","value":"some text"}},{"put":{"key":"b","value":"other text"}}]}`)})
}

func runCall(b *testing.B, door *api.Door, c gateway.Call) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if r := door.Do(b.Context(), c); r.Status != http.StatusOK {
			b.Fatalf("got %d: %s", r.Status, r.Body)
		}
	}
}
