package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
)

type counter struct{ N int }

// Updates that come at once lose none.
func TestUpdate(t *testing.T) {
	c := newClient(t, client.Options{}, newDoor(t).ServeHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, _, err := client.Update(ctx, c, "n", func(old counter, _ bool) (counter, error) {
					old.N++
					return old, nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	n, e, err := client.GetJSON[counter](ctx, c, "n")
	if err != nil || n.N != 40 || e.Version != 40 || e.ContentType != "application/json" {
		t.Errorf("got %+v at version %d, %q (%v)", n, e.Version, e.ContentType, err)
	}
}

func TestTypedValues(t *testing.T) {
	c := newClient(t, client.Options{}, newDoor(t).ServeHTTP)
	ctx := t.Context()
	if _, _, err := client.GetJSON[counter](ctx, c, "n"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	must(client.PutJSON(ctx, c, "n", counter{1}, client.Flags(7)))(t)
	stop := errors.New("enough")
	_, _, err := client.Update(ctx, c, "n", func(old counter, exists bool) (counter, error) {
		if !exists || old.N != 1 {
			t.Errorf("got %+v, %v", old, exists)
		}
		return counter{}, stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	made, _, err := client.Update(ctx, c, "n", func(old counter, _ bool) (counter, error) { return counter{old.N + 1}, nil })
	if e := must(c.Get(ctx, "n"))(t); err != nil || made.N != 2 || string(e.Value) != `{"N":2}` || e.Flags != 7 {
		t.Errorf("got %+v and %s with flags %d (%v)", made, e.Value, e.Flags, err)
	}
	must(c.Put(ctx, "n", []byte("{")))(t)
	if _, _, err := client.Update(ctx, c, "n", func(old counter, _ bool) (counter, error) { return old, nil }); err == nil {
		t.Error("what is no JSON was updated")
	}
	if _, err := client.PutJSON(ctx, c, "n", func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
}
