package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// doorOf is the real HTTP door over a backend that the test holds.
func doorOf(t *testing.T, b *gatewaytest.Backend) http.Handler {
	t.Helper()
	streams, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	return api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), Streams: streams, Bookmark: 20 * time.Millisecond, RequestTimeout: time.Minute})
}

// shaky is a door whose connections die at a random byte.
func shaky(door http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { door.ServeHTTP(&breaking{w, 1 + rand.IntN(8000)}, r) }
}

// writer makes random changes, of every kind that touches keys.
type writer struct {
	t         *rapid.T
	c         *client.Client
	b         *gatewaytest.Backend
	namespace string
	epoch     event.Revision
	sessions  []string
	revision  uint64 // of the last change
}

var someKeys = []string{"a", "a/x", "a/y", "a/%41 ö/*", "ab", "a//", "b/x", "b/y/z", "a/d/1", "a/d/2/3", "b/d/1"}

func newWriter(t *rapid.T, c *client.Client, b *gatewaytest.Backend) *writer {
	w := &writer{t: t, c: c, b: b, namespace: c.Namespace()}
	w.epoch = b.MustSubmit(w.namespace, commands.ClaimTimekeeper{Server: "test"})
	return w
}

func (w *writer) key() string { return rapid.SampledFrom(someKeys).Draw(w.t, "key") }

// options are those of a put, with some lease or none.
func (w *writer) lease() (ttl time.Duration, session string) {
	switch rapid.IntRange(0, 3).Draw(w.t, "lease") {
	case 0:
		return time.Minute, ""
	case 1:
		if len(w.sessions) > 0 {
			return 0, rapid.SampledFrom(w.sessions).Draw(w.t, "session")
		}
	}
	return 0, ""
}

func (w *writer) put() *client.PutKey {
	ttl, session := w.lease()
	p := &client.PutKey{
		Key: w.key(), Value: rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(w.t, "value"), Flags: rapid.Uint64().Draw(w.t, "flags"),
		ContentType: rapid.SampledFrom([]string{"", "text/x"}).Draw(w.t, "type"), TTL: ttl, Session: session,
	}
	if p.Key == "a//" { // a directory
		p.Value, p.ContentType, p.Flags, p.TTL, p.Session = nil, "", 0, time.Minute, ""
	}
	return p
}

// change makes one change, or finds that there is nothing to change.
func (w *writer) change() {
	ctx := w.t.Context()
	var written client.Written
	var err error
	switch rapid.IntRange(0, 7).Draw(w.t, "what") {
	case 0, 1, 2:
		written.Revision, err = w.txn()
	case 3:
		written, err = w.c.Delete(ctx, w.key())
	case 4:
		prefix := rapid.SampledFrom([]string{"a/", "b", "a/d/"}).Draw(w.t, "prefix")
		written, err = w.c.DeletePrefix(ctx, prefix)
	case 5:
		onEnd := rapid.SampledFrom([]client.OnEnd{client.ReleaseKeys, client.DeleteKeys}).Draw(w.t, "on end")
		var s client.Session
		if s, err = w.c.CreateSession(ctx, client.SessionOptions{TTL: time.Minute, OnEnd: onEnd}); err == nil {
			w.sessions, written.Revision = append(w.sessions, s.ID), s.Revision
		}
	case 6:
		var made client.Appended
		made, err = w.c.Append(ctx, "a/d/", []byte("x"))
		written.Revision = made.Revision
		if err == nil && rapid.Bool().Draw(w.t, "directory") {
			written, err = w.c.PutDirectory(ctx, "a/d/", time.Minute)
		}
	case 7:
		written.Revision = w.end()
	}
	if refused := new(client.Problem); err != nil && !errors.As(err, &refused) {
		w.t.Fatal(err)
	}
	w.revision = max(w.revision, written.Revision)
}

// txn changes several keys in one commit.
func (w *writer) txn() (uint64, error) {
	var txn client.Txn
	seen := map[string]bool{}
	for range rapid.IntRange(1, 4).Draw(w.t, "operations") {
		p := w.put()
		if seen[p.Key] {
			continue
		}
		seen[p.Key] = true
		if rapid.IntRange(0, 4).Draw(w.t, "delete") == 0 {
			txn.Then = append(txn.Then, client.Operation{Delete: client.Key(p.Key)})
		} else {
			txn.Then = append(txn.Then, client.Operation{Put: p})
		}
	}
	r, err := w.c.Txn(w.t.Context(), txn)
	return r.Revision, err
}

// end ends a session, or has leases expire.
func (w *writer) end() uint64 {
	if len(w.sessions) > 0 && rapid.Bool().Draw(w.t, "a session") {
		id := w.sessions[0]
		w.sessions = w.sessions[1:]
		if rapid.Bool().Draw(w.t, "by itself") {
			return uint64(w.b.MustSubmit(w.namespace, commands.Expire{Epoch: w.epoch, Leases: []commands.Lease{{Session: id}}}))
		}
		ended, err := w.c.EndSession(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		return ended.Revision
	}
	expire := commands.Expire{Epoch: w.epoch}
	for e, err := range w.c.List(w.t.Context(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.TTL > 0 {
			expire.Leases = append(expire.Leases, commands.Lease{Key: e.Key, Revision: event.Revision(e.Revision)})
		}
	}
	if len(expire.Leases) == 0 {
		return 0
	}
	return uint64(w.b.MustSubmit(w.namespace, expire))
}

// Every state that a cache shows is what the server says of its revision, whatever the connections do; and what changes turn
// one into the next.
func TestKeyCacheIsAlwaysAState(t *testing.T) {
	b := gatewaytest.New("test")
	door := doorOf(t, b)
	o := client.Options{RetryFor: 20 * time.Second}
	writes, steady, broken := newClient(t, o, door.ServeHTTP), newClient(t, o, door.ServeHTTP), newClient(t, o, shaky(door))
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		namespace := "n" + strconv.Itoa(n)
		b.MustSubmit(event.System, commands.CreateNamespace{Namespace: namespace})
		w := newWriter(t, writes.In(namespace), b)
		reads := rapid.SampledFrom([]*client.Client{steady, broken}).Draw(t, "client").In(namespace)
		prefix := rapid.SampledFrom([]string{"", "a", "a/", "b/", "a/d/", "none/"}).Draw(t, "prefix")
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			w.change()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		k, err := reads.CacheKeys(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		first := k.State()
		shown := []*client.KeyState{first}
		for range rapid.IntRange(1, 15).Draw(t, "changes") {
			w.change()
			if shown = append(shown, k.State()); shown[len(shown)-1].Revision() < shown[len(shown)-2].Revision() {
				t.Fatalf("revision %d came behind %d", shown[len(shown)-1].Revision(), shown[len(shown)-2].Revision())
			}
		}
		last, err := w.c.Put(ctx, prefix+"last", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.WaitRevision(ctx, last.Revision); err != nil {
			t.Fatal(err)
		}
		shown = append(shown, k.State())
		folded := fold(first)
		for u := range k.Changes(ctx, first) {
			for _, change := range u.Changes {
				apply(t, folded, change)
			}
			if diff := cmp.Diff(folded, fold(u.State)); diff != "" {
				t.Fatalf("the changes up to revision %d (-got +want):\n%s", u.State.Revision(), diff)
			}
			if shown = append(shown, u.State); u.State.Revision() >= last.Revision {
				break
			}
		}
		checkStates(t, w.c, prefix, shown)
	})
}

func fold(s *client.KeyState) map[string]client.Entry {
	m := map[string]client.Entry{}
	for e := range s.All("") {
		m[e.Key] = e
	}
	return m
}

func apply(t *rapid.T, m map[string]client.Entry, change client.KeyChange) {
	was, there := m[change.Key]
	if there != (change.Previous != nil) || there && cmp.Diff(was, *change.Previous) != "" {
		t.Fatalf("a change says that %q was %v, and it was %v", change.Key, change.Previous, was)
	}
	if delete(m, change.Key); change.Entry != nil {
		m[change.Key] = *change.Entry
	}
}

// checkStates holds states against what the server says of their revisions.
func checkStates(t *rapid.T, c *client.Client, prefix string, shown []*client.KeyState) {
	for _, s := range shown {
		var want []client.Entry
		for e, err := range c.List(t.Context(), prefix, client.At(s.Revision())) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, e)
		}
		if diff := cmp.Diff(slices.Collect(s.All("")), want); diff != "" || s.Len() != len(want) {
			t.Fatalf("revision %d, %d keys (-got +want):\n%s", s.Revision(), s.Len(), diff)
		}
		for _, e := range want {
			if got, ok := s.Get(e.Key); !ok || cmp.Diff(got, e) != "" {
				t.Fatalf("revision %d: got %v, want %v", s.Revision(), got, e)
			}
		}
	}
}

// Half of a commit does not show, and the whole soon does, although its last event is none of the cache's subject; and where
// nothing happens in the subject, one's own writes are waited for no longer than a question takes.
func TestKeyCacheAsksForTheEndOfACommit(t *testing.T) {
	b := gatewaytest.New("test")
	streams, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	door := api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), Streams: streams, Bookmark: time.Hour})
	c := newClient(t, client.Options{}, door.ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k := must(c.CacheKeys(ctx, "a/"))(t)
	defer k.Close()
	var txn client.Txn
	for _, key := range []string{"a/1", "a/2", "b"} {
		txn.Then = append(txn.Then, client.Operation{Put: &client.PutKey{Key: key}})
	}
	before := k.State() // the cache may be as quick as the answer
	made := must(c.Txn(ctx, txn))(t)
	for u := range k.Changes(ctx, before) {
		if len(u.Changes) != 2 || u.State.Revision() != made.Revision {
			t.Errorf("got %d changes at revision %d, want 2 at %d", len(u.Changes), u.State.Revision(), made.Revision)
		}
		break
	}
	elsewhere := must(c.Put(ctx, "b", nil))(t)
	if err := k.WaitRevision(ctx, elsewhere.Revision); err != nil || k.Revision() != elsewhere.Revision || k.State().Len() != 2 {
		t.Errorf("got %v and revision %d, want %d", err, k.Revision(), elsewhere.Revision)
	}
	must(c.Put(ctx, "b", nil))(t)
	latest := must(c.Put(ctx, "a/3", nil))(t)
	if err := k.Sync(ctx); err != nil || k.Revision() != latest.Revision || k.State().Len() != 3 {
		t.Errorf("got %v and revision %d, want %d", err, k.Revision(), latest.Revision)
	}
	future, giveUp := context.WithTimeout(ctx, 100*time.Millisecond)
	defer giveUp()
	if err := k.WaitRevision(future, latest.Revision+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v of a revision that is not there, want that time is up", err)
	}
	k.Close()
	if err := k.WaitRevision(ctx, latest.Revision+1); !errors.Is(err, client.ErrCacheClosed) {
		t.Errorf("got %v, want that it is closed", err)
	}
}

// A reader of changes that falls behind holds up nobody and gets what it came to.
func TestKeyCacheTellsSlowReaders(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{}, doorOf(t, b).ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	k := must(c.CacheKeys(ctx, ""))(t)
	defer k.Close()
	must(c.Put(ctx, "first", nil))(t)
	if err := k.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	seen, updates, resyncs := map[string]client.Entry{}, 0, 0
	const keys = 500
	for u := range k.Changes(ctx, nil) {
		for _, change := range u.Changes {
			if delete(seen, change.Key); change.Entry != nil {
				seen[change.Key] = *change.Entry
			}
		}
		if updates++; u.Resync {
			resyncs++
		}
		if updates == 1 { // now take one's time
			var revision event.Revision
			for range 20 {
				var puts []commands.Operation
				for i := range keys {
					puts = append(puts, commands.Operation{Put: &commands.PutKey{Key: fmt.Sprintf("k/%03d", i)}})
				}
				revision = b.MustSubmit(event.Default, commands.Txn{Then: puts})
			}
			if err := k.WaitRevision(ctx, uint64(revision)); err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) == keys+1 && seen["k/000"].Version == 20 {
			break
		}
	}
	if updates > 5 || resyncs != 2 {
		t.Errorf("got %d updates, %d of them differences, want 2", updates, resyncs)
	}
}
