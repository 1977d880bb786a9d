package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// exchange is a server in whose place another one can be put.
type exchange struct{ door atomic.Pointer[http.Handler] }

func (x *exchange) put(h http.Handler) { x.door.Store(&h) }

func (x *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*x.door.Load()).ServeHTTP(w, r)
}

// begun counts the live streams that have begun, for whoever reads them.
type begun struct {
	http.Handler
	streams chan struct{}
}

func (b begun) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") == "text/event-stream" {
		w = &begunStream{ResponseWriter: w, streams: b.streams}
	}
	b.Handler.ServeHTTP(w, r)
}

type begunStream struct {
	http.ResponseWriter
	writes  int
	streams chan struct{}
}

func (b *begunStream) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *begunStream) Write(p []byte) (int, error) {
	if b.writes++; b.writes == 2 { // what was written first has been flushed
		b.streams <- struct{}{}
	}
	return b.ResponseWriter.Write(p)
}

func putKeys(b *gatewaytest.Backend, format string, n int) (last uint64) {
	for i := range n {
		last = uint64(b.MustSubmit(event.Default, commands.PutKey{Key: fmt.Sprintf(format, i)}))
	}
	return last
}

// awaitKeys waits for a cache to show what a test looks for.
func awaitKeys(ctx context.Context, t *testing.T, k *client.KeyCache, want func(*client.KeyState) bool) {
	t.Helper()
	for u := range k.Changes(ctx, &client.KeyState{}) {
		if want(u.State) {
			return
		}
	}
	t.Fatalf("at revision %d it shows %d keys; status %+v", k.Revision(), k.State().Len(), k.Status())
}

// Where another history is in the place of the one that was read, a cache shows that one, whole, and says so: whether the
// revisions have gone on, as they do after a restore, or back.
func TestKeyCacheOfAnotherHistory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		others int
	}{{"further on", 300}, {"further back", 3}} {
		t.Run(tt.name, func(t *testing.T) {
			one, two := gatewaytest.New("one"), gatewaytest.New("two")
			putKeys(one, "a/old/%d", 20)
			putKeys(two, "a/new/%d", tt.others)
			x := &exchange{}
			streams := make(chan struct{}, 100)
			x.put(begun{doorOf(t, one), streams})
			c := newClient(t, client.Options{}, x.ServeHTTP)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			k := must(c.CacheKeys(ctx, "a/"))(t)
			defer k.Close()
			s := must(c.CacheService(ctx, "web"))(t)
			defer s.Close()
			for range 4 {
				<-streams
			}
			x.put(doorOf(t, two))
			one.Close()
			awaitKeys(ctx, t, k, func(s *client.KeyState) bool {
				_, old := s.Get("a/old/0")
				return !old && s.Len() == tt.others
			})
			for k.Status().Resyncs == 0 && ctx.Err() == nil { // it is counted when it shows already
				runtime.Gosched()
			}
			if s := k.Status(); s.Resyncs == 0 || s.Revision != uint64(tt.others)+1 {
				t.Errorf("got %+v", s)
			}
			w := must(c.Register(ctx, client.Instance{Service: "web", ID: "1", Address: "10.0.0.1"}))(t)
			for state := range s.States(ctx) {
				if len(state.Instances) == 1 && state.Revision == w.Revision {
					return
				}
			}
			t.Errorf("the service shows %+v; status %+v", s.State().Service, s.Status())
		})
	}
}

// A revision that is far ahead is looked at before it is believed: it may be that of a restored cluster.
func TestKeyCacheMistrustsJumps(t *testing.T) {
	one, two := gatewaytest.New("one"), gatewaytest.New("two")
	putKeys(one, "a/%d", 3)
	for range 101 { // what takes a hundred thousand revisions in little time
		var all []commands.Operation
		for i := range 1000 {
			all = append(all, commands.Operation{Put: &commands.PutKey{Key: fmt.Sprintf("b/%d", i)}})
		}
		for part := range 2 {
			two.MustSubmit(event.Default, commands.Txn{Then: all[part*500 : part*500+500]})
		}
	}
	head := must(two.Head(event.Default))(t)
	x := &exchange{}
	x.put(doorOf(t, one))
	c := newClient(t, client.Options{}, x.ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bookmarks := make(chan client.Event)
	k := must(c.CacheKeysBy(ctx, "a/", quiet(bookmarks)))(t)
	defer k.Close()
	x.put(doorOf(t, two))
	bookmarks <- client.Bookmark(uint64(head))
	awaitKeys(ctx, t, k, func(s *client.KeyState) bool { return s.Len() == 0 && s.Revision() == uint64(head) })
}

// quiet is a subject in which nothing happens but what a test has happen.
func quiet(events <-chan client.Event) func(context.Context, string, uint64) iter.Seq2[client.Event, error] {
	return func(ctx context.Context, _ string, _ uint64) iter.Seq2[client.Event, error] {
		return func(yield func(client.Event, error) bool) {
			for {
				select {
				case e := <-events:
					if !yield(e, nil) {
						return
					}
				case <-ctx.Done():
					yield(client.Event{}, ctx.Err())
					return
				}
			}
		}
	}
}

// A bookmark has a cache show that nothing happened, and the end of a commit of which it has seen half.
func TestCachesTakeBookmarks(t *testing.T) {
	b := gatewaytest.New("test")
	door := doorOf(t, b)
	noReplays := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") && r.URL.Query().Get("subject") != "" {
			problem(w, 503, client.ErrNoQuorum, "not now")
			return
		}
		door.ServeHTTP(w, r)
	}
	c := newClient(t, client.Options{RetryFor: time.Millisecond}, noReplays)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := make(chan client.Event)
	k := must(c.CacheKeysBy(ctx, "a/", quiet(events)))(t)
	defer k.Close()
	s := must(c.CacheServiceBy(ctx, "web", quiet(events)))(t)
	txn := client.Txn{Then: []client.Operation{{Put: &client.PutKey{Key: "a/1"}}, {Put: &client.PutKey{Key: "b"}}}}
	made := must(c.Txn(ctx, txn))(t)
	s.Close() // which takes none of what follows
	for e, err := range newClient(t, client.Options{}, door.ServeHTTP).Events(ctx, client.Range{From: 2, Subject: "kv.a.>"}) {
		if err != nil {
			t.Fatal(err)
		}
		events <- e
	}
	events <- client.Bookmark(1) // of a server that lags
	if k.Revision() != 1 || k.State().Len() != 0 {
		t.Errorf("half of a commit shows: %d keys at revision %d", k.State().Len(), k.Revision())
	}
	events <- client.Bookmark(made.Revision)
	awaitKeys(ctx, t, k, func(s *client.KeyState) bool { return s.Len() == 1 && s.Revision() == made.Revision })
	events <- client.Bookmark(made.Revision + 5)
	events <- client.Bookmark(made.Revision + 5) // by now the one before has been taken
	if k.Revision() != made.Revision+5 {
		t.Errorf("got revision %d, want %d", k.Revision(), made.Revision+5)
	}
}

// The service's three subjects have to be quiet, each of them, before nothing has changed it.
func TestServiceCacheTakesBookmarks(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{}, doorOf(t, b).ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	subjects := map[string]chan client.Event{client.InstancesSubject("web"): make(chan client.Event), client.ServiceSubject("web"): make(chan client.Event), "node.>": make(chan client.Event)}
	s := must(c.CacheServiceBy(ctx, "web", func(ctx context.Context, subject string, from uint64) iter.Seq2[client.Event, error] {
		return quiet(subjects[subject])(ctx, subject, from)
	}))(t)
	defer s.Close()
	putKeys(b, "k%d", 3)
	for i, subject := range []string{"node.>", client.ServiceSubject("web"), client.InstancesSubject("web")} {
		if got := s.Revision(); got != 1 {
			t.Errorf("revision %d shows after %d bookmarks", got, i)
		}
		for range 2 { // the second is taken when the first has been
			subjects[subject] <- client.Bookmark(4)
		}
	}
	if got := s.Revision(); got != 4 {
		t.Errorf("got revision %d, want 4", got)
	}
}

// served is a service's three subjects, by hand.
type served struct {
	instances, settings, nodes chan client.Event
}

func newServed() served {
	return served{make(chan client.Event), make(chan client.Event), make(chan client.Event)}
}

func (s served) watch(ctx context.Context, subject string, from uint64) iter.Seq2[client.Event, error] {
	events := map[string]chan client.Event{client.InstancesSubject("web"): s.instances, client.ServiceSubject("web"): s.settings, "node.>": s.nodes}
	return quiet(events[subject])(ctx, subject, from)
}

// eventOf reads one event of a backend.
func eventOf(t *testing.T, c *client.Client, revision uint64) client.Event {
	t.Helper()
	for e, err := range c.Events(t.Context(), client.Range{From: revision, To: revision}) {
		return must(e, err)(t)
	}
	t.Fatalf("there is no revision %d", revision)
	return client.Event{}
}

// A node's event may come before that of the first instance on it: it is looked at when that instance shows, and only then.
func TestServiceCacheLooksAtNodesLate(t *testing.T) {
	b := gatewaytest.New("test")
	c := newClient(t, client.Options{}, doorOf(t, b).ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	subjects := newServed()
	s := must(c.CacheServiceBy(ctx, "web", subjects.watch))(t)
	defer s.Close()
	made := must(c.Register(ctx, client.Instance{Service: "web", ID: "1", Node: "n1", Address: "10.0.0.1"}))(t).Revision
	idle := must(c.SetNodeMaintenance(ctx, "n1", true, "why"))(t).Revision
	other := must(c.SetNodeMaintenance(ctx, "n2", true, "why"))(t).Revision
	subjects.nodes <- eventOf(t, c, idle)
	subjects.nodes <- eventOf(t, c, other)
	subjects.nodes <- client.Bookmark(other) // by now those before have been taken
	if s.Revision() >= made {
		t.Errorf("revision %d shows", s.Revision())
	}
	subjects.instances <- eventOf(t, c, made)
	for state := range s.States(ctx) {
		if len(state.Instances) == 1 && state.Instances[0].Status == client.Maintenance {
			break
		}
	}
	if got := s.Revision(); got != idle {
		t.Errorf("got revision %d, want %d, that of the node's event", got, idle)
	}
	for range 2 {
		subjects.settings <- client.Bookmark(other)
		subjects.instances <- client.Bookmark(other)
	}
	if n := s.Nodes(); s.Revision() != other || n != 0 {
		t.Errorf("at revision %d it keeps %d nodes in mind, want none at %d", s.Revision(), n, other)
	}
}

// While a service cannot be read anew, what is shown stays as of its own revision, and what was to be fetched is, later.
func TestServiceCacheThatCannotBeReadAnew(t *testing.T) {
	b := gatewaytest.New("test")
	door := doorOf(t, b)
	var state atomic.Int32 // 0 is fine; 1 refuses services, 2 everything
	refused := make(chan struct{}, 1000)
	c := newClient(t, client.Options{RetryFor: time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		n := state.Load()
		switch {
		case n > 0 && strings.HasSuffix(r.URL.Path, "/services/web"):
			problem(w, 400, "invalid-revision", "none of this history")
		case n > 1:
			problem(w, 503, client.ErrNoQuorum, "not now")
			refused <- struct{}{}
		default:
			door.ServeHTTP(w, r)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	subjects := newServed()
	s := must(c.CacheServiceBy(ctx, "web", subjects.watch))(t)
	defer s.Close()
	before := s.Revision()
	made := must(newClient(t, client.Options{}, door.ServeHTTP).Register(ctx, client.Instance{Service: "web", ID: "1", Address: "10.0.0.1"}))(t).Revision
	e := eventOf(t, c, made)
	state.Store(2)
	subjects.instances <- e
	<-refused // it has been fetched in vain, and read anew
	<-refused
	for range 2 {
		for _, events := range []chan client.Event{subjects.instances, subjects.settings, subjects.nodes} {
			events <- client.Bookmark(made + 5)
		}
	}
	if s.Revision() != before {
		t.Errorf("what was there at revision %d shows as of %d", before, s.Revision())
	}
	state.Store(0)
	for state := range s.States(ctx) {
		if len(state.Instances) == 1 {
			return
		}
	}
	t.Errorf("the instance does not show: %+v", s.Status())
}

// A namespace that is deleted leaves a cache with what it showed last and an error; one that is made again is followed again.
func TestKeyCacheOfANamespaceThatIsMadeAgain(t *testing.T) {
	b := gatewaytest.New("test")
	b.MustSubmit(event.System, commands.CreateNamespace{Namespace: "blue"})
	c := newClient(t, client.Options{}, doorOf(t, b).ServeHTTP).In("blue")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(c.Put(ctx, "old", nil))(t)
	k := must(c.CacheKeys(ctx, ""))(t)
	defer k.Close()
	must(c.DeleteNamespace(ctx, "blue"))(t)
	for !errors.Is(k.Status().Err, client.ErrUnknownNamespace) {
		wait, stop := context.WithTimeout(ctx, 10*time.Millisecond)
		if err := k.WaitRevision(wait, 1<<40); errors.Is(err, client.ErrCacheClosed) || ctx.Err() != nil {
			t.Fatal(err)
		}
		stop()
	}
	if _, ok := k.Get("old"); !ok {
		t.Error("what was there last does not show any more")
	}
	must(c.CreateNamespace(ctx, "blue", 0))(t)
	must(c.Put(ctx, "new", nil))(t)
	awaitKeys(ctx, t, k, func(s *client.KeyState) bool {
		_, ok := s.Get("new")
		return ok && s.Len() == 1
	})
}

// A snapshot whose revision is trimmed while it is read is begun again.
func TestKeyCacheBeginsAgainWhereHistoryIsTrimmed(t *testing.T) {
	b := gatewaytest.New("test")
	putKeys(b, "k/%03d", 300) // two pages
	door := doorOf(t, b)
	trimmed := 0
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("at") != "" && trimmed == 0 {
			trimmed++
			b.MustSubmit(event.Default, commands.PutKey{Key: "k/new"})
			problem(w, 410, client.ErrHistoryTrimmed, "it is not kept any more")
			return
		}
		door.ServeHTTP(w, r)
	})
	k := must(c.CacheKeys(t.Context(), "k/"))(t)
	defer k.Close()
	if k.State().Len() != 301 || k.Revision() != 302 || trimmed != 1 {
		t.Errorf("got %d keys at revision %d", k.State().Len(), k.Revision())
	}
	if _, err := c.In("nowhere").CacheKeys(t.Context(), ""); !errors.Is(err, client.ErrUnknownNamespace) {
		t.Errorf("got %v", err)
	}
}
