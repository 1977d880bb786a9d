package client_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// changeService makes one random change that may concern a service.
func changeService(t *rapid.T, c *client.Client) {
	ctx := t.Context()
	id := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id")
	node := rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "node")
	service := rapid.SampledFrom([]string{"web", "web", "web", "db"}).Draw(t, "service")
	yes := rapid.Bool().Draw(t, "yes")
	var err error
	switch rapid.IntRange(0, 8).Draw(t, "what") {
	case 0, 1, 2:
		i := client.Instance{Service: service, ID: id, Node: node, Address: "10.0.0." + id}
		if yes {
			i.Checks = []client.Check{{TTL: time.Minute}}
		}
		_, err = c.Register(ctx, i)
	case 3:
		_, err = c.Deregister(ctx, service, id)
	case 4, 5:
		status := rapid.SampledFrom([]client.Status{client.Passing, client.Warning, client.Critical}).Draw(t, "status")
		_, err = c.Report(ctx, service, id, "ttl", status, "")
	case 6:
		_, err = c.SetMaintenance(ctx, service, id, yes, "why")
	case 7:
		if node != "" {
			_, err = c.SetNodeMaintenance(ctx, node, yes, "why")
		}
	case 8:
		_, err = c.ConfigureService(ctx, service, client.ServiceSettings{OnlyPassing: yes})
	}
	if refused := new(client.Problem); err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
}

// Every state that a cache shows is what the server says of its revision, and it comes to show the last one.
func TestServiceCacheIsAlwaysAState(t *testing.T) {
	b := gatewaytest.New("test")
	door := doorOf(t, b)
	o := client.Options{RetryFor: 20 * time.Second}
	writes, steady, broken := newClient(t, o, door.ServeHTTP), newClient(t, o, door.ServeHTTP), newClient(t, o, shaky(door))
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		namespace := "n" + strconv.Itoa(n)
		b.MustSubmit(event.System, commands.CreateNamespace{Namespace: namespace})
		c := writes.In(namespace)
		reads := rapid.SampledFrom([]*client.Client{steady, broken}).Draw(t, "client").In(namespace)
		for range rapid.IntRange(0, 4).Draw(t, "before") {
			changeService(t, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := reads.CacheService(ctx, "web")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		shown := []*client.ServiceState{s.State()}
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			changeService(t, c)
			if shown = append(shown, s.State()); shown[len(shown)-1].Revision < shown[len(shown)-2].Revision {
				t.Fatalf("revision %d came behind %d", shown[len(shown)-1].Revision, shown[len(shown)-2].Revision)
			}
		}
		want := serviceAt(t, c, 0)
		if rapid.Bool().Draw(t, "wait") {
			if err := s.Sync(ctx); err != nil || s.Revision() < want.Revision {
				t.Fatalf("got %v at revision %d, want %d", err, s.Revision(), want.Revision)
			}
		}
		for state := range s.States(ctx) { // it comes by itself, too
			shown = append(shown, state)
			if cmp.Diff(state.Instances, want.Instances) == "" && state.Settings == want.Settings {
				break
			}
		}
		if err := ctx.Err(); err != nil {
			t.Fatalf("it does not come to show what there is: %v", s.Status())
		}
		for _, state := range shown {
			if diff := cmp.Diff(state.Service, serviceAt(t, c, state.Revision)); diff != "" {
				t.Fatalf("revision %d (-got +want):\n%s", state.Revision, diff)
			}
			passing, err := c.Instances(ctx, "web", client.Query{Passing: true}, client.At(state.Revision))
			if got := append([]client.InstanceState{}, state.Passing()...); !errors.Is(err, client.ErrNotFound) && cmp.Diff(got, passing.Instances) != "" {
				t.Fatalf("revision %d: %v may be used, want %v", state.Revision, state.Passing(), passing.Instances)
			}
		}
	})
}

// serviceAt is the service as of a revision, by what the server says; zero is now.
func serviceAt(t *rapid.T, c *client.Client, revision uint64) client.Service {
	var options []client.ReadOption
	if revision == 0 {
		page, err := c.ListPage(t.Context(), "", "", 1)
		if err != nil {
			t.Fatal(err)
		}
		revision = page.Revision
	}
	found, err := c.Instances(t.Context(), "web", client.Query{}, append(options, client.At(revision))...)
	if errors.Is(err, client.ErrNotFound) {
		return client.Service{Service: "web", Revision: revision, Instances: []client.InstanceState{}}
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPick(t *testing.T) {
	c := newClient(t, client.Options{}, newDoor(t).ServeHTTP)
	ctx := t.Context()
	s := must(c.CacheService(ctx, "web"))(t)
	defer s.Close()
	if i, ok := s.Pick(); ok {
		t.Errorf("picked %v of nothing", i)
	}
	register := func(id string, weight, priority uint16) {
		t.Helper()
		w := must(c.Register(ctx, client.Instance{Service: "web", ID: id, Address: "10.0.0.1", Weight: &weight, Priority: &priority}))(t)
		if err := s.WaitRevision(ctx, w.Revision); err != nil {
			t.Fatal(err)
		}
	}
	picks := func() map[string]int {
		n := map[string]int{}
		for range 4000 {
			i, ok := s.Pick()
			if !ok {
				t.Fatal("nothing to pick")
			}
			n[i.ID]++
		}
		return n
	}
	register("spare", 9, 2)
	if got := picks(); got["spare"] != 4000 {
		t.Errorf("got %v", got)
	}
	register("none", 0, 1)
	if got := picks(); got["none"] != 4000 {
		t.Errorf("got %v, want the one of the lowest priority, whose weight is that of all", got)
	}
	register("one", 1, 1)
	register("three", 3, 1)
	if got := picks(); len(got) != 2 || got["one"] < 800 || got["one"] > 1200 {
		t.Errorf("got %v, want a quarter and three quarters", got)
	}
}
