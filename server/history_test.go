package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestHistory holds what the index finds against a search through all events, as of every revision and in pages.
func TestHistory(t *testing.T) {
	s := startServer(t)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 80 {
		// What is refused has no events, which is all the same here.
		_, _ = s.Submit(t.Context(), event.Default, gateway.Request{Command: anyCommand(random, i), Reason: fmt.Sprint("change ", i)})
	}
	f, err := s.Follow(event.Default, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.TryNext()
	if err != nil {
		t.Fatal(err)
	}
	head := all[len(all)-1].Revision
	subjects := []string{"kv.k.none"}
	for i := range 4 {
		subjects = append(subjects, event.KeySubject(fmt.Sprintf("k/%d", i)), event.InstanceSubject("web", fmt.Sprintf("w%d", i)))
	}
	for _, subject := range subjects {
		for at := event.Revision(1); at <= head; at++ {
			var want []event.Event
			for _, e := range slices.Backward(all) {
				// A view in the middle of a commit does not show it yet.
				if e.Commit <= at && e.Body.Subject() == subject {
					want = append(want, e)
				}
			}
			var got []event.Event
			for o, more := (gateway.ReadOptions{At: at}), true; more; {
				h, err := s.History(t.Context(), event.Default, o, subject, 3)
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, h.Events...); h.Next > 0 {
					o.At = h.Events[len(h.Events)-1].Revision - 1
				}
				more = h.Next > 0
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s at %d (-want +got):\n%s", subject, at, diff)
			}
		}
	}
}

// TestHistoryOfLargeCommit finds an event among the many of one commit.
func TestHistoryOfLargeCommit(t *testing.T) {
	s := startServer(t)
	const keys = 1200
	for i := 0; i < keys; i += 400 {
		var put commands.Txn
		for j := i; j < i+400; j++ {
			put.Then = append(put.Then, commands.Operation{Put: &commands.PutKey{Key: fmt.Sprintf("many/%04d", j), Value: []byte("v")}})
		}
		if _, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: put}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: commands.DeletePrefix{Prefix: "many/"}}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 599, keys - 1} {
		h, err := s.History(t.Context(), event.Default, gateway.ReadOptions{}, fmt.Sprintf("kv.many.%04d", i), 10)
		if err != nil || len(h.Events) != 2 || h.Next > 0 {
			t.Errorf("key %d: %+v, %v; want a put and a delete", i, h, err)
		}
	}
}

// TestHistoryOfLargeValues ends a page where it gets large, and goes on there.
func TestHistoryOfLargeValues(t *testing.T) {
	s := startServer(t)
	const versions = 40
	for i := range versions {
		put := commands.PutKey{Key: "big", Value: make([]byte, event.ValueBytesMax), Flags: uint64(i)}
		if _, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: put}); err != nil {
			t.Fatal(err)
		}
	}
	pages, seen := 0, 0
	for o, more := (gateway.ReadOptions{}), true; more; pages++ {
		h, err := s.History(t.Context(), event.Default, o, "kv.big", 1000)
		if err != nil || len(h.Events) == 0 {
			t.Fatalf("page %d: %d events, %v", pages, len(h.Events), err)
		}
		size := 0
		for _, e := range h.Events {
			size += len(e.Body.(event.KeySet).Value)
		}
		if size > 10<<20 {
			t.Errorf("page %d holds %d bytes", pages, size)
		}
		seen, more = seen+len(h.Events), h.Next > 0
		o.At = h.Events[len(h.Events)-1].Revision - 1
	}
	if seen != versions || pages < 2 {
		t.Errorf("%d versions in %d pages, want %d in some", seen, pages, versions)
	}
}
