package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// strange is a backend that does what none should.
type strange struct {
	*gatewaytest.Backend
	submit func(context.Context, gateway.Request) (commands.Answer, error)
	view   func(context.Context) error
}

func (s strange) Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error) {
	if s.submit == nil {
		return s.Backend.Submit(ctx, namespace, r)
	}
	return s.submit(ctx, r)
}

func (s strange) View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error {
	if s.view == nil {
		return s.Backend.View(ctx, namespace, o, fn)
	}
	return s.view(ctx)
}

func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func TestPanics(t *testing.T) {
	var log bytes.Buffer
	b := strange{Backend: gatewaytest.New("test")}
	b.submit = func(context.Context, gateway.Request) (commands.Answer, error) { panic("the secret") }
	h := api.New(api.Config{Backend: b, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	w := do(h, http.MethodPut, "/v1/default/kv/a", "1")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got status %d and %s, want 500 and nothing of the cause", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "the secret") || !strings.Contains(log.String(), `"stack"`) {
		t.Errorf("the log does not say why: %s", &log)
	}

	log.Reset()
	b.submit = func(context.Context, gateway.Request) (commands.Answer, error) { panic(http.ErrAbortHandler) }
	h = api.New(api.Config{Backend: b, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	defer func() {
		if got, _ := recover().(error); !errors.Is(got, http.ErrAbortHandler) {
			t.Errorf("got %v, want the panic to go on to the server", got)
		}
		if log.Len() > 0 {
			t.Errorf("an abort is no fault: %s", &log)
		}
	}()
	do(h, http.MethodPut, "/v1/default/kv/a", "1")
}

func TestFaultsAreLoggedUnderTheirRequest(t *testing.T) {
	var log bytes.Buffer
	b := gatewaytest.New("test")
	b.SetFaults(gatewaytest.Faults{View: errors.New("the secret")})
	w := do(api.New(api.Config{Backend: b, Logger: slog.New(slog.NewTextHandler(&log, nil))}), http.MethodGet, "/v1/default/kv/a", "")
	id := requestID.FindString(w.Body.String())
	if id == "" || !strings.Contains(log.String(), "request="+id[len(`"request":"`):len(id)-1]) {
		t.Errorf("the log does not have the request of %s: %s", w.Body, &log)
	}
	if !strings.Contains(log.String(), "the secret") || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the cause belongs into the log only; answer %s, log %s", w.Body, &log)
	}
}

// A backend that says nothing until the time is over: what was to be written may come to be, what was to be read has
// not been.
func TestDeadlines(t *testing.T) {
	b := strange{Backend: gatewaytest.New("test")}
	b.submit = func(ctx context.Context, _ gateway.Request) (commands.Answer, error) {
		<-ctx.Done()
		return commands.Answer{}, ctx.Err()
	}
	b.view = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	h := api.New(api.Config{Backend: b, RequestTimeout: time.Millisecond})
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{http.MethodPut, "/v1/default/kv/a", 504, "outcome-unknown"},
		{http.MethodGet, "/v1/default/kv/a", 503, "no-quorum"},
		{http.MethodGet, "/v1/default/services", 503, "no-quorum"},
		{http.MethodGet, "/v1/default/events", 503, "no-quorum"},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			w := do(h, c.method, c.target, "")
			if w.Code != c.status || !strings.Contains(w.Body.String(), `"code":"`+c.code+`"`) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.code)
			}
		})
	}
}

func TestObserve(t *testing.T) {
	type observed struct {
		Operation string
		Status    int
	}
	var got []observed
	b := gatewaytest.New("test")
	h := api.New(api.Config{Backend: b, Observe: func(operation string, status int, elapsed time.Duration) {
		if elapsed < 0 {
			t.Errorf("it took %v", elapsed)
		}
		got = append(got, observed{operation, status})
	}})
	do(h, http.MethodPut, "/v1/default/kv/a", "1")
	do(h, http.MethodGet, "/v1/default/kv/a", "")
	do(h, http.MethodGet, "/v1/default/kv/b", "")
	do(h, http.MethodGet, "/nowhere", "")
	do(h, http.MethodPost, "/v1/default/kv", "")
	b.Close()
	do(h, http.MethodGet, "/v1/default/events", "")
	want := []observed{{"kv.put", 201}, {"kv.get", 200}, {"kv.get", 404}, {"unknown", 404}, {"unknown", 405}, {"events", 503}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// Bodies that a script cannot hold.
func TestOddBodies(t *testing.T) {
	h := api.New(api.Config{Backend: gatewaytest.New("test")})
	for _, c := range []struct {
		name string
		body io.Reader
		size int64
		want string
	}{
		{"not UTF-8", strings.NewReader("{\"if\":\n \"\xff\"}"), 12, "line 2, column 3: a byte that is not UTF-8"},
		{"shorter than it was told", strings.NewReader("{}"), 9, "ended before its 9 bytes"},
		{"breaks off", io.MultiReader(strings.NewReader("{}"), brokenReader{}), -1, "broke off after 2 bytes"},
		{"deep", strings.NewReader(strings.Repeat("[", 20000)), 20000, "exceeded max depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/v1/default/txn", c.body)
			r.ContentLength = c.size
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("got %d %s, want 400 with %q", w.Code, w.Body, c.want)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestReasonsThatAreNone(t *testing.T) {
	b := gatewaytest.New("test")
	h := api.New(api.Config{Backend: b})
	for _, reason := range []string{"\xff", "a\x01b", "a\u0085b", "a\x7f"} {
		r := httptest.NewRequest(http.MethodPut, "/v1/default/kv/a", strings.NewReader("1"))
		r.Header.Set("Rollcall-Reason", reason)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q: got status %d, want 400", reason, w.Code)
		}
	}
	if got := b.Submitted(); got != 0 {
		t.Errorf("%d commands were decided", got)
	}
}

// A dry run counts everything and shows a bounded part of it.
func TestLongDryRun(t *testing.T) {
	b := gatewaytest.New("test")
	const keys = 1200
	for i := range keys {
		b.MustSubmit(event.Default, commands.PutKey{Key: fmt.Sprintf("k/%04d", i)})
	}
	before := b.Submitted()
	w := do(api.New(api.Config{Backend: b}), http.MethodDelete, "/v1/default/kv?prefix=k/&dry-run=true", "")
	var got struct {
		Events []json.RawMessage
		Total  int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %.200s", w.Code, err, w.Body)
	}
	if len(got.Events) != 1000 || got.Total != keys {
		t.Errorf("%d events of %d, want 1000 of %d", len(got.Events), got.Total, keys)
	}
	if b.Submitted() != before {
		t.Error("it was decided for good")
	}
}

// Pages of a list end at their size too, and together they are everything.
func TestLongListsComeInPages(t *testing.T) {
	b := gatewaytest.New("test")
	const keys = 40
	for i := range keys {
		b.MustSubmit(event.Default, commands.PutKey{Key: string(rune('a' + i)), Value: make([]byte, 400<<10)})
	}
	h := api.New(api.Config{Backend: b})
	after, seen, pages := "", 0, 0
	for {
		w := do(h, http.MethodGet, "/v1/default/kv?after="+after, "")
		page := decodePage(t, w)
		seen += len(page.Entries)
		pages++
		if after = page.Next; after == "" {
			break
		}
	}
	if seen != keys || pages < 2 {
		t.Errorf("got %d keys on %d pages, want %d on several", seen, pages, keys)
	}
}
