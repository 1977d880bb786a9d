package server

import (
	"bytes"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestForksHoldLittle: a reader of a live stream that is far behind, and takes nothing, holds no more than a large event or two.
func TestForksHoldLittle(t *testing.T) {
	s, _ := startAlone(t, &journal{})
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const size, writes = 400 << 10, 100 // more than a tail keeps in memory
	value := bytes.Repeat([]byte("v"), size)
	for range writes {
		if _, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: commands.PutKey{Key: "a", Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := s.Follow(event.Default, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	fork := whole.Fork(2)
	defer fork.Close()
	for who, f := range map[string]gateway.Follower{"a follower": whole, "a fork": fork} {
		events, err := f.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if few := len(events) <= 2; len(events) == 0 || events[0].Revision != 2 || few != (who == "a fork") {
			t.Errorf("%s was given %d events of %d bytes", who, len(events), size)
		}
	}
	got := event.Revision(2)
	for again := whole.Fork(2); ; {
		events, err := again.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Revision != got {
				t.Fatalf("got revision %d, want %d", e.Revision, got)
			}
			got++
		}
	}
	if got < writes+2 {
		t.Errorf("a fork gave events up to %d, want at least %d", got-1, writes+1)
	}
}
