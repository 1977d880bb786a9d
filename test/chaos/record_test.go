package chaos

import (
	"sync"
	"sync/atomic"

	"github.com/rollcall/rollcall/test/check"
)

// record is what happened, as clients and subscribers saw it. Its clock counts calls and returns, so that no two of them
// are at the same moment.
type record struct {
	clock atomic.Int64

	mu      sync.Mutex
	history []check.Operation
	repeats []check.Repeat
	samples []check.Sample
	leases  []check.Lease
	looks   []check.Look
	codes   map[string]int // how often each outcome and code was answered
}

func newRecord() *record { return &record{codes: map[string]int{}} }

func (r *record) now() int64 { return r.clock.Add(1) }

func (r *record) operation(o check.Operation, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, o)
	r.codes[code]++
}

func (r *record) repeat(again check.Repeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repeats = append(r.repeats, again)
}

func (r *record) sample(s check.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

func (r *record) lease(l check.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases = append(r.leases, l)
}

func (r *record) look(l check.Look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, l)
}

// acknowledged is how many writes were.
func (r *record) acknowledged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.history {
		if o.IsWrite() && o.Outcome == check.OK {
			n++
		}
	}
	return n
}
