package commands_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// known is what a plain model knows of one instance: what it registered, how each check is and since when, and the
// maintenance.
type known struct {
	registered commands.RegisterInstance
	at         event.Revision // of the registration
	status     map[string]event.Status
	since      map[string]event.Revision
	out        bool
	moved      event.Revision // when its maintenance began or ended; zero where it never did
	secrets    map[string]string
}

// world is the model: every rule of package commands about instances, in its plainest form.
type world struct {
	instances map[string]*known // by id, of one service
	nodeOut   bool
	nodeMoved event.Revision
	nodeGone  bool // it was deleted while it was out
}

func (w *world) clone() *world {
	c := &world{instances: map[string]*known{}, nodeOut: w.nodeOut, nodeMoved: w.nodeMoved, nodeGone: w.nodeGone}
	for id, k := range w.instances {
		copied := *k
		copied.status, copied.since = maps.Clone(k.status), maps.Clone(k.since)
		c.instances[id] = &copied
	}
	return c
}

// verdict is the status of an instance, and the revision that makes it so.
func (w *world) verdict(k *known) (event.Status, event.Revision) {
	onNode := k.registered.Instance.Node == "n"
	switch {
	case k.out:
		return event.Maintenance, k.moved
	case onNode && w.nodeOut:
		return event.Maintenance, w.nodeMoved
	}
	worst, since, last := event.Passing, event.Revision(0), event.Revision(0)
	for id, s := range k.status {
		if s > worst {
			worst, since = s, 0
		}
		if s == worst && s != event.Passing && (since == 0 || k.since[id] < since) {
			since = k.since[id]
		}
		last = max(last, k.since[id])
	}
	if worst != event.Passing {
		return worst, since
	}
	last = max(last, k.at, k.moved)
	if onNode {
		last = max(last, w.nodeMoved)
	}
	return event.Passing, last
}

// show is everything that can be said of the world, one line for each thing.
func (w *world) show() (all []string) {
	for id, k := range w.instances {
		status, because := w.verdict(k)
		all = append(all, fmt.Sprintf("%s %s %d %v", id, status, because, k.secrets))
		for _, c := range k.registered.Instance.Checks {
			due := c.TTL
			if k.status[c.ID] == event.Critical {
				due = c.DeregisterAfter
			}
			if due != 0 {
				all = append(all, fmt.Sprintf("due %s %s %d @%d", id, c.ID, due, k.since[c.ID]))
			}
		}
	}
	slices.Sort(all)
	return all
}

// shown is the same of the views, at a revision.
func shown(l *ledger, at event.Revision) (all []string) {
	v := l.view(at)
	n, _ := v.Node("n")
	for r, h := range v.WithHealth("s") {
		node := event.MaintenanceState{}
		if r.Node == "n" {
			node = n.Maintenance
		}
		verdict := h.Verdict(r, node)
		secrets, _ := v.Credentials("s", r.ID)
		all = append(all, fmt.Sprintf("%s %s %d %v", r.ID, verdict.Status, verdict.Revision, secrets))
	}
	for d := range v.AllDue("", "") {
		all = append(all, fmt.Sprintf("due %s %s %d @%d", d.ID, d.Check, d.After, d.Revision))
	}
	slices.Sort(all)
	return all
}

// TestHealthAgainstModel has random commands decided and folded, and compares what the views show, now and at every
// revision on the way, with the model.
func TestHealthAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger(t, "default")
		must := func(c commands.Command) event.Revision {
			_, a, r := l.decide(c)
			if r != nil {
				rt.Fatalf("%+v: %v", c, r)
			}
			return a.Revision
		}
		must(commands.OpenNamespace{Namespace: "default", Cluster: "c"})
		epoch := must(commands.ClaimTimekeeper{Server: "a"})
		w := &world{instances: map[string]*known{}}
		past := map[event.Revision]*world{}
		for range rapid.IntRange(1, 40).Draw(rt, "commands") {
			step(rt, l, w, epoch, must)
			past[l.head] = w.clone()
		}
		for at, then := range past {
			if got, want := shown(l, at), then.show(); !slices.Equal(got, want) {
				rt.Fatalf("at %d:\n%q, want\n%q", at, got, want)
			}
		}
		checkReasons(rt, past)
	})
}

// checkReasons wants what an instance passes by to be later than when it last did not pass. When its node was in maintenance
// is forgotten with the node.
func checkReasons(t *rapid.T, past map[event.Revision]*world) {
	bad, node := map[string]event.Revision{}, map[string]event.Revision{}
	for _, at := range slices.Sorted(maps.Keys(past)) {
		w := past[at]
		if w.nodeMoved == 0 {
			clear(node)
		}
		for id, k := range w.instances {
			switch status, because := w.verdict(k); {
			case status == event.Maintenance && !k.out:
				node[id] = at
			case status != event.Passing:
				bad[id] = at
			case because <= max(bad[id], node[id]):
				t.Fatalf("at %d instance %q passes because of revision %d, and at %d it did not pass", at, id, because, max(bad[id], node[id]))
			}
		}
	}
}

func step(t *rapid.T, l *ledger, w *world, epoch event.Revision, must func(commands.Command) event.Revision) {
	id := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id")
	k := w.instances[id]
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0, 1:
		c := drawRegistration(t, id)
		before := l.head
		at := must(c)
		if l.head == before {
			return // nothing was new
		}
		next := &known{registered: c, at: at, status: map[string]event.Status{}, since: map[string]event.Revision{}}
		for _, check := range c.Instance.Checks {
			next.status[check.ID], next.since[check.ID] = check.Start(), at
		}
		if k != nil {
			next.out, next.moved, next.secrets = k.out, k.moved, k.secrets
			if k.registered.Instance.Equal(c.Instance) {
				next.at, next.status, next.since = k.at, k.status, k.since // only the credentials were new
			} else {
				for _, check := range c.Instance.Checks {
					if old, ok := k.registered.Instance.Check(check.ID); ok && old.SameTarget(check) {
						next.status[check.ID], next.since[check.ID] = k.status[check.ID], k.since[check.ID]
					}
				}
			}
		}
		if c.Credentials != nil {
			next.secrets = c.Credentials.Values
		}
		w.instances[id] = next
	case 2:
		if k != nil {
			must(commands.DeregisterInstance{Service: "s", ID: id})
			delete(w.instances, id)
		}
	case 3:
		if k == nil || len(k.registered.Instance.Checks) == 0 {
			return
		}
		check := rapid.SampledFrom(k.registered.Instance.Checks).Draw(t, "check")
		r := commands.ReportStatus{Service: "s", ID: id, Check: check.ID, Status: event.Status(rapid.IntRange(1, 3).Draw(t, "status"))}
		if check.TTL == 0 {
			r.Server = "a"
		}
		at := must(r)
		if k.status[check.ID] != r.Status {
			k.status[check.ID], k.since[check.ID] = r.Status, at
		}
	case 4:
		on := rapid.Bool().Draw(t, "on")
		if k == nil {
			at := must(commands.SetNodeMaintenance{Node: "n", Enabled: on})
			if w.nodeOut != on {
				w.nodeOut, w.nodeMoved, w.nodeGone = on, at, false
			}
			return
		}
		at := must(commands.SetInstanceMaintenance{Service: "s", ID: id, Enabled: on})
		if k.out != on {
			k.out, k.moved = on, at
		}
	case 5:
		known := w.nodeMoved != 0 && !w.nodeGone
		if _, _, r := l.decide(commands.DeleteNode{Node: "n"}); (r == nil) != known {
			t.Fatalf("delete of a node that is known: %t: %v", known, r)
		}
		switch {
		case w.nodeOut:
			w.nodeOut, w.nodeMoved, w.nodeGone = false, l.head, true
		case known:
			w.nodeMoved = 0
		}
	case 6:
		expireOne(t, l, w, id, epoch, must)
	}
}

// expireOne has what is due of one check happen, as it is or as it was before.
func expireOne(t *rapid.T, l *ledger, w *world, id string, epoch event.Revision, must func(commands.Command) event.Revision) {
	k := w.instances[id]
	if k == nil || len(k.registered.Instance.Checks) == 0 {
		return
	}
	check := rapid.SampledFrom(k.registered.Instance.Checks).Draw(t, "check")
	stale := rapid.IntRange(0, 1).Draw(t, "stale")
	at := must(commands.Expire{Epoch: epoch, Leases: []commands.Lease{
		{Service: "s", ID: id, Check: check.ID, Revision: k.since[check.ID] - event.Revision(stale), After: event.TTLMax},
	}})
	switch critical := k.status[check.ID] == event.Critical; {
	case stale == 1:
	case critical && check.DeregisterAfter != 0:
		delete(w.instances, id)
	case !critical && check.TTL != 0:
		k.status[check.ID], k.since[check.ID] = event.Critical, at
	}
}

func drawRegistration(t *rapid.T, id string) commands.RegisterInstance {
	i := event.Instance{
		Service: "s", ID: id, Address: "10.0.0.1", Port: uint16(rapid.IntRange(1, 2).Draw(t, "port")),
		Node: rapid.SampledFrom([]string{"", "n"}).Draw(t, "node"),
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y"}), 0, 2, rapid.ID).Draw(t, "checks") {
		c := event.Check{
			ID: name, DeregisterAfter: rapid.SampledFrom([]event.Time{0, 60e9}).Draw(t, "deregister"),
			Initial: event.Status(rapid.IntRange(0, 3).Draw(t, "initial")),
		}
		if rapid.Bool().Draw(t, "ttl") {
			c.TTL = rapid.SampledFrom([]event.Time{10e9, 20e9}).Draw(t, "length")
		} else {
			c.TCP, c.Interval, c.Timeout = &event.TCPCheck{Address: fmt.Sprintf("10.0.0.1:%d", i.Port)}, 1e9, 1e9
		}
		i.Checks = append(i.Checks, c)
	}
	r := commands.RegisterInstance{Instance: i}
	if rapid.Bool().Draw(t, "secret") {
		r.Credentials = &commands.Credentials{Values: rapid.SampledFrom([]map[string]string{nil, {"a": "1"}, {"a": "2"}}).Draw(t, "credentials")}
	}
	return r
}
