package sim

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// watchdog notices, in real time and from outside, that a bubble's clock has stopped for good: servers send heartbeats as
// long as it goes. It stops when a goroutine waits for a mutex whose holder waits for the clock, or spins. The watchdog
// then names the goroutines that keep it from going on, which the thousands of a whole dump hide, and ends the process.
type watchdog struct {
	signs atomic.Uint64 // of life
	quit  chan struct{}
}

const stuckAfter = 3 * time.Minute // a busy machine looks for long at what a server keeps, while no clock goes

func newWatchdog(name string) *watchdog {
	w := &watchdog{quit: make(chan struct{})}
	go func() {
		for seen := w.signs.Load(); ; seen = w.signs.Load() {
			timer := time.NewTimer(stuckAfter)
			select {
			case <-w.quit:
				timer.Stop()
				return
			case <-timer.C:
			}
			if seen == w.signs.Load() {
				fmt.Fprintf(os.Stderr, "%s: the clock has not moved for %s of real time; what keeps it:\n\n%s\n", name, stuckAfter, culprits())
				os.Exit(1)
			}
		}
	}()
	return w
}

func (w *watchdog) stop() { close(w.quit) }

// culprits gives the stacks of the goroutines in bubbles that the clock does not pass over, and of those that sleep in
// the middle of a sync.
func culprits() string {
	b := make([]byte, 64<<20)
	var found []string
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		head, _, _ := strings.Cut(stack, "\n")
		if strings.Contains(head, "synctest bubble") && (!strings.Contains(head, "(durable)") || strings.Contains(stack, "slowFile")) {
			found = append(found, stack)
		}
	}
	if len(found) == 0 {
		return "nothing: every goroutine waits for the clock, and moving it is the Go runtime's part"
	}
	return strings.Join(found, "\n\n")
}
