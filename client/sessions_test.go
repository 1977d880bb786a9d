package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

func TestLeasesAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testLeasesAtTheDoor) }

func testLeasesAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	must(c.Put(ctx, "a", []byte("x"), client.TTL(30*time.Second)))(t)
	if e := must(c.Get(ctx, "a"))(t); e.TTL != 30*time.Second {
		t.Errorf("got a TTL of %v", e.TTL)
	}
	if ttl := must(c.Refresh(ctx, "a"))(t); ttl != 30*time.Second {
		t.Errorf("refreshed for %v", ttl)
	}
	must(c.Put(ctx, "forever", nil, client.IfAbsent()))(t)
	if _, err := c.Refresh(ctx, "forever"); !errors.Is(err, client.ErrNoLease) {
		t.Errorf("got %v, want no lease", err)
	}
	if _, err := c.Refresh(ctx, "nothing"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	must(c.PutDirectory(ctx, "queue/", time.Minute))(t)
	one := must(c.Append(ctx, "queue/", []byte{0xff}, client.ContentType("x/y"), client.Flags(7)))(t)
	two := must(c.Append(ctx, "queue/", nil, client.TTL(time.Minute)))(t)
	if one.Key != "queue/00000000000000000005" || one.Revision != 5 || two.Key <= one.Key {
		t.Errorf("got %+v, then %+v", one, two)
	}
	if e := must(c.Get(ctx, one.Key))(t); string(e.Value) != "\xff" || e.Flags != 7 || e.ContentType != "x/y" {
		t.Errorf("got %+v", e)
	}
	if e := must(c.Get(ctx, "queue/"))(t); e.TTL != time.Minute || e.Value != nil {
		t.Errorf("got %+v, want a directory", e)
	}
	must(c.Put(ctx, "a", []byte("y"), client.IfExists()))(t)
	if _, err := c.Put(ctx, "b", nil, client.IfExists()); !errors.Is(err, client.ErrConditionFailed) {
		t.Errorf("got %v, want a failed condition", err)
	}
}

func TestSessionsAtTheDoor(t *testing.T) {
	overDoors(t, client.Options{Reason: "trying"}, testSessionsAtTheDoor)
}

func testSessionsAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	made := must(c.CreateSession(ctx, client.SessionOptions{TTL: 15 * time.Second, OnEnd: client.DeleteKeys, LockDelay: time.Second}))(t)
	other := must(c.CreateSession(ctx, client.SessionOptions{TTL: time.Minute}))(t)
	must(c.Put(ctx, "mine", []byte("x"), client.InSession(made.ID)))(t)
	must(c.Register(ctx, client.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Session: made.ID}))(t)
	if found := must(c.Instances(ctx, "web", client.Query{}))(t); found.Instances[0].Session != made.ID {
		t.Errorf("got %+v", found)
	}
	if ttl := must(c.KeepAlive(ctx, made.ID))(t); ttl != 15*time.Second {
		t.Errorf("kept alive for %v", ttl)
	}
	want := client.Session{
		ID: "2", TTL: 15 * time.Second, OnEnd: client.DeleteKeys, LockDelay: time.Second, Created: gatewaytest.Start, Revision: 2,
		Holds: []client.Hold{{Key: "mine"}, {Service: "web", ID: "w1"}},
	}
	s := must(c.Session(ctx, made.ID))(t)
	if diff := cmp.Diff(s, want, cmpopts.IgnoreFields(client.Session{}, "Expires")); diff != "" || s.Expires.IsZero() {
		t.Errorf("session, which expires at %v (-got +want):\n%s", s.Expires, diff)
	}
	var ids []string
	for s, err := range c.Sessions(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if diff := cmp.Diff(ids, []string{made.ID, other.ID}); diff != "" {
		t.Errorf("sessions (-got +want):\n%s", diff)
	}
	r := must(c.Txn(ctx, client.Txn{
		If: []client.Condition{client.KeySession("mine", client.Equal, made.ID), client.KeySession("mine", client.NotEqual, other.ID)},
		Then: []client.Operation{
			{Put: &client.PutKey{Key: "short", TTL: 5 * time.Second}},
			{Put: &client.PutKey{Key: "tree/", TTL: 5 * time.Second}},
			{Put: &client.PutKey{Key: "bound", Session: other.ID}},
			{Get: client.Key("mine")},
		},
	}))(t)
	if !r.Succeeded || r.Results[3].Entries[0].Session != made.ID {
		t.Errorf("got %+v", r)
	}
	if e := must(c.Get(ctx, "tree/"))(t); e.TTL != 5*time.Second {
		t.Errorf("got %+v", e)
	}
	if _, err := c.Put(ctx, "theirs", nil, client.InSession("99")); !errors.Is(err, client.ErrUnknownSession) {
		t.Errorf("got %v, want an unknown session", err)
	}

	var plan client.Rehearsal
	must(c.EndSession(ctx, made.ID, client.DryRun(&plan)))(t)
	if plan.Total != 3 || len(plan.Events) != 3 || plan.Events[2].Type != "rollcall.service.deregister" || plan.Events[0].Reason != "trying" {
		t.Errorf("got %+v", plan)
	}
	must(c.EndSession(ctx, made.ID))(t)
	for _, err := range []error{
		second(c.EndSession(ctx, made.ID)), second(c.KeepAlive(ctx, made.ID)), second(c.Session(ctx, made.ID)), second(c.Get(ctx, "mine")),
	} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What is rehearsed is not done, whatever it is, and says what it would be.
func TestDryRunAtTheDoor(t *testing.T) { overDoors(t, client.Options{}, testDryRunAtTheDoor) }

func testDryRunAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	must(c.Put(ctx, "a", []byte("x")))(t)
	var plan client.Rehearsal
	if w := must(c.Put(ctx, "a", []byte("y"), client.DryRun(&plan)))(t); w.Revision != 3 || len(plan.Events) != 1 {
		t.Errorf("got %+v and %+v", w, plan)
	}
	must(c.Append(ctx, "q/", nil, client.DryRun(&plan)))(t)
	must(c.DeletePrefix(ctx, "", client.DryRun(&plan)))(t)
	must(c.Register(ctx, client.Instance{Service: "s", ID: "i", Address: "10.0.0.1"}, client.DryRun(&plan)))(t)
	must(c.CreateSession(ctx, client.SessionOptions{TTL: time.Minute}, client.DryRun(&plan)))(t)
	must(c.Txn(ctx, client.Txn{
		If: []client.Condition{client.KeyExists("a", true), client.KeyExists("b", true)}, Else: []client.Operation{{Delete: client.Key("a")}},
	}, client.DryRun(&plan)))(t)
	if plan.Succeeded || cmp.Diff(plan.Failed, []int{1}) != "" || plan.Events[0].Type != "rollcall.kv.delete" {
		t.Errorf("got %+v", plan)
	}
	if _, err := c.Delete(ctx, "b", client.DryRun(&plan)); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	for e, err := range c.Events(ctx, client.Range{}) {
		if err != nil || e.Revision > 2 {
			t.Errorf("got %v, %v", e, err)
		}
	}
}

// A renewal has no name, because it may be made again as it is, and no reason, because nobody keeps it.
func TestRenewalsNeedNoKey(t *testing.T) {
	c := newClient(t, client.Options{Reason: "trying"}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("Rollcall-Reason") != "" {
			t.Errorf("%s has %v", r.URL, r.Header)
		}
		_, _ = w.Write([]byte(`{"ttl":"1m30s"}`))
	})
	for _, got := range []time.Duration{must(c.KeepAlive(t.Context(), "7"))(t), must(c.Refresh(t.Context(), "a"))(t)} {
		if got != 90*time.Second {
			t.Errorf("got %v", got)
		}
	}
}

// transport is a server without a network, so that time may be virtual.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerOf(status int, kind, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body))}
}

// A session is kept alive over attempts that fail, and its holder is told that it is lost at once when it has ended, and
// when it may have expired where nobody answers.
func TestKeep(t *testing.T) {
	const ttl = 15 * time.Second
	for _, tt := range []struct {
		name string
		// answer is what happens to an attempt, by the time since the session was created.
		answer func(r *http.Request, at time.Duration) (*http.Response, error)
		lostAt time.Duration // zero for never
	}{
		{"fine", func(*http.Request, time.Duration) (*http.Response, error) {
			return answerOf(200, "application/json", `{"ttl":"15s"}`), nil
		}, 0},
		{"one attempt of three fails", func(_ *http.Request, at time.Duration) (*http.Response, error) {
			if at%(2*time.Second) < time.Second {
				return nil, errors.New("broken")
			}
			return answerOf(200, "application/json", `{"ttl":"15s"}`), nil
		}, 0},
		{"ended", func(_ *http.Request, at time.Duration) (*http.Response, error) {
			if at < 20*time.Second {
				return answerOf(200, "application/json", `{"ttl":"15s"}`), nil
			}
			return answerOf(404, "application/problem+json", `{"code":"not-found"}`), nil
		}, 20 * time.Second},
		{"no quorum", func(*http.Request, time.Duration) (*http.Response, error) {
			return answerOf(503, "application/problem+json", `{"code":"no-quorum"}`), nil
		}, ttl},
		{"silence", func(r *http.Request, at time.Duration) (*http.Response, error) {
			if at < 5*time.Second+time.Millisecond {
				return answerOf(200, "application/json", `{"ttl":"15s"}`), nil
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 5*time.Second + ttl},
		{"the first server is silent", func(r *http.Request, _ time.Duration) (*http.Response, error) {
			if r.URL.Host == "a" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answerOf(200, "application/json", `{"ttl":"15s"}`), nil
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				c, err := client.New(client.Options{Servers: []string{"http://a", "http://b"}, HTTPClient: &http.Client{
					Transport: transport(func(r *http.Request) (*http.Response, error) { return tt.answer(r, time.Since(began)) }),
				}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				err = c.Keep(ctx, client.Session{ID: "7", TTL: ttl}, began)
				if tt.lostAt == 0 {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v after %v", err, time.Since(began))
					}
					return
				}
				if lost, ok := errors.AsType[*client.LostError](err); !ok || lost.Session != "7" || time.Since(began).Round(time.Second) != tt.lostAt {
					t.Errorf("got %v after %v, want it lost after %v", err, time.Since(began), tt.lostAt)
				}
			})
		})
	}
}
