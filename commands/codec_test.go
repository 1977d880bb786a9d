package commands_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

func samples() []commands.Command {
	put := commands.PutKey{
		Key: "a", Value: []byte("v"), ContentType: "text/plain", Flags: 3,
		If: []commands.Condition{commands.KeyRevision("a", 7), commands.KeyValue("b", []byte("x")), commands.KeyExists("c", true)},
	}
	plain := commands.PutKey{Key: "a", Value: []byte("v")}
	register := commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "1", Address: "10.0.0.1", Port: 80, Tags: []string{"a"}}}
	return []commands.Command{
		put, plain, register,
		commands.DeleteKey{Key: "\xff", If: put.If},
		commands.DeletePrefix{Prefix: "a/"},
		commands.Txn{
			If:   put.If,
			Then: []commands.Operation{{Put: &plain}, {Delete: &commands.Target{Prefix: "", IsPrefix: true}}, {Register: &register}},
			Else: []commands.Operation{{Get: &commands.Target{Key: "a"}}, {Deregister: &commands.DeregisterInstance{Service: "web", ID: "1"}}},
		},
		commands.DeregisterInstance{Service: "web", ID: "1"},
		commands.CreateNamespace{Namespace: "blue", Group: 2},
		commands.AddMember{Name: "a", Address: "10.0.0.1:7601", Nonce: "00ff", Voter: true, Replica: 3, Replace: true},
		commands.PromoteMember{Name: "a"},
		commands.RemoveMember{Name: "a"},
		commands.OpenNamespace{Namespace: "blue", Cluster: "c", Placed: 4, Groups: 2, Skip: 7},
		commands.RestoreNamespace{Namespace: "blue", Cluster: "c", Skip: 9, FromCluster: "b", Taken: 5, Snapshot: []byte{1}},
	}
}

func TestCodec(t *testing.T) {
	for _, want := range samples() {
		got, err := commands.Decode(commands.Encode(want))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%T: %v (-want +got):\n%s", want, err, diff)
		}
	}
	for _, bad := range [][]byte{nil, {0xff}, {0xa0}, {0xa3, 1, 0, 2, 1, 3, 0xa0}, {0xa3, 1, 2, 2, 1, 3, 0xa0}, {0xa3, 1, 1, 2, 0x18, 77, 3, 0xa0}} {
		if c, err := commands.Decode(bad); !errors.Is(err, commands.ErrMalformed) {
			t.Errorf("%x: got %v, %v", bad, c, err)
		}
	}
}

func TestReply(t *testing.T) {
	answer := commands.Answer{Revision: 7, Branch: commands.BranchElse, Failed: []int{0, 2}, Results: []commands.Result{
		{Revision: 7, Created: true}, {Revision: 7, Entries: []event.Entry{{Key: "a", Value: []byte("v"), Revision: 3}}},
	}}
	got, rejection, err := commands.DecodeReply(commands.EncodeReply(answer, nil))
	if diff := cmp.Diff(answer, got); err != nil || rejection != nil || diff != "" {
		t.Errorf("%v %v (-want +got):\n%s", rejection, err, diff)
	}
	want := &commands.Rejection{Code: commands.CodeConditionFailed, Message: "no", Revision: 3}
	if _, rejection, err = commands.DecodeReply(commands.EncodeReply(commands.Answer{}, want)); err != nil || *rejection != *want {
		t.Errorf("got %v, %v, want %v", rejection, err, want)
	}
}

// FuzzDecode looks for bytes that make a decision panic, on a state of its own.
func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		f.Add(commands.Encode(c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := commands.Decode(b)
		if err != nil {
			return
		}
		l := newLedger(t, event.System)
		if _, _, r := l.decide(commands.OpenNamespace{Namespace: event.System, Cluster: "c", Groups: 2}); r != nil {
			t.Fatal(r)
		}
		events, _, rejection := l.decide(c)
		if rejection != nil && len(events) > 0 {
			t.Errorf("%T was refused with %v and made events", c, rejection)
		}
		for _, e := range events {
			if _, err := event.DecodeCanonical(event.Append(nil, e)); err != nil {
				t.Errorf("%T made an event whose bytes cannot be read back: %v", c, err)
			}
		}
	})
}
