package chaos

import (
	"testing"
	"time"
)

// TestChaos has everything go wrong that can, while clients work, and holds what they saw to all guarantees.
func TestChaos(t *testing.T) {
	if *duration == 0 {
		t.Skip("-duration says for how long: see make chaos")
	}
	if *seed == 0 {
		*seed = time.Now().UnixNano() % 1_000_000
	}
	t.Logf("to have the same chances again: -seed %d -duration %s -servers %d", *seed, *duration, *servers)
	c := newCluster(t, *servers)
	c.relayed(0)
	l := begin(c, 6, *seed, nil)
	trouble := newTrouble(c, *seed)
	trouble.run(time.Now().Add(*duration))
	for _, err := range trouble.errs {
		t.Error(err)
	}
	l.end(t).report(t)
	followed := l.followers.counted()
	c.logf("subscribers resumed %d times, %d times from the ledger because a stream began too late (%d events), and were too slow %d times",
		followed.resumed, followed.filled, followed.refilled, followed.overrun)
	if followed.resumed == 0 || *servers > 1 && followed.filled == 0 || followed.overrun == 0 {
		t.Error("no subscriber was interrupted, away for longer than the window, or too slow: that shows nothing")
	}
	c.logf("what happened: %v", trouble.happened)
	if l.record.acknowledged() < 100 {
		t.Errorf("only %d writes were acknowledged: that shows nothing", l.record.acknowledged())
	}
}
