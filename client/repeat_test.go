package client_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
)

// cutter stands between a client and a server. It lets a request through and, where cut says so, breaks the connection
// when the answer begins: the server has done what was asked, and nobody hears of it.
type cutter struct {
	server string
	cut    func() bool
	cuts   atomic.Int32
}

func newCutter(t *testing.T, server string, cut func() bool) (url string, c *cutter) {
	t.Helper()
	c = &cutter{server: server, cut: cut}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String(), c
}

func (c *cutter) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer far.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	})
	answer := make([]byte, 64<<10)
	for {
		n, err := far.Read(answer)
		if n > 0 && c.cut() {
			c.cuts.Add(1)
			_ = near.Close()
			return
		}
		if err != nil {
			_ = near.Close()
			return
		}
		if _, err := near.Write(answer[:n]); err != nil {
			return
		}
	}
}

// TestAnswersLost has many writers count up one number through connections that break after every other change was
// made. Each change must be made once, and its writer must learn of it as if nothing had happened.
func TestAnswersLost(t *testing.T) {
	door := httptest.NewServer(newDoor(t))
	t.Cleanup(door.Close)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	url, through := newCutter(t, door.Listener.Addr().String(), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(2) == 0
	})
	c := newClient(t, client.Options{Servers: []string{url}, RetryFor: time.Minute})
	const writers, each = 4, 15
	var wg sync.WaitGroup
	revisions := make(chan uint64, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("n/%d/%d", w, i)
				// IfAbsent would fail if the attempt before the last had an effect that is not known again.
				written, err := c.Put(t.Context(), key, nil, client.IfAbsent())
				if err != nil || !written.Created {
					t.Errorf("put %s: %+v, %v", key, written, err)
					return
				}
				revisions <- written.Revision
			}
		})
	}
	wg.Wait()
	close(revisions)
	seen := map[uint64]bool{}
	for r := range revisions {
		if seen[r] {
			t.Errorf("revision %d answers two changes", r)
		}
		seen[r] = true
	}
	direct := newClient(t, client.Options{Servers: []string{door.URL}})
	events := 0
	for _, err := range direct.Events(t.Context(), client.Range{From: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		events++
	}
	if events != writers*each || len(seen) != writers*each {
		t.Errorf("%d events and %d answers for %d changes", events, len(seen), writers*each)
	}
	if through.cuts.Load() == 0 {
		t.Error("no connection broke")
	}
}

// TestKeys looks at the keys themselves: one for all attempts at a change, another for each change, none for reads, and
// the caller's own where there is one.
func TestKeys(t *testing.T) {
	var keys []string
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys)%2 == 1 {
			problem(w, 503, client.ErrNoQuorum, "not now")
			return
		}
		fmt.Fprint(w, `{"revision":1}`)
	})
	ctx := t.Context()
	must(c.Put(ctx, "k", nil))(t)
	must(c.Delete(ctx, "k"))(t)
	must(c.Get(ctx, "k"))(t)
	must(c.Txn(ctx, client.Txn{}, client.IdempotencyKey("mine")))(t)
	must(c.CreateNamespace(ctx, "blue", 0))(t)
	must(c.Register(ctx, client.Instance{Service: "s", ID: "i", Address: "h"}))(t)
	must(c.RemoveMember(ctx, "a"))(t)
	distinct := map[string]bool{}
	for i := 0; i < len(keys); i += 2 {
		if keys[i] != keys[i+1] {
			t.Errorf("request %d: the second attempt has key %q, the first had %q", i/2, keys[i+1], keys[i])
		}
		distinct[keys[i]] = true
	}
	if len(distinct) != 7 || keys[4] != "" || keys[6] != "mine" {
		t.Errorf("keys %q", keys)
	}
}

// TestUncertain does not forget an attempt without an answer when the one after it is refused.
func TestUncertain(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(http.ResponseWriter)
		also client.Code
	}{
		{"refused", func(w http.ResponseWriter) { problem(w, 412, client.ErrConditionFailed, "?") }, client.ErrConditionFailed},
		{"no quorum", func(w http.ResponseWriter) { problem(w, 503, client.ErrNoQuorum, "?") }, client.ErrNoQuorum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int32
			c := newClient(t, client.Options{RetryFor: 2 * time.Second}, func(w http.ResponseWriter, _ *http.Request) { // the first attempt is within it
				if requests.Add(1) == 1 {
					panic(http.ErrAbortHandler)
				}
				tt.then(w)
			})
			_, err := c.Put(t.Context(), "k", nil)
			if !errors.Is(err, client.ErrOutcomeUnknown) || !errors.Is(err, tt.also) {
				t.Errorf("got %v, want an unknown outcome and %s", err, tt.also)
			}
		})
	}
	refused := newClient(t, client.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 412, client.ErrConditionFailed, "?")
	})
	if _, err := refused.Put(t.Context(), "k", nil); errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("got %v for what was refused at once", err)
	}
}
