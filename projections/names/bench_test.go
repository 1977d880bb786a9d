package names_test

import (
	"fmt"
	"testing"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

func registered(revision int, service, id string) event.Event {
	return event.Event{Revision: event.Revision(revision), Commit: event.Revision(revision), Body: event.InstanceRegistered{Instance: event.Instance{
		Service: service, ID: id, Address: fmt.Sprintf("10.%d.%d.%d", revision>>16&255, revision>>8&255, revision&255), Port: 80, Tags: []string{"v1"},
	}}}
}

// BenchmarkApply is one change of one instance, in services of several sizes: its cost is that service's.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 100_000} {
		b.Run(fmt.Sprintf("instances=%d", n), func(b *testing.B) {
			v, all := names.New(), make([]event.Event, n)
			for i := range all {
				all[i] = registered(i+1, "web", fmt.Sprintf("web-%06d", i))
			}
			v.Apply(event.Default, all)
			b.ReportAllocs()
			for revision := n + 1; b.Loop(); revision++ {
				v.Apply(event.Default, []event.Event{registered(revision, "web", fmt.Sprintf("web-%06d", revision%n))})
			}
		})
	}
}

// BenchmarkFold folds 100,000 instances from nothing, as a start does, in portions of 1000 events.
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
