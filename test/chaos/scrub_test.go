package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// damage is a way to alter one row of what a server that is down has stored.
type damage struct {
	name string
	do   func(data string, k kept) error
	// answers is what the server says of the key when nobody scrubs: its value, another one, or a failure.
	answers func(k kept, a reply) bool
}

var damages = []damage{
	// What a disk does. Pebble's checksums keep it from being an answer, once somebody asks.
	{"a bit of a table", flipInTable, func(_ kept, a reply) bool { return a.status == http.StatusInternalServerError }},
	// What memory does to a row on its way to the disk: the checksum is of the wrong bytes, so they are an answer. The
	// servers' comparison does not see it either, for the sum that it compares is carried on and not added up again.
	{"a bit of a row, below the checksum", flipInRow, func(k kept, a reply) bool {
		return a.status == http.StatusOK && a.body != k.value && len(a.body) == len(k.value)
	}},
}

// calm keeps Raft's logs: a server that missed little is to get it from a log, for a snapshot would replace what it has
// stored, and heal it.
const calm = "value snapshot-entries 100000"

// kept is a write that was acknowledged.
type kept struct {
	key, value string
	revision   uint64
}

// TestScrubberNotices alters one row of one server of three, which nobody asks for. The server runs with it for as long as
// it does not scrub. Once it does, it says so and stops answering, under clients whom it has told nothing wrong. Its
// state is no good any more; wiped, it comes back as another replica.
func TestScrubberNotices(t *testing.T) {
	for i, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			if i > 0 && !*all {
				t.Skip("-all damages in every way, and kills another server besides: see make chaos")
			}
			c := newCluster(t, 3, calm)
			odd := c.servers[2]
			writes := fill(t, c.servers[0])
			before := replicaOf(t, c, odd)
			alter(t, c, odd, d, writes[len(writes)/2])
			notNoticed(t, c, odd, d, writes[len(writes)/2])

			l := begin(c, 4, 5, nil)
			odd.stop()
			scrubs(odd)
			noticed(t, c, odd)
			writes = append(writes, acknowledge(t, c, c.servers[0], "after the damage"))
			if *all {
				writes = loseAnother(t, c, writes)
				refuses(t, odd)
			}
			startsNotAgain(t, odd)
			c.logf("%s does not start again", odd.name)
			newTrouble(c, 1).wipe(odd)()
			if err := c.awaitReady(); err != nil {
				t.Fatal(err)
			}
			c.logf("%s was wiped and is back", odd.name)
			if now := replicaOf(t, c, odd); now == before {
				t.Errorf("%s is still replica %d: its votes of before would count twice", odd.name, now)
			}
			for _, s := range c.servers {
				hold(t, s, writes)
			}
			l.end(t).report(t)
		})
	}
}

// loseAnother kills one of the two servers that a cluster still has. The last one answers what was acknowledged to who
// takes stale answers, and refuses the rest. When the other is back, there are writes again.
func loseAnother(t *testing.T, c *cluster, writes []kept) []kept {
	t.Helper()
	a, b := c.servers[0], c.servers[1]
	b.kill()
	c.logf("%s was killed: %s is alone", b.name, a.name)
	hold(t, a, writes)
	if put(a, "alone", time.Second) {
		t.Error("one server of three accepted a write")
	}
	b.start(calm)
	writes = append(writes, acknowledge(t, c, a, "when two are there again"))
	c.logf("there are writes again")
	return writes
}

// TestDamagedButNeeded has the scrubber find damage while another server is down: then the two are needed for writes, so
// the damaged one goes on and says so. It stops answering when the other one is back.
func TestDamagedButNeeded(t *testing.T) {
	if !*all {
		t.Skip("-all damages in every way: see make chaos")
	}
	c := newCluster(t, 3, calm)
	b, odd := c.servers[1], c.servers[2]
	writes := fill(t, c.servers[0])
	d, hit := damages[0], writes[len(writes)/2]
	alter(t, c, odd, d, hit)
	if err := c.awaitReady(); err != nil {
		t.Fatal(err)
	}
	l := begin(c, 4, 6, nil)
	b.kill()
	odd.stop()
	scrubs(odd)
	if err := eventually(odd.name+" says that it goes on", recovery, func() bool {
		return odd.output.has(`"goes_on":true`) && odd.ready()
	}); err != nil {
		t.Fatal(err)
	}
	hold(t, odd, []kept{writes[0], acknowledge(t, c, odd, "with the damaged one")})
	client := newClient(c, newRecord(), 0, 1)
	defer client.http.CloseIdleConnections()
	if r, err := client.stale(odd, hit.key); err != nil || !d.answers(hit, r) {
		t.Errorf("%s says %d, %.40q, %v of what is damaged", odd.name, r.status, r.body, err)
	}
	if quarantined(odd) {
		t.Errorf("%s is in quarantine, which leaves one server of three", odd.name)
	}
	b.start(calm)
	noticed(t, c, odd)
	newTrouble(c, 1).wipe(odd)()
	l.end(t).report(t)
}

// scrubs starts a server as one that scrubs, often.
func scrubs(s *server) {
	s.flags = append(s.flags, "--scrub-every", "300ms")
	s.start(calm)
}

// fill writes so much that what is in one block of a table is far from what a server reads at its start. The values do not
// compress, so they can be found in a table.
func fill(t *testing.T, s *server) (all []kept) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 60 {
		value := make([]byte, 4<<10)
		for j := range value {
			value[j] = byte(random.Uint32())
		}
		all = append(all, acknowledged(t, s, kept{key: fmt.Sprintf("kept/%d", i), value: string(value)}))
	}
	return all
}

// acknowledge writes a key as soon as there are servers to take it, and waits until the first server knows: what it has
// heard of is what it will answer without the others.
func acknowledge(t *testing.T, c *cluster, s *server, value string) kept {
	t.Helper()
	k := acknowledged(t, s, kept{key: "later/" + strings.ReplaceAll(value, " ", "-"), value: value})
	if err := eventually("known to be committed", recovery, func() bool { return reached(c.servers[0], k.revision) }); err != nil {
		t.Fatal(err)
	}
	return k
}

// acknowledged writes a key, again until it is told that it is written.
func acknowledged(t *testing.T, s *server, k kept) kept {
	t.Helper()
	c := newClient(nil, newRecord(), 0, 1)
	defer c.http.CloseIdleConnections()
	if err := eventually("a write of "+k.key+" acknowledged by "+s.name, recovery, func() bool {
		r, err := c.ask(s, request{method: http.MethodPut, path: "/v1/default/kv/" + k.key, body: k.value})
		k.revision = r.revision
		return err == nil && r.status/100 == 2
	}); err != nil {
		t.Fatal(err)
	}
	return k
}

// reached tells whether a server has a revision, by itself.
func reached(s *server, revision uint64) bool {
	_, err := get(s, fmt.Sprintf("/v1/default/kv?consistency=stale&prefix=none/&min-revision=%d", revision))
	return err == nil
}

// stale asks a server for a key, as it has it.
func (c *client) stale(s *server, key string) (reply, error) {
	return c.ask(s, request{method: http.MethodGet, path: "/v1/default/kv/" + key + "?consistency=stale"})
}

// hold wants a server to answer, of its own knowledge, everything that was acknowledged.
func hold(t *testing.T, s *server, writes []kept) {
	t.Helper()
	last := writes[len(writes)-1].revision
	if err := eventually(fmt.Sprintf("%s has revision %d", s.name, last), recovery, func() bool { return reached(s, last) }); err != nil {
		t.Fatal(err)
	}
	c := newClient(nil, newRecord(), 0, 1)
	defer c.http.CloseIdleConnections()
	for _, k := range writes {
		if a, err := c.stale(s, k.key); err != nil || a.status != http.StatusOK || a.body != k.value || a.revision < k.revision {
			t.Errorf("%s of %s: status %d at revision %d, %.40q, %v; want %.40q of revision %d",
				k.key, s.name, a.status, a.revision, a.body, err, k.value, k.revision)
		}
	}
}

// alter has a server be down, and its state be altered meanwhile.
func alter(t *testing.T, c *cluster, s *server, d damage, k kept) {
	t.Helper()
	if err := eventually("everything on "+s.name, recovery, func() bool { return reached(s, k.revision) }); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if err := d.do(s.data, k); err != nil {
		t.Fatalf("damage %s: %v", s.name, err)
	}
	c.logf("altered %s of %s on %s", d.name, k.key, s.name)
	s.start(calm)
}

// notNoticed wants a server to run with the damage, and to answer as it does with it: if it noticed by itself, a scrubber
// would show nothing here.
func notNoticed(t *testing.T, c *cluster, s *server, d damage, k kept) {
	t.Helper()
	if err := c.awaitReady(); err != nil {
		t.Fatal(err)
	}
	asked := newClient(c, newRecord(), 0, 1)
	defer asked.http.CloseIdleConnections()
	// A revision that the servers have not compared yet.
	after := acknowledged(t, c.servers[0], kept{key: "compared", value: "x"})
	if err := eventually(s.name+" has compared its state and found it equal", recovery, func() bool { return compared(s, after.revision) }); err != nil {
		t.Fatal(err)
	}
	if a, err := asked.stale(s, k.key); err != nil || !d.answers(k, a) {
		t.Fatalf("with %s damaged and nobody scrubbing, %s says %d, %.40q, %v of %s", d.name, s.name, a.status, a.body, err, k.key)
	}
	c.logf("%s has noticed nothing", s.name)
	if s.ended() || quarantined(s) {
		t.Fatalf("%s noticed without scrubbing", s.name)
	}
}

// compared tells whether a server has compared its state with the others' at a revision or later, and it was the same.
func compared(s *server, revision uint64) bool {
	b, err := get(s, "/metrics")
	at := 0.0
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, `rollcall_state_compared_revision{namespace="default"} %g`, &at) // other lines are others
	}
	return err == nil && at >= float64(revision) && strings.Contains(string(b), "rollcall_state_differs{namespace=\"default\"} 0\n")
}

// noticed waits until a server says that it is damaged.
func noticed(t *testing.T, c *cluster, s *server) {
	t.Helper()
	if err := eventually(s.name+" in quarantine", recovery, func() bool { return quarantined(s) || s.ended() }); err != nil {
		t.Fatal(err)
	}
	refuses(t, s)
	c.logf("%s has noticed", s.name)
	for _, want := range []string{"the stored state is damaged", "THIS SERVER STOPS ANSWERING"} {
		// What a process says takes its way through a pipe, and may be behind what it answers.
		if err := eventually(fmt.Sprintf("%s says %q", s.name, want), recovery, func() bool { return s.output.has(want) }); err != nil {
			t.Error(err)
		}
	}
}

func quarantined(s *server) bool {
	c := newClient(nil, newRecord(), 0, 1)
	defer c.http.CloseIdleConnections()
	a, err := c.stale(s, "kept/0")
	return err == nil && a.status == http.StatusServiceUnavailable && a.code == "state-diverged"
}

// refuses wants a server to be there, and to answer nothing at any door.
func refuses(t *testing.T, s *server) {
	t.Helper()
	if s.ended() || !quarantined(s) || s.ready() {
		t.Errorf("%s: ended %t, in quarantine %t, ready %t", s.name, s.ended(), quarantined(s), s.ready())
	}
	question := new(miekg.Msg).SetQuestion("_revision.rollcall.internal.", miekg.TypeTXT)
	if answer, _, err := (&miekg.Client{Timeout: recovery}).Exchange(question, s.dns); err != nil || answer.Rcode != miekg.RcodeServerFailure {
		t.Errorf("DNS of %s: %v, %v, want SERVFAIL", s.name, answer, err)
	}
}

// startsNotAgain wants a server not to start on a state that it has found damaged.
func startsNotAgain(t *testing.T, s *server) {
	t.Helper()
	s.stop()
	s.start()
	if err := eventually(s.name+" has refused to start", recovery, s.ended); err != nil {
		t.Fatal(err)
	}
	if !s.output.has("quarantine.json") {
		t.Errorf("%s ended without saying why", s.name)
	}
}

// replicaOf is the number under which a server is in Raft.
func replicaOf(t *testing.T, c *cluster, s *server) uint64 {
	t.Helper()
	var all struct {
		Members []struct {
			Name    string
			Replica uint64
		} `json:"members"`
	}
	if err := getJSON(c.servers[0], "/v1/_system/members", &all); err != nil {
		t.Fatal(err)
	}
	for _, m := range all.Members {
		if m.Name == s.name {
			return m.Replica
		}
	}
	t.Fatalf("%s is not a member: %+v", s.name, all)
	return 0
}

// stateOf is the folder of the database in which a server that is down keeps a namespace, and the ledger there.
func stateOf(data, namespace string) (string, store.Ledger, error) {
	found, err := filepath.Glob(filepath.Join(data, "groups", "*", "CURRENT"))
	if err != nil {
		return "", store.Ledger{}, err
	}
	for _, current := range found {
		name, err := os.ReadFile(current)
		if err != nil {
			return "", store.Ledger{}, err
		}
		dir := filepath.Join(filepath.Dir(current), strings.TrimSpace(string(name)))
		db, err := store.Open(dir, store.Options{})
		if err != nil {
			return "", store.Ledger{}, err
		}
		// To open it and to close it also writes what was only in Pebble's log into a table.
		ledgers, err := db.Ledgers()
		if err := errors.Join(err, db.Close()); err != nil {
			return "", store.Ledger{}, err
		}
		if i := slices.IndexFunc(ledgers, func(l store.Ledger) bool { return l.Name == namespace }); i >= 0 {
			return dir, ledgers[i], nil
		}
	}
	return "", store.Ledger{}, fmt.Errorf("no group in %s holds namespace %q", data, namespace)
}

// flipInTable flips a bit in the middle of a key's value, in the table that has its row. Events are before rows in a
// table, so it is the last place where the value is.
func flipInTable(data string, k kept) error {
	dir, _, err := stateOf(data, "default")
	if err != nil {
		return err
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, path := range tables {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := bytes.LastIndex(b, []byte(k.value)); at >= 0 && bytes.Index(b, []byte(k.value)) < at {
			b[at+len(k.value)/2] ^= 1
			return os.WriteFile(path, b, 0o600)
		}
	}
	return fmt.Errorf("no table of %v has the event and the row of %s", tables, k.key)
}

// flipInRow flips a bit in the last byte of a key's row, which is one of its value, and has Pebble write that.
func flipInRow(data string, k kept) error {
	dir, ledger, err := stateOf(data, "default")
	if err != nil {
		return err
	}
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	rows := db.Rows(ledger.ID, event.Revision(k.revision))
	row, ok := rows.Get(store.TableKV, []byte(k.key))
	if !ok {
		return errors.Join(fmt.Errorf("there is no row of %s", k.key), rows.Close(), db.Close())
	}
	row = slices.Clone(row)
	row[len(row)-1] ^= 1
	batch := db.NewBatch()
	batch.Ledger(ledger.ID).Begin(event.Revision(k.revision))
	batch.Ledger(ledger.ID).Set(store.TableKV, []byte(k.key), row)
	return errors.Join(rows.Close(), batch.Commit(), batch.Close(), db.Sync(), db.Close())
}
