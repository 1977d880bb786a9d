package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// announcing is an instance that is announced, by a client of a backend.
type announcing struct {
	*client.Announcement
	b       *gatewaytest.Backend
	c       *client.Client
	changes chan client.AnnouncementStatus
}

var announced = client.Instance{Service: "web", ID: "1", Address: "10.0.0.1", TTL: 3 * time.Second}

func announce(ctx context.Context, t *testing.T, i client.Instance, o client.AnnounceOptions) announcing {
	t.Helper()
	a := announcing{b: gatewaytest.New("test"), changes: make(chan client.AnnouncementStatus, 1000)}
	a.c = newClient(t, client.Options{RetryFor: 200 * time.Millisecond}, doorOf(t, a.b).ServeHTTP)
	o.OnChange = func(s client.AnnouncementStatus) { a.changes <- s }
	a.Announcement = must(a.c.Announce(ctx, i, o))(t)
	return a
}

// await waits for a status that a test looks for.
func (a announcing) await(t *testing.T, want func(client.AnnouncementStatus) bool) client.AnnouncementStatus {
	t.Helper()
	for {
		select {
		case s := <-a.changes:
			if want(s) {
				return s
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("it stays %+v", a.Status())
		}
	}
}

func registered(s client.AnnouncementStatus) bool { return s.Registered }

func lostSession(s client.AnnouncementStatus) bool {
	_, lost := errors.AsType[*client.LostError](s.Err)
	return lost && !s.Registered
}

// An instance is there while it is announced, comes back when its session was ended, and goes with the announcement.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := announce(ctx, t, announced, client.AnnounceOptions{})
	first := a.await(t, registered)
	if i := must(a.c.Instance(ctx, "web", "1"))(t); i.Session != first.Session || i.TTL != 0 {
		t.Errorf("got %+v, want session %q", i, first.Session)
	}
	must(a.c.EndSession(ctx, first.Session))(t)
	a.await(t, lostSession)
	next := a.await(t, registered)
	if i := must(a.c.Instance(ctx, "web", "1"))(t); i.Session != next.Session || next.Session == first.Session {
		t.Errorf("got session %q behind %q, and status %+v", i.Session, first.Session, next)
	}
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	<-a.Done()
	if s := a.Status(); s.Registered || !errors.Is(s.Err, client.ErrAnnouncementClosed) {
		t.Errorf("got %+v", s)
	}
	for _, err := range []error{second(a.c.Instance(ctx, "web", "1")), second(a.c.Session(ctx, next.Session))} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	}
	if err := a.Close(ctx); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}

// Servers that do nothing for longer than the TTL, and have the session expire, get the instance again.
func TestAnnounceSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	a := announce(t.Context(), t, announced, client.AnnounceOptions{})
	first := a.await(t, registered)
	a.b.SetFaults(gatewaytest.Faults{Submit: gateway.ErrUnavailable, View: gateway.ErrUnavailable})
	a.await(t, lostSession)
	a.await(t, func(s client.AnnouncementStatus) bool { return s.Err != nil && !lostSession(s) }) // it has tried
	epoch := a.b.MustSubmit(event.Default, commands.ClaimTimekeeper{Server: "test"})
	a.b.MustSubmit(event.Default, commands.Expire{Epoch: epoch, Leases: []commands.Lease{{Session: first.Session}}})
	a.b.SetFaults(gatewaytest.Faults{})
	again := a.await(t, registered)
	if i := must(a.c.Instance(t.Context(), "web", "1"))(t); i.Session != again.Session {
		t.Errorf("got %+v", i)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A registration of its own whose answer got lost is nobody else's.
func TestAnnounceKnowsItself(t *testing.T) {
	t.Parallel()
	b := gatewaytest.New("test")
	door := doorOf(t, b)
	var deaf atomic.Bool // changes are made, and not answered; sessions cannot be ended
	c := newClient(t, client.Options{RetryFor: time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case deaf.Load() && strings.Contains(r.URL.Path, "/instances/") && r.Method == http.MethodPut:
			door.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case deaf.Load() && r.Method == http.MethodDelete:
			problem(w, 503, client.ErrNoQuorum, "not now")
		default:
			door.ServeHTTP(w, r)
		}
	})
	a := announcing{b: b, c: c, changes: make(chan client.AnnouncementStatus, 1000)}
	a.Announcement = must(c.Announce(t.Context(), announced, client.AnnounceOptions{OnChange: func(s client.AnnouncementStatus) { a.changes <- s }}))(t)
	first := a.await(t, registered)
	deaf.Store(true)
	b.MustSubmit(event.Default, commands.EndSession{ID: first.Session})
	for range 2 {
		a.await(t, func(s client.AnnouncementStatus) bool { return errors.Is(s.Err, client.ErrOutcomeUnknown) })
	}
	deaf.Store(false)
	again := a.await(t, func(s client.AnnouncementStatus) bool {
		_, replaced := errors.AsType[*client.ReplacedError](s.Err)
		return replaced || s.Registered
	})
	if i := must(c.Instance(t.Context(), "web", "1"))(t); again.Err != nil || i.Session != again.Session {
		t.Errorf("got %+v, with session %q", again, i.Session)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who has taken the place of an instance keeps it.
func TestAnnounceGivesWay(t *testing.T) {
	t.Parallel()
	a := announce(t.Context(), t, announced, client.AnnounceOptions{})
	s := a.await(t, registered)
	must(a.c.Register(t.Context(), client.Instance{Service: "web", ID: "1", Address: "10.0.0.2"}))(t)
	must(a.c.EndSession(t.Context(), s.Session))(t)
	<-a.Done()
	if _, ok := errors.AsType[*client.ReplacedError](a.Status().Err); !ok {
		t.Errorf("got %v", a.Status().Err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if i := must(a.c.Instance(t.Context(), "web", "1"))(t); i.Address != "10.0.0.2" {
		t.Errorf("got %+v", i)
	}
}

// Withdrawn, it is gone from discovery, and its session is there; unless somebody else has taken its place.
func TestWithdraw(t *testing.T) {
	i := announced
	i.TTL = time.Minute // it is not to be lost
	a := announce(t.Context(), t, i, client.AnnounceOptions{})
	s := a.await(t, registered)
	if err := a.Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := a.c.Instance(t.Context(), "web", "1"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	must(a.c.Session(t.Context(), s.Session))(t)
	must(a.c.Register(t.Context(), client.Instance{Service: "web", ID: "1", Address: "10.0.0.2"}))(t)
	if err := errors.Join(a.Withdraw(t.Context()), a.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if i := must(a.c.Instance(t.Context(), "web", "1"))(t); i.Address != "10.0.0.2" {
		t.Errorf("got %+v", i)
	}
}

// A TTL check is reported for as long as it is there, and an announcement whose context ends leaves the rest to time.
func TestAnnounceReports(t *testing.T) {
	t.Parallel()
	i := announced
	i.TTL = time.Minute // its session is not to be lost
	i.Checks = []client.Check{{ID: "alive", TTL: time.Second}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := announce(ctx, t, i, client.AnnounceOptions{Passing: "alive"})
	s := must(a.c.CacheService(t.Context(), "web"))(t)
	defer s.Close()
	for state := range s.States(t.Context()) {
		if len(state.Passing()) == 1 {
			break
		}
	}
	must(a.c.Deregister(t.Context(), "web", "1"))(t)
	gone := a.await(t, func(s client.AnnouncementStatus) bool { return errors.Is(s.Err, client.ErrNotFound) })
	cancel()
	<-a.Done()
	if err := a.Status().Err; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	must(a.c.Session(t.Context(), gone.Session))(t)
	if _, err := a.c.Announce(t.Context(), client.Instance{Service: "web", ID: "2"}, client.AnnounceOptions{}); err == nil {
		t.Error("an instance without an address was announced")
	}
	if _, err := a.c.Announce(t.Context(), client.Instance{Service: "web", ID: "2", Session: "3"}, client.AnnounceOptions{}); err == nil {
		t.Error("an instance with a session of its own was announced")
	}
	for left, err := range a.c.Sessions(t.Context()) {
		if err != nil || left.ID != gone.Session {
			t.Errorf("what was refused left session %q (%v)", left.ID, err)
		}
	}
}

// In a session that is there already, an announcement ends with it.
func TestAnnounceInASession(t *testing.T) {
	c := newClient(t, client.Options{}, newDoor(t).ServeHTTP)
	l := must(c.OpenSession(t.Context(), client.SessionOptions{TTL: time.Minute}))(t)
	a := must(l.Announce(t.Context(), announced, client.AnnounceOptions{}))(t)
	if i := must(c.Instance(t.Context(), "web", "1"))(t); i.Session != l.ID {
		t.Errorf("got %+v", i)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-a.Done()
	if s := a.Status(); s.Registered || !errors.Is(s.Err, client.ErrSessionClosed) {
		t.Errorf("got %+v", s)
	}
}
