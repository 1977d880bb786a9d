package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// loseRow takes a row out of the state of a server that does not run, as a broken disk might.
func loseRow(t *testing.T, data, namespace, key string, revision event.Revision) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(data, "groups", "*", "CURRENT"))
	if err != nil {
		t.Fatal(err)
	}
	for _, current := range folders {
		name, err := os.ReadFile(current)
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(filepath.Join(filepath.Dir(current), strings.TrimSpace(string(name))), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ledgers, err := db.Ledgers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range ledgers {
			if l.Name != namespace {
				continue
			}
			b := db.NewBatch()
			b.Ledger(l.ID).Begin(revision)
			b.Ledger(l.ID).Delete(store.TableKV, []byte(key))
			if err := errors.Join(b.Commit(), b.Close(), db.Sync(), db.Close()); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("no group in %s holds namespace %q", data, namespace)
}

// TestOddServerStopsAnswering compares three servers that agree, then takes a row out of one server's state. The next
// put of that key is decided otherwise there, which that server finds out by itself: it refuses everything and does not
// start again, while the other two go on.
func TestOddServerStopsAnswering(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a := c.servers["a"]
	revision := a.put("k", "v")
	compared := func(name string, revision float64) {
		t.Helper()
		awaitThat(t, name+" has compared its state", func() bool {
			metrics := c.servers[name].do("GET", "/metrics", "").body
			return strings.Contains(metrics, fmt.Sprintf("rollcall_state_compared_revision{namespace=\"default\"} %.0f\n", revision)) &&
				strings.Contains(metrics, "rollcall_state_differs{namespace=\"default\"} 0\n")
		})
	}
	for name := range c.servers {
		compared(name, revision)
	}
	odd := c.servers["c"]
	odd.stop()
	loseRow(t, c.data["c"], "default", "k", event.Revision(revision))
	c.start("c")
	odd = c.servers["c"]
	a.put("k", "w")
	awaitThat(t, "the odd server stops answering", func() bool {
		r := odd.do("GET", "/v1/default/kv/k?consistency=stale", "")
		return r.status == http.StatusServiceUnavailable && strings.Contains(r.body, `"code":"state-diverged"`)
	})
	if r := odd.do("GET", "/readyz", ""); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "--join") {
		t.Errorf("/readyz of the odd server: %d %s", r.status, r.body)
	}
	question := new(miekg.Msg)
	question.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
	if reply, err := exchange(question, odd.DNS); err != nil || reply.Rcode != miekg.RcodeServerFailure {
		t.Errorf("the odd server's DNS: %v, %v, want SERVFAIL", reply, err)
	}
	last := a.put("k", "x")
	for _, name := range []string{"a", "b"} {
		if r := c.servers[name].read("/v1/default/kv/k"); r.body != "x" {
			t.Errorf("read on %s: %d %q", name, r.status, r.body)
		}
		compared(name, last)
	}
	odd.stop()
	if out, status := command(t, append([]string{"serve", "--data", c.data["c"]}, c.flags("c")...)...); status != 1 {
		t.Errorf("the odd server starts again: status %d\n%s", status, out)
	}
}
