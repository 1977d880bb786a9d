package server_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/server"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one each time")

// replica is a machine on a file system of its own, which can lose what was not synced.
type replica struct {
	t       *testing.T
	fs      *vfs.MemFS
	machine *machine.Machine
	replies map[uint64][]byte // by the entry's index
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{t: t, fs: vfs.NewCrashableMem(), replies: map[uint64][]byte{}}
	if err := store.MakeDir(r.fs, "/raft"); err != nil {
		t.Fatal(err)
	}
	r.open()
	t.Cleanup(func() { _ = r.machine.Close() })
	return r
}

func (r *replica) open() {
	r.t.Helper()
	m, err := machine.New(machine.Config{
		Dir: "/group", Marker: "/raft/synced", Domain: server.Domain{}, Store: store.Options{FS: r.fs},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.machine = m
}

// apply applies the entries from the one after the last applied on, cut into batches of at most n.
func (r *replica) apply(entries []sm.Entry, n int) {
	r.t.Helper()
	rest := entries[r.machine.Applied():]
	for len(rest) > 0 {
		batch := slices.Clone(rest[:min(n, len(rest))])
		applied, err := r.machine.Update(batch)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range applied {
			r.replies[e.Index] = e.Result.Data
		}
		r.machine.Check()
		rest = rest[len(batch):]
	}
}

// crash ends the machine as a loss of power would, keeping a random part of what was not synced, and opens it anew.
func (r *replica) crash(random *rand.Rand) {
	r.t.Helper()
	after := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
	_ = r.machine.Close()
	r.fs = after
	r.open()
}

// snapshot streams the state as Raft would ask for it.
func (r *replica) snapshot() []byte {
	r.t.Helper()
	state, err := r.machine.PrepareSnapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.machine.SaveSnapshot(state, &b, nil); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// restore takes over a state that was streamed.
func (r *replica) restore(snapshot []byte) {
	r.t.Helper()
	if err := r.machine.RecoverFromSnapshot(bytes.NewReader(snapshot), nil); err != nil {
		r.t.Fatal(err)
	}
}

// history makes entries of one to eight random commands on a few ledgers, some of them nonsense.
func history(random *rand.Rand, entries int) []sm.Entry {
	ledgers := []string{event.System, "default", "blue"}
	var all []sm.Entry
	clock := event.Time(1_700_000_000_000_000_000)
	sent := []machine.Command{{Ledger: "default", Time: clock, Body: commands.Encode(commands.DeletePrefix{})}}
	add := func(cs ...machine.Command) {
		var encoded [][]byte
		for _, c := range cs {
			encoded = append(encoded, machine.EncodeCommand(c))
		}
		all = append(all, sm.Entry{Index: uint64(len(all)) + 1, Cmd: machine.EncodeEntry(0, encoded)})
	}
	// Sessions and directories at revisions that are known, so that what comes later can name them.
	for _, ledger := range ledgers[1:] {
		opening := []commands.Command{
			commands.OpenNamespace{Namespace: ledger, Cluster: "c", Groups: 3}, commands.ClaimTimekeeper{Server: "a"}, // which has epoch 2
			commands.CreateSession{TTL: 5e9}, commands.CreateSession{TTL: 5e9, OnEnd: event.Delete}, // 3 and 4
			commands.PutKey{Key: "app/0/", TTL: 5e9}, commands.PutKey{Key: "app/1/", TTL: 5e9}, // at 5 and 6
			// Chance may close both ledgers before anything can be trimmed.
			commands.PutKey{Key: "app/3/0"}, commands.PutKey{Key: "app/3/0", Value: []byte("again")}, commands.TrimHistory{To: 8},
		}
		for _, c := range opening {
			add(machine.Command{Ledger: ledger, Time: clock, Body: commands.Encode(c)})
		}
	}
	for len(all) < entries {
		if random.IntN(200) == 0 {
			all = append(all, sm.Entry{Index: uint64(len(all)) + 1, Cmd: []byte("no entry at all")})
			continue
		}
		var cs []machine.Command
		for range 1 + random.IntN(8) {
			clock += event.Time(random.Int64N(2000) - 500) // clocks of several proposers disagree
			ledger := ledgers[random.IntN(len(ledgers))]
			cs = append(cs, machine.Command{
				Ledger: ledger, Time: clock, Actor: "test", Reason: fmt.Sprint(len(all)),
				Body: randomOrder(random, ledger),
			})
			if random.IntN(4) == 0 { // asked again: at once, in another entry, or much later
				again := sent[random.IntN(len(sent))]
				again.Time = clock
				if random.IntN(50) == 0 {
					again.Time += event.RequestKept
				}
				cs = append(cs, again)
			}
			sent = append(sent, cs[len(cs)-1])
			if random.IntN(3) > 0 {
				sent = sent[max(0, len(sent)-40):]
			}
		}
		add(cs...)
	}
	return all
}

// randomOrder writes a random command for any version; where that knows idempotency keys, it mostly has one.
func randomOrder(random *rand.Rand, ledger string) []byte {
	body := randomBody(random, ledger)
	o, err := commands.Decode(body)
	if err != nil {
		return body // nonsense
	}
	least := commands.Since(o.Command)
	o.Version = least + random.Uint32N(commands.Version-least+1)
	if o.Version >= commands.VersionKeys && random.IntN(4) > 0 {
		o.Key = fmt.Sprintf("key-%d", random.IntN(100)) // some are used twice
	}
	return o.Encode()
}

func randomBody(random *rand.Rand, ledger string) []byte {
	key := fmt.Sprintf("app/%d/%d", random.IntN(4), random.IntN(10))
	instance := event.Instance{
		Service: fmt.Sprintf("svc-%d", random.IntN(3)), ID: fmt.Sprintf("i-%d", random.IntN(4)),
		Address: "10.0.0.1", Port: uint16(random.IntN(3)), Meta: map[string]string{"b": "2", "a": "1"},
	}
	value := make([]byte, random.IntN(64))
	for i := range value {
		value[i] = byte(random.IntN(256))
	}
	put := commands.PutKey{Key: key, Value: value}
	switch random.IntN(4) {
	case 0:
		put.Session = fmt.Sprint(3 + random.IntN(2))
	case 1:
		put.TTL = event.Time(1+random.IntN(10)) * 1e9
	}
	if random.IntN(2) == 0 {
		instance.Session = put.Session
	}
	placed := event.Revision(5000 + random.IntN(10))
	switch random.IntN(26) {
	case 19:
		if random.IntN(6) == 0 { // seldom: from then on little is taken
			return commands.Encode(commands.CloseNamespace{Namespace: ledger, Placed: event.Revision(random.IntN(2000))})
		}
	case 20:
		return commands.Encode(commands.ClearNamespace{Namespace: ledger})
	case 21:
		if ledger == event.System {
			break
		}
		open := commands.OpenNamespace{Namespace: ledger, Cluster: "c", Placed: placed, Again: true}
		if random.IntN(2) == 0 {
			open.From, open.FromRevision = "default", 9
		}
		return commands.Encode(open)
	case 22:
		return commands.Encode(commands.FillNamespace{
			Namespace: ledger, Placed: placed, Entries: []commands.FillEntry{{Key: key, Value: value}}, Done: random.IntN(2) == 0,
		})
	case 23:
		return commands.Encode(commands.DeleteNamespace{
			Namespace: fmt.Sprintf("ns-%d", random.IntN(20)), Placed: math.MaxUint64, Closed: placed, Expired: random.IntN(2) == 0,
		})
	case 24:
		return commands.Encode(commands.Expire{Epoch: 2, Leases: []commands.Lease{{Namespace: true, Revision: placed}, {Key: key, Revision: 9}}})
	case 25:
		return commands.Encode(commands.ApplySettings{Namespace: ledger, Configured: placed, TTL: 1e9})
	case 16:
		some, few := uint64(random.IntN(60)), uint64(random.IntN(3000))
		return commands.Encode(commands.ConfigureNamespace{Namespace: fmt.Sprintf("ns-%d", random.IntN(20)), Keys: &some, Bytes: &few})
	case 17:
		return commands.Encode(commands.ApplySettings{
			Namespace: ledger, Keys: uint64(random.IntN(60)), Bytes: uint64(random.IntN(3000)), Configured: event.Revision(random.IntN(2000)),
		})
	case 18:
		return commands.Encode(commands.TrimHistory{To: event.Revision(random.IntN(1000))})
	case 0:
		return commands.Encode(commands.OpenNamespace{Namespace: ledger, Cluster: "c", Groups: 3})
	case 1:
		return commands.Encode(commands.DeleteKey{Key: key})
	case 2:
		return commands.Encode(commands.DeletePrefix{Prefix: key[:5]})
	case 3:
		put.If = []commands.Condition{commands.KeyRevision(key, event.Revision(random.IntN(300)))}
	case 4:
		put.If = []commands.Condition{commands.KeyExists(key, random.IntN(2) == 0)}
	case 5, 6:
		return commands.Encode(commands.RegisterInstance{Instance: instance})
	case 7:
		return commands.Encode(commands.DeregisterInstance{Service: instance.Service, ID: instance.ID})
	case 8:
		return commands.Encode(commands.CreateNamespace{Namespace: fmt.Sprintf("ns-%d", random.IntN(20))})
	case 9:
		other := put
		other.Key += "/x"
		return commands.Encode(commands.Txn{
			If: []commands.Condition{commands.KeyExists(key, true)},
			Then: []commands.Operation{
				{Delete: &commands.Target{Key: key}},
				{Put: &other},
				{Get: &commands.Target{Prefix: "app/", IsPrefix: true}},
				{Register: &commands.RegisterInstance{Instance: instance}},
			},
			Else: []commands.Operation{{Put: &put}, {Get: &commands.Target{Key: key}}},
		})
	case 10:
		return []byte{0xff, 1, 2}
	case 11:
		return commands.Encode(commands.AppendKey{Directory: key[:6], Value: value, Session: put.Session, TTL: put.TTL})
	case 12:
		at := event.Revision(7 + random.IntN(300))
		return commands.Encode(commands.Expire{Epoch: 2, Leases: []commands.Lease{{Key: key, Revision: at}, {Key: "app/0/", Revision: 5}, {Key: "app/1/", Revision: 6}}})
	case 13:
		if random.IntN(5) == 0 { // seldom: from then on nobody binds anything to it
			return commands.Encode(commands.EndSession{ID: "3"})
		}
	case 14:
		if random.IntN(5) == 0 {
			return commands.Encode(commands.Expire{Epoch: 2, Leases: []commands.Lease{{Session: "3"}, {Session: "4"}}})
		}
	case 15:
		return commands.Encode(commands.PutTree{
			Prefix: key[:len("app/0/")], Replace: random.IntN(2) == 0, Flat: random.IntN(2) == 0, Since: event.Revision(random.IntN(2) * random.IntN(300)),
			Entries: []commands.TreeEntry{{Key: key[:len("app/0/")] + "0", Value: value}, {Key: key[:len("app/0/")] + "1/x", Value: []byte("{}"), ContentType: "application/json"}},
		})
	}
	return commands.Encode(put)
}

// TestDeterminism drives the same entries through different batchings, through crashes and replay, and through a
// snapshot and its restoration, and compares every byte of the state.
func TestDeterminism(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	random := rand.New(rand.NewPCG(s, 1))
	entries := history(random, 400)

	reference := newReplica(t)
	reference.apply(entries, 1)
	want := reference.snapshot()
	t.Logf("%d entries, %d bytes of state, SHA-256 %x", len(entries), len(want), sha256.Sum256(want))
	same := func(t *testing.T, r *replica) {
		t.Helper()
		for i, reply := range r.replies {
			if !bytes.Equal(reply, reference.replies[i]) {
				t.Errorf("entry %d was answered with %x, and by the reference with %x", i, reply, reference.replies[i])
			}
		}
		if got := r.snapshot(); !bytes.Equal(got, want) {
			t.Errorf("the state differs: %d bytes, %d wanted; first difference at byte %d", len(got), len(want), firstDifference(got, want))
		}
		sameDigests(t, r, reference)
	}

	t.Run("one batch", func(t *testing.T) {
		r := newReplica(t)
		r.apply(entries, len(entries))
		same(t, r)
	})
	t.Run("random batches", func(t *testing.T) {
		r := newReplica(t)
		for r.machine.Applied() < uint64(len(entries)) {
			r.apply(entries[:min(len(entries), int(r.machine.Applied())+1+random.IntN(50))], 1+random.IntN(20))
		}
		same(t, r)
	})
	t.Run("crashes and replay", func(t *testing.T) {
		r := newReplica(t)
		for r.machine.Applied() < uint64(len(entries)) {
			r.apply(entries[:min(len(entries), int(r.machine.Applied())+1+random.IntN(80))], 1+random.IntN(20))
			if random.IntN(2) == 0 {
				if err := r.machine.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			r.crash(random)
		}
		same(t, r)
	})
	t.Run("rows trimmed", func(t *testing.T) {
		r := newReplica(t)
		var trimmed uint64
		for r.machine.Applied() < uint64(len(entries)) {
			r.apply(entries[:min(len(entries), int(r.machine.Applied())+1+random.IntN(40))], 1+random.IntN(20))
			for _, name := range r.machine.Ledgers() {
				if err := r.machine.Trim(name, func(int) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if random.IntN(4) == 0 {
				r.crash(random)
			}
		}
		for i, reply := range r.replies {
			if !bytes.Equal(reply, reference.replies[i]) {
				t.Errorf("entry %d was answered with %x, and by the reference with %x", i, reply, reference.replies[i])
			}
		}
		sameDigests(t, r, reference)
		for _, name := range r.machine.Ledgers() {
			stats, err := r.machine.Trimmed(name)
			if err != nil {
				t.Fatal(err)
			}
			trimmed += stats.Rows
			if err := r.machine.Scrub(name, func(int) error { return nil }); err != nil {
				t.Error(err)
			}
		}
		if trimmed == 0 {
			t.Error("nothing was trimmed")
		}
	})
	t.Run("snapshot and restore", func(t *testing.T) {
		for range 4 {
			giver, taker := newReplica(t), newReplica(t)
			at := random.IntN(len(entries) + 1)
			giver.apply(entries[:at], 7)
			taker.apply(entries[:random.IntN(at+1)], 3) // it has an older state of its own
			if err := taker.machine.RecoverFromSnapshot(bytes.NewReader(giver.snapshot()), nil); err != nil {
				t.Fatal(err)
			}
			if got := taker.machine.Applied(); got != uint64(at) {
				t.Fatalf("applied after the restoration: %d, want %d", got, at)
			}
			taker.apply(entries, 11)
			same(t, taker)
			taker.crash(random)
			taker.apply(entries, 11)
			same(t, taker)
		}
	})
}

// sameDigests compares digests at every commit that both know, and the newest with what reading every row gives.
func sameDigests(t *testing.T, got, want *replica) {
	t.Helper()
	for _, name := range want.machine.Ledgers() {
		l, _ := want.machine.Ledger(name)
		compared := 0
		for at := event.Revision(0); at <= l.Head.Revision; at++ {
			g, knownG, err := got.machine.Digest(name, at)
			if err != nil {
				t.Fatal(err)
			}
			w, knownW, err := want.machine.Digest(name, at)
			if err != nil {
				t.Fatal(err)
			}
			if knownG && knownW {
				compared++
				if g != w {
					t.Errorf("ledger %q at revision %d: digest %+v, want %+v", name, at, g, w)
				}
			}
		}
		if compared < 2 {
			t.Errorf("ledger %q: only %d commits could be compared", name, compared)
		}
		err := got.machine.Read(func(db *store.DB) error {
			sum, err := db.SumRows(l.ID, l.Head.Revision)
			if err != nil {
				return err
			}
			trimmed, err := db.Trimmed(l.ID)
			if err != nil {
				return err
			}
			if sum = sum.Plus(trimmed.Sum); sum != l.Head.Rows {
				t.Errorf("ledger %q: the rows' sum is %s, and %s was kept up", name, sum, l.Head.Rows)
			}
			live, err := db.CountRows(l.ID)
			if live != l.Head.Live {
				t.Errorf("ledger %q: %+v is live, and %+v was kept up", name, live, l.Head.Live)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// BenchmarkApply measures decide-and-apply alone: entries of 64 puts each of a 256-byte value, on the disk's own
// file system, as Raft would hand them over, without Raft.
func BenchmarkApply(b *testing.B) {
	for _, test := range []struct {
		keys     int
		requests string // what their idempotency keys are like
	}{{1_000, "none"}, {10_000, "none"}, {10_000, "random"}, {10_000, "ordered"}, {1_000_000, "none"}} {
		b.Run(fmt.Sprintf("keys=%d/requests=%s", test.keys, test.requests), func(b *testing.B) {
			dir := b.TempDir()
			cache := store.NewCache(64 << 20) // as package log shares it among the groups
			defer cache.Unref()
			m, err := machine.New(machine.Config{
				Dir: filepath.Join(dir, "group"), Marker: filepath.Join(dir, "synced"), Domain: server.Domain{},
				Store: store.Options{Cache: cache},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			benchmarkApply(b, m, test.keys, test.requests)
		})
	}
}

func benchmarkApply(b *testing.B, m *machine.Machine, keys int, requests string) {
	const perEntry = 64
	random := rand.New(rand.NewPCG(1, 1))
	request := func(index uint64) string {
		unique := fmt.Sprintf("%016x", random.Uint64())
		switch requests {
		case "none":
			return ""
		case "ordered": // by the time, as the client library's are
			return fmt.Sprintf("%010d%s", index, unique)
		default:
			return fmt.Sprintf("%s%010d", unique, index)
		}
	}
	entry := func(index uint64, cs ...commands.Command) []sm.Entry {
		var encoded [][]byte
		for _, c := range cs {
			o := commands.Order{Version: commands.Version, Key: request(index), Command: c}
			encoded = append(encoded, machine.EncodeCommand(machine.Command{Ledger: "default", Time: event.Time(index), Body: o.Encode()}))
		}
		return []sm.Entry{{Index: index, Cmd: machine.EncodeEntry(0, encoded)}}
	}
	if _, err := m.Update(entry(1, commands.OpenNamespace{Namespace: "default", Cluster: "bench"})); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 256)
	var prepared [][]sm.Entry
	index := uint64(1)
	for done := 0; done < b.N; done += perEntry {
		var cs []commands.Command
		for range min(perEntry, b.N-done) {
			cs = append(cs, commands.PutKey{Key: fmt.Sprintf("app/config/setting-%07d", random.IntN(keys)), Value: value})
		}
		index++
		prepared = append(prepared, entry(index, cs...))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, e := range prepared {
		if _, err := m.Update(e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
