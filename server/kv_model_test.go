package server_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sm "github.com/lni/dragonboat/v4/statemachine"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
	"github.com/rollcall/rollcall/projections/kv"
)

// TestModel has random commands decided and folded by the real state machine, which is crashed and restored meanwhile, and
// by a model. Every answer must be the model's, and so must what readers see at every revision.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := &modelTest{r: r, replica: newReplica(t), model: newModel(), random: rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 1))}
		defer func() { _ = c.replica.machine.Close() }()
		c.do(commands.OpenNamespace{Namespace: event.Default, Cluster: "c"})
		r.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { c.read(c.model.now.head) },
			"command": func(*rapid.T) { c.do(c.command()) },
			"lease":   func(*rapid.T) { c.do(c.lease()) },
			"tree":    func(*rapid.T) { c.do(c.tree()) },
			"trim":    func(*rapid.T) { c.trim() },
			"past": func(*rapid.T) {
				c.read(rapid.Uint64Range(max(c.model.now.floor, 1), c.model.now.head).Draw(r, "revision"))
			},
			"restart": func(*rapid.T) { c.restart() },
		})
	})
}

type modelTest struct {
	r       *rapid.T
	random  *rand.Rand
	replica *replica
	model   *model
	entries []sm.Entry
}

var (
	modelKeys        = []string{"a", "a/b", "a/b/c", "a/c", "ab", "b/x", "b/y", "é"}
	modelDirectories = []string{"a/", "a/b/", "b/"}
	modelValues      = []string{"", "1", "2", "\x00\xff"}
)

func pick[T any](c *modelTest, from []T, name string) T {
	return rapid.SampledFrom(from).Draw(c.r, name)
}

// do has a command decided by both, and compares what they say.
func (c *modelTest) do(command commands.Command) {
	c.r.Helper()
	c.entries = append(c.entries, sm.Entry{Index: uint64(len(c.entries)) + 1, Cmd: machine.EncodeEntry(0, [][]byte{machine.EncodeCommand(machine.Command{
		Ledger: event.Default, Time: event.Time(len(c.entries)), Body: commands.Encode(command),
	})})})
	c.replica.apply(c.entries, 10)
	frames, err := machine.SplitFrames(c.replica.replies[uint64(len(c.entries))])
	if err != nil || len(frames) != 1 {
		c.r.Fatalf("%d replies: %v", len(frames), err)
	}
	answer, rejection, err := commands.DecodeReply(frames[0])
	if err != nil {
		c.r.Fatal(err)
	}
	got := modelAnswer{branch: answer.Branch, failed: answer.Failed}
	if rejection != nil {
		got = modelAnswer{code: rejection.Code}
	}
	for _, r := range answer.Results {
		one := modelResult{created: r.Created, deleted: r.Deleted, put: r.Put, name: r.Key}
		for _, e := range r.Entries {
			one.entries = append(one.entries, e.Key)
		}
		got.results = append(got.results, one)
	}
	want := c.model.run(command)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(modelAnswer{}, modelResult{})); diff != "" {
		c.r.Fatalf("%T %+v was answered otherwise than by the model (-want +got):\n%s", command, command, diff)
	}
	if rejection == nil && c.model.events > 0 && uint64(answer.Revision) != c.model.now.head {
		c.r.Fatalf("%T made revision %d, and %d in the model", command, answer.Revision, c.model.now.head)
	}
}

// tree is a document below a prefix.
func (c *modelTest) tree() commands.PutTree {
	t := commands.PutTree{Prefix: pick(c, []string{"", "a/", "b/"}, "prefix"), Flat: true, Replace: rapid.Bool().Draw(c.r, "replace")}
	for _, key := range modelKeys { // which are in order
		if (strings.HasPrefix(key, t.Prefix) || key+"/" == t.Prefix) && rapid.Bool().Draw(c.r, "has "+key) {
			t.Entries = append(t.Entries, commands.TreeEntry{Key: key, Value: []byte(pick(c, modelValues, "value"))})
		}
	}
	if rapid.IntRange(0, 3).Draw(c.r, "condition") == 0 {
		t.Since = event.Revision(rapid.Uint64Range(max(c.model.now.floor, 1), c.model.now.head).Draw(c.r, "since"))
	}
	return t
}

// trim has the past no longer be kept up to a revision, and deletes it.
func (c *modelTest) trim() {
	c.do(commands.TrimHistory{To: event.Revision(rapid.Uint64Range(1, c.model.now.head).Draw(c.r, "to"))})
	if rapid.Bool().Draw(c.r, "delete it") {
		if err := c.replica.machine.Trim(event.Default, func(int) error { return nil }); err != nil {
			c.r.Fatal(err)
		}
	}
}

// session is one that exists, mostly, or existed; or none.
func (c *modelTest) session() string {
	all := slices.Sorted(maps.Keys(c.model.now.sessions))
	return pick(c, append(all, "", "", "2", "999"), "session")
}

func (c *modelTest) putKey() commands.PutKey {
	p := commands.PutKey{Key: pick(c, modelKeys, "key"), Value: []byte(pick(c, modelValues, "value"))}
	switch rapid.IntRange(0, 5).Draw(c.r, "lease") {
	case 0:
		p.TTL = event.TTLMin
	case 1:
		p.Session = c.session()
	case 2:
		p.Key, p.Value, p.TTL = pick(c, modelDirectories, "directory"), nil, event.TTLMin
	case 3:
		p.ContentType, p.Flags = "text/plain", 7
	}
	return p
}

func (c *modelTest) condition() commands.Condition {
	key := pick(c, append(modelDirectories, modelKeys...), "key")
	k := c.model.now.keys[key]
	near := func(n uint64) uint64 { return n + rapid.Uint64Range(0, 1).Draw(c.r, "beside") }
	cond := commands.Condition{Key: key, Op: commands.Op(rapid.IntRange(0, 3).Draw(c.r, "op"))}
	switch cond.Field = commands.Field(rapid.IntRange(1, 7).Draw(c.r, "field")); cond.Field {
	case commands.FieldRevision:
		cond.Number = near(k.written)
	case commands.FieldCreateRevision:
		cond.Number = near(k.created)
	case commands.FieldVersion:
		cond.Number = near(k.version)
	case commands.FieldValue:
		cond.Value = []byte(pick(c, modelValues, "value"))
	case commands.FieldSession:
		cond.Value, cond.Op = []byte(c.session()), cond.Op%2
	default:
		cond.Number, cond.Op = rapid.Uint64Range(0, 1).Draw(c.r, "truth"), cond.Op%2
	}
	return cond
}

func (c *modelTest) conditions() []commands.Condition {
	var all []commands.Condition
	for range rapid.IntRange(0, 2).Draw(c.r, "conditions") {
		all = append(all, c.condition())
	}
	return all
}

func (c *modelTest) command() commands.Command {
	switch rapid.IntRange(0, 7).Draw(c.r, "command") {
	case 0:
		return commands.DeleteKey{Key: pick(c, append(modelDirectories, modelKeys...), "key"), If: c.conditions()}
	case 1:
		return commands.DeletePrefix{Prefix: pick(c, []string{"", "a", "a/", "b/", "zz"}, "prefix")}
	case 2:
		return commands.AppendKey{Directory: pick(c, modelDirectories, "directory"), Value: []byte("x"), Session: c.session()}
	case 3:
		return commands.RegisterInstance{Instance: c.instance()}
	case 4, 5:
		return c.txn()
	}
	p := c.putKey()
	p.If = c.conditions()
	return p
}

func (c *modelTest) instance() event.Instance {
	return event.Instance{Service: "web", ID: pick(c, []string{"1", "2"}, "id"), Address: pick(c, []string{"::1", "::2"}, "address"), Session: c.session()}
}

// txn writes every thing once in a branch, for it would be refused otherwise.
func (c *modelTest) txn() commands.Txn {
	branch := func(name string) (all []commands.Operation) {
		taken := map[string]bool{}
		for range rapid.IntRange(0, 3).Draw(c.r, name) {
			var op commands.Operation
			what := ""
			switch rapid.IntRange(0, 4).Draw(c.r, "operation") {
			case 0, 1:
				p := c.putKey()
				op.Put, what = &p, p.Key
			case 2:
				what = pick(c, modelKeys, "key")
				op.Delete = &commands.Target{Key: what}
			case 3:
				op.Get = &commands.Target{Prefix: pick(c, []string{"", "a", "b/"}, "prefix"), IsPrefix: true}
			case 4:
				i := c.instance()
				op.Register, what = &commands.RegisterInstance{Instance: i}, "instance "+i.ID
			}
			if what != "" && taken[what] {
				continue
			}
			taken[what] = true
			all = append(all, op)
		}
		return all
	}
	return commands.Txn{If: c.conditions(), Then: branch("then"), Else: branch("else")}
}

// lease is a command about leases: sessions begin and end, and time passes.
func (c *modelTest) lease() commands.Command {
	switch rapid.IntRange(0, 6).Draw(c.r, "lease command") {
	case 0:
		return commands.ClaimTimekeeper{Server: "a"}
	case 1, 2:
		return commands.CreateSession{TTL: event.TTLMin, OnEnd: event.OnEnd(rapid.IntRange(0, 1).Draw(c.r, "on end"))}
	case 3:
		return commands.EndSession{ID: c.session()}
	}
	e := commands.Expire{Epoch: event.Revision(c.model.now.epoch)}
	if rapid.IntRange(0, 9).Draw(c.r, "stale") == 0 {
		e.Epoch--
	}
	for range rapid.IntRange(1, 3).Draw(c.r, "leases") {
		if rapid.Bool().Draw(c.r, "of a session") {
			if id := c.session(); id != "" {
				e.Leases = append(e.Leases, commands.Lease{Session: id})
			}
			continue
		}
		key := pick(c, append(modelDirectories, modelKeys...), "key")
		e.Leases = append(e.Leases, commands.Lease{Key: key, Revision: event.Revision(c.model.now.keys[key].written)})
	}
	return e
}

// restart crashes the machine, which loses what was not synced and gets it again, or has it take over a snapshot.
func (c *modelTest) restart() {
	if rapid.Bool().Draw(c.r, "from a snapshot") {
		c.replica.restore(c.replica.snapshot())
	} else {
		if rapid.Bool().Draw(c.r, "synced") {
			if err := c.replica.machine.Sync(); err != nil {
				c.r.Fatal(err)
			}
		}
		c.replica.crash(c.random)
	}
	c.replica.apply(c.entries, 7)
}

// read compares everything that a reader sees at a revision.
func (c *modelTest) read(revision uint64) {
	c.r.Helper()
	want := c.model.at(revision)
	prefix := pick(c, []string{"", "a", "a/", "b", "zz"}, "prefix")
	separator := pick(c, []string{"", "/"}, "separator")
	limit := rapid.IntRange(1, 4).Draw(c.r, "limit")
	err := c.replica.machine.Read(func(db *store.DB) error {
		l, _ := c.replica.machine.Ledger(event.Default)
		rows := db.Rows(l.ID, event.Revision(revision))
		defer func() { _ = rows.Close() }()
		v := projections.NewView(rows, event.Revision(revision))
		c.same("keys", want.shown(prefix), showKeys(v, prefix))
		c.same("list", want.list(prefix, separator), pages(v, kv.Query{Prefix: prefix, Separator: separator, Limit: limit}))
		if keys, bytes := c.model.now.usage(); l.Head.Live != (store.Live{Rows: keys, Bytes: bytes}) {
			c.r.Fatalf("%d keys of %d bytes are counted, and %d of %d in the model", l.Head.Live.Rows, l.Head.Live.Bytes, keys, bytes)
		}
		c.same("sessions and what they hold", want.held(), showHeld(v))
		return nil
	})
	if err != nil {
		c.r.Fatal(err)
	}
}

func (c *modelTest) same(what string, want, got []string) {
	c.r.Helper()
	if !slices.Equal(want, got) {
		c.r.Fatalf("%s at a revision (-model +found):\n%s", what, cmp.Diff(want, got))
	}
}

func (s modelState) shown(prefix string) (all []string) {
	for _, key := range s.list(prefix, "") {
		k := s.keys[key]
		all = append(all, fmt.Sprintf("%s=%q %s %d %d/%d/%d %q %d", key, k.value, k.contentType, k.flags, k.created, k.written, k.version, k.session, k.ttl))
	}
	return all
}

func showKeys(v projections.View, prefix string) (all []string) {
	for e := range v.Keys(prefix) {
		all = append(all, fmt.Sprintf("%s=%q %s %d %d/%d/%d %q %d", e.Key, e.Value, e.ContentType, e.Flags, e.CreateRevision, e.Revision, e.Version, e.Session, e.TTL))
	}
	return all
}

func pages(v projections.View, q kv.Query) (all []string) {
	for {
		items, next := v.List(q)
		for _, i := range items {
			all = append(all, i.Key)
		}
		if next == "" {
			return all
		}
		q.After = next
	}
}

// held is the sessions in order, what each holds, the keys with a TTL, the instances, and who keeps the time.
func (s modelState) held() (all []string) {
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		all = append(all, fmt.Sprintf("session %s %d %t", id, s.sessions[id].ttl, s.sessions[id].deletes))
		for _, key := range s.list("", "") {
			if s.keys[key].session == id {
				all = append(all, "holds "+key)
			}
		}
		for _, at := range s.sorted() {
			if s.instances[at].session == id {
				all = append(all, "holds "+at[0]+" "+at[1])
			}
		}
	}
	for _, key := range s.list("", "") {
		if k := s.keys[key]; k.ttl > 0 {
			all = append(all, fmt.Sprintf("lease %s %d %d", key, k.written, k.ttl))
		}
	}
	for _, at := range s.sorted() {
		i := s.instances[at]
		all = append(all, fmt.Sprintf("instance %s %s %s %q %d", at[0], at[1], i.address, i.session, i.written))
	}
	return append(all, fmt.Sprintf("epoch %d", s.epoch))
}

func (s modelState) sorted() [][2]string {
	return slices.SortedFunc(maps.Keys(s.instances), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
}

func showHeld(v projections.View) (all []string) {
	for s := range v.Sessions("") {
		all = append(all, fmt.Sprintf("session %s %d %t", s.ID, s.TTL, s.OnEnd == event.Delete))
		for key := range v.KeysHeld(s.ID) {
			all = append(all, "holds "+key)
		}
		for i := range v.InstancesHeld(s.ID) {
			all = append(all, "holds "+i.Service+" "+i.ID)
		}
	}
	for l := range v.Leases() {
		all = append(all, fmt.Sprintf("lease %s %d %d", l.Key, l.Revision, l.TTL))
	}
	for i := range v.Instances("") {
		all = append(all, fmt.Sprintf("instance %s %s %s %q %d", i.Service, i.ID, i.Address, i.Session, i.Revision))
	}
	return append(all, fmt.Sprintf("epoch %d", v.Timekeeper()))
}
