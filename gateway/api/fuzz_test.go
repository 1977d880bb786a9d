package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

type page struct {
	Entries []json.RawMessage
	Next    string
}

func decodePage(t *testing.T, w *httptest.ResponseRecorder) (p page) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d: %.300s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// FuzzPath: whatever the key, and however much of it is escaped, the command that the door submits has that key.
func FuzzPath(f *testing.F) {
	for _, key := range []string{"a", "a/b", "a//b", "..", "../../services", "%", "%2F", "a%2", "?", "#", " ", "+", "é", "\xff", "\x00", ".", "//", "a;b=c"} {
		f.Add(key, uint64(0))
		f.Add(key, ^uint64(0))
	}
	f.Fuzz(func(t *testing.T, key string, escaped uint64) {
		var got string
		b := strange{Backend: gatewaytest.New("test")}
		b.submit = func(_ context.Context, r gateway.Request) (commands.Answer, error) {
			got = r.Command.(commands.PutKey).Key
			return commands.Answer{Revision: 2, Results: []commands.Result{{Revision: 2}}}, nil
		}
		// Letters and slashes are escaped where a bit says so, everything else always.
		var path strings.Builder
		for i := range len(key) {
			c := key[i]
			plain := c == '/' || c == '.' || 'a' <= c && c <= 'z'
			if plain && escaped>>(i%64)&1 == 0 {
				path.WriteByte(c)
			} else {
				fmt.Fprintf(&path, "%%%02x", c)
			}
		}
		raw := "PUT /v1/default/kv/" + path.String() + " HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		w := httptest.NewRecorder()
		api.New(api.Config{Backend: b}).ServeHTTP(w, r)
		if w.Code != http.StatusOK || got != key {
			t.Errorf("path %q: got status %d and key %q, want %q", path.String(), w.Code, got, key)
		}
	})
}

// FuzzTxn: no body makes the door fault, and what it takes is JSON that says nothing twice and nothing unknown.
func FuzzTxn(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"if":[{"key":"a","revision":1}],"then":[{"put":{"key":"a","value":"1"}}],"else":[{"get":{"prefix":""}}]}`,
		`{"if":[{"key":"a","value":{"op":"<","to":"b"}},{"prefix":"p","empty":true}]}`,
		`{"then":[{"register":{"service":"s","id":"i","address":"::1","meta":{"a":"b"},"tags":["x"],"port":1}}]}`,
		`{"then":[{"put":{"key":"\ud83d\ude00","value_base64":"AA=="}}]}`, `{"then":[{"delete":{"key":"a"}},{"deregister":{"service":"s","id":"i"}}]}`,
		`{"if":[{"key":"a","session":"7"}],"then":[{"put":{"key":"a","value":"1","ttl":"30s"}},{"put":{"key":"d/","ttl":"1m"}}]}`,
		`{"then":[{"put":{"key":"a","value":"1","session":"7"}},{"register":{"service":"s","id":"i","address":"::1","session":"7"}}]}`,
		`{"then":null}`, `[`, `{"if":[{"key":"a","exists":tru`, `{"a":1}`, "{\"if\":\"\xff\"}", `{"then":[{"put":{"key":"\ud800"}}]}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		b := gatewaytest.New("test")
		h := api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler)})
		w := do(h, http.MethodPost, "/v1/default/txn", body)
		switch w.Code {
		case http.StatusOK:
			decoder := json.NewDecoder(strings.NewReader(body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&strictTxn{}); err != nil {
				t.Errorf("%q was taken: %v", body, err)
			}
		case http.StatusConflict: // there is no session in this backend
			if !strings.Contains(body, "session") {
				t.Errorf("%q was refused with %s", body, w.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if b.Submitted() != 0 {
				t.Errorf("%q was refused with %s, and decided", body, w.Body)
			}
		default:
			t.Errorf("%q: got status %d: %s", body, w.Code, w.Body)
		}
	})
}

// strictTxn is the body of a transaction once more, as loosely as encoding/json is to read it.
type strictTxn struct {
	If []struct {
		Key, Prefix          *string
		Revision, Version    any
		CreateRevision       any `json:"create_revision"`
		Value, Exists, Empty any
		Session              any
		ValueBase64          any `json:"value_base64"`
	}
	Then, Else []struct {
		Put *struct {
			Key, Value, Flags any
			TTL, Session      any
			ValueBase64       any `json:"value_base64"`
			ContentType       any `json:"content_type"`
		}
		Delete, Get *struct{ Key, Prefix *string }
		Register    map[string]any
		Deregister  *struct{ Service, ID string }
	}
}

// FuzzFilter: the events that pass a filter are those that a plain reading of its rule lets pass.
func FuzzFilter(f *testing.F) {
	for _, subject := range []string{"", ">", "kv.>", "kv.*", "kv.a.b", "kv.a.>", "*.*", "service.web.*", "kv..a", "kv.> ", "kv.a%2Eb", "kv.%"} {
		f.Add(subject)
	}
	b := gatewaytest.New("test")
	seed(b, "a", "a/b", "a.b", "a//b", "/x", "b")
	b.MustSubmit(event.Default, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "w.1", Address: "::1"}})
	h := api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	all := subjects(f, do(h, http.MethodGet, "/v1/default/events", ""))
	f.Fuzz(func(t *testing.T, subject string) {
		w := do(h, http.MethodGet, "/v1/default/events?subject="+url.QueryEscape(subject), "")
		if w.Code == http.StatusBadRequest {
			return
		}
		want := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !passes(subject, s) })
		if got := subjects(t, w); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", subject, got, want)
		}
	})
}

func subjects(t testing.TB, w *httptest.ResponseRecorder) (all []string) {
	t.Helper()
	for line := range strings.Lines(w.Body.String()) {
		var e gateway.CloudEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e.Subject)
	}
	return all
}

func passes(filter, subject string) bool {
	if filter == "" {
		return true
	}
	want, got := strings.Split(filter, "."), strings.Split(subject, ".")
	if want[len(want)-1] == ">" {
		want = want[:len(want)-1]
		if len(got) <= len(want) {
			return false
		}
		got = got[:len(want)]
	}
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == "*" || w == g })
}
