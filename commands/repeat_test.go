package commands_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// TestOneEffectOneAnswer makes requests, each with a key of its own, in any order, any number of times, among changes
// of others. Each request has one effect at most, all of its answers from then on are the same, and what it answers is
// what the ledger holds.
func TestOneEffectOneAnswer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger(t, event.Default)
		if _, _, r := l.decide(commands.OpenNamespace{Namespace: event.Default, Cluster: "c"}); r != nil {
			rt.Fatal(r)
		}
		requests := make([]commands.Order, rapid.IntRange(1, 8).Draw(rt, "requests"))
		for i := range requests {
			requests[i] = commands.Order{Version: commands.Version, Key: fmt.Sprint(i), Command: anyCommand(rt)}
		}
		made := make([]*commands.Answer, len(requests))
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			if rapid.IntRange(0, 3).Draw(rt, "somebody else") == 0 {
				_, _, _ = l.decide(anyCommand(rt))
				continue
			}
			i := rapid.IntRange(0, len(requests)-1).Draw(rt, "request")
			l.now += event.Time(rapid.Int64Range(0, int64(event.RequestKept)/40-2).Draw(rt, "later"))
			events, answer, rejection := l.order(requests[i])
			switch {
			case made[i] == nil && len(events) > 0:
				if answer.Revision != events[0].Commit || events[0].Request == nil || events[0].Request.Key != requests[i].Key {
					rt.Fatalf("request %d: events %+v, answer %+v", i, events, answer)
				}
				made[i] = &answer
			case made[i] == nil:
			case rejection != nil || len(events) > 0:
				rt.Fatalf("request %d, which made revision %d, was decided anew: %+v, %v", i, made[i].Revision, events, rejection)
			default:
				if diff := cmp.Diff(*made[i], answer); diff != "" {
					rt.Fatalf("request %d was answered otherwise (-first +now):\n%s", i, diff)
				}
			}
		}
	})
}

// anyCommand is one of those that collide: few keys, conditions that hold now and then.
func anyCommand(t *rapid.T) commands.Command {
	key := rapid.SampledFrom([]string{"a", "a/1", "a/2", "b"}).Draw(t, "key")
	put := commands.PutKey{Key: key, Value: []byte(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "value"))}
	switch rapid.IntRange(0, 6).Draw(t, "command") {
	case 0:
		put.If = []commands.Condition{commands.KeyExists(key, rapid.Bool().Draw(t, "exists"))}
	case 1:
		return commands.DeleteKey{Key: key}
	case 2:
		return commands.DeletePrefix{Prefix: "a"}
	case 3:
		return commands.RegisterInstance{Instance: event.Instance{Service: "s", ID: key, Address: "10.0.0.1"}}
	case 4:
		return commands.DeregisterInstance{Service: "s", ID: key}
	case 5:
		return commands.Txn{
			If:   []commands.Condition{commands.KeyValue("a", []byte("x"))},
			Then: []commands.Operation{{Put: &put}, {Get: &commands.Target{IsPrefix: true}}},
			Else: []commands.Operation{{Get: &commands.Target{Key: "a"}}, {Delete: &commands.Target{Prefix: "a/", IsPrefix: true}}},
		}
	}
	return put
}
