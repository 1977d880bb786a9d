package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestRehearsalIsTheDecision rehearses random commands before they are carried out: what was to come is what comes, in
// events, answer and refusal, and the rehearsal itself writes nothing.
func TestRehearsalIsTheDecision(t *testing.T) {
	s := startServer(t)
	head := func() event.Revision {
		r, err := s.Head(event.Default)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for i := range 120 {
		r := gateway.Request{Command: anyCommand(random, i), Actor: "somebody", Reason: fmt.Sprint("change ", i)}
		before := head()
		rehearsed, rehearsedErr := s.Rehearse(t.Context(), event.Default, r)
		if now := head(); now != before {
			t.Fatalf("%+v: the rehearsal moved the ledger from %d to %d", r.Command, before, now)
		}
		f, err := s.Follow(event.Default, before+1)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Submit(t.Context(), event.Default, r)
		var a, b *commands.Rejection
		if errors.As(rehearsedErr, &a) && errors.As(err, &b) {
			if diff := cmp.Diff(b, a); diff != "" {
				t.Errorf("%+v: refused otherwise than rehearsed (-refused +rehearsed):\n%s", r.Command, diff)
			}
			refused++
			continue
		}
		if err != nil || rehearsedErr != nil {
			t.Fatalf("%+v: %v, and rehearsed %v", r.Command, err, rehearsedErr)
		}
		events, err := f.TryNext()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for j := range events {
			if j < len(rehearsed.Events) {
				rehearsed.Events[j].Time = events[j].Time // the clock went on
			}
		}
		if len(events) == 0 {
			events = nil
		}
		if diff := cmp.Diff(events, rehearsed.Events); diff != "" {
			t.Errorf("%+v: other events than rehearsed (-written +rehearsed):\n%s", r.Command, diff)
		}
		if answer.Revision != rehearsed.Answer.Revision || answer.Branch != rehearsed.Answer.Branch {
			t.Errorf("%+v: answered %+v, rehearsed %+v", r.Command, answer, rehearsed.Answer)
		}
		if rehearsed.Head != before {
			t.Errorf("%+v: rehearsed on revision %d, not %d", r.Command, rehearsed.Head, before)
		}
	}
	if refused == 0 || refused > 100 {
		t.Errorf("%d of 120 commands were refused: this shows little", refused)
	}
}

// anyCommand makes a command about a few keys and instances, so that some are refused and some change nothing.
func anyCommand(random *rand.Rand, i int) commands.Command {
	key := func() string { return fmt.Sprintf("k/%d", random.IntN(4)) }
	put := func() commands.PutKey { return commands.PutKey{Key: key(), Value: fmt.Append(nil, i)} }
	switch random.IntN(7) {
	case 0:
		return put()
	case 1:
		p := put()
		p.If = []commands.Condition{{Key: p.Key, Field: commands.FieldExists, Number: uint64(random.IntN(2))}}
		return p
	case 2:
		return commands.DeleteKey{Key: key()}
	case 3:
		return commands.DeletePrefix{Prefix: "k/"}
	case 4:
		one := put()
		return commands.Txn{
			If:   []commands.Condition{{Key: key(), Field: commands.FieldExists, Number: 1}},
			Then: []commands.Operation{{Put: &one}, {Get: &commands.Target{Prefix: "k/", IsPrefix: true}}},
			Else: []commands.Operation{{Delete: &commands.Target{Key: key()}}},
		}
	case 5:
		return commands.RegisterInstance{Instance: event.Instance{
			Service: "web", ID: fmt.Sprintf("w%d", random.IntN(3)), Address: "192.0.2.1", Port: uint16(80 + random.IntN(2)),
		}}
	default:
		return commands.DeregisterInstance{Service: "web", ID: fmt.Sprintf("w%d", random.IntN(3))}
	}
}
