package timekeeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/timekeeper"
)

// host is a server that a test makes lead, or think so, and whose commands it holds up.
type host struct {
	*gatewaytest.Backend
	leads atomic.Bool
	// delay is how long a command takes before it is decided; lost says that its answer does not arrive.
	delay func(commands.Command) (before time.Duration, lost bool)
}

func (h *host) Leads(namespace string) bool { return namespace == event.Default && h.leads.Load() }

func (h *host) Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error) {
	if h.delay == nil {
		return h.Backend.Submit(ctx, namespace, r)
	}
	before, lost := h.delay(r.Command)
	time.Sleep(before) // whoever gave up meanwhile: what is on its way arrives all the same
	answer, err := h.Backend.Submit(context.WithoutCancel(ctx), namespace, r)
	if lost && err == nil {
		return commands.Answer{}, gateway.ErrOutcomeUnknown
	}
	return answer, err
}

// start runs a keeper until the test ends.
func start(t testing.TB, h *host, name string) *timekeeper.Keeper {
	t.Helper()
	k := timekeeper.New(h, name, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return k
}

func newHost(b *gatewaytest.Backend) *host {
	h := &host{Backend: b}
	h.leads.Store(true)
	return h
}

func submit(t testing.TB, b *gatewaytest.Backend, c commands.Command) commands.Answer {
	t.Helper()
	a, err := b.Submit(t.Context(), event.Default, gateway.Request{Command: c})
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return a
}

// types are the types of the events from a revision on.
func types(t testing.TB, b *gatewaytest.Backend, from event.Revision) (all []string) {
	t.Helper()
	for _, e := range events(t, b, from) {
		all = append(all, e.Body.Type()+" "+e.Body.Subject())
	}
	return all
}

func events(t testing.TB, b *gatewaytest.Backend, from event.Revision) []event.Event {
	t.Helper()
	f, err := b.Follow(event.Default, from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []event.Event
	for {
		next, err := f.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if len(next) == 0 {
			return all
		}
		all = append(all, next...)
	}
}

func exists(t testing.TB, b *gatewaytest.Backend, key string) (ok bool) {
	t.Helper()
	err := b.View(t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
		_, ok = v.Key(key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func put(key string, ttl time.Duration) commands.PutKey {
	p := commands.PutKey{Key: key, Value: []byte("v"), TTL: event.Time(ttl)}
	if event.IsDirectory(key) {
		p.Value = nil
	}
	return p
}

func TestKeyEndsAtItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		start(t, newHost(b), "a")
		submit(t, b, put("k", 10*time.Second))
		synctest.Wait()
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if !exists(t, b, "k") {
			t.Fatal("it ended early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if exists(t, b, "k") {
			t.Fatal("it did not end")
		}
		want := []string{"rollcall.kv.put kv.k", "rollcall.namespace.timekeeper namespace.default", "rollcall.kv.expire kv.k"}
		if got := types(t, b, 2); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// TestPutReplacesTheLease holds what peers do: a put gives the key the lease that it names, and none without one.
func TestPutReplacesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		start(t, newHost(b), "a")
		submit(t, b, put("longer", 10*time.Second))
		submit(t, b, put("forever", 10*time.Second))
		time.Sleep(9 * time.Second)
		submit(t, b, put("longer", 20*time.Second))
		submit(t, b, put("forever", 0))
		time.Sleep(19 * time.Second)
		if !exists(t, b, "longer") || !exists(t, b, "forever") {
			t.Fatal("a key ended by the lease that it had before")
		}
		time.Sleep(2 * time.Second)
		if exists(t, b, "longer") || !exists(t, b, "forever") {
			t.Fatal("the new lease does not count")
		}
	})
}

func TestDirectoryTakesItsSubtree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		k := start(t, newHost(b), "a")
		for _, c := range []commands.Command{put("d/", 5*time.Second), put("d/a", 0), put("d/e/b", 0), put("da", 0), put("d", 0)} {
			submit(t, b, c)
		}
		for range 3 {
			time.Sleep(4 * time.Second)
			if _, err := k.Renew(t.Context(), event.Default, gateway.Lease{Key: "d/"}); err != nil {
				t.Fatal(err)
			}
		}
		head := submit(t, b, put("late/", time.Hour)).Revision
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		all := events(t, b, head+1)
		var got []string
		for _, e := range all {
			got = append(got, e.Body.Subject())
			if e.Commit != all[0].Commit {
				t.Errorf("%s is in a commit of its own", e.Body.Subject())
			}
		}
		if want := []string{"kv.d.%", "kv.d.a", "kv.d.e.b"}; !slices.Equal(got, want) {
			t.Errorf("gone: %q, want %q", got, want)
		}
	})
}

func TestSessionEndsWithWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		k := start(t, newHost(b), "a")
		deleting := submit(t, b, commands.CreateSession{TTL: event.Time(time.Minute), OnEnd: event.Delete}).Results[0].Key
		releasing := submit(t, b, commands.CreateSession{TTL: event.Time(time.Minute)}).Results[0].Key
		submit(t, b, commands.PutKey{Key: "gone", Session: deleting})
		submit(t, b, commands.PutKey{Key: "kept", Value: []byte("v"), Session: releasing})
		submit(t, b, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "1", Address: "::1", Session: releasing}})
		time.Sleep(50 * time.Second)
		head := submit(t, b, put("mark", 0)).Revision
		if _, err := k.Renew(t.Context(), event.Default, gateway.Lease{Session: releasing}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		want := []string{"rollcall.session.expire session." + deleting, "rollcall.kv.expire kv.gone"}
		if got := types(t, b, head+1); !slices.Equal(got, want) {
			t.Fatalf("events %q, want %q", got, want)
		}
		if _, err := k.Renew(t.Context(), event.Default, gateway.Lease{Session: deleting}); !errors.Is(err, gateway.ErrNoLease) {
			t.Errorf("renewing what ended: %v", err)
		}
		time.Sleep(50 * time.Second)
		want = append(want, "rollcall.session.expire session."+releasing, "rollcall.kv.release kv.kept", "rollcall.service.expire service.web.1")
		if got := types(t, b, head+1); !slices.Equal(got, want) {
			t.Fatalf("events %q, want %q", got, want)
		}
	})
}

// TestIdleSessionsWriteNothing keeps ten thousand sessions alive for an hour.
func TestIdleSessionsWriteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 10_000
		b := gatewaytest.New("c")
		k := start(t, newHost(b), "a")
		ids := make([]string, sessions)
		for i := range ids {
			ids[i] = submit(t, b, commands.CreateSession{TTL: event.Time(10 * time.Minute)}).Results[0].Key
		}
		synctest.Wait()
		before, err := b.Head(event.Default)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			var round sync.WaitGroup
			for _, id := range ids {
				round.Go(func() {
					if _, err := k.Renew(t.Context(), event.Default, gateway.Lease{Session: id}); err != nil {
						t.Errorf("session %s: %v", id, err)
					}
				})
			}
			round.Wait()
			time.Sleep(5 * time.Minute)
		}
		if after, _ := b.Head(event.Default); after != before {
			t.Errorf("%d events", after-before)
		}
		if n := k.Leases(); n != sessions {
			t.Errorf("%d leases are kept", n)
		}
	})
}

// TestNothingWithoutLeases sees to it that a ledger which has no leases is not even claimed.
func TestNothingWithoutLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		start(t, newHost(b), "a")
		submit(t, b, put("k", 0))
		time.Sleep(time.Hour)
		if got := types(t, b, 3); len(got) > 0 {
			t.Errorf("events %q", got)
		}
	})
}

// TestDeposed has a server lose its group while what it found expired is on its way.
func TestDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		old, young := newHost(b), newHost(b)
		young.leads.Store(false)
		old.delay = func(c commands.Command) (time.Duration, bool) {
			if _, ok := c.(commands.Expire); ok {
				return 5 * time.Second, false
			}
			return 0, false
		}
		start(t, old, "old")
		k := start(t, young, "young")
		id := submit(t, b, commands.CreateSession{TTL: event.Time(10 * time.Second)}).Results[0].Key
		time.Sleep(11 * time.Second) // its end is on its way
		young.leads.Store(true)
		old.leads.Store(false)
		if renewal, err := k.Renew(t.Context(), event.Default, gateway.Lease{Session: id}); err != nil || renewal.TTL != 10*time.Second {
			t.Fatalf("renewed for %s: %v", renewal.TTL, err)
		}
		time.Sleep(9 * time.Second)
		if left, err := k.Left(event.Default, []gateway.Lease{{Session: id}}); err != nil || left[gateway.Lease{Session: id}] != time.Second {
			t.Errorf("it has %v left: %v", left, err)
		}
		time.Sleep(2 * time.Second)
		last := types(t, b, 1)
		if got := last[len(last)-1]; got != "rollcall.session.expire session."+id {
			t.Errorf("it ended by %q", got)
		}
	})
}

// TestNothingEndsEarly has three servers lead one after another, and at the same time, with commands that take long and
// answers that get lost, while clients renew leases at random: no lease may end before its TTL has passed since the last
// renewal that was acknowledged, and in the end every one does.
func TestNothingEndsEarly(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Uint64().Draw(r, "seed")
		synctest.Test(t, func(t *testing.T) { endsInTime(t, r, seed) })
	})
}

func endsInTime(t *testing.T, r *rapid.T, seed uint64) {
	t.Helper()
	random := newRandom(seed)
	b := gatewaytest.New("c")
	var hosts []*host
	var keepers []*timekeeper.Keeper
	for i := range 3 {
		h := newHost(b)
		h.leads.Store(i == 0)
		h.delay = func(commands.Command) (time.Duration, bool) {
			if random.n(3) == 0 {
				return time.Duration(random.n(3000)) * time.Millisecond, random.n(4) == 0
			}
			return 0, random.n(10) == 0
		}
		hosts = append(hosts, h)
		keepers = append(keepers, start(t, h, strconv.Itoa(i)))
	}
	const ttl = 5 * time.Second
	var mu sync.Mutex
	promised := map[string]time.Time{} // by subject: until when it must be there
	promise := func(subject string, from time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if until := from.Add(ttl); until.After(promised[subject]) {
			promised[subject] = until
		}
	}
	f, err := b.Follow(event.Default, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	watching, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			events, err := f.Next(watching)
			if err != nil {
				return
			}
			for _, e := range events {
				switch e.Body.(type) {
				case event.SessionExpired, event.KeyExpired:
					mu.Lock()
					if early := time.Until(promised[e.Body.Subject()]); early > 0 {
						r.Errorf("%s ended %s early, at revision %d", e.Body.Subject(), early, e.Revision)
					}
					mu.Unlock()
				}
			}
		}
	})
	var leases []gateway.Lease
	for i := range 4 {
		began := time.Now()
		id := submit(t, b, commands.CreateSession{TTL: event.Time(ttl)}).Results[0].Key
		leases = append(leases, gateway.Lease{Session: id})
		promise(event.SessionSubject(id), began)
		key := fmt.Sprintf("k%d", i)
		submit(t, b, put(key, ttl))
		leases = append(leases, gateway.Lease{Key: key})
		promise(event.KeySubject(key), began)
	}
	for _, lease := range leases {
		wg.Go(func() {
			for range 8 {
				time.Sleep(time.Duration(random.n(4000)) * time.Millisecond)
				k := keepers[random.n(3)]
				attempt, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_, err := k.Renew(attempt, event.Default, lease)
				cancel()
				if err != nil {
					continue
				}
				if lease.Session != "" {
					promise(event.SessionSubject(lease.Session), time.Now())
				} else {
					promise(event.KeySubject(lease.Key), time.Now())
				}
			}
		})
	}
	for range 10 {
		time.Sleep(time.Duration(random.n(5000)) * time.Millisecond)
		for _, h := range hosts {
			h.leads.Store(random.n(2) == 0)
		}
	}
	for i, h := range hosts {
		h.leads.Store(i == 1)
	}
	time.Sleep(5 * time.Minute)
	stop()
	wg.Wait()
	for _, lease := range leases {
		_, err := keepers[1].Renew(t.Context(), event.Default, lease)
		if !errors.Is(err, gateway.ErrNoLease) {
			r.Errorf("%+v did not end: %v", lease, err)
		}
	}
}

// random is chance that goroutines share; in a bubble of virtual time their order is not fixed, so a seed is a hint.
type random struct {
	mu    sync.Mutex
	state uint64
}

func newRandom(seed uint64) *random { return &random{state: seed | 1} }

func (r *random) n(limit int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state ^= r.state << 13
	r.state ^= r.state >> 7
	r.state ^= r.state << 17
	return int(r.state % uint64(limit))
}
