package chaos

import (
	"testing"
	"time"
)

// TestNothingBroken holds clusters that nobody disturbs to all guarantees: a checker that is wrong is found here.
func TestNothingBroken(t *testing.T) {
	for name, n := range map[string]int{"one server": 1, "three servers": 3} {
		t.Run(name, func(t *testing.T) {
			l := begin(newCluster(t, n), 4, 1, nil)
			if err := eventually("300 acknowledged writes", 2*time.Minute, func() bool { return l.record.acknowledged() >= 300 }); err != nil {
				t.Error(err)
			}
			l.end(t).report(t)
		})
	}
}
