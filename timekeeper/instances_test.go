package timekeeper_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// checked is a registration with one TTL check.
func checked(ttl, deregisterAfter time.Duration) commands.RegisterInstance {
	return commands.RegisterInstance{Instance: event.Instance{
		Service: "web", ID: "1", Address: "10.0.0.1",
		Checks: []event.Check{{ID: "beat", TTL: event.Time(ttl), DeregisterAfter: event.Time(deregisterAfter)}},
	}}
}

func reportOf(s event.Status) commands.ReportStatus {
	return commands.ReportStatus{Service: "web", ID: "1", Check: "beat", Status: s}
}

func beat(s event.Status) gateway.Lease {
	return gateway.Lease{Service: "web", ID: "1", Check: "beat", Status: s}
}

// status is that of the instance; zero where it is gone.
func status(t testing.TB, b *gatewaytest.Backend) (s event.Status) {
	t.Helper()
	err := b.View(t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
		if r, ok := v.Instance("web", "1"); ok {
			s = v.Health("web", "1").Verdict(r, event.MaintenanceState{}).Status
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCheckThatIsNotHeardFrom follows a TTL check through its whole life: heartbeats that keep it, the last of them, the
// status that it comes to, and the end of an instance that stays so.
func TestCheckThatIsNotHeardFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		k := start(t, newHost(b), "a")
		submit(t, b, checked(10*time.Second, time.Minute))
		submit(t, b, reportOf(event.Passing))
		for range 5 {
			time.Sleep(9 * time.Second)
			if r, err := k.Renew(t.Context(), event.Default, beat(event.Passing)); err != nil || r.TTL != 10*time.Second {
				t.Fatalf("a heartbeat: %+v, %v", r, err)
			}
		}
		// Another status is no heartbeat of this one, but news.
		if _, err := k.Renew(t.Context(), event.Default, beat(event.Warning)); !errors.Is(err, gateway.ErrNoLease) {
			t.Errorf("a heartbeat with another status: %v", err)
		}
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if got := status(t, b); got != event.Passing {
			t.Fatalf("it is %s before its time", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := status(t, b); got != event.Critical {
			t.Fatalf("it is %s when nothing was heard for its TTL", got)
		}
		if _, err := k.Renew(t.Context(), event.Default, beat(event.Passing)); !errors.Is(err, gateway.ErrNoLease) {
			t.Errorf("a heartbeat of a check that is critical: %v", err)
		}
		// A report brings it back; the wait for its end begins anew with the next lapse.
		time.Sleep(59 * time.Second)
		submit(t, b, reportOf(event.Warning))
		time.Sleep(10*time.Second + 59*time.Second)
		synctest.Wait()
		if got := status(t, b); got != event.Critical {
			t.Fatalf("it is %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := status(t, b); got != 0 {
			t.Fatalf("it is %s and should be gone", got)
		}
		want := []string{
			"rollcall.service.register service.web.1", "rollcall.namespace.timekeeper namespace.default",
			"rollcall.service.status service.web.1", "rollcall.service.status service.web.1",
			"rollcall.service.status service.web.1", "rollcall.service.status service.web.1", "rollcall.service.expire service.web.1",
		}
		got := types(t, b, 2)
		slices.Sort(got[:3]) // the claim may come before or after the first report
		slices.Sort(want[:3])
		if !slices.Equal(got, want) {
			t.Errorf("events\n%q, want\n%q", got, want)
		}
		if n := k.Leases(); n != 0 {
			t.Errorf("%d timers are left", n)
		}
	})
}

// TestRegistrationKeepsTheTime: what was due before by the same event keeps its time, unless the registration says another.
func TestRegistrationKeepsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		start(t, newHost(b), "a")
		submit(t, b, checked(10*time.Second, 0))
		submit(t, b, reportOf(event.Passing))
		synctest.Wait()
		time.Sleep(6 * time.Second)
		again := checked(10*time.Second, 0)
		again.Instance.Port = 80
		submit(t, b, again)
		time.Sleep(4*time.Second + time.Millisecond)
		synctest.Wait()
		if got := status(t, b); got != event.Critical {
			t.Errorf("a registration was taken for a heartbeat: %s", got)
		}
		submit(t, b, reportOf(event.Passing))
		submit(t, b, checked(time.Minute, 0))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if got := status(t, b); got != event.Passing {
			t.Errorf("the new TTL does not count: %s", got)
		}
		submit(t, b, commands.DeregisterInstance{Service: "web", ID: "1"})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := types(t, b, 2); got[len(got)-1] != "rollcall.service.deregister service.web.1" {
			t.Errorf("something was said of an instance that is gone: %q", got)
		}
	})
}

// TestInstanceWithATTL: an instance that is not registered again is gone.
func TestInstanceWithATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		k := start(t, newHost(b), "a")
		submit(t, b, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "1", Address: "10.0.0.1", TTL: 10e9}})
		for range 3 {
			time.Sleep(9 * time.Second)
			if _, err := k.Renew(t.Context(), event.Default, gateway.Lease{Service: "web", ID: "1"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if status(t, b) == 0 {
			t.Fatal("it is gone before its time")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if status(t, b) != 0 {
			t.Fatal("it is still there")
		}
	})
}

// TestNewTimekeeperWaitsForChecks: who takes the time over has heard nothing yet, and gives every check its whole TTL.
func TestNewTimekeeperWaitsForChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := gatewaytest.New("c")
		first, second := newHost(b), newHost(b)
		second.leads.Store(false)
		start(t, first, "a")
		k := start(t, second, "b")
		submit(t, b, checked(10*time.Second, 0))
		submit(t, b, reportOf(event.Passing))
		time.Sleep(9 * time.Second)
		first.leads.Store(false)
		second.leads.Store(true)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if got := status(t, b); got != event.Passing {
			t.Fatalf("the new timekeeper ended what it could not have heard of: %s", got)
		}
		if _, err := k.Renew(t.Context(), event.Default, beat(event.Passing)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := status(t, b); got != event.Critical {
			t.Fatalf("nobody keeps the time: %s", got)
		}
	})
}
