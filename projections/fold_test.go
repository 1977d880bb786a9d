package projections_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// fold folds commits into a database: one batch for each inner slice.
func fold(t interface{ Fatal(...any) }, db *store.DB, batches ...[]event.Event) {
	for _, events := range batches {
		b := db.NewBatch()
		w := b.Ledger(1)
		for _, e := range events {
			w.Begin(e.Commit)
			projections.Fold(w, e)
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// dump shows every version of every row, with its bytes: what is decisive may not change unseen.
func dump(db *store.DB) string {
	var b strings.Builder
	for v := range db.RowVersions(1) {
		fmt.Fprintf(&b, "%s %x\n", v, v.Row)
	}
	return b.String()
}

func open(t interface {
	Fatal(...any)
	Cleanup(func())
},
) *store.DB {
	db, err := store.Open("", store.Options{FS: store.NewMemFS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestFold runs the scripts in testdata/fold: events, one a line, and the rows that they fold into, byte by byte.
func TestFold(t *testing.T) {
	datadriven.Walk(t, filepath.Join("..", "testdata", "fold"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var events []event.Event
			for line := range strings.Lines(d.Input) {
				events = append(events, parse(t, line))
			}
			db := open(t)
			fold(t, db, events)
			return dump(db)
		})
	})
}

// parse reads "revision/commit verb words…"; the time is the revision.
func parse(t *testing.T, line string) event.Event {
	t.Helper()
	var e event.Event
	words := strings.Fields(line)
	if _, err := fmt.Sscanf(words[0], "%d/%d", &e.Revision, &e.Commit); err != nil {
		t.Fatal(err)
	}
	e.Time = event.Time(e.Revision)
	var previous, created event.Revision
	var version uint64
	if len(words) > 4 {
		if _, err := fmt.Sscanf(words[4], "v%d,created=%d,previous=%d", &version, &created, &previous); err != nil {
			t.Fatal(err)
		}
	}
	switch words[1] {
	case "set":
		e.Body = event.KeySet{Key: words[2], Value: []byte(words[3]), ContentType: "text/plain", Version: version, CreateRevision: created, Previous: previous}
	case "delete":
		e.Body = event.KeyDeleted{Key: words[2]}
	case "register":
		service, id, _ := strings.Cut(words[2], "/")
		e.Body = event.InstanceRegistered{Instance: event.Instance{
			Service: service, ID: id, Address: words[3], Port: 80, Tags: []string{"blue"}, Meta: map[string]string{"zone": "b", "az": "1"},
		}, CreateRevision: created, Previous: previous}
	case "deregister":
		service, id, _ := strings.Cut(words[2], "/")
		e.Body = event.InstanceDeregistered{Service: service, ID: id}
	case "open":
		e.Body = event.NamespaceOpened{Namespace: words[2], Cluster: "c1", Groups: 3}
	case "create":
		e.Body = event.NamespaceCreated{Namespace: words[2], Group: 2}
	case "configure":
		c := event.NamespaceConfigured{Namespace: words[2]}
		if _, err := fmt.Sscanf(words[3], "keys=%d,bytes=%d,age=%d,revisions=%d,configured=%d", &c.Keys, &c.Bytes, &c.Age, &c.Revisions, &c.Configured); err != nil {
			t.Fatal(err)
		}
		e.Body = c
	case "settings": // with a TTL
		e.Body = event.NamespaceConfigured{Namespace: words[2], TTL: 30e9, Configured: 7}
	case "close":
		e.Body = event.NamespaceClosed{Namespace: words[2], Placed: 5}
	case "lapse":
		e.Body = event.NamespaceExpired{Namespace: words[2], Placed: 5, Epoch: 2, TTL: 30e9}
	case "reopen":
		e.Body = event.NamespaceOpened{Namespace: words[2], Cluster: "c1", Placed: 9, Closed: 4}
	case "copy":
		e.Body = event.NamespaceOpened{Namespace: words[2], Cluster: "c1", Placed: 9, From: "default", FromRevision: 99}
	case "fill":
		e.Body = event.NamespaceFilled{Namespace: words[2], From: "default", FromRevision: 99}
	case "drop":
		e.Body = event.NamespaceDeleted{Namespace: words[2], Group: 2, Placed: 5, Closed: 8}
	case "again":
		e.Body = event.NamespaceCreated{Namespace: words[2], Group: 2, Previous: 4, From: "default", FromRevision: 99}
	case "usage":
		e.Body = event.NamespaceUsage{Namespace: words[2], Level: map[string]event.Level{"normal": 0, "warning": 1}[words[3]]}
	case "trim":
		trimmed := event.NamespaceTrimmed{Namespace: words[2]}
		if _, err := fmt.Sscanf(words[3], "to=%d", &trimmed.KeptFrom); err != nil {
			t.Fatal(err)
		}
		e.Body = trimmed
		e.Time += 3 * event.RequestKept // long after what was before
	case "request": // a key that is set by a request of that name
		e.Body = event.KeySet{Key: words[2], Value: []byte{}, Version: 1}
		e.Request = &event.Request{Key: words[2], Fingerprint: []byte{0xab}, Version: 2}
	default:
		t.Fatalf("unknown event %q", line)
	}
	return e
}

// TestFoldInAnyBatches folds the same commits cut into batches in any way, and compares every byte.
func TestFoldInAnyBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []event.Event
		for n := rapid.IntRange(1, 60).Draw(t, "events"); len(events) < n; {
			size := rapid.IntRange(1, 4).Draw(t, "commit")
			commit := event.Revision(len(events) + size)
			for range size {
				r := event.Revision(len(events) + 1)
				e := event.Event{Revision: r, Commit: commit, Time: event.Time(r) * event.RequestKept / 10, Body: randomBody(t)}
				if n := rapid.IntRange(0, 8).Draw(t, "request"); n > 0 {
					e.Request = &event.Request{Key: fmt.Sprint(n), Fingerprint: []byte{1}}
				}
				events = append(events, e)
			}
		}
		whole, cut := open(t), open(t)
		fold(t, whole, events)
		for rest := events; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			fold(t, cut, rest[:n])
			rest = rest[n:]
		}
		if diff := cmp.Diff(dump(whole), dump(cut)); diff != "" {
			t.Fatalf("rows differ (-one batch +several):\n%s", diff)
		}
	})
}

func randomBody(t *rapid.T) event.Body {
	name := rapid.SampledFrom([]string{"a", "b", "a/b"}).Draw(t, "name")
	switch rapid.IntRange(0, 15).Draw(t, "kind") {
	case 5:
		return event.InstanceStatus{Service: "s", ID: name, Check: "c", Status: event.Status(rapid.IntRange(1, 3).Draw(t, "status"))}
	case 6:
		return event.InstanceMaintenance{Service: "s", ID: name, Enabled: rapid.Bool().Draw(t, "enabled"), Reason: name}
	case 7:
		return event.InstanceCredentials{Service: "s", ID: name, Credentials: map[string]string{"a": name, "b": name}}
	case 8:
		return event.NodeMaintenance{Node: name, Enabled: rapid.Bool().Draw(t, "enabled")}
	case 9:
		return event.NodeDeleted{Node: name}
	case 10:
		return event.ServiceConfigured{Service: name, OnlyPassing: rapid.Bool().Draw(t, "passing")}
	case 11:
		return event.NamespaceClosed{Namespace: "n", Placed: 1}
	case 12:
		return event.NamespaceOpened{Namespace: "n", Placed: 2, From: "m", FromRevision: 3, Closed: 1}
	case 13:
		return event.NamespaceFilled{Namespace: "n", From: "m", FromRevision: 3}
	case 14:
		return event.NamespaceConfigured{Namespace: "n", Configured: 1, TTL: 1e9}
	case 15:
		return event.NamespaceDeleted{Namespace: "n", Group: 1, Placed: 1}
	case 4:
		return event.NamespaceTrimmed{Namespace: "n", KeptFrom: 1}
	case 0:
		return event.KeyDeleted{Key: name}
	case 1:
		i := event.Instance{Service: "s", ID: name, Address: "10.0.0.1"}
		if rapid.Bool().Draw(t, "checked") {
			i.Checks = []event.Check{{ID: "c", TTL: 15e9, DeregisterAfter: 60e9}}
		}
		return event.InstanceRegistered{Instance: i}
	case 2:
		return event.InstanceDeregistered{Service: "s", ID: name}
	}
	return event.KeySet{Key: name, Value: rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "value"), Version: 1}
}
