package chaos

import "testing"

// TestPromotedServerRestarts has a server be wiped, come back as another replica, be promoted, and start once more.
func TestPromotedServerRestarts(t *testing.T) {
	c := newCluster(t, 3)
	s := c.servers[2]
	newTrouble(c, 1).wipe(s)()
	votes := func() bool {
		var all struct {
			Groups []group `json:"groups"`
		}
		err := getJSON(c.servers[0], "/v1/_system/groups", &all)
		for _, g := range all.Groups {
			if len(g.Members) != 3 {
				return false
			}
		}
		return err == nil && len(all.Groups) > 0
	}
	if err := eventually("a vote for "+s.name+" in every group", recovery, votes); err != nil {
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
