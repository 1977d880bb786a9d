package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/log/event"
)

// FuzzSubjects holds the client's spelling of subjects to the server's.
func FuzzSubjects(f *testing.F) {
	for _, s := range []string{"", "a", "app/db.url", "a b/%/*/>", "/", "ä\x7f"} {
		f.Add(s, "w.1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if got, want := client.KeySubject(a), event.KeySubject(a); got != want {
			t.Errorf("key %q: got %q, want %q", a, got, want)
		}
		if got, want := client.InstanceSubject(a, b), event.InstanceSubject(a, b); got != want {
			t.Errorf("instance %q, %q: got %q, want %q", a, b, got, want)
		}
	})
}

// TestHistoryInPages reads more than one answer holds. Every page is asked for as the first one was: a stale read goes on
// without a quorum to its end.
func TestHistoryInPages(t *testing.T) {
	door := newDoor(t)
	pages := 0
	c := newClient(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/default/history" {
			if pages++; r.URL.Query().Get("consistency") != "stale" {
				t.Errorf("page %d is asked for as %s", pages, r.URL.RawQuery)
			}
		}
		door.ServeHTTP(w, r)
	})
	const versions = 250
	for i := range versions {
		must(c.Put(t.Context(), "a/b.c", fmt.Append(nil, i)))(t)
	}
	next := uint64(versions + 1)
	for e, err := range c.History(t.Context(), client.KeySubject("a/b.c"), client.Stale()) {
		if err != nil || e.Revision != next {
			t.Fatalf("got revision %d, %v; want %d", e.Revision, err, next)
		}
		next--
	}
	if next != 1 || pages != 3 {
		t.Errorf("%d pages down to revision %d, want 3 down to 2", pages, next+1)
	}
}
