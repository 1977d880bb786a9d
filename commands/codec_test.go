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
	ttl := event.Time(30e9)
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
		commands.AddMember{Name: "a", Address: "10.0.0.1:7601", Version: 2},
		commands.AnnounceVersion{Name: "a", Replica: 1, Version: 2},
		commands.SetClusterVersion{Version: 2},
		commands.PutTree{Prefix: "a/", Replace: true, Since: 3, Entries: []commands.TreeEntry{{Key: "a/b", Value: []byte("1"), ContentType: "application/json"}}},
		commands.CloseNamespace{Namespace: "blue", Placed: 4},
		commands.ClearNamespace{Namespace: "blue", From: "k"},
		commands.DeleteNamespace{Namespace: "blue", Placed: 4, Closed: 9, Expired: true},
		commands.FillNamespace{Namespace: "blue", Placed: 4, Entries: []commands.FillEntry{{Key: "a", Value: []byte{0}, ContentType: "text/plain", Flags: 9}}, Done: true},
		commands.CreateNamespace{Namespace: "blue", From: "default", FromRevision: 9},
		commands.OpenNamespace{Namespace: "blue", Cluster: "c", Placed: 4, From: "default", FromRevision: 9, Again: true},
		commands.ConfigureNamespace{Namespace: "blue", TTL: &ttl, From: "default", FromRevision: 9},
		commands.ApplySettings{Namespace: "blue", Configured: 4, TTL: 30e9},
		commands.Expire{Epoch: 3, Leases: []commands.Lease{{Namespace: true, Revision: 4}}},
		commands.PutTree{Flat: true, Entries: []commands.TreeEntry{{Key: "a"}, {Key: "a/b"}}},
	}
}

func TestCodec(t *testing.T) {
	for _, command := range samples() {
		for _, want := range []commands.Order{
			{Version: commands.VersionFirst, Command: command},
			{Version: commands.VersionKeys, Command: command},
			{Version: commands.VersionKeys, Command: command, Key: "k 1"},
			{Version: commands.VersionLeases, Command: command},
			{Version: commands.VersionHealth, Command: command},
		} {
			if want.Version < commands.Since(command) {
				if got, err := commands.Decode(want.Encode()); !errors.Is(err, commands.ErrMalformed) {
					t.Errorf("%T in version %d: got %v, %v", command, want.Version, got, err)
				}
				continue
			}
			got, err := commands.Decode(want.Encode())
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%T: %v (-want +got):\n%s", command, err, diff)
			}
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, commands.ErrMalformed},
		{"no map", []byte{0xff}, commands.ErrMalformed},
		{"no version", []byte{0xa0}, commands.ErrMalformed},
		{"version 0", []byte{0xa3, 1, 0, 2, 1, 3, 0xa0}, commands.ErrMalformed},
		{"an unknown kind", []byte{0xa3, 1, 1, 2, 0x18, 77, 3, 0xa0}, commands.ErrMalformed},
		{"a key before its time", []byte{0xa4, 1, 1, 2, 1, 3, 0xa0, 4, 0x61, 'k'}, commands.ErrMalformed},
		{"an empty key", []byte{0xa4, 1, 2, 2, 1, 3, 0xa0, 4, 0x60}, commands.ErrMalformed},
		{"a newer version", []byte{0xa3, 1, commands.Version + 1, 2, 1, 3, 0xa0}, commands.ErrVersion},
		{"a newer version with more fields", []byte{0xa4, 1, commands.Version + 1, 2, 1, 3, 0xa0, 9, 1}, commands.ErrVersion},
	} {
		if o, err := commands.Decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s (%x): got %v, %v", c.name, c.b, o, err)
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
		f.Add(commands.Order{Version: commands.VersionFirst, Command: c}.Encode())
		f.Add(commands.Order{Version: commands.VersionKeys, Key: "k", Command: c}.Encode())
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
		events, _, rejection := l.order(c)
		if rejection != nil && len(events) > 0 {
			t.Errorf("%T was refused with %v and made events", c.Command, rejection)
		}
		for _, e := range events {
			if _, err := event.DecodeCanonical(event.Append(nil, e)); err != nil {
				t.Errorf("%T made an event whose bytes cannot be read back: %v", c.Command, err)
			}
		}
	})
}
