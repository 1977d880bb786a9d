package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient speaks to handlers, one server each.
func newClient(t testing.TB, o client.Options, handlers ...http.HandlerFunc) *client.Client {
	t.Helper()
	for _, h := range handlers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		o.Servers = append(o.Servers, s.URL)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o.HTTPClient = &http.Client{Transport: transport}
	if o.RetryFor == 0 {
		o.RetryFor = time.Minute // a busy machine is no reason to give up; who waits for the end of it says less
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func problem(w http.ResponseWriter, status int, code client.Code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(client.Problem{Title: "refused", Status: status, Code: code, Detail: detail}); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
}

// closedServer is the address of a server that is not there.
func closedServer(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ name, key, want string }{
		{"plain", "app/db-1/url_x.y~z", "app/db-1/url_x.y~z"},
		{"double slash", "a//b", "a//b"},
		{"leading slash", "/a", "/a"},
		{"dots", "../a/./b/..", "%2E%2E/a/%2E/b/%2E%2E"},
		{"three dots", "a/.../b", "a/.../b"},
		{"reserved", "a b%c?d#e&f+g", "a%20b%25c%3Fd%23e%26f%2Bg"},
		{"not ASCII", "ö/\xff", "%C3%B6/%FF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := client.Escape(tt.key); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Any key must reach a server as it is, whatever net/http and net/url think of its path.
func TestKeysArriveAsTheyAre(t *testing.T) {
	var got atomic.Value
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/default/kv/")
		key, err := url.PathUnescape(path)
		if !ok || err != nil || r.URL.EscapedPath() != strings.SplitN(r.RequestURI, "?", 2)[0] {
			problem(w, 400, "invalid-key", r.RequestURI)
			return
		}
		got.Store(key)
		fmt.Fprint(w, `{"revision":1}`)
	})
	check := func(t interface{ Fatalf(string, ...any) }, key string) {
		if _, err := c.Put(t.(interface{ Context() context.Context }).Context(), key, nil); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		if got.Load() != key {
			t.Fatalf("got key %q, want %q", got.Load(), key)
		}
	}
	for _, key := range []string{"a//b", "..", ".", "../..", "a/../b", "%", "%2F", "a%2Fb", "a?b=c#d", " ", "/", "//", "a/", "\xff\xfe", "ключ", ";a=b"} {
		check(t, key)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.StringN(1, 40, -1).Draw(t, "key")) })
}

func TestPutOptions(t *testing.T) {
	type sent struct {
		Method, Path, Query, Match, NoneMatch, Type, Reason, Body string
	}
	var got sent
	c := newClient(t, client.Options{Namespace: "blue", Reason: "routine"}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header
		got = sent{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, h.Get("If-Match"), h.Get("If-None-Match"), h.Get("Content-Type"), h.Get("Rollcall-Reason"), string(body)}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"revision":7,"warnings":["w"]}`)
	})
	for _, tt := range []struct {
		name    string
		options []client.WriteOption
		want    sent
	}{
		{"none", nil, sent{Reason: "routine"}},
		{"revision", []client.WriteOption{client.IfRevision(41)}, sent{Match: `"41"`, Reason: "routine"}},
		{"absent", []client.WriteOption{client.IfAbsent(), client.Reason("größer")}, sent{NoneMatch: "*", Reason: "größer"}},
		{"value", []client.WriteOption{client.IfValue([]byte("a&b=\x00"))}, sent{Query: "if-value=a%26b%3D%00", Reason: "routine"}},
		{"type and flags", []client.WriteOption{client.ContentType("image/png"), client.Flags(9)}, sent{Query: "flags=9", Type: "image/png", Reason: "routine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := c.Put(t.Context(), "k", []byte("v"), tt.options...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, client.Written{Revision: 7, Created: true, Warnings: []string{"w"}}); diff != "" {
				t.Errorf("answer (-got +want):\n%s", diff)
			}
			tt.want.Method, tt.want.Path, tt.want.Body = "PUT", "/v1/blue/kv/k", "v"
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("request (-got +want):\n%s", diff)
			}
		})
	}
	if _, err := c.Put(t.Context(), "k", nil, client.Reason("two\nlines")); err == nil {
		t.Error("a reason of two lines was sent")
	}
}

func TestProblems(t *testing.T) {
	var handler http.HandlerFunc
	c := newClient(t, client.Options{RetryFor: time.Millisecond}, func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	t.Run("condition", func(t *testing.T) {
		handler = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"12"`)
			problem(w, 412, client.ErrConditionFailed, "key is at 12")
		}
		_, err := c.Put(t.Context(), "k", nil, client.IfAbsent())
		var p *client.Problem
		if !errors.As(err, &p) || !errors.Is(err, client.ErrConditionFailed) || errors.Is(err, client.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
		if p.Status != 412 || p.Revision != 12 || p.Detail != "key is at 12" {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("not a problem document", func(t *testing.T) {
		handler = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }
		_, err := c.Get(t.Context(), "k")
		var p *client.Problem
		if !errors.As(err, &p) || p.Status != 502 || p.Code != "" {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("not JSON", func(t *testing.T) {
		handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }
		if _, err := c.Get(t.Context(), "k"); err == nil {
			t.Fatal("an answer that is not JSON was taken for an entry")
		}
	})
}

func TestRetries(t *testing.T) {
	type outcome struct {
		requests int32
		ok       bool
		code     client.Code
	}
	abort := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	refuse := func(code client.Code) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { problem(w, 503, code, "not now") }
	}
	plain503 := func(w http.ResponseWriter) { http.Error(w, "down", 503) }
	for _, tt := range []struct {
		name  string
		first func(http.ResponseWriter) // what happens to the first request
		write bool
		want  outcome
	}{
		{"a write that was refused for now", refuse(client.ErrNoQuorum), true, outcome{requests: 2, ok: true}},
		{"a read that was refused for now", refuse("busy"), false, outcome{requests: 2, ok: true}},
		{"a write whose connection broke", abort, true, outcome{requests: 2, ok: true}},
		{"a read whose connection broke", abort, false, outcome{requests: 2, ok: true}},
		{"a write that a stranger refused", plain503, true, outcome{requests: 2, ok: true}},
		{"a read that a stranger refused", plain503, false, outcome{requests: 2, ok: true}},
		{"a write of unknown outcome", func(w http.ResponseWriter) { problem(w, 504, client.ErrOutcomeUnknown, "?") }, true, outcome{requests: 2, ok: true}},
		{"a write whose condition fails", func(w http.ResponseWriter) { problem(w, 412, client.ErrConditionFailed, "?") }, true, outcome{requests: 1, code: client.ErrConditionFailed}},
		{"a write that met a fault", func(w http.ResponseWriter) { problem(w, 500, "internal", "?") }, true, outcome{requests: 1}},
		{"a read of a key that is not there", func(w http.ResponseWriter) { problem(w, 404, client.ErrNotFound, "?") }, false, outcome{requests: 1, code: client.ErrNotFound}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int32
			c := newClient(t, client.Options{}, func(w http.ResponseWriter, _ *http.Request) {
				if requests.Add(1) == 1 {
					tt.first(w)
					return
				}
				fmt.Fprint(w, `{"revision":1}`)
			})
			var err error
			if tt.write {
				_, err = c.Put(t.Context(), "k", []byte("v"))
			} else {
				_, err = c.Get(t.Context(), "k")
			}
			got := outcome{requests: requests.Load(), ok: err == nil}
			if tt.want.code != "" && errors.Is(err, tt.want.code) {
				got.code = tt.want.code
			}
			if got != tt.want {
				t.Errorf("got %+v (%v), want %+v", got, err, tt.want)
			}
		})
	}
}

// A server that is not there costs nothing but the attempt, for writes too, and is not asked again first.
func TestServersInTurn(t *testing.T) {
	var requests atomic.Int32
	c := newClient(t, client.Options{Servers: []string{closedServer(t)}}, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		fmt.Fprint(w, `{"revision":1}`)
	})
	for range 2 {
		if _, err := c.Put(t.Context(), "k", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("got %d requests, want 2", got)
	}
	nobody := newClient(t, client.Options{Servers: []string{closedServer(t)}})
	_, err := nobody.Put(t.Context(), "k", nil)
	if _, ok := errors.AsType[*client.UnreachableError](err); !ok {
		t.Errorf("got %v, want an UnreachableError", err)
	}
}

func TestListPages(t *testing.T) {
	var asked []string
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, fmt.Sprintf("after=%s at=%s keys=%s", q.Get("after"), q.Get("at"), q.Get("keys")))
		switch {
		case q.Get("keys") == "true":
			fmt.Fprint(w, `{"revision":9,"entries":["a/","b"]}`)
		case q.Get("after") == "":
			fmt.Fprint(w, `{"revision":9,"entries":[{"key":"a","value":"1"},{"key":"b","value_base64":"/w=="}],"next":"b"}`)
		default:
			fmt.Fprint(w, `{"revision":9,"entries":[{"key":"c","value":""}]}`)
		}
	})
	var got []string
	for e, err := range c.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s=%q", e.Key, e.Value))
	}
	for key, err := range c.Keys(t.Context(), "", "/") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	want := []string{`a="1"`, `b="\xff"`, `c=""`, "a/", "b"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("entries (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(asked, []string{"after= at= keys=", "after=b at=9 keys=", "after= at= keys=true"}); diff != "" {
		t.Errorf("requests (-got +want):\n%s", diff)
	}
}

func TestTxnJSON(t *testing.T) {
	var got bytes.Buffer
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := got.ReadFrom(r.Body); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, `{"succeeded":false,"revision":5,"failed":[1],"results":[{"revision":5,"deleted":2},{"entries":[{"key":"k","value":"v","revision":4}]}]}`)
	})
	weight := uint16(0)
	result, err := c.Txn(t.Context(), client.Txn{
		If: []client.Condition{
			client.KeyRevision("a", client.Equal, 4), client.KeyVersion("b", client.Greater, 2), client.KeyExists("c", false),
			client.KeyValue("d", client.NotEqual, []byte("x")), client.KeyValue("e", client.Equal, []byte{0xff}), client.PrefixEmpty(""),
		},
		Then: []client.Operation{
			{Put: &client.PutKey{Key: "k", Value: nil, Flags: 3}},
			{Put: &client.PutKey{Key: "l", Value: []byte{0}, ContentType: "x/y"}},
			{Register: &client.Instance{Service: "s", ID: "i", Address: "10.0.0.1", Weight: &weight}},
		},
		Else: []client.Operation{{Delete: client.Prefix("")}, {Get: client.Key("k")}, {Deregister: &client.InstanceRef{Service: "s", ID: "i"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"if":[{"key":"a","revision":4},{"key":"b","version":{"op":"\u003e","to":2}},{"exists":false,"key":"c"},` +
		`{"key":"d","value":{"op":"!=","to":"x"}},{"key":"e","value_base64":"/w=="},{"empty":true,"prefix":""}],` +
		`"then":[{"put":{"key":"k","value":"","flags":3}},{"put":{"key":"l","value_base64":"AA==","content_type":"x/y"}},` +
		`{"register":{"service":"s","id":"i","address":"10.0.0.1","weight":0}}],` +
		`"else":[{"delete":{"prefix":""}},{"get":{"key":"k"}},{"deregister":{"service":"s","id":"i"}}]}`
	if diff := cmp.Diff(got.String(), want); diff != "" {
		t.Errorf("request (-got +want):\n%s", diff)
	}
	wantResult := client.TxnResult{Revision: 5, Failed: []int{1}, Results: []client.Result{
		{Revision: 5, Deleted: 2, Entries: []client.Entry{}},
		{Entries: []client.Entry{{Key: "k", Value: []byte("v"), Revision: 4}}},
	}}
	wantResult.Raw = result.Raw // as the server above wrote it
	if diff := cmp.Diff(result, wantResult); diff != "" {
		t.Errorf("result (-got +want):\n%s", diff)
	}
}

func TestNewRefusesAddresses(t *testing.T) {
	for _, server := range []string{"127.0.0.1:7600", "ftp://x", "http://", "http://x?y=z", "http://[::1"} {
		if _, err := client.New(client.Options{Servers: []string{server}}); err == nil {
			t.Errorf("server %q was accepted", server)
		}
	}
}
