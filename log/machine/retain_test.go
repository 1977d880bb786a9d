package machine_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

var retainSeed = flag.Uint64("retain-seed", 0, "seed of the random tests of retention; 0 takes a new one each time")

// diary is a domain that lets old states go. A command is words: "k=v" sets a key, "k-" deletes it, and "!N" sets the
// floor.
type diary struct{}

func (diary) Decide(_ store.Reader, at machine.Situation, command []byte) machine.Decision {
	var bodies []event.Body
	for word := range strings.FieldsSeq(string(command)) {
		if n, ok := strings.CutPrefix(word, "!"); ok {
			floor, _ := strconv.ParseUint(n, 10, 64)
			bodies = append(bodies, event.NamespaceTrimmed{Namespace: at.Ledger, KeptFrom: event.Revision(floor)})
		} else if key, ok := strings.CutSuffix(word, "-"); ok {
			bodies = append(bodies, event.KeyDeleted{Key: key})
		} else {
			key, value, _ := strings.Cut(word, "=")
			bodies = append(bodies, event.KeySet{Key: key, Value: []byte(value), Version: 1})
		}
	}
	live := at.Live
	return machine.Decision{Events: bodies, Reply: func(event.Revision) []byte { return fmt.Append(nil, live) }}
}

var diaryFloor = []byte("floor")

func (diary) Fold(rows store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.KeySet:
		rows.Set(store.TableKV, []byte(b.Key), b.Value)
	case event.KeyDeleted:
		rows.Delete(store.TableKV, []byte(b.Key))
	case event.NamespaceTrimmed:
		rows.Set(store.TableSystem, diaryFloor, []byte(strconv.FormatUint(uint64(b.KeptFrom), 10)))
	}
}

func (diary) Floor(rows store.Reader) event.Revision {
	row, _ := rows.Get(store.TableSystem, diaryFloor)
	n, _ := strconv.ParseUint(string(row), 10, 64)
	return event.Revision(n)
}

func (diary) Trims(e event.Event) (event.Revision, bool) {
	trimmed, ok := e.Body.(event.NamespaceTrimmed)
	return trimmed.KeptFrom, ok
}

func (diary) Counted() store.Counted {
	return store.Counted{Table: store.TableKV, Size: func(key, row []byte) int { return len(key) + len(row) }}
}

func diaryConfig(fs store.FS) machine.Config {
	return machine.Config{Dir: "/data/group", Marker: "/data/synced", Domain: diary{}, Store: store.Options{FS: fs}, Origin: origin}
}

// keeper is a replica of a diary.
type keeper struct {
	t  *testing.T
	fs *vfs.MemFS
	m  *machine.Machine
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, fs: vfs.NewCrashableMem()}
	if err := store.MakeDir(k.fs, "/data"); err != nil {
		t.Fatal(err)
	}
	k.open()
	t.Cleanup(func() { _ = k.m.Close() })
	return k
}

func (k *keeper) open() {
	k.t.Helper()
	m, err := machine.New(diaryConfig(k.fs))
	if err != nil {
		k.t.Fatal(err)
	}
	k.m = m
	m.TrimBy(200)
}

func (k *keeper) apply(entries []sm.Entry) {
	k.t.Helper()
	if rest := entries[k.m.Applied():]; len(rest) > 0 {
		if _, err := k.m.Update(append([]sm.Entry(nil), rest...)); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *keeper) crash(random *rand.Rand) {
	k.t.Helper()
	after := k.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
	_ = k.m.Close()
	k.fs = after
	k.open()
}

var errEnough = errors.New("enough")

// trim goes so many steps.
func (k *keeper) trim(steps int) {
	k.t.Helper()
	err := k.m.Trim("l", func(int) error {
		if steps--; steps <= 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		k.t.Fatal(err)
	}
}

// at reads everything at a revision.
func (k *keeper) at(revision event.Revision) (state map[string]string, err error) {
	err = k.m.Read(func(db *store.DB) error {
		l, release, ok := k.m.Pin("l")
		if !ok {
			return errors.New("there is no ledger")
		}
		defer release()
		if err := machine.Allow(db, l, revision); err != nil {
			return err
		}
		rows := db.Rows(l.ID, revision)
		state = everything(rows)
		return rows.Close()
	})
	return state, err
}

// everything reads all keys, one way and the other.
func everything(rows store.Reader) map[string]string {
	state := map[string]string{}
	for key, row := range rows.Scan(store.TableKV, nil, nil) {
		state[string(key)] = string(row)
	}
	for i := range keyNumber {
		key := keyName(i)
		row, ok := rows.Get(store.TableKV, []byte(key))
		if _, scanned := state[key]; ok != scanned || string(row) != state[key] {
			state[key] = fmt.Sprintf("%q by Get", row)
		}
	}
	return state
}

const keyNumber = 12

func keyName(i int) string { return strings.Repeat("k", 1+i%3) + strconv.Itoa(i) }

// chronicle makes entries, and remembers every state.
type chronicle struct {
	random  *rand.Rand
	entries []sm.Entry
	states  []map[string]string // by revision
	floor   event.Revision
}

func (c *chronicle) head() event.Revision { return event.Revision(len(c.states) - 1) }

func (c *chronicle) write() {
	var words []string
	next := maps.Clone(c.states[c.head()])
	for _, i := range c.random.Perm(keyNumber)[:1+c.random.IntN(3)] {
		if key := keyName(i); c.random.IntN(3) == 0 {
			words = append(words, key+"-")
			delete(next, key)
		} else {
			value := strconv.Itoa(len(c.states)) + strings.Repeat("v", c.random.IntN(30))
			words = append(words, key+"="+value)
			next[key] = value
		}
	}
	c.add(words, next)
}

func (c *chronicle) move() {
	c.floor += event.Revision(c.random.IntN(int(c.head()-c.floor) + 1))
	c.add([]string{fmt.Sprintf("!%d", c.floor)}, c.states[c.head()])
}

func (c *chronicle) add(words []string, next map[string]string) {
	c.entries = append(c.entries, entry(uint64(len(c.entries))+1, event.Time(len(c.entries)), strings.Join(words, " ")))
	for range len(words) - 1 {
		c.states = append(c.states, c.states[c.head()]) // inside a commit, what was before shows
	}
	c.states = append(c.states, next)
}

// TestRetention trims one of two replicas at random, in pieces, with crashes, restarts and snapshots between them. What
// may be read is always what was written; both have the same digest; and each passes when it is looked through.
func TestRetention(t *testing.T) {
	defer machine.ScrubBy(300)()
	seed := *retainSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	for round := range 6 {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		c := &chronicle{random: random, states: []map[string]string{{}}}
		trimmed, whole := newKeeper(t), newKeeper(t)
		c.write()
		apply := func() { trimmed.apply(c.entries); whole.apply(c.entries) }
		apply()
		for range 250 {
			switch random.IntN(20) {
			case 0, 1:
				c.move()
				apply()
			case 2, 3, 4:
				trimmed.trim(1 + random.IntN(4))
			case 5:
				trimmed.crash(random)
				trimmed.apply(c.entries)
			case 6:
				giver := []*keeper{trimmed, whole}[random.IntN(2)]
				if err := trimmed.m.RecoverFromSnapshot(bytes.NewReader(state(t, giver.m)), nil); err != nil {
					t.Fatal(err)
				}
			case 7:
				err := trimmed.m.Scrub("l", func(int) error {
					switch random.IntN(4) {
					case 0:
						c.write()
						apply()
					case 1:
						c.move()
						apply()
					case 2:
						trimmed.trim(1 + random.IntN(3))
					}
					return nil
				})
				if err != nil {
					t.Fatalf("scrubbing while rows are trimmed: %v", err)
				}
			case 8:
				readInTheMiddle(t, c, trimmed, apply)
			default:
				c.write()
				apply()
			}
			sampled(t, c, trimmed)
		}
		trimmed.trim(1 << 20)
		for at := event.Revision(0); at <= c.head(); at++ {
			compareState(t, c, trimmed, at)
		}
		sameEnd(t, trimmed, whole)
		needed := neededVersions(c)
		if got := versions(t, trimmed); got != needed {
			t.Errorf("%d versions are left, and %d are needed", got, needed)
		}
		for _, k := range []*keeper{trimmed, whole} {
			if err := errors.Join(k.m.Scrub("l", func(int) error { return nil }), k.m.Sync(), k.m.Close()); err != nil {
				t.Fatal(err)
			}
			v, err := machine.Verify(t.Context(), diaryConfig(k.fs), "")
			if err != nil {
				t.Fatal(err)
			}
			if (v[0].Trimmed > 0) != (k == trimmed) {
				t.Errorf("verified %+v", v[0])
			}
		}
	}
}

// sampled holds a few of the states against what was written.
func sampled(t *testing.T, c *chronicle, k *keeper) {
	t.Helper()
	for _, at := range []event.Revision{c.floor, c.head(), event.Revision(c.random.Uint64N(uint64(c.head()) + 1))} {
		compareState(t, c, k, at)
	}
}

func compareState(t *testing.T, c *chronicle, k *keeper, at event.Revision) {
	t.Helper()
	got, err := k.at(at)
	var refused machine.TrimmedError
	switch {
	case at < c.floor && (!errors.As(err, &refused) || refused.Floor != c.floor):
		t.Fatalf("revision %d below the floor %d: %v, %v", at, c.floor, got, err)
	case at >= c.floor && err != nil:
		t.Fatalf("revision %d at floor %d: %v", at, c.floor, err)
	case at >= c.floor:
		if diff := cmp.Diff(c.states[at], got); diff != "" {
			t.Fatalf("revision %d at floor %d (-want +got):\n%s", at, c.floor, diff)
		}
	}
}

// readInTheMiddle has the floor go on, and rows be trimmed, while somebody reads at the floor that was.
func readInTheMiddle(t *testing.T, c *chronicle, k *keeper, apply func()) {
	t.Helper()
	err := k.m.Read(func(db *store.DB) error {
		l, release, _ := k.m.Pin("l")
		defer release()
		at := c.floor
		rows := db.Rows(l.ID, at)
		c.write()
		c.move()
		apply()
		k.trim(1 + c.random.IntN(5))
		if diff := cmp.Diff(c.states[at], everything(rows)); diff != "" {
			t.Fatalf("somebody reads at revision %d, and the floor goes on to %d (-want +got):\n%s", at, c.floor, diff)
		}
		return rows.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sameEnd(t *testing.T, a, b *keeper) {
	t.Helper()
	one, _, err := a.m.Digest("l", 0)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := b.m.Digest("l", 0)
	if err != nil || one != other {
		t.Errorf("the digest of the one that was trimmed is %+v, and of the other %+v: %v", one, other, err)
	}
	l, _ := a.m.Ledger("l")
	err = a.m.Read(func(db *store.DB) error {
		live, err := db.CountRows(l.ID)
		if live != l.Head.Live {
			t.Errorf("%+v is live, and %+v was counted", live, l.Head.Live)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// versions counts those of keys that are stored.
func versions(t *testing.T, k *keeper) (n int) {
	t.Helper()
	err := k.m.Read(func(db *store.DB) error {
		l, _ := k.m.Ledger("l")
		for v := range db.RowVersions(l.ID) {
			if v.Key[5] == byte(store.TableKV) {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// neededVersions counts those that the model needs: of each key its value at the floor, and every write after that.
func neededVersions(c *chronicle) (n int) {
	n = len(c.states[c.floor])
	revision := event.Revision(0)
	for _, e := range c.entries {
		_, commands, _ := machine.DecodeEntry(e.Cmd)
		words := strings.Fields(string(commands[0].Body))
		if revision += event.Revision(len(words)); revision > c.floor && !strings.HasPrefix(words[0], "!") {
			n += len(words)
		}
	}
	return n
}

// TestVerifyTrimmed notices rows that are missing though they may not be, and those that may but of which nothing was
// recorded.
func TestVerifyTrimmed(t *testing.T) {
	for _, c := range []struct {
		name string
		row  int // to be lost
		want string
	}{
		{"one that was trimmed", -1, ""},
		{"one that the floor lets go", 1, "trimmed"},
		{"one that somebody sees", 0, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKeeper(t)
			k.apply([]sm.Entry{entry(1, 1, "a=1"), entry(2, 2, "a=2"), entry(3, 3, "!2")})
			if c.row < 0 {
				k.trim(10)
			}
			if err := errors.Join(k.m.Sync(), k.m.Close()); err != nil {
				t.Fatal(err)
			}
			if c.row >= 0 {
				behind(t, k.fs, func(db *pebble.DB) error { return deleteKey(6, c.row)(db) })
			}
			_, err := machine.Verify(t.Context(), diaryConfig(k.fs), "")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestTrimBesideApply trims, scrubs and reads beside the writer, for the race detector and for what it comes to.
func TestTrimBesideApply(t *testing.T) {
	k := newKeeper(t)
	var published []map[string]string // by revision
	c := &chronicle{random: rand.New(rand.NewPCG(1, 1)), states: []map[string]string{{}}}
	for range 400 {
		if c.write(); len(c.states)%7 == 0 {
			c.move()
		}
	}
	published = c.states
	k.apply(c.entries[:1])
	done := make(chan struct{})
	var wg sync.WaitGroup
	beside := func(do func() error) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	m := k.m
	beside(func() error { return m.Trim("l", func(int) error { return nil }) })
	beside(func() error { return m.Scrub("l", func(int) error { return nil }) })
	beside(func() error {
		return m.Read(func(db *store.DB) error {
			l, release, _ := m.Pin("l")
			defer release()
			for _, at := range []event.Revision{l.Head.Floor, l.Head.Revision} {
				rows := db.Rows(l.ID, at)
				got := everything(rows)
				if err := rows.Close(); err != nil {
					return err
				}
				if diff := cmp.Diff(published[at], got); diff != "" {
					return fmt.Errorf("revision %d (-want +got):\n%s", at, diff)
				}
			}
			return nil
		})
	})
	for i := range c.entries {
		k.apply(c.entries[:i+1])
	}
	close(done)
	wg.Wait()
	k.trim(1 << 20)
	if got, want := versions(t, k), neededVersions(c); got != want {
		t.Errorf("%d versions are left, and %d are needed", got, want)
	}
}

// BenchmarkTrim deletes the old versions of 10,000 keys that were each written 20 times, as fast as it goes.
func BenchmarkTrim(b *testing.B) {
	const keys, writes = 10_000, 20
	value := strings.Repeat("v", 256)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		m, err := machine.New(machine.Config{Dir: dir + "/group", Marker: dir + "/synced", Domain: diary{}, Origin: origin})
		if err != nil {
			b.Fatal(err)
		}
		index := uint64(0)
		apply := func(command string) {
			index++
			if _, err := m.Update([]sm.Entry{entry(index, 1, command)}); err != nil {
				b.Fatal(err)
			}
		}
		for range writes {
			for i := 0; i < keys; i += 100 {
				var words []string
				for j := i; j < i+100; j++ {
					words = append(words, fmt.Sprintf("app/config/setting-%07d=%s", j, value))
				}
				apply(strings.Join(words, " "))
			}
		}
		apply(fmt.Sprintf("!%d", keys*writes))
		read := 0
		b.StartTimer()
		if err := m.Trim("l", func(n int) error { read += n; return nil }); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stats, err := m.Trimmed("l")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(stats.Rows), "rows-gone/op")
		b.ReportMetric(float64(read)/(1<<20), "MiB-read/op")
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(keys*writes)*float64(b.N)/b.Elapsed().Seconds(), "versions/s")
}
