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
		return fmt.Sprintf("%s:%d tags %v weight %d created %d previous %d", b.Instance.Address, b.Instance.Port, b.Instance.Tags, b.Instance.Weight, b.CreateRevision, b.Previous) + showLease(b.Instance.Session, 0)
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
	for r := range v.Instances("") {
		fmt.Fprintf(&b, "instance %s/%s %s:%d tags %v @%d/%d\n", r.Service, r.ID, r.Address, r.Port, r.Tags, r.CreateRevision, r.Revision)
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

// parseCommand reads a directive: its words are the arguments, its input lines are a transaction's parts.
func parseCommand(t *testing.T, d *datadriven.TestData) commands.Command {
	t.Helper()
	op := parseOperation(t, d.Cmd, d.CmdArgs)
	switch d.Cmd {
	case "put":
		put := *op.Put
		put.If = parseConditions(t, put.Key, d.CmdArgs)
		return put
	case "delete":
		if op.Delete.IsPrefix {
			return commands.DeletePrefix{Prefix: op.Delete.Prefix}
		}
		return commands.DeleteKey{Key: op.Delete.Key, If: parseConditions(t, op.Delete.Key, d.CmdArgs)}
	case "register":
		return *op.Register
	case "deregister":
		return *op.Deregister
	case "open":
		from, _ := value(d.CmdArgs, "from")
		return commands.OpenNamespace{
			Namespace: d.CmdArgs[0].Key, Cluster: "c1", Groups: number(t, d.CmdArgs, "groups"), Skip: event.Revision(number(t, d.CmdArgs, "skip")),
			Placed: event.Revision(number(t, d.CmdArgs, "placed")), Again: d.HasArg("again"),
			From: from, FromRevision: event.Revision(number(t, d.CmdArgs, "from-revision")),
		}
	case "close":
		return commands.CloseNamespace{Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed"))}
	case "clear":
		return commands.ClearNamespace{Namespace: argument(d.CmdArgs, 0)}
	case "delete-namespace":
		return commands.DeleteNamespace{
			Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed")),
			Closed: event.Revision(number(t, d.CmdArgs, "closed")), Expired: d.HasArg("expired"),
		}
	case "fill":
		return parseFill(t, d)
	case "restore":
		cluster, _ := value(d.CmdArgs, "cluster")
		return commands.RestoreNamespace{
			Namespace: d.CmdArgs[0].Key, Cluster: cluster, Skip: event.Revision(number(t, d.CmdArgs, "skip")),
			FromCluster: "c1", Taken: 7, Snapshot: []byte{0xab},
		}
	case "create":
		from, _ := value(d.CmdArgs, "from")
		return commands.CreateNamespace{
			Namespace: argument(d.CmdArgs, 0), Group: number(t, d.CmdArgs, "group"),
			From: from, FromRevision: event.Revision(number(t, d.CmdArgs, "from-revision")),
		}
	case "txn":
		return parseTxn(t, d.Input)
	case "append":
		session, _ := value(d.CmdArgs, "session")
		return commands.AppendKey{Directory: argument(d.CmdArgs, 0), Value: []byte(argument(d.CmdArgs, 1)), TTL: duration(t, d.CmdArgs, "ttl"), Session: session}
	case "create-session":
		onEnd := event.Release
		if d.HasArg("deletes") {
			onEnd = event.Delete
		}
		return commands.CreateSession{TTL: duration(t, d.CmdArgs, "ttl"), OnEnd: onEnd, LockDelay: duration(t, d.CmdArgs, "delay")}
	case "end-session":
		return commands.EndSession{ID: argument(d.CmdArgs, 0)}
	case "claim":
		return commands.ClaimTimekeeper{Server: argument(d.CmdArgs, 0)}
	case "expire":
		return parseExpire(t, d.CmdArgs)
	case "tree":
		return parseTree(t, d)
	case "add-member":
		nonce, _ := value(d.CmdArgs, "nonce")
		_, voter := value(d.CmdArgs, "voter")
		_, replace := value(d.CmdArgs, "replace")
		return commands.AddMember{
			Name: argument(d.CmdArgs, 0), Address: argument(d.CmdArgs, 1), Nonce: nonce, Voter: voter, Replace: replace,
			Replica: number(t, d.CmdArgs, "replica"), Version: uint32(number(t, d.CmdArgs, "knows")),
		}
	case "promote-member":
		return commands.PromoteMember{Name: argument(d.CmdArgs, 0)}
	case "announce-version":
		return commands.AnnounceVersion{
			Name: argument(d.CmdArgs, 0), Replica: number(t, d.CmdArgs, "replica"), Version: uint32(number(t, d.CmdArgs, "knows")),
		}
	case "set-version":
		return commands.SetClusterVersion{Version: uint32(number(t, d.CmdArgs, "to"))}
	case "configure":
		return configure(t, d.CmdArgs)
	case "apply":
		c := configure(t, d.CmdArgs)
		at := func(n *uint64) uint64 {
			if n == nil {
				return 0
			}
			return *n
		}
		return commands.ApplySettings{
			Namespace: c.Namespace, Keys: at(c.Keys), Bytes: at(c.Bytes), Revisions: at(c.Revisions),
			Configured: event.Revision(number(t, d.CmdArgs, "configured")), TTL: duration(t, d.CmdArgs, "ttl"),
		}
	case "trim":
		return commands.TrimHistory{To: event.Revision(number(t, d.CmdArgs, "to"))}
	case "remove-member":
		return commands.RemoveMember{Name: argument(d.CmdArgs, 0)}
	}
	d.Fatalf(t, "unknown directive %q", d.Cmd)
	return nil
}

// parseExpire reads "epoch=E", then leases: "session=ID" and "key@R".
func parseExpire(t *testing.T, args []datadriven.CmdArg) commands.Expire {
	t.Helper()
	c := commands.Expire{Epoch: event.Revision(number(t, args, "epoch"))}
	for _, a := range args {
		if a.Key == "session" {
			c.Leases = append(c.Leases, commands.Lease{Session: a.Vals[0]})
		}
		if key, revision, ok := strings.Cut(a.Key, "@"); ok {
			n, err := strconv.ParseUint(revision, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			lease := commands.Lease{Key: key, Revision: event.Revision(n)}
			if key == "whole-namespace" {
				lease = commands.Lease{Namespace: true, Revision: lease.Revision}
			}
			c.Leases = append(c.Leases, lease)
		}
	}
	return c
}

// parseFill reads "placed=R", perhaps "done", and a key and its value on each line.
func parseFill(t *testing.T, d *datadriven.TestData) commands.FillNamespace {
	t.Helper()
	c := commands.FillNamespace{Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed")), Done: d.HasArg("done")}
	for line := range strings.Lines(d.Input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.Entries = append(c.Entries, commands.FillEntry{Key: key, Value: []byte(value)})
	}
	return c
}

func configure(t *testing.T, args []datadriven.CmdArg) commands.ConfigureNamespace {
	t.Helper()
	optional := func(name string) *uint64 {
		if _, ok := value(args, name); !ok {
			return nil
		}
		n := number(t, args, name)
		return &n
	}
	c := commands.ConfigureNamespace{
		Namespace: argument(args, 0), Group: number(t, args, "group"),
		Keys: optional("keys"), Bytes: optional("bytes"), Revisions: optional("revisions"),
	}
	if age, ok := value(args, "age"); ok {
		d, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		at := event.Time(d)
		c.Age = &at
	}
	if _, ok := value(args, "ttl"); ok {
		ttl := duration(t, args, "ttl")
		c.TTL = &ttl
	}
	c.From, _ = value(args, "from")
	c.FromRevision = event.Revision(number(t, args, "from-revision"))
	return c
}

func duration(t *testing.T, args []datadriven.CmdArg, name string) event.Time {
	t.Helper()
	s, ok := value(args, name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return event.Time(d)
}

// parseTxn reads lines such as "if exists a", "then put a v", "else get prefix=a".
func parseTxn(t *testing.T, input string) commands.Txn {
	t.Helper()
	var c commands.Txn
	for line := range strings.Lines(input) {
		verb, args, err := datadriven.ParseLine(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		switch verb {
		case "if":
			c.If = append(c.If, parseConditions(t, args[0].Key, args[1:])...)
		case "then":
			c.Then = append(c.Then, parseOperation(t, args[0].Key, args[1:]))
		case "else":
			c.Else = append(c.Else, parseOperation(t, args[0].Key, args[1:]))
		}
	}
	return c
}

func parseOperation(t *testing.T, verb string, args []datadriven.CmdArg) commands.Operation {
	t.Helper()
	target := &commands.Target{Key: argument(args, 0)}
	if p, ok := value(args, "prefix"); ok {
		target = &commands.Target{Prefix: p, IsPrefix: true}
	}
	switch verb {
	case "put":
		v := argument(args, 1)
		if n := number(t, args, "size"); n > 0 {
			v = strings.Repeat("x", int(n))
		}
		contentType, _ := value(args, "type")
		session, _ := value(args, "session")
		return commands.Operation{Put: &commands.PutKey{
			Key: argument(args, 0), Value: []byte(v), Flags: number(t, args, "flags"), ContentType: contentType, TTL: duration(t, args, "ttl"), Session: session,
		}}
	case "delete":
		return commands.Operation{Delete: target}
	case "get":
		return commands.Operation{Get: target}
	case "register":
		address, _ := value(args, "address")
		session, _ := value(args, "session")
		var tags []string
		if s, ok := value(args, "tags"); ok {
			tags = strings.Split(s, "+")
		}
		return commands.Operation{Register: &commands.RegisterInstance{Instance: event.Instance{
			Service: argument(args, 0), ID: argument(args, 1), Address: address, Port: uint16(number(t, args, "port")),
			Tags: tags, Weight: uint16(number(t, args, "weight")), Session: session,
		}}}
	case "deregister":
		return commands.Operation{Deregister: &commands.DeregisterInstance{Service: argument(args, 0), ID: argument(args, 1)}}
	}
	return commands.Operation{}
}

// parseConditions reads "exists", "absent", "empty", "revision=R", "version=N", "created=R" and "value=V"; with "op"
// one of = != < >.
func parseConditions(t *testing.T, key string, args []datadriven.CmdArg) []commands.Condition {
	t.Helper()
	op := commands.Equal
	if s, ok := value(args, "op"); ok {
		op = map[string]commands.Op{"=": commands.Equal, "!=": commands.NotEqual, "<": commands.Less, ">": commands.Greater}[s]
	}
	var cs []commands.Condition
	for _, a := range args {
		switch a.Key {
		case "exists":
			cs = append(cs, commands.KeyExists(key, true))
		case "bound":
			bound := ""
			if len(a.Vals) > 0 {
				bound = a.Vals[0]
			}
			cs = append(cs, commands.Condition{Field: commands.FieldSession, Key: key, Value: []byte(bound), Op: op})
		case "absent":
			cs = append(cs, commands.KeyExists(key, false))
		case "empty":
			cs = append(cs, commands.Condition{Field: commands.FieldEmpty, Key: key, Number: 1})
		case "revision":
			cs = append(cs, commands.Condition{Field: commands.FieldRevision, Key: key, Number: number(t, args, "revision"), Op: op})
		case "created":
			cs = append(cs, commands.Condition{Field: commands.FieldCreateRevision, Key: key, Number: number(t, args, "created"), Op: op})
		case "version":
			cs = append(cs, commands.Condition{Field: commands.FieldVersion, Key: key, Number: number(t, args, "version"), Op: op})
		case "value":
			cs = append(cs, commands.Condition{Field: commands.FieldValue, Key: key, Value: []byte(a.Vals[0]), Op: op})
		}
	}
	return cs
}

// argument is the n-th word that is no name=value. A word in quotes is read as a Go string.
func argument(args []datadriven.CmdArg, n int) string {
	for _, a := range args {
		if len(a.Vals) > 0 {
			continue
		}
		if n == 0 {
			if s, err := strconv.Unquote(a.Key); err == nil {
				return s
			}
			if s, ok := strings.CutPrefix(a.Key, "long:"); ok {
				size, _ := strconv.Atoi(s)
				return strings.Repeat("k", size)
			}
			return a.Key
		}
		n--
	}
	return ""
}

func value(args []datadriven.CmdArg, name string) (string, bool) {
	for _, a := range args {
		if a.Key == name && len(a.Vals) > 0 {
			if s, err := strconv.Unquote(a.Vals[0]); err == nil {
				return s, true
			}
			return a.Vals[0], true
		}
	}
	return "", false
}

func number(t *testing.T, args []datadriven.CmdArg, name string) uint64 {
	t.Helper()
	s, ok := value(args, name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
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
