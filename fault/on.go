//go:build faults && unix

package fault

import (
	"maps"
	"os"
	"sync"
	"syscall"
	"time"
)

// On tells whether this build has faults.
const On = true

// link is what goes from one server to another.
type link struct{ from, to string }

// plan is what the directives say.
type plan struct {
	crash  map[string]int // how many times a point may still be passed, the last one included
	delay  map[string]time.Duration
	cut    map[link]bool
	slow   map[link]time.Duration
	broken map[string]bool
	value  map[string]uint64
}

var (
	mu      sync.Mutex
	present plan
	passed  = map[string]int{}
)

// Point is a place where a test may have the server die or wait.
func Point(name string) { time.Sleep(pass(name)) }

func pass(name string) time.Duration {
	mu.Lock()
	defer mu.Unlock()
	passed[name]++
	if left, armed := present.crash[name]; armed {
		if left == 1 {
			die()
		}
		present.crash[name] = left - 1
	}
	return present.delay[name]
}

// die does not return: nothing may happen behind the point, in this goroutine least of all.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing to be done where it fails: the test sees a server that lives
	select {}
}

// Cut tells whether what server from has sent to server to is to be lost.
func Cut(from, to string) bool {
	mu.Lock()
	l := link{from, to}
	wait, cut := present.slow[l], present.cut[l]
	mu.Unlock()
	time.Sleep(wait)
	return cut
}

// Broken tells whether a part is to be wrong on purpose.
func Broken(name string) bool {
	mu.Lock()
	defer mu.Unlock()
	return present.broken[name]
}

// Value is a number that a test may change.
func Value(name string, normal uint64) uint64 {
	mu.Lock()
	defer mu.Unlock()
	if n, ok := present.value[name]; ok {
		return n
	}
	return normal
}

func set(p plan) {
	mu.Lock()
	defer mu.Unlock()
	present = p
}

func counts() map[string]int {
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(passed)
}
