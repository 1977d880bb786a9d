package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// endless is a ledger of one event after the other.
type endless struct{ next event.Revision }

func (e *endless) TryNext() ([]event.Event, error) {
	events := make([]event.Event, 700)
	for i := range events {
		events[i] = event.Event{Revision: e.next, Commit: e.next, Body: event.KeyDeleted{Key: "a"}}
		e.next++
	}
	return events, nil
}

func (e *endless) Next(context.Context) ([]event.Event, error) { return e.TryNext() }
func (e *endless) Fork(event.Revision) gateway.Follower        { return e }
func (e *endless) Close()                                      {}

// TestPageScan: a filter that lets nothing through, or hardly anything, looks at a part of the ledger only, and says how
// far it came.
func TestPageScan(t *testing.T) {
	filter, err := event.ParseFilter("node.x")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		until time.Time
		next  int
	}{
		"by their number": {time.Now().Add(time.Hour), 5 + pageScanMax},
		"by the time":     {time.Now().Add(-time.Second), 5 + 700},
	} {
		p := page{span: span{first: 5, last: 1 << 40, head: 1 << 41, limit: 10, filter: filter}, until: c.until}
		if err := p.fill(&endless{next: 5}); err != nil {
			t.Fatal(err)
		}
		if got, want := string(p.body), fmt.Sprintf("{\"revision\":%d,\"source\":\"rollcall//\",\"events\":[],\"next\":%d}\n", 1<<41, c.next); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
