package gatewaytest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

func put(key, value string) commands.PutKey { return commands.PutKey{Key: key, Value: []byte(value)} }

func read(t *testing.T, b *gatewaytest.Backend, o gateway.ReadOptions) (keys []string, head event.Revision) {
	t.Helper()
	err := b.View(t.Context(), event.Default, o, func(v gateway.View) error {
		for e := range v.Keys("") {
			keys = append(keys, e.Key+"="+string(e.Value))
		}
		head = v.Head()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, head
}

func TestNamespaces(t *testing.T) {
	b := gatewaytest.New("c")
	b.MustSubmit(event.System, commands.CreateNamespace{Namespace: "edge"})
	got := b.Namespaces()
	if want := []string{event.System, event.Default, "edge"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if head, err := b.Head("edge"); head != 1 || err != nil {
		t.Errorf("got head %d (%v), want 1: the opening", head, err)
	}
	if _, err := b.Head("nowhere"); !errors.Is(err, gateway.UnknownNamespaceError{Namespace: "nowhere"}) {
		t.Errorf("got %v, want that the namespace is unknown", err)
	}
}

func TestViewOfThePast(t *testing.T) {
	b := gatewaytest.New("c")
	b.MustSubmit(event.Default, put("a", "1"), put("b", "1"))
	b.Advance(time.Minute)
	b.MustSubmit(event.Default, commands.Txn{Then: []commands.Operation{
		{Put: &commands.PutKey{Key: "a", Value: []byte("2")}},
		{Delete: &commands.Target{Key: "b"}},
	}})
	for _, c := range []struct {
		name string
		o    gateway.ReadOptions
		keys []string
		head event.Revision
	}{
		{"now", gateway.ReadOptions{}, []string{"a=2"}, 5},
		{"before the transaction", gateway.ReadOptions{At: 3}, []string{"a=1", "b=1"}, 3},
		{"inside the transaction nothing of it shows", gateway.ReadOptions{At: 4}, []string{"a=1", "b=1"}, 4},
		{"at the start", gateway.ReadOptions{At: 1}, nil, 1},
		{"at a time", gateway.ReadOptions{AtTime: gatewaytest.Start.Add(time.Second)}, []string{"a=1", "b=1"}, 3},
		{"before time began", gateway.ReadOptions{AtTime: gatewaytest.Start.Add(-time.Second)}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, head := read(t, b, c.o)
			if diff := cmp.Diff(c.keys, keys); diff != "" || head != c.head {
				t.Errorf("head %d, want %d; keys (-want +got):\n%s", head, c.head, diff)
			}
		})
	}
	err := b.View(t.Context(), event.Default, gateway.ReadOptions{At: 6}, func(gateway.View) error { return nil })
	if !errors.Is(err, gateway.RevisionError{Asked: 6, Head: 5}) {
		t.Errorf("got %v, want that revision 6 does not exist", err)
	}
}

func TestNothingIsShared(t *testing.T) {
	b := gatewaytest.New("c")
	value := []byte("kept")
	if _, err := b.Submit(t.Context(), event.Default, gateway.Request{Command: commands.PutKey{Key: "a", Value: value}}); err != nil {
		t.Fatal(err)
	}
	copy(value, "gone")
	if keys, _ := read(t, b, gateway.ReadOptions{}); !slices.Equal(keys, []string{"a=kept"}) {
		t.Errorf("got %q", keys)
	}
}

func TestFaults(t *testing.T) {
	b := gatewaytest.New("c")
	submit := func() error {
		_, err := b.Submit(t.Context(), event.Default, gateway.Request{Command: put("a", "1")})
		return err
	}
	b.SetFaults(gatewaytest.Faults{Submit: gateway.ErrBusy, View: gateway.ErrUnavailable, Staleness: time.Second})
	if err := submit(); !errors.Is(err, gateway.ErrBusy) {
		t.Errorf("got %v, want %v", err, gateway.ErrBusy)
	}
	err := b.View(t.Context(), event.Default, gateway.ReadOptions{}, func(gateway.View) error { return nil })
	if !errors.Is(err, gateway.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, gateway.ErrUnavailable)
	}
	if keys, head := read(t, b, gateway.ReadOptions{Stale: true}); len(keys) != 0 || head != 1 {
		t.Errorf("got %q at %d, want nothing at 1: a refused command writes nothing", keys, head)
	}
	b.SetFaults(gatewaytest.Faults{Applied: gateway.ErrOutcomeUnknown})
	if err := submit(); !errors.Is(err, gateway.ErrOutcomeUnknown) {
		t.Errorf("got %v, want %v", err, gateway.ErrOutcomeUnknown)
	}
	if keys, _ := read(t, b, gateway.ReadOptions{}); !slices.Equal(keys, []string{"a=1"}) {
		t.Errorf("got %q, want a=1: an applied command shows", keys)
	}
}

func TestFollow(t *testing.T) {
	b := gatewaytest.New("c")
	f, err := b.Follow(event.Default, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const writes = 1200
	go func() {
		for range writes {
			b.MustSubmit(event.Default, put("a", "1"))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	want := event.Revision(1)
	for want <= writes+1 {
		events, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Revision != want {
				t.Fatalf("got revision %d, want %d", e.Revision, want)
			}
			want++
		}
	}
	if events, err := f.TryNext(); len(events) != 0 || err != nil {
		t.Errorf("got %d events (%v), want none", len(events), err)
	}
	b.Close()
	if _, err := f.Next(ctx); !errors.Is(err, gateway.ErrClosed) {
		t.Errorf("got %v, want %v", err, gateway.ErrClosed)
	}
}

func TestMinRevisionWaits(t *testing.T) {
	b := gatewaytest.New("c")
	done := make(chan error, 1)
	go func() {
		done <- b.View(t.Context(), event.Default, gateway.ReadOptions{MinRevision: 2}, func(v gateway.View) error {
			if v.Head() < 2 {
				return errors.New("too early")
			}
			return nil
		})
	}()
	b.MustSubmit(event.Default, put("a", "1"))
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := b.View(ctx, event.Default, gateway.ReadOptions{MinRevision: 3}, func(gateway.View) error { return nil })
	if !errors.Is(err, gateway.RevisionError{Asked: 3, Head: 2}) {
		t.Errorf("got %v, want that revision 3 does not exist yet", err)
	}
}
