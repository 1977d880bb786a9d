package commands_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
	"github.com/rollcall/rollcall/projections/kv"
)

// ledger is one ledger without Raft: commands are decided on the views, and their events folded into them.
type ledger struct {
	t    *testing.T
	name string
	db   *store.DB
	head event.Revision
	now  event.Time

	version uint32 // for which commands are written
}

func newLedger(t *testing.T, name string) *ledger {
	t.Helper()
	db, err := store.Open("", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &ledger{t: t, name: name, db: db, version: commands.Version}
}

// decide decides a command and folds its events. It gives them, stamped.
func (l *ledger) decide(c commands.Command) ([]event.Event, commands.Answer, *commands.Rejection) {
	l.t.Helper()
	return l.order(commands.Order{Version: l.version, Command: c})
}

func (l *ledger) order(o commands.Order) ([]event.Event, commands.Answer, *commands.Rejection) {
	l.t.Helper()
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }()
	rows := batch.Ledger(1)
	l.now++
	view := projections.NewView(rows, l.head)
	d, rejection := commands.Decide(view, commands.Situation{
		Ledger: l.name, Now: l.now, Asked: l.now, ReadBytes: event.TxnReadBytesMax, Usage: l.usage(),
		Past: func(r event.Revision) commands.State { return view.At(r) },
	}, o)
	if rejection != nil {
		return nil, commands.Answer{}, rejection
	}
	var events []event.Event
	l.head += d.Skip
	commit := l.head + event.Revision(len(d.Events))
	rows.Begin(commit)
	for i, body := range d.Events {
		l.head++
		e := event.Event{Revision: l.head, Commit: commit, Time: l.now, Body: body}
		if i == 0 {
			e.Request = d.Request
		}
		projections.Fold(rows, e)
		events = append(events, e)
	}
	if err := batch.Commit(); err != nil {
		l.t.Fatal(err)
	}
	d.Answer.Resolve(commit)
	return events, d.Answer, nil
}

// usage counts what is there.
func (l *ledger) usage() (u event.Usage) {
	for e := range l.view(0).Keys("") {
		u.Keys, u.Bytes = u.Keys+1, u.Bytes+uint64(len(e.Key)+len(e.Value))
	}
	return u
}

// view is the state at a revision; zero means the newest.
func (l *ledger) view(at event.Revision) projections.View {
	if at == 0 {
		at = math.MaxUint64
	}
	return projections.NewView(l.db.Rows(1, at), l.head)
}

// TestDecide runs the scripts in testdata/decide: each directive is a command, and its result is the events that it
// makes, or its rejection. "rows" shows what they were folded into.
//
// They run once for each version of the decisions, from the one on that their file's name asks for ("x.v2.txt"): what
// a version decided stays decided so. "version N" writes what follows for another version, "advance D" moves the clock,
// and key=K on any command gives it an idempotency key.
func TestDecide(t *testing.T) {
	for version := uint32(commands.VersionFirst); version <= commands.Version; version++ {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) { decideScripts(t, version) })
	}
}

func decideScripts(t *testing.T, version uint32) {
	t.Helper()
	datadriven.Walk(t, filepath.Join("..", "testdata", "decide"), func(t *testing.T, path string) {
		if least, ok := strings.CutPrefix(filepath.Ext(strings.TrimSuffix(path, ".txt")), ".v"); ok {
			if n, err := strconv.ParseUint(least, 10, 32); err != nil || uint32(n) > version {
				return
			}
		}
		var l *ledger
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "ledger":
				l = newLedger(t, d.CmdArgs[0].Key)
				l.version = version
				return ""
			case "version":
				n, err := strconv.ParseUint(d.CmdArgs[0].Key, 10, 32)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				l.version = uint32(n)
				return ""
			case "advance":
				by, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				l.now += event.Time(by)
				return ""
			case "rows":
				return showRows(l, d)
			}
			key, _ := value(d.CmdArgs, "key")
			if s, ok := strings.CutPrefix(key, "long:"); ok {
				size, _ := strconv.Atoi(s)
				key = strings.Repeat("k", size)
			}
			events, answer, rejection := l.order(commands.Order{Version: l.version, Key: key, Command: parseCommand(t, d)})
			return show(l.version, events, answer, rejection)
		})
	})
}

// show gives the events as "revision/commit type subject …", then the answer.
// That a request was remembered for the very version that the script writes for goes without saying.
func show(version uint32, events []event.Event, a commands.Answer, r *commands.Rejection) string {
	var b strings.Builder
	if r != nil {
		fmt.Fprintf(&b, "%s: %s", r.Code, r.Message)
		if r.Revision != 0 {
			fmt.Fprintf(&b, " (now %d)", r.Revision)
		}
		return b.String() + "\n"
	}
	for _, e := range events {
		fmt.Fprintf(&b, "%d/%d %s %s %s", e.Revision, e.Commit, e.Body.Type(), e.Body.Subject(), showBody(e.Body))
		if e.Request != nil {
			fmt.Fprintf(&b, " request %q", e.Request.Key)
			if e.Request.Version != version {
				fmt.Fprintf(&b, " of version %d", e.Request.Version)
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "-> revision %d", a.Revision)
	if a.Branch != commands.NoBranch {
		fmt.Fprintf(&b, " branch %s failed %v", map[commands.Branch]string{1: "then", 2: "else"}[a.Branch], a.Failed)
	}
	for i, r := range a.Results {
		fmt.Fprintf(&b, "\n   [%d] revision %d", i, r.Revision)
		if r.Created {
			b.WriteString(" created")
		}
		if r.Key != "" {
			fmt.Fprintf(&b, " name %q", r.Key)
		}
		if r.More {
			b.WriteString(" and more is left")
		}
		if r.Deleted > 0 {
			fmt.Fprintf(&b, " deleted %d", r.Deleted)
		}
		if r.Put > 0 {
			fmt.Fprintf(&b, " put %d", r.Put)
		}
		if r.Group > 0 {
			fmt.Fprintf(&b, " group %d", r.Group)
		}
		if r.Replica > 0 {
			fmt.Fprintf(&b, " replica %d", r.Replica)
		}
		for _, e := range r.Entries {
			fmt.Fprintf(&b, " %s", showEntry(e))
		}
	}
	return b.String() + "\n"
}

func showBody(body event.Body) string {
	switch b := body.(type) {
	case event.KeySet:
		return fmt.Sprintf("%.40q created %d version %d previous %d flags %d %s", b.Value, b.CreateRevision, b.Version, b.Previous, b.Flags, b.ContentType) + showLease(b.Session, b.TTL)
	case event.KeyDeleted:
		return fmt.Sprintf("previous %d", b.Previous) + showLease(b.Session, 0)
	case event.InstanceRegistered:
		s := fmt.Sprintf("%s:%d tags %v weight %d created %d previous %d", b.Instance.Address, b.Instance.Port, b.Instance.Tags, b.Instance.Weight, b.CreateRevision, b.Previous) + showLease(b.Instance.Session, b.Instance.TTL)
		for _, c := range b.Instance.Checks {
			s += " check " + c.ID
		}
		return s
	case event.InstanceDeregistered:
		return fmt.Sprintf("previous %d", b.Previous) + showLease(b.Session, 0)
	case event.MemberAdded:
		s := fmt.Sprintf("{Name:%s Replica:%d Address:%s Nonce:%s Voter:%t}", b.Name, b.Replica, b.Address, b.Nonce, b.Voter)
		if b.Version > 0 {
			s += fmt.Sprintf(" version %d", b.Version)
		}
		return s
	}
	return older(fmt.Sprintf("%+v", body))
}

// older leaves out the fields that came later, where they say nothing.
func older(shown string) string {
	for _, field := range []string{" From: FromRevision:0 Closed:0", " Previous:0 From: FromRevision:0", " TTL:0"} {
		shown = strings.Replace(shown, field, "", 1)
	}
	return shown
}

func showEntry(e event.Entry) string {
	return fmt.Sprintf("%s=%q@%d/%d/v%d", e.Key, e.Value, e.CreateRevision, e.Revision, e.Version) + showLease(e.Session, e.TTL)
}

func showLease(session string, ttl event.Time) string {
	switch {
	case session != "":
		return " session " + session
	case ttl != 0:
		return " ttl " + time.Duration(ttl).String()
	}
	return ""
}

// showRows shows the views: "rows" now, "rows at=R" as they were.
func showRows(l *ledger, d *datadriven.TestData) string {
	var at uint64
	d.MaybeScanArgs(l.t, "at", &at)
	v := l.view(event.Revision(at))
	var b strings.Builder
	for e := range v.Keys("") {
		fmt.Fprintf(&b, "key %s\n", showEntry(e))
	}
	for r, h := range v.WithHealth("") {
		fmt.Fprintf(&b, "instance %s/%s %s:%d tags %v @%d/%d", r.Service, r.ID, r.Address, r.Port, r.Tags, r.CreateRevision, r.Revision)
		node, _ := v.Node(r.Node)
		if !h.Zero() || node.Maintenance != (event.MaintenanceState{}) {
			verdict := h.Verdict(r, node.Maintenance)
			fmt.Fprintf(&b, " %s because of %d/%d", verdict.Status, verdict.Revision, verdict.Kind)
		}
		for _, c := range h.Checks {
			fmt.Fprintf(&b, " %s=%s@%d", c.ID, c.Status, c.Revision)
		}
		if values, at := v.Credentials(r.Service, r.ID); at > 0 {
			fmt.Fprintf(&b, " credentials %v@%d", values, at)
		}
		b.WriteByte('\n')
	}
	for d := range v.AllDue("", "") {
		fmt.Fprintf(&b, "due %s/%s %q after %s @%d %s\n", d.Service, d.ID, d.Check, time.Duration(d.After), d.Revision, d.Status)
	}
	for name, settings := range v.AllServiceSettings() {
		fmt.Fprintf(&b, "service %s %+v\n", name, settings)
	}
	for n := range v.Nodes() {
		fmt.Fprintf(&b, "node %s %q %v maintenance %t %q @%d/%d\n", n.Name, n.Address, n.Meta, n.Maintenance.Enabled, n.Maintenance.Reason, n.CreateRevision, n.Revision)
	}
	for l := range v.Leases() {
		fmt.Fprintf(&b, "lease %s@%d %s\n", l.Key, l.Revision, time.Duration(l.TTL))
	}
	for s := range v.Sessions("") {
		fmt.Fprintf(&b, "session %s %s on end %d delay %s", s.ID, time.Duration(s.TTL), s.OnEnd, time.Duration(s.LockDelay))
		for key := range v.KeysHeld(s.ID) {
			fmt.Fprintf(&b, " key %s", key)
		}
		for i := range v.InstancesHeld(s.ID) {
			fmt.Fprintf(&b, " instance %s/%s", i.Service, i.ID)
		}
		b.WriteByte('\n')
	}
	if epoch := v.Timekeeper(); epoch > 0 {
		fmt.Fprintf(&b, "timekeeper of epoch %d\n", epoch)
	}
	if r := v.Restored(); r.Cluster != "" {
		fmt.Fprintf(&b, "restored to cluster %s, skipped %d\n", r.Cluster, r.Skipped)
	}
	if s := v.Settings(); s.Configured > 0 {
		fmt.Fprintf(&b, "settings %s\n", older(fmt.Sprintf("%+v", s)))
	}
	if life := v.Life(); life != (event.Life{}) {
		fmt.Fprintf(&b, "life %+v\n", life)
	}
	if v.Level() != event.LevelNormal || v.Floor() > 0 {
		fmt.Fprintf(&b, "level %s floor %d\n", v.Level(), v.Floor())
	}
	for n := range v.Namespaces() {
		fmt.Fprintf(&b, "namespace %s group %d @%d", n.Name, n.Group, n.Revision)
		if n.Previous > 0 {
			fmt.Fprintf(&b, " deleted before @%d", n.Previous)
		}
		if n.From != "" {
			fmt.Fprintf(&b, " from %s@%d", n.From, n.FromRevision)
		}
		b.WriteByte('\n')
	}
	for g := range v.AllGone() {
		fmt.Fprintf(&b, "gone %+v\n", g)
	}
	for m := range v.Members() {
		fmt.Fprintf(&b, "member %s replica %d %s nonce %q voter %t @%d\n", m.Name, m.Replica, m.Address, m.Nonce, m.Voter, m.Revision)
	}
	if version := v.ClusterVersion(); version > commands.VersionFirst {
		fmt.Fprintf(&b, "version %d\n", version)
	}
	for r := range v.RemovedReplicas() {
		fmt.Fprintf(&b, "removed replica %d\n", r)
	}
	return b.String()
}

// TestListPages walks lists of random keys page by page, with and without a separator, and holds them against the
// whole.
func TestListPages(t *testing.T) {
	l := newLedger(t, "default")
	_, _, _ = l.decide(commands.OpenNamespace{Namespace: "default", Cluster: "c"})
	for _, key := range []string{"a", "a/b", "a/b/c", "a/d", "a-", "a-b", "a-c", "b//c", "b/c", "é/x", "z"} {
		if _, _, r := l.decide(commands.PutKey{Key: key, Value: []byte(key)}); r != nil {
			t.Fatal(r)
		}
	}
	for _, separator := range []string{"", "/", "-"} {
		for _, prefix := range []string{"", "a", "a-", "a/", "b/", "nothing"} {
			whole, next := l.view(0).List(kv.Query{Prefix: prefix, Separator: separator, Limit: 100})
			if next != "" {
				t.Errorf("prefix %q separator %q: next %q behind the end", prefix, separator, next)
			}
			var paged []kv.Item
			for after := ""; ; {
				items, next := l.view(0).List(kv.Query{Prefix: prefix, Separator: separator, Limit: 1, After: after})
				paged = append(paged, items...)
				if next == "" {
					break
				}
				after = next
			}
			if got, want := keysOf(paged), keysOf(whole); got != want {
				t.Errorf("prefix %q separator %q: pages give %s, the whole list %s", prefix, separator, got, want)
			}
		}
	}
	items, _ := l.view(0).List(kv.Query{Separator: "/", Limit: 100})
	if got, want := keysOf(items), `["a" "a-" "a-b" "a-c" "a/" "b/" "z" "é/"]`; got != want {
		t.Errorf("top level: got %s, want %s", got, want)
	}
}

func keysOf(items []kv.Item) string {
	keys := []string{}
	for _, i := range items {
		keys = append(keys, i.Key)
	}
	return fmt.Sprintf("%q", keys)
}
