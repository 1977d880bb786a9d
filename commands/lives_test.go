package commands_test

import (
	"strings"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// decided fails the test where a command is refused, and gives its events.
func (l *ledger) decided(o commands.Order) []event.Event {
	l.t.Helper()
	o.Version = l.version
	events, _, rejection := l.order(o)
	if rejection != nil {
		l.t.Fatalf("%+v: %v", o.Command, rejection)
	}
	return events
}

// reopened is the ledger of a namespace that was deleted and made again, after what it held before.
func reopened(t *testing.T, before ...commands.Order) *ledger {
	t.Helper()
	l := newLedger(t, "blue")
	l.decided(commands.Order{Command: commands.OpenNamespace{Namespace: "blue", Cluster: "c", Placed: 5}})
	for _, o := range before {
		l.decided(o)
	}
	l.decided(commands.Order{Command: commands.CloseNamespace{Namespace: "blue", Placed: 5}})
	for len(l.decided(commands.Order{Command: commands.ClearNamespace{Namespace: "blue"}})) > 0 {
	}
	l.decided(commands.Order{Command: commands.OpenNamespace{Namespace: "blue", Cluster: "c", Placed: 9, Again: true}})
	return l
}

// TestRequestsOfAFormerLife: an idempotency key that a deleted namespace remembers says nothing of the one that is there
// now; a repeat of what deleted it is answered as before.
func TestRequestsOfAFormerLife(t *testing.T) {
	put := commands.Order{Key: "deploy-1", Command: commands.PutKey{Key: "k", Value: []byte("v")}}
	l := reopened(t, put)
	if events := l.decided(put); len(events) != 1 {
		t.Errorf("the write was taken for one that was made: %d events", len(events))
	}
	if events := l.decided(put); len(events) != 0 {
		t.Errorf("its own repeat was written: %d events", len(events))
	}
}

// TestSettingsOfAFormerLife: settings that were asked of the namespace that was deleted do not reach its successor.
func TestSettingsOfAFormerLife(t *testing.T) {
	l := reopened(t)
	if events := l.decided(commands.Order{Command: commands.ApplySettings{Namespace: "blue", TTL: 5e9, Configured: 6}}); len(events) != 0 {
		t.Errorf("they were applied: %+v", events)
	}
	if events := l.decided(commands.Order{Command: commands.ApplySettings{Namespace: "blue", TTL: 5e9, Configured: 9}}); len(events) != 1 {
		t.Errorf("its own were not")
	}
}

// TestNothingOfAFormerLife: nodes go too, whatever was known of them.
func TestNothingOfAFormerLife(t *testing.T) {
	l := reopened(t,
		commands.Order{Command: commands.PutNode{Node: "known", Address: "10.0.0.1"}},
		commands.Order{Command: commands.SetNodeMaintenance{Node: "known", Enabled: true, Reason: "x"}},
		commands.Order{Command: commands.SetNodeMaintenance{Node: "unknown", Enabled: true}},
		commands.Order{Command: commands.SetNodeMaintenance{Node: "unknown"}},
		commands.Order{Command: commands.SetNodeMaintenance{Node: "deleted", Enabled: true}},
		commands.Order{Command: commands.DeleteNode{Node: "deleted"}},
		commands.Order{Command: commands.ConfigureService{Service: "web", OnlyPassing: true}},
		commands.Order{Command: commands.RegisterInstance{
			Instance: event.Instance{Service: "web", ID: "1", Address: "10.0.0.1"}, Credentials: &commands.Credentials{Values: map[string]string{"a": "b"}},
		}},
	)
	for n := range l.view(0).Nodes() {
		t.Errorf("node %+v is left", n)
	}
	for service := range l.view(0).AllServiceSettings() {
		t.Errorf("settings of %q are left", service)
	}
	if values, _ := l.view(0).Credentials("web", "1"); len(values) > 0 {
		t.Error("credentials are left")
	}
}

// TestNobodyIsPutBackWhoWasNotOut: the end of a maintenance that never began is no event, whatever the node's name.
func TestNobodyIsPutBackWhoWasNotOut(t *testing.T) {
	l := newLedger(t, "default")
	l.decided(commands.Order{Command: commands.OpenNamespace{Namespace: "default", Cluster: "c"}})
	for _, name := range []string{"", "a\x00b", "x\ny", strings.Repeat("n", 20_000)} {
		if events := l.decided(commands.Order{Command: commands.SetNodeMaintenance{Node: name, Reason: "x"}}); len(events) != 0 {
			t.Errorf("an event of a node whose name has %d bytes", len(name))
		}
	}
}

// TestDueLater: what was given more time while its end was on its way has that time.
func TestDueLater(t *testing.T) {
	l := newLedger(t, "default")
	register := func(ttl event.Time) commands.Order {
		return commands.Order{Command: commands.RegisterInstance{Instance: event.Instance{
			Service: "web", ID: "1", Address: "10.0.0.1", Checks: []event.Check{{ID: "beat", TTL: ttl, Initial: event.Passing}},
		}}}
	}
	l.decided(commands.Order{Command: commands.OpenNamespace{Namespace: "default", Cluster: "c"}})
	l.decided(commands.Order{Command: commands.ClaimTimekeeper{Server: "a"}})
	l.decided(register(1e9))
	expire := func(after event.Time) commands.Order {
		return commands.Order{Command: commands.Expire{Epoch: 2, Leases: []commands.Lease{{Service: "web", ID: "1", Check: "beat", Revision: 3, After: after}}}}
	}
	l.decided(register(3600e9))
	if events := l.decided(expire(1e9)); len(events) != 0 {
		t.Errorf("it lapsed: %+v", events)
	}
	if events := l.decided(expire(3600e9)); len(events) != 1 {
		t.Error("it does not lapse when its new time has passed")
	}
}

// TestMadeAgainBeforeItWasEverOpened: the ledger of such a namespace knows by which placement it was opened, so that nobody
// takes it for the one that was deleted.
func TestMadeAgainBeforeItWasEverOpened(t *testing.T) {
	l := newLedger(t, "blue")
	l.decided(commands.Order{Command: commands.OpenNamespace{Namespace: "blue", Cluster: "c", Placed: 9, Again: true}})
	if life := l.view(0).Life(); life.Placed != 9 || life.Phase != event.Open {
		t.Errorf("its life is %+v", life)
	}
}
