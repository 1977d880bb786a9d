package names_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

func registered(revision int, service, id string) event.Event {
	return event.Event{Revision: event.Revision(revision), Commit: event.Revision(revision), Body: event.InstanceRegistered{Instance: event.Instance{
		Service: service, ID: id, Address: fmt.Sprintf("10.%d.%d.%d", revision>>16&255, revision>>8&255, revision&255), Port: 80, Tags: []string{"v1"},
		Node: fmt.Sprintf("node-%d", revision%1000), Checks: []event.Check{{ID: "ttl", TTL: 15e9, Initial: event.Passing}},
	}}}
}

func sized(n int) (v *names.View, revision int) {
	v = names.New()
	all := make([]event.Event, n)
	for i := range all {
		all[i] = registered(i+1, "web", fmt.Sprintf("web-%06d", i))
	}
	v.Apply(event.Default, all)
	return v, n + 1
}

// BenchmarkApply is one change of one instance in services of several sizes, of which the cost depends little: a
// registration with another address, and another status.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 100_000} {
		b.Run(fmt.Sprintf("register/instances=%d", n), func(b *testing.B) {
			v, revision := sized(n)
			b.ReportAllocs()
			for ; b.Loop(); revision++ {
				v.Apply(event.Default, []event.Event{registered(revision, "web", fmt.Sprintf("web-%06d", revision*7919%n))})
			}
		})
		b.Run(fmt.Sprintf("status/instances=%d", n), func(b *testing.B) {
			v, revision := sized(n)
			b.ReportAllocs()
			for ; b.Loop(); revision++ {
				v.Apply(event.Default, []event.Event{{Revision: event.Revision(revision), Body: event.InstanceStatus{
					Service: "web", ID: fmt.Sprintf("web-%06d", revision*7919%n), Check: "ttl", Status: event.Passing + event.Status(revision/n%2)*2,
				}}})
			}
		})
	}
}

// BenchmarkFold folds 100,000 instances from nothing, in portions of 1000 events.
func BenchmarkFold(b *testing.B) {
	for _, services := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			all := make([]event.Event, 100_000)
			for i := range all {
				all[i] = registered(i+1, fmt.Sprintf("s%d", i%services), fmt.Sprintf("i%06d", i*7919%100_000))
			}
			for b.Loop() {
				v := names.New()
				for at := 0; at < len(all); at += 1000 {
					v.Apply(event.Default, all[at:at+1000])
				}
			}
		})
	}
}

// BenchmarkLoad takes 100,000 instances in their order, as a start does, and tells what memory one takes, with everything
// that it came with: a tag, a node, a check, and the strings.
func BenchmarkLoad(b *testing.B) {
	for _, services := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			const n = 100_000
			state := names.State{Instances: func(yield func(names.Registered) bool) {
				for i := range n {
					body := registered(i+1, fmt.Sprintf("s%05d", i*services/n), fmt.Sprintf("i%06d", i)).Body.(event.InstanceRegistered)
					h := event.Health{}.Registered(nil, body.Instance, event.Revision(i+1), 0)
					if !yield(names.Registered{Instance: body.Instance, Health: h}) {
						return
					}
				}
			}}
			var v *names.View
			before := heap()
			for b.Loop() {
				v = names.New()
				v.Load(event.Default, n, state)
			}
			b.ReportMetric(float64(heap()-before)/n, "B/instance")
			runtime.KeepAlive(v)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // the first one may have begun before the garbage was
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkService(b *testing.B) {
	v := names.New()
	for i := range 10_000 {
		v.Apply(event.Default, []event.Event{registered(i+1, fmt.Sprintf("s%d", i), "a")})
	}
	name := []byte("s777")
	b.ReportAllocs()
	for b.Loop() {
		if v.Namespace([]byte(event.Default)).Service(name) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkPointers(b *testing.B) {
	v, _ := sized(100_000)
	address := netip.MustParseAddr("10.0.77.77")
	b.ReportAllocs()
	for b.Loop() {
		if p, _ := v.Pointers(address); p.Len() != 1 || p.At(0).Label == "" {
			b.Fatal("not found")
		}
	}
}
