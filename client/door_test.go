package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/gateway/notify"
)

// newDoor is the real HTTP door over a backend in memory.
func newDoor(t testing.TB) http.Handler {
	t.Helper()
	return newDoorTo(t, gatewaytest.New("test"))
}

func newDoorTo(t testing.TB, b *gatewaytest.Backend) *api.Door {
	t.Helper()
	streams, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	return api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), Streams: streams, Bookmark: 20 * time.Millisecond, RequestTimeout: time.Minute})
}

// newNATS is the real NATS door to a backend, at an address.
func newNATS(t testing.TB, b *gatewaytest.Backend) string {
	t.Helper()
	return "nats://" + startNATS(t, b).Addr().String()
}

func startNATS(t testing.TB, b *gatewaytest.Backend) *notify.Server {
	t.Helper()
	door := newDoorTo(t, b)
	s, err := notify.Start(context.Background(), notify.Config{
		Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Backend: b, BookmarkInterval: 20 * time.Millisecond,
		Do: door.Do, Operations: door.Operations(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// overDoors runs a test through each of the doors of a server of its own.
func overDoors(t *testing.T, o client.Options, test func(*testing.T, *client.Client)) {
	t.Helper()
	t.Run("http", func(t *testing.T) { test(t, newClient(t, o, newDoor(t).ServeHTTP)) })
	t.Run("nats", func(t *testing.T) {
		o.Servers = []string{newNATS(t, gatewaytest.New("test"))}
		test(t, newClient(t, o))
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestKeysAtTheDoor(t *testing.T) {
	overDoors(t, client.Options{Reason: "trying"}, testKeysAtTheDoor)
}

func testKeysAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	if w := must(c.Put(ctx, "a", []byte{0xff, 0}, client.IfAbsent(), client.ContentType("x/y"), client.Flags(3)))(t); !w.Created || w.Revision != 2 {
		t.Errorf("got %+v", w)
	}
	e := must(c.Get(ctx, "a"))(t)
	want := client.Entry{Key: "a", Value: []byte{0xff, 0}, ContentType: "x/y", Flags: 3, Revision: 2, CreateRevision: 2, Version: 1, Time: gatewaytest.Start}
	if diff := cmp.Diff(e, want); diff != "" {
		t.Errorf("entry (-got +want):\n%s", diff)
	}
	must(c.Put(ctx, "a", []byte("two"), client.IfRevision(2)))(t)
	must(c.Put(ctx, "a", nil, client.IfValue([]byte("two"))))(t)
	_, err := c.Put(ctx, "a", nil, client.IfRevision(2))
	var p *client.Problem
	if !errors.As(err, &p) || !errors.Is(err, client.ErrConditionFailed) || p.Revision != 4 {
		t.Errorf("got %v, want a failed condition at revision 4", err)
	}
	if got := must(c.Get(ctx, "a", client.At(3)))(t); string(got.Value) != "two" {
		t.Errorf("at 3: got %q", got.Value)
	}
	if got := must(c.Get(ctx, "a", client.AtTime(gatewaytest.Start.Add(time.Hour)), client.Stale()))(t); len(got.Value) != 0 {
		t.Errorf("now: got %q", got.Value)
	}
	must(c.Delete(ctx, "a", client.IfRevision(4)))(t)
	if _, err := c.Get(ctx, "a", client.MinRevision(5)); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := c.In("nowhere").Get(ctx, "a"); !errors.Is(err, client.ErrUnknownNamespace) {
		t.Errorf("got %v, want an unknown namespace", err)
	}
}

// What the door makes of a key is the key, also where a path would mean something else.
func TestAnyKeyAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testAnyKeyAtTheDoor) }

func testAnyKeyAtTheDoor(t *testing.T, c *client.Client) {
	segment := rapid.OneOf(rapid.SampledFrom([]string{"", ".", "..", "%", "%2F", "a", " ", "?", "#", ";", "+"}), rapid.StringMatching(`[^/\x00]{1,8}`))
	rapid.Check(t, func(rt *rapid.T) {
		key := "k"
		for _, s := range rapid.SliceOfN(segment, 0, 5).Draw(rt, "segments") {
			key = s + "/" + key
		}
		value := rapid.SliceOf(rapid.Byte()).Draw(rt, "value")
		if _, err := c.Put(rt.Context(), key, value); err != nil {
			rt.Fatalf("put %q: %v", key, err)
		}
		e, err := c.Get(rt.Context(), key)
		if err != nil || e.Key != key || string(e.Value) != string(value) {
			rt.Fatalf("got %q = %q (%v), want %q = %q", e.Key, e.Value, err, key, value)
		}
	})
}

func TestListsAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testListsAtTheDoor) }

func testListsAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	const keys = 700 // more than two pages
	for at := 0; at < keys; {
		var txn client.Txn
		for range 350 {
			txn.Then = append(txn.Then, client.Operation{Put: &client.PutKey{Key: fmt.Sprintf("k/%04d/x", at), Value: []byte{byte(at)}}})
			at++
		}
		must(c.Txn(ctx, txn))(t)
	}
	n := 0
	for e, err := range c.List(ctx, "k/") {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("k/%04d/x", n); e.Key != want {
			t.Fatalf("got %q, want %q", e.Key, want)
		}
		if n++; n == 300 { // a change within the list, which is as of its beginning
			must(c.DeletePrefix(ctx, "k/06"))(t)
		}
	}
	if n != keys {
		t.Errorf("got %d keys, want %d", n, keys)
	}
	subtrees := 0
	for key, err := range c.Keys(ctx, "k/", "/") {
		if err != nil || key != fmt.Sprintf("k/%04d/", subtrees) {
			t.Fatalf("got %q (%v)", key, err)
		}
		subtrees++
	}
	if subtrees != 600 {
		t.Errorf("got %d subtrees, want 600", subtrees)
	}
}

func TestTxnAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testTxnAtTheDoor) }

func testTxnAtTheDoor(t *testing.T, c *client.Client) {
	txn := client.Txn{
		If: []client.Condition{
			client.KeyExists("a", false), client.KeyRevision("a", client.Equal, 0), client.KeyVersion("a", client.Less, 1),
			client.KeyCreateRevision("a", client.NotEqual, 1), client.KeyValue("a", client.NotEqual, []byte{0xff}), client.PrefixEmpty("a"),
		},
		Then: []client.Operation{
			{Put: &client.PutKey{Key: "a", Value: []byte{0xff}, ContentType: "x/y", Flags: 1}},
			{Put: &client.PutKey{Key: "b"}},
			{Register: &client.Instance{Service: "s", ID: "i.1", Address: "10.0.0.1"}},
			{Get: client.Prefix("")},
		},
		Else: []client.Operation{{Delete: client.Prefix("a")}, {Deregister: &client.InstanceRef{Service: "s", ID: "i.1"}}, {Get: client.Key("b")}},
	}
	r := must(c.Txn(t.Context(), txn))(t)
	if !r.Succeeded || r.Revision != 4 || len(r.Results) != 4 || len(r.Results[3].Entries) != 2 || len(r.Results[2].Warnings) != 1 {
		t.Errorf("then: got %+v", r)
	}
	r = must(c.Txn(t.Context(), txn, client.Reason("again")))(t)
	if r.Succeeded || len(r.Failed) != 6-1 || r.Results[0].Deleted != 1 || r.Results[1].Deleted != 1 || len(r.Results[2].Entries) != 1 {
		t.Errorf("else: got %+v", r) // all but the create revision fail now
	}
}

func TestServicesAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testServicesAtTheDoor) }

func testServicesAtTheDoor(t *testing.T, c *client.Client) {
	ctx, zero := t.Context(), uint16(0)
	one := client.Instance{
		Service: "web/x", ID: "..", Node: "n", Address: "10.0.0.1", Port: 80, Protocol: "http", Version: "1",
		Tags: []string{"a", "b"}, Meta: map[string]string{"k": "v"}, Weight: &zero, Priority: &zero,
	}
	if w := must(c.Register(ctx, one))(t); !w.Created || len(w.Warnings) == 0 {
		t.Errorf("got %+v, want a new instance and a warning", w)
	}
	must(c.Register(ctx, client.Instance{Service: "web/x", ID: "2", Address: "10.0.0.2"}))(t)
	found := must(c.Instances(ctx, "web/x", client.Query{Tags: []string{"a", "b"}, Passing: true}))(t)
	want := client.Service{Service: "web/x", Revision: 3, Instances: []client.InstanceState{
		{
			Instance: one, Status: client.Passing, Because: client.Because{Revision: 2, Type: "rollcall.service.register", Time: gatewaytest.Start},
			Revision: 2, CreateRevision: 2, Time: gatewaytest.Start,
		},
	}}
	if diff := cmp.Diff(found, want); diff != "" {
		t.Errorf("service (-got +want):\n%s", diff)
	}
	services := must(c.Services(ctx))(t)
	if diff := cmp.Diff(services, []client.ServiceSummary{{Service: "web/x", Instances: 2, Passing: 2, Tags: []string{"a", "b"}}}); diff != "" {
		t.Errorf("services (-got +want):\n%s", diff)
	}
	must(c.Deregister(ctx, "web/x", ".."))(t)
	if _, err := c.Deregister(ctx, "web/x", ".."); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if w := must(c.CreateNamespace(ctx, "blue", 2))(t); !w.Created {
		t.Errorf("got %+v, want a new namespace", w)
	}
	namespaces := must(c.Namespaces(ctx))(t)
	if len(namespaces) != 2 || namespaces[0].Name != "blue" || namespaces[0].Group != 2 {
		t.Errorf("got %+v", namespaces)
	}
}

// breaking is a connection to a handler that dies at a random byte.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *breaking) Write(p []byte) (int, error) {
	n := min(b.left, len(p))
	if _, err := b.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if b.left -= n; b.left == 0 {
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

// While somebody writes and connections die, a watch from now on misses nothing and repeats nothing; and neither does
// a replay.
func TestStreamsAtTheDoorOverBrokenConnections(t *testing.T) {
	door := newDoor(t)
	writer := newClient(t, client.Options{}, door.ServeHTTP)
	reader := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(&breaking{w, 1 + rand.IntN(8000)}, r)
	})
	const writes = 300
	begun, written := make(chan struct{}), make(chan error, 1)
	go func() {
		<-begun
		for i := range writes {
			key := fmt.Sprintf("%s/%d", []string{"seen", "unseen"}[i%2], i)
			if _, err := writer.Put(context.Background(), key, nil); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	if _, err := writer.Put(t.Context(), "seen/first", nil); err != nil { // revision 2
		t.Fatal(err)
	}
	want := uint64(2)
	for e, err := range reader.Watch(t.Context(), "kv.seen.>", 2) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Revision != want {
			t.Fatalf("got revision %d (%s), want %d", e.Revision, e.Subject, want)
		}
		if want == 2 {
			close(begun)
			want--
		}
		if want += 2; want > writes+1 {
			break
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want = 1
	for e, err := range reader.Events(t.Context(), client.Range{}) {
		if err != nil || e.Revision != want {
			t.Fatalf("got revision %d (%v), want %d", e.Revision, err, want)
		}
		want++
	}
	if want != writes+3 {
		t.Errorf("the replay ended before revision %d, want %d", want, writes+3)
	}
}
