package chaos

import "testing"

// TestPromotedServerRestarts has a server be wiped, come back as another replica, be promoted, and start once more.
func TestPromotedServerRestarts(t *testing.T) {
	c := newCluster(t, 3)
	s := c.servers[2]
	newTrouble(c, 1).wipe(s)()
	if err := eventually("a vote for "+s.name+" in every group", recovery, c.whole); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first start might be too early to remember anything
		if err := c.awaitReady(); err != nil {
			t.Fatal(err)
		}
		s.stop()
		s.start()
	}
	if err := c.awaitReady(); err != nil {
		t.Error(err)
	}
}
