package client_test

import (
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
