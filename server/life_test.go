package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/server"
)

// tracks is a server whose namespaces come and go.
type tracks struct {
	*testing.T
	*server.Server
	close func() error
}

func startTracks(t *testing.T, data string) tracks {
	t.Helper()
	s := startRetaining(t, data)
	closed := sync.OnceValue(s.Close)
	t.Cleanup(func() { _ = closed() })
	return tracks{t, s, closed}
}

func (s tracks) try(namespace string, c commands.Command) (commands.Answer, error) {
	return s.Server.Submit(context.Background(), namespace, gateway.Request{Command: c, Actor: "ada", Reason: "because"})
}

func (s tracks) do(namespace string, c commands.Command) commands.Answer {
	s.T.Helper()
	a, err := s.try(namespace, c)
	if err != nil {
		s.T.Fatalf("%+v in %s: %v", c, namespace, err)
	}
	return a
}

// keys are the keys of a namespace, with its head; the error where it is not to be seen.
func (s tracks) keys(namespace string, o gateway.ReadOptions) (all []string, head event.Revision, err error) {
	err = s.View(context.Background(), namespace, o, func(v gateway.View) error {
		for e := range v.Keys("") {
			all = append(all, e.Key+"="+string(e.Value))
		}
		head = v.Head()
		return nil
	})
	return all, head, err
}

// again makes a namespace as soon as the one of that name is gone.
func (s tracks) again(c commands.Command) (a commands.Answer) {
	s.T.Helper()
	eventually(s.T, "it can be made again", func() bool {
		var err error
		a, err = s.try(event.System, c)
		if p := gateway.ProblemOf(err); err != nil && p.Code != commands.CodeNamespaceEnding {
			s.T.Fatal(err)
		} else if err != nil && p.RetryAfter == 0 {
			s.T.Fatalf("refused for now, and does not say for how long: %+v", p)
		}
		return err == nil
	})
	return a
}

func isUnknown(err error) bool {
	return err != nil && gateway.ProblemOf(err).Code == commands.CodeUnknownNamespace
}

// TestNamespaceComesAndGoes deletes a namespace, makes it again, and holds what is there against what may be, through a
// restart, a snapshot and its restoration; and everything verifies.
func TestNamespaceComesAndGoes(t *testing.T) {
	data := t.TempDir()
	s := startTracks(t, data)
	s.do(event.System, commands.CreateNamespace{Namespace: "blue"})
	s.do(event.System, commands.CreateNamespace{Namespace: "red"})
	for i := range 30 {
		s.do("blue", commands.PutKey{Key: fmt.Sprint("k", i), Value: []byte("v")})
		s.do("red", commands.PutKey{Key: fmt.Sprint("k", i), Value: []byte("v")})
	}
	s.do("blue", commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "w1", Address: "10.0.0.1"}})
	session := s.do("blue", commands.CreateSession{TTL: 3600e9})
	s.do("blue", commands.PutKey{Key: "held", Session: session.Results[0].Key})
	before, err := s.Head("blue")
	if err != nil {
		t.Fatal(err)
	}
	follower, err := s.Follow("blue", before+1)
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()

	if _, err := s.try(event.System, commands.DeleteNamespace{Namespace: event.Default}); err == nil {
		t.Error("the default namespace was deleted")
	}
	if _, err := s.try(event.System, commands.DeleteNamespace{Namespace: "green"}); !isUnknown(err) {
		t.Errorf("a namespace that is not there: %v", err)
	}
	s.do(event.System, commands.DeleteNamespace{Namespace: "blue"})
	for _, o := range []gateway.ReadOptions{{}, {Stale: true}, {At: 3}} {
		if _, _, err := s.keys("blue", o); !isUnknown(err) {
			t.Errorf("read with %+v of what was deleted: %v", o, err)
		}
	}
	if _, err := s.try("blue", commands.PutKey{Key: "a"}); !isUnknown(err) {
		t.Errorf("a write to what was deleted: %v", err)
	}
	if slices.Contains(s.Namespaces(), "blue") {
		t.Error("the doors still know it")
	}
	if _, err := s.Follow("blue", 1); !isUnknown(err) {
		t.Errorf("followed: %v", err)
	}
	for told := ""; told != "rollcall.namespace.close"; {
		events, err := follower.Next(t.Context())
		if err != nil {
			t.Fatalf("who followed it was told %v, after %s", err, told)
		}
		for _, e := range events {
			// Its leases may have been claimed late.
			if told = e.Body.Type(); told != "rollcall.namespace.timekeeper" && told != "rollcall.namespace.close" {
				t.Errorf("who followed it was told %+v", e)
			}
		}
	}
	if _, err := follower.Next(t.Context()); !isUnknown(err) {
		t.Errorf("who followed it goes on: %v", err)
	}

	s.again(commands.CreateNamespace{Namespace: "blue"})
	check := func() {
		t.Helper()
		keys, head, err := s.keys("blue", gateway.ReadOptions{})
		if err != nil || len(keys) > 0 || head <= before+33 {
			t.Fatalf("made again at revision %d it holds %v (%v); the last one was %d, and 33 things were to go", head, keys, err, before)
		}
		if keys, _, err := s.keys("blue", gateway.ReadOptions{At: before}); err != nil || len(keys) != 31 {
			t.Errorf("its past: %v, %v", keys, err)
		}
		if _, _, err := s.keys("blue", gateway.ReadOptions{At: before + 2}); gateway.ProblemOf(err).Code != gateway.CodeInvalidRevision {
			t.Errorf("while it was gone: %v", err)
		}
		if keys, _, err := s.keys("red", gateway.ReadOptions{}); !isUnknown(err) && len(keys) != 30 {
			t.Errorf("another namespace: %v, %v", keys, err)
		}
	}
	check()
	s.do(event.System, commands.DeleteNamespace{Namespace: "red"})
	var told []string
	f, err := s.Follow(event.System, 1)
	if err != nil {
		t.Fatal(err)
	}
	events, err := f.TryNext()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if b, ok := e.Body.(event.NamespaceDeleted); ok {
			told = append(told, b.Namespace+" "+e.Actor+" "+e.Reason)
		}
	}
	if want := []string{"blue ada because", "red ada because"}; !slices.Equal(told, want) {
		t.Errorf("_system tells %q, want %q", told, want)
	}

	reopen := func(data string) {
		t.Helper()
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		ledgers, _, err := server.Verify(t.Context(), data)
		if err != nil || len(ledgers) != 4 {
			t.Fatalf("verified %+v, %v", ledgers, err)
		}
	}
	reopen(data)
	s = startTracks(t, data)
	check()
	if _, _, err := s.keys("red", gateway.ReadOptions{}); !isUnknown(err) {
		t.Errorf("what was deleted, after a restart: %v", err)
	}
	restored := t.TempDir()
	restore(t, s.Server, restored)
	reopen(data)
	s = startTracks(t, restored)
	check()
	s.again(commands.CreateNamespace{Namespace: "red"})
	if keys, head, err := s.keys("red", gateway.ReadOptions{}); err != nil || len(keys) > 0 || head < server.DefaultRevisionJump {
		t.Errorf("made again after a restoration it holds %v at revision %d, %v", keys, head, err)
	}
	reopen(restored)
}

// TestNamespaceFromAnother copies a namespace that is larger than one commit takes.
func TestNamespaceFromAnother(t *testing.T) {
	s := startTracks(t, t.TempDir())
	session := s.do(event.Default, commands.CreateSession{TTL: 3600e9})
	var want []string
	for i := range 5 {
		var txn commands.Txn
		for j := range 500 {
			key := fmt.Sprintf("k/%d/%03d", i, j)
			want = append(want, key+"=v")
			txn.Then = append(txn.Then, commands.Operation{Put: &commands.PutKey{Key: key, Value: []byte("v"), ContentType: "text/x", Flags: 7}})
		}
		s.do(event.Default, txn)
	}
	for _, put := range []commands.PutKey{
		{Key: "held", Session: session.Results[0].Key}, {Key: "k/leased", TTL: 3600e9}, {Key: "k/1/", TTL: 3600e9}, {Key: "z/", TTL: 3600e9}, {Key: "z/below"},
	} {
		s.do(event.Default, put)
	}
	want = slices.DeleteFunc(want, func(key string) bool { return strings.HasPrefix(key, "k/1/") })
	s.do(event.Default, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "w1", Address: "10.0.0.1"}})

	few, enough := uint64(1999), uint64(2000)
	_, err := s.try(event.System, commands.ConfigureNamespace{Namespace: "blue", From: event.Default, Keys: &few})
	if p := gateway.ProblemOf(err); err == nil || p.Code != commands.CodeQuotaExceeded {
		t.Fatalf("more than its quota was taken over: %v", err)
	}
	if _, ok := s.Placed("blue"); ok {
		t.Fatal("what was refused is there")
	}
	if a := s.do(event.System, commands.ConfigureNamespace{Namespace: "blue", From: event.Default, Keys: &enough}); !a.Results[0].Created {
		t.Errorf("answered with %+v", a)
	}
	check := func(namespace string) {
		t.Helper()
		got, _, err := s.keys(namespace, gateway.ReadOptions{})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s holds %d keys (%v), want %d", namespace, len(got), err, len(want))
		}
	}
	check("blue")
	err = s.View(t.Context(), "blue", gateway.ReadOptions{}, func(v gateway.View) error {
		if e, _ := v.Key("k/0/000"); e.Flags != 7 || e.ContentType != "text/x" || v.Settings().Keys != enough {
			t.Errorf("taken over as %+v, with %+v", e, v.Settings())
		}
		for i := range v.Instances("") {
			t.Errorf("it has an instance: %+v", i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n, _ := s.Placed("blue")
	// Half of it was never there.
	_, opened, _ := s.InLedger(n.Group, "blue")
	if _, _, err := s.keys("blue", gateway.ReadOptions{At: opened - 1500}); gateway.ProblemOf(err).Code == commands.CodeNotFound || err == nil {
		t.Errorf("half of it can be seen: %v", err)
	}
	if _, err := s.try("blue", commands.PutKey{Key: "another"}); gateway.ProblemOf(err).Code != commands.CodeQuotaExceeded {
		t.Errorf("its quota does not hold: %v", err)
	}
	s.do(event.System, commands.CreateNamespace{Namespace: "blue", From: event.Default})
	if _, err := s.try(event.System, commands.CreateNamespace{Namespace: "blue", From: "red"}); gateway.ProblemOf(err).Code != commands.CodeConditionFailed {
		t.Errorf("made from another one it exists: %v", err)
	}

	// Whoever takes the request dies: the leader goes on.
	head, err := s.Head(event.Default)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SubmitAndDie(t.Context(), event.System, commands.CreateNamespace{Namespace: "red", From: event.Default, FromRevision: head}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader has filled it", func() bool {
		_, _, err := s.keys("red", gateway.ReadOptions{})
		if p := gateway.ProblemOf(err); err != nil && p.Code != commands.CodeNamespaceFilling {
			t.Fatal(err)
		}
		return err == nil
	})
	check("red")
	// So it does where that is deleted before it is full.
	if _, err := s.SubmitAndDie(t.Context(), event.System, commands.CreateNamespace{Namespace: "green", From: "blue", FromRevision: 1}); err != nil {
		t.Fatal(err)
	}
	s.do(event.System, commands.DeleteNamespace{Namespace: "green"})
	s.again(commands.CreateNamespace{Namespace: "green"})
	if keys, _, err := s.keys("green", gateway.ReadOptions{}); err != nil || len(keys) > 0 {
		t.Errorf("made anew it holds %v, %v", keys, err)
	}
}

// TestFillGoesOn has whoever asks for a namespace that is made from another not wait for it, others not wait for it either,
// and whoever fills it go on where somebody else has stopped.
func TestFillGoesOn(t *testing.T) {
	s := startTracks(t, t.TempDir())
	var want []string
	for i := range 5 {
		var txn commands.Txn
		for j := range 500 {
			key := fmt.Sprintf("k/%d/%03d", i, j)
			want = append(want, key+"=v")
			txn.Then = append(txn.Then, commands.Operation{Put: &commands.PutKey{Key: key, Value: []byte("v")}})
		}
		s.do(event.Default, txn)
	}
	s.do(event.System, commands.CreateNamespace{Namespace: "other"})
	release := s.HoldFills()
	// Who asks waits for the filling, which is held; who does not wait any more is told of it. (Of who gives up before that
	// has begun the outcome is not known, and he asks again.)
	eventually(t, "who does not wait any more is told that it is being filled", func() bool {
		ctx, giveUp := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer giveUp()
		_, err := s.Server.Submit(ctx, event.System, gateway.Request{Command: commands.CreateNamespace{Namespace: "blue", From: event.Default}})
		p := gateway.ProblemOf(err)
		if err == nil || p.Code != commands.CodeNamespaceFilling && p.Code != gateway.CodeOutcomeUnknown && p.Code != gateway.CodeNoQuorum {
			t.Fatalf("told %v", err)
		}
		return p.Code == commands.CodeNamespaceFilling && p.RetryAfter > 0
	})
	blue, _ := s.Placed("blue")
	if life, _, _ := s.InLedger(blue.Group, "blue"); life.Phase != event.Filling {
		t.Errorf("its phase is %v", life.Phase)
	}

	n, ok := s.Placed("other")
	if !ok {
		t.Fatal("the other one is not placed")
	}
	if _, err := s.SubmitAndDie(t.Context(), "other", commands.CloseNamespace{Namespace: "other", Placed: n.Revision}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of another one is carried on meanwhile", func() bool {
		_, ok := s.Placed("other")
		return !ok
	})

	for i, step := range []struct {
		upTo string
		done bool
	}{{"k/1/499", false}, {"k/3/499", false}, {"k/4/499", true}} {
		upTo, done, err := s.FillSome(t.Context(), "blue")
		if err != nil || upTo != step.upTo || done != step.done {
			t.Errorf("step %d came to %q, %v, %v; want %q, %v", i, upTo, done, err, step.upTo, step.done)
		}
		if i == 0 {
			// What is decided about the namespace in between is no key.
			keys := uint64(5000)
			if _, err := s.SubmitAndDie(t.Context(), "blue", commands.ApplySettings{Namespace: "blue", Keys: keys, Configured: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	release()
	s.do(event.System, commands.CreateNamespace{Namespace: "blue", From: event.Default})
	if got, _, err := s.keys("blue", gateway.ReadOptions{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("it holds %d keys (%v), want %d", len(got), err, len(want))
	}
}

// TestLateReleaseHidesNothing has a deletion be answered when the namespace was made again already, and one that is hidden
// by mistake be shown again.
func TestLateReleaseHidesNothing(t *testing.T) {
	s := startTracks(t, t.TempDir())
	s.do(event.System, commands.CreateNamespace{Namespace: "blue"})
	first, _ := s.Placed("blue")
	s.do(event.System, commands.DeleteNamespace{Namespace: "blue"})
	s.again(commands.CreateNamespace{Namespace: "blue"})
	if err := s.Release("blue", first.Revision); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Namespaces(), "blue") {
		t.Error("the deletion of the one before has hidden it")
	}
	next, _ := s.Placed("blue")
	if err := s.Release("blue", next.Revision); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is shown again, though nobody asks for it", func() bool { return slices.Contains(s.Namespaces(), "blue") })
}

// TestNamespaceIsCarriedOn has servers die between any two steps of the end of a namespace, and ledgers stand at moments
// at which only a restoration finds them.
func TestNamespaceIsCarriedOn(t *testing.T) {
	s := startTracks(t, t.TempDir())
	for _, c := range []struct {
		name string
		die  func(n event.Namespace)
	}{
		{"only its own ledger is closed", func(n event.Namespace) {
			if _, err := s.SubmitAndDie(t.Context(), n.Name, commands.CloseNamespace{Namespace: n.Name, Placed: n.Revision}); err != nil {
				t.Fatal(err)
			}
		}},
		{"only _system's says so", func(n event.Namespace) {
			if _, err := s.SubmitAndDie(t.Context(), event.System, commands.DeleteNamespace{Namespace: n.Name, Placed: n.Revision}); err != nil {
				t.Fatal(err)
			}
		}},
		{"_system's has placed the next one already", func(n event.Namespace) {
			for _, c := range []commands.Command{
				commands.DeleteNamespace{Namespace: n.Name, Placed: n.Revision}, commands.CreateNamespace{Namespace: n.Name},
			} {
				if _, err := s.SubmitAndDie(t.Context(), event.System, c); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.again(commands.CreateNamespace{Namespace: "blue"})
			s.do("blue", commands.PutKey{Key: "k", Value: []byte("v")})
			n, ok := s.Placed("blue")
			if !ok {
				t.Fatal("it is not placed")
			}
			_, before, _ := s.InLedger(n.Group, "blue")
			c.die(n)
			s.again(commands.CreateNamespace{Namespace: "blue"})
			eventually(t, "it is empty and can be used", func() bool {
				keys, head, err := s.keys("blue", gateway.ReadOptions{})
				return err == nil && len(keys) == 0 && head > before
			})
			if next, ok := s.Placed("blue"); !ok || next.Group != n.Group || next.Revision <= n.Revision {
				t.Errorf("placed as %+v, and before as %+v", next, n)
			}
			s.do(event.System, commands.DeleteNamespace{Namespace: "blue"})
		})
	}
}

// TestNamespaceExpires has a namespace end because nobody renews it, and others not.
func TestNamespaceExpires(t *testing.T) {
	// Where the machine stands still for a whole TTL, a namespace ends rightly, which shows nothing.
	for ttl := time.Second; !expires(t, ttl); ttl *= 2 {
		if ttl > time.Minute {
			t.Fatalf("nothing could be renewed within %s", ttl)
		}
	}
}

// expires tells whether the machine was fast enough for a TTL.
func expires(t *testing.T, lives time.Duration) bool {
	t.Helper()
	s := startTracks(t, t.TempDir())
	ttl, long, none := event.Time(lives), event.Time(3600e9), event.Time(0)
	// within does what must succeed before the TTL has passed since a moment, and tells whether it was done by then.
	within := func(since time.Time, namespace string, c commands.Command) bool {
		t.Helper()
		_, err := s.try(namespace, c)
		took := time.Since(since)
		if err != nil && took < lives {
			t.Fatalf("%+v in %s, after %s: %v", c, namespace, took, err)
		}
		return took < lives
	}
	for name, next := range map[string]*event.Time{"long": &long, "none": &none} {
		began := time.Now()
		for _, ttl := range []*event.Time{&ttl, next} {
			if !within(began, event.System, commands.ConfigureNamespace{Namespace: name, TTL: ttl}) {
				return false
			}
		}
	}
	began := time.Now()
	renewed := began // when the last request was made that was acknowledged: the whole TTL counts from later on
	if !within(renewed, event.System, commands.ConfigureNamespace{Namespace: "blue", TTL: &ttl}) {
		return false
	}
	for i := range 10 {
		if !within(renewed, "blue", commands.PutKey{Key: fmt.Sprint(i)}) {
			return false
		}
	}
	_, head, err := s.keys(event.System, gateway.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for time.Since(began) < 2*lives {
		call := time.Now()
		if !within(renewed, event.System, commands.ConfigureNamespace{Namespace: "blue", TTL: &ttl}) {
			return false
		}
		renewed = call
		<-time.After(100 * time.Millisecond) // between renewals, as a client does
	}
	_, now, err := s.keys(event.System, gateway.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(renewed) >= lives {
		return false
	}
	if now != head {
		t.Errorf("renewals moved _system's ledger from %d to %d", head, now)
	}
	lease := gateway.Lease{Namespace: true}
	for namespace, want := range map[string]bool{"blue": true, "long": true, "none": false} {
		left, err := s.Left(t.Context(), namespace, []gateway.Lease{lease})
		if time.Since(renewed) >= lives {
			return false
		}
		if _, ok := left[lease]; ok != want || err != nil {
			t.Errorf("%s: %v is left, %v", namespace, left, err)
		}
	}
	eventually(t, "it is gone", func() bool {
		_, _, err := s.keys("blue", gateway.ReadOptions{})
		if err != nil && !isUnknown(err) {
			t.Fatal(err)
		}
		return err != nil
	})
	if early := lives - time.Since(renewed); early > 0 {
		t.Errorf("it ended %s early", early)
	}
	eventually(t, "_system tells that nobody renewed it", func() bool {
		_, ok := s.Placed("blue")
		return !ok
	})
	s.again(commands.ConfigureNamespace{Namespace: "blue", TTL: &long})
	for _, namespace := range []string{"blue", "long", "none"} {
		if _, _, err := s.keys(namespace, gateway.ReadOptions{}); err != nil {
			t.Errorf("%s: %v", namespace, err)
		}
	}
	if _, err := s.Renew(t.Context(), "none", lease); !errors.Is(err, gateway.ErrNoLease) {
		t.Errorf("renewed what has no TTL: %v", err)
	}
	return true
}
