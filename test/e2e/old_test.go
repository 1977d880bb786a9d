package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/test/address"
)

// keepCopy copies the data folder of a server that does not run, as a disk snapshot does.
func keepCopy(t *testing.T, data string) string {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	return kept
}

// bringBack puts a copy into the place of a data folder.
func bringBack(t *testing.T, kept, data string) {
	t.Helper()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
}

// awaitRevision awaits that a server has a revision of the default namespace, or a later one.
func (p *process) awaitRevision(revision float64) {
	p.t.Helper()
	awaitThat(p.t, fmt.Sprintf("at revision %.0f", revision), func() bool {
		r := p.do("GET", fmt.Sprintf("/v1/default/kv?consistency=stale&min-revision=%.0f&limit=1", revision), "")
		return r.status == http.StatusOK
	})
}

// isRefused checks that a server does not start because its folder is old, and that it says what to do.
func isRefused(t *testing.T, p *process) {
	t.Helper()
	select {
	case err := <-p.exited:
		if err == nil {
			t.Error("the server ended without an error")
		}
	case <-time.After(patience):
		t.Fatalf("a server with an old folder goes on\n%s", p.output)
	}
	for _, part := range []string{"older than what this server had made durable", "saw in group", "and the folder", "remove the member", "wipe", "--join"} {
		if !strings.Contains(p.output.String(), part) {
			t.Errorf("%q is not in:\n%s", part, p.output)
		}
	}
}

// TestOldFolder brings a server's data folder back as a whole as it was before it acknowledged more. It does not start;
// without the folder it comes back as a new replica.
func TestOldFolder(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.servers["a"].put("before", "v")
	c.servers["c"].stop()
	kept := keepCopy(t, c.data["c"])
	c.start("c")
	for i := range 20 {
		c.servers["c"].awaitRevision(c.servers["a"].put(fmt.Sprintf("k%d", i), "v"))
	}
	c.servers["c"].kill()
	bringBack(t, kept, c.data["c"])
	for range 2 { // the second time because it remembers
		isRefused(t, launch(t, c.data["c"], c.flags("c")...))
	}
	c.servers["a"].put("k0", "w")
	if err := os.RemoveAll(c.data["c"]); err != nil {
		t.Fatal(err)
	}
	c.start("c")
	if got := c.servers["c"].read("/v1/default/kv/k0"); got.body != "w" {
		t.Errorf("read on the server that was wiped: %d %q", got.status, got.body)
	}
}

// TestOldFolderSeenByServersThatRestarted does the same where everybody was restarted in between.
func TestOldFolderSeenByServersThatRestarted(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.servers["c"].stop()
	kept := keepCopy(t, c.data["c"])
	c.start("c")
	for i := range 5 {
		c.servers["c"].awaitRevision(c.servers["a"].put(fmt.Sprintf("k%d", i), "v")) // or nobody saw more than what is kept
	}
	for _, name := range []string{"c", "b", "a"} {
		c.servers[name].stop()
	}
	bringBack(t, kept, c.data["c"])
	c.start("a", "b")
	isRefused(t, launch(t, c.data["c"], c.flags("c")...))
	c.servers["a"].put("k0", "w")
}

// TestOldFolderFoundLate starts a server on an old folder while nobody is there to tell: it gives what it has to whoever
// asks for no more, and stops as soon as another server is back, before it says anything to it.
func TestOldFolderFoundLate(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.servers["a"].put("before", "v")
	c.servers["c"].stop()
	kept := keepCopy(t, c.data["c"])
	c.start("c")
	for i := range 5 {
		c.servers["c"].awaitRevision(c.servers["a"].put(fmt.Sprintf("k%d", i), "v")) // or nobody saw more than what is kept
	}
	for _, name := range []string{"c", "b", "a"} {
		c.servers[name].stop()
	}
	bringBack(t, kept, c.data["c"])
	door := address.Free(t)
	old := launch(t, c.data["c"], append(c.flags("c"), "--http", door)...)
	old.HTTP = door
	awaitThat(t, "the doors open without a quorum", func() bool {
		r, err := old.try("GET", "/v1/default/kv/before?consistency=stale", "")
		return err == nil && r.body == "v"
	})
	c.start("a", "b")
	isRefused(t, old)
	isRefused(t, launch(t, c.data["c"], c.flags("c")...))
	c.servers["a"].put("k0", "w")
}
