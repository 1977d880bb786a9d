package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// TestOperations holds the client's table of operations to the server's document.
func TestOperations(t *testing.T) {
	raw, err := os.ReadFile("../testdata/http/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{}
	for path, methods := range document.Paths {
		for method, o := range methods {
			if o.ID != "" && o.ID != "openapi" {
				want[o.ID] = [2]string{strings.ToUpper(method), path}
			}
		}
	}
	if diff := cmp.Diff(client.Operations(), want); diff != "" {
		t.Errorf("operations (-client +document):\n%s", diff)
	}
}

// FuzzText holds the client's JSON texts to encoding/json.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\n\r\t\x00\x1f\x7f", "ä\u2028<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		var got string
		if err := json.Unmarshal(client.AppendText(s), &got); err != nil || got != s {
			t.Errorf("%q is written as %s, which is %q (%v)", s, client.AppendText(s), got, err)
		}
	})
}

// A request over NATS names its operation and has everything in one object.
func TestRequestsOverNATS(t *testing.T) {
	var got atomic.Value
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		got.Store(a)
		c.answer(a, 200, `{"revision":7}`)
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}})
	text := func(a ask) string {
		raw, _ := json.Marshal(a.body)
		return a.namespace + " " + a.operation + " " + string(raw)
	}
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		call func() error
		want string
	}{
		{"put", func() error {
			_, err := c.Put(ctx, "a/b", []byte("x\"y"), client.Flags(3), client.TTL(time.Minute), client.ContentType("x/y"))
			return err
		}, `default kv.put {"content_type":"x/y","flags":3,"key":"a/b","ttl":"1m0s","value":"x\"y"}`},
		{"bytes", func() error { _, err := c.Put(ctx, "a", []byte{0xff}); return err }, `default kv.put {"key":"a","value_base64":"/w=="}`},
		{"nothing", func() error { _, err := c.Put(ctx, "a", nil); return err }, `default kv.put {"key":"a","value":""}`},
		{"condition", func() error { _, err := c.Delete(ctx, "a", client.IfValue([]byte("v"))); return err }, `default kv.delete {"if":[{"value":"v"}],"key":"a"}`},
		{"refresh", func() error { _, err := c.Refresh(ctx, "a"); return err }, `default kv.put {"key":"a","refresh":true}`},
		{"list", func() error {
			_, err := c.In("x y").ListPage(ctx, "1", "", 5, client.At(9), client.Stale())
			return err
		}, `x%20y kv.list {"at":9,"consistency":"stale","limit":5,"prefix":"1"}`},
		{"tags", func() error {
			_, err := c.Instances(ctx, "web", client.Query{Tags: []string{"a"}, Passing: true})
			return err
		}, `default services.get {"passing":true,"service":"web","tag":["a"]}`},
		{"fields", func() error { _, err := c.PutNode(ctx, client.Node{Name: "n", Address: "h"}); return err }, `default nodes.put {"address":"h","node":"n"}`},
		{"cluster", func() error { _, err := c.Members(ctx); return err }, `_system members.list {}`},
		{"rehearsal", func() error {
			var out client.Rehearsal
			_, err := c.TxnJSON(ctx, []byte(` {"then":[]} `), client.DryRun(&out))
			return err
		}, `default txn {"dry_run":true,"then":[]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(); err != nil {
				t.Fatal(err)
			}
			if a, _ := got.Load().(ask); text(a) != tt.want {
				t.Errorf("got  %s\nwant %s", text(a), tt.want)
			}
		})
	}
	var out client.Rehearsal
	if _, err := c.TxnJSON(ctx, []byte(`{"Dry_Run":false,"then":[]}`), client.DryRun(&out)); err == nil || !strings.Contains(err.Error(), "Dry_Run") {
		t.Errorf("got %v, want that the transaction cannot undo the dry run", err)
	}
}

// What has no answer may have been done, and is tried again elsewhere under the same name.
func TestFailuresOverNATS(t *testing.T) {
	fine := func(c *fakeConn, a ask) { c.answer(a, 201, `{"revision":7}`+"\n") }
	for _, tt := range []struct {
		name    string
		fail    func(*fakeConn, ask)
		unknown bool // alone
	}{
		{"broken", func(c *fakeConn, _ ask) { c.Close() }, true},
		{"silent", func(*fakeConn, ask) {}, true},
		{"no responders", func(c *fakeConn, a ask) { c.send(a.reply, " 503", "") }, false},
		{"without a status", func(c *fakeConn, a ask) { c.send(a.reply, "X: y\r\n", "{}") }, true},
		{"stopping", func(c *fakeConn, a ask) { c.refuse(a, 503, "stopping", "") }, false},
		{"unknown", func(c *fakeConn, a ask) { c.refuse(a, 504, client.ErrOutcomeUnknown, "") }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var keys []string
			var mu sync.Mutex
			note := func(then func(*fakeConn, ask)) func(*fakeConn, ask) {
				return func(c *fakeConn, a ask) {
					mu.Lock()
					keys = append(keys, a.key)
					mu.Unlock()
					then(c, a)
				}
			}
			bad, good := newFakeNATS(t, note(tt.fail)), newFakeNATS(t, note(fine))
			c := newClient(t, client.Options{Servers: []string{bad.url(), good.url()}})
			silent := tt.name == "silent"
			if silent { // all others answer, however late
				c.SetAttempt(200 * time.Millisecond)
			}
			w, err := c.Put(t.Context(), "a", nil)
			mu.Lock()
			tried := slices.Clone(keys)
			mu.Unlock()
			// An answer that takes longer than silence may is waited for anew.
			if many := len(tried) == 2 || silent && len(tried) > 2; err != nil || w.Revision != 7 || !w.Created || !many || len(slices.Compact(slices.Clone(tried))) != 1 || tried[0] == "" {
				t.Errorf("got %+v, %v with keys %q", w, err, tried)
			}
			c = newClient(t, client.Options{Servers: []string{bad.url()}, RetryFor: 10 * time.Millisecond})
			if silent {
				c.SetAttempt(20 * time.Millisecond)
			}
			if _, err = c.Put(t.Context(), "a", nil); err == nil || errors.Is(err, client.ErrOutcomeUnknown) != tt.unknown {
				t.Errorf("alone: got %v, want an unknown outcome: %v", err, tt.unknown)
			}
			if _, err = c.Get(t.Context(), "a"); err == nil || errors.Is(err, client.ErrOutcomeUnknown) && tt.name != "unknown" {
				t.Errorf("reading: got %v", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		c := newClient(t, client.Options{Servers: []string{strings.Replace(closedServer(t), "http", "nats", 1)}})
		var unreachable *client.UnreachableError
		if _, err := c.Put(t.Context(), "a", nil); !errors.As(err, &unreachable) || errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("got %v, want that nobody could be reached", err)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		f := newFakeNATS(t, func(c *fakeConn, a ask) { c.refuse(a, 412, client.ErrConditionFailed, "no", "ETag: \"5\"\r\n") })
		c := newClient(t, client.Options{Servers: []string{f.url()}})
		_, err := c.Put(t.Context(), "a", nil)
		var p *client.Problem
		if !errors.As(err, &p) || p.Revision != 5 || p.Status != 412 || p.Detail != "no" || p.Server != f.url() {
			t.Errorf("got %+v", p)
		}
	})
}

// Thousands of calls share a connection, and all of them learn at once that it broke.
func TestCallsShareAConnection(t *testing.T) {
	const calls = 2000
	var asked atomic.Int64
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		if asked.Add(1) == calls {
			c.Close() // none of them was answered
		}
		if asked.Load() > calls {
			c.answer(a, 200, `{"revision":7}`)
		}
	})
	c := newClient(t, client.Options{Servers: []string{f.url()}, RetryFor: time.Minute})
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := c.Put(t.Context(), "a", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.count(); n != 2 {
		t.Errorf("there were %d connections, want 2", n)
	}
}

func TestClose(t *testing.T) {
	asked := make(chan struct{}, 1)
	f := newFakeNATS(t, func(*fakeConn, ask) { asked <- struct{}{} })
	c := newClient(t, client.Options{Servers: []string{f.url()}, RetryFor: time.Minute})
	under := make(chan error, 1)
	go func() {
		_, err := c.Put(context.Background(), "a", nil)
		under <- err
	}()
	<-asked
	c.Close()
	c.Close()
	if err := <-under; !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("under way: got %v, want that it is closed, and the outcome unknown", err)
	}
	if _, err := c.In("other").Get(t.Context(), "a"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("afterwards: got %v", err)
	}
	for _, err := range c.Watch(t.Context(), "", 0) {
		if !errors.Is(err, client.ErrClosed) {
			t.Errorf("watch: got %v", err)
		}
	}
}

// What only HTTP can carry goes to a server that speaks it.
func TestMixedServers(t *testing.T) {
	large := false
	f := newFakeNATS(t, func(c *fakeConn, a ask) {
		if large {
			c.refuse(a, 413, client.ErrTooLarge, "the answer has many bytes")
			return
		}
		c.answer(a, 200, `{"revision":7}`)
	})
	var web []string
	handler := func(w http.ResponseWriter, r *http.Request) {
		web = append(web, r.URL.Path)
		fmt.Fprint(w, `{"revision":8,"key":"\ufffd"}`)
	}
	both := newClient(t, client.Options{Servers: []string{f.url()}}, handler)
	alone := newClient(t, client.Options{Servers: []string{f.url()}})
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		call func(*client.Client) error
		want string
	}{
		{"snapshot", func(c *client.Client) error { _, err := c.Snapshot(ctx, &bytes.Buffer{}); return err }, "/v1/_system/snapshot"},
		{"a key that is not UTF-8", func(c *client.Client) error { _, err := c.Delete(ctx, "\xff"); return err }, "/v1/default/kv/\xff"},
		{"a long document", func(c *client.Client) error {
			_, err := c.PutDocument(ctx, "a", client.JSON, make([]byte, 1<<20))
			return err
		}, "/v1/default/kv"},
		{"a large answer", func(c *client.Client) error { large = true; _, err := c.Services(ctx); return err }, "/v1/default/services"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			web = nil
			if err := tt.call(both); err != nil || len(web) != 1 || web[0] != tt.want {
				t.Errorf("got %q (%v), want %s", web, err, tt.want)
			}
			if err := tt.call(alone); err == nil || !strings.Contains(err.Error(), "http://") && !errors.Is(err, client.ErrTooLarge) {
				t.Errorf("alone: got %v", err)
			}
		})
	}
}

// A list of long values comes in pages that fit into messages.
func TestLongListsOverNATS(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{Servers: []string{newNATS(t, b)}})
	c.SetAttempt(time.Minute) // megabytes take their time on a busy machine
	const keys = 20           // three pages
	for i := range keys {
		must(c.Put(t.Context(), fmt.Sprintf("k/%02d", i), bytes.Repeat([]byte("v"), 500_000)))(t)
	}
	n := 0
	for e, err := range c.List(t.Context(), "k/") {
		if err != nil || e.Key != fmt.Sprintf("k/%02d", n) || len(e.Value) != 500_000 {
			t.Fatalf("got %q with %d bytes (%v)", e.Key, len(e.Value), err)
		}
		n++
	}
	if n != keys {
		t.Errorf("got %d keys, want %d", n, keys)
	}
	next := uint64(1)
	for e, err := range c.Events(t.Context(), client.Range{}) {
		if err != nil || e.Revision != next {
			t.Fatalf("got revision %d (%v), want %d", e.Revision, err, next)
		}
		next++
	}
	if next != keys+2 {
		t.Errorf("the replay ended before revision %d", next)
	}
}

func TestServerAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"nats://127.0.0.1:4222": "", "http://h:1/base": "", "tls://h:1": "not spoken over TLS", "nats://": "must look like",
		"nats://h:1/x": "no path", "nats://h:1?x=y": "neither a query", "redis://h:1": "must look like",
	} {
		c, err := client.New(client.Options{Servers: []string{address}})
		if err == nil {
			c.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
}
