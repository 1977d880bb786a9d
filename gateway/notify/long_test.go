package notify

import (
	"strings"
	"testing"

	"github.com/rollcall/rollcall/log/event"
)

// TestSubjectThatNobodyCouldSend: an event whose subject is longer than a connection survives goes by a shorter one, and
// those behind it arrive.
func TestSubjectThatNobodyCouldSend(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 4)
	s := startServer(t, l)
	nc := guest(t, s)
	sub, err := nc.SubscribeSync("rollcall.default.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	l.add(event.Default, event.NodeMaintenance{Node: strings.Repeat("n", 20<<10), Reason: "x"})
	l.put(event.Default, "b", 1)
	for _, want := range []string{"rollcall.default.node.%", "rollcall.default.kv.b"} {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if !strings.HasPrefix(m.Subject, want) {
			t.Errorf("on %.60s, want %s", m.Subject, want)
		}
	}
}
