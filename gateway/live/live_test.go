package live_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/gateway/live"
	"github.com/rollcall/rollcall/log/event"
)

// patience is how long a test waits for what must come. Nothing depends on its length.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, h *live.Hub, b gateway.Backend, namespace string, first event.Revision, filter string) *live.Stream {
	t.Helper()
	parsed, err := event.ParseFilter(filter)
	if err != nil {
		t.Fatal(err)
	}
	head, err := b.Head(namespace)
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Open(namespace, first, head, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain takes what there is, until the stream has caught up.
func drain(t testing.TB, s *live.Stream) (got []event.Revision) {
	t.Helper()
	for {
		events, caught, err := s.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			got = append(got, e.Revision)
		}
		if caught {
			return got
		}
	}
}

// await takes what comes up to a revision that the stream is to have reached.
func await(t testing.TB, s *live.Stream, until event.Revision) (got []event.Revision) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond) // a quiet stream is not told
	defer tick.Stop()
	for got = drain(t, s); s.Position() < until; got = append(got, drain(t, s)...) {
		select {
		case <-s.Ready():
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("the stream is at %d, not at %d", s.Position(), until)
		}
	}
	return got
}

func put(b *gatewaytest.Backend, key string) event.Revision {
	return b.MustSubmit(event.Default, commands.PutKey{Key: key, Value: []byte("v")})
}

func TestAnUnrelatedWriteWakesNobody(t *testing.T) {
	b := gatewaytest.New("test")
	h := live.New(b)
	quiet := open(t, h, b, event.Default, 2, "kv.quiet.*")
	defer quiet.Close()
	busy := open(t, h, b, event.Default, 2, "kv.busy.>")
	defer busy.Close()
	drain(t, quiet)
	drain(t, busy)
	var last event.Revision
	for i := range 100 {
		last = put(b, "busy/"+strconv.Itoa(i))
	}
	if got := await(t, busy, last); len(got) != 100 {
		t.Errorf("got %d events, want 100", len(got))
	}
	select {
	case <-quiet.Ready():
		t.Error("a stream was woken that wants nothing of it")
	default:
	}
	// It is as far as the feed, which may say so a little later than its streams have it.
	if got := await(t, quiet, last); len(got) != 0 || quiet.Position() != last {
		t.Errorf("got %v and position %d, want nothing and %d: all up to there was looked at", got, quiet.Position(), last)
	}
}

// A reader that does not take anything falls out, holds no more than its share, and gets everything in the end.
func TestOverflow(t *testing.T) {
	b := gatewaytest.New("test")
	h := live.New(b)
	slow, quick := open(t, h, b, event.Default, 2, ""), open(t, h, b, event.Default, 2, "")
	defer slow.Close()
	defer quick.Close()
	drain(t, slow)
	drain(t, quick)
	const writes = 3 * live.QueueEventsMax
	var last event.Revision
	for range writes {
		last = put(b, "a")
	}
	await(t, quick, last)
	s := h.Stats()
	want := live.NamespaceStats{Streams: 2, Behind: 1, Lag: writes}
	if diff := cmp.Diff(want, s.Namespaces[event.Default]); diff != "" || s.Overflows == 0 || s.QueuedBytes == 0 || s.QueuedBytes > live.QueueBytesMax {
		t.Errorf("got %+v (-want +got):\n%s", s, diff)
	}
	got := await(t, slow, last)
	for i, r := range got {
		if r != event.Revision(i+2) {
			t.Fatalf("got revision %d in place %d", r, i)
		}
	}
	if len(got) != writes {
		t.Errorf("got %d events, want %d", len(got), writes)
	}
	put(b, "a")
	if got := await(t, slow, last+1); len(got) != 1 {
		t.Errorf("got %v, want one more event", got)
	}
	want = live.NamespaceStats{Streams: 2}
	await(t, quick, last+1)
	drain(t, quick)
	if diff := cmp.Diff(want, h.Stats().Namespaces[event.Default]); diff != "" {
		t.Errorf("behind no more (-want +got):\n%s", diff)
	}
}

// TestStreamsGiveTheLedger has readers of every speed, with every filter, from everywhere, while others write: each gets
// what the ledger says, once, in order, and never half of a commit.
func TestStreamsGiveTheLedger(t *testing.T) {
	b := gatewaytest.New("test")
	h := live.New(b)
	const commits, streams = 2500, 40
	filters := []string{"", ">", "kv.>", "kv.*", "kv.k1", "kv.k1.*", "kv.*.x", "kv.k2.>", "*.k3.>", "service.>", "none"}
	var wg sync.WaitGroup
	end := event.Revision(1 + 2*commits)
	for i := range streams {
		random := rand.New(rand.NewPCG(uint64(i), 7))
		wg.Go(func() {
			for round := range 3 {
				filter := filters[random.IntN(len(filters))]
				head, _ := b.Head(event.Default)
				first := event.Revision(1 + random.IntN(int(head)+1+round*50))
				checkStream(t, h, b, filter, first, end, random)
			}
		})
	}
	for i := range commits {
		key := "k" + strconv.Itoa(i%5)
		b.MustSubmit(event.Default, commands.Txn{Then: []commands.Operation{
			{Put: &commands.PutKey{Key: key, Value: []byte(key)}}, {Put: &commands.PutKey{Key: key + "/x", Value: []byte(key)}},
		}})
	}
	wg.Wait()
	if s := h.Stats(); len(s.Namespaces) != 0 || s.QueuedBytes != 0 {
		t.Errorf("got %+v behind the last stream", s)
	}
}

func checkStream(t *testing.T, h *live.Hub, b *gatewaytest.Backend, filter string, first, end event.Revision, random *rand.Rand) {
	t.Helper()
	s := open(t, h, b, event.Default, first, filter)
	defer s.Close()
	lazy := random.IntN(4) == 0
	var got []event.Revision
	for s.Position() < end {
		events, caught, err := s.TryNext()
		if err != nil {
			t.Error(err)
			return
		}
		for _, e := range events {
			got = append(got, e.Revision)
		}
		if n := len(events); n > 0 && s.Position() < events[n-1].Revision {
			t.Errorf("position %d is before revision %d", s.Position(), events[n-1].Revision)
		}
		if caught && s.Position() >= first && s.Position()%2 == 0 {
			t.Errorf("position %d is inside a commit", s.Position()) // commits end at odd revisions
		}
		if caught || lazy {
			wait := time.NewTimer(time.Duration(random.IntN(3000)) * time.Microsecond)
			select {
			case <-s.Ready():
				if lazy {
					<-wait.C
				}
			case <-wait.C:
			}
		}
	}
	if diff := cmp.Diff(expected(b, filter, first, end), got); diff != "" {
		t.Errorf("filter %q from %d (-want +got):\n%s", filter, first, diff)
	}
}

func expected(b *gatewaytest.Backend, filter string, first, end event.Revision) (want []event.Revision) {
	f, _ := b.Follow(event.Default, 1)
	defer f.Close()
	parsed, _ := event.ParseFilter(filter)
	for {
		events, err := f.TryNext()
		if err != nil || len(events) == 0 {
			return want
		}
		for _, e := range events {
			if e.Revision >= first && e.Revision <= end && parsed.Match(e.Body.Subject()) {
				want = append(want, e.Revision)
			}
		}
	}
}

// TestEndOfANamespace: every stream is told, behind the last event, whether it keeps up, is behind, or wants nothing; and one
// that comes back to the next namespace of that name sees nothing of how the old one was emptied.
func TestEndOfANamespace(t *testing.T) {
	b := gatewaytest.New("test")
	h := live.New(b)
	create := func() { b.MustSubmit(event.System, commands.CreateNamespace{Namespace: "n"}) }
	create()
	all, none := open(t, h, b, "n", 1, ""), open(t, h, b, "n", 1, "kv.none")
	late := open(t, h, b, "n", 1, "")
	for _, s := range []*live.Stream{all, none, late} {
		defer s.Close()
	}
	drain(t, all)
	drain(t, none)
	for i := range 3 * live.QueueEventsMax {
		b.MustSubmit("n", commands.PutKey{Key: "k" + strconv.Itoa(i%3), Value: []byte("v")})
	}
	b.MustSubmit(event.System, commands.DeleteNamespace{Namespace: "n"})
	create()
	b.MustSubmit("n", commands.PutKey{Key: "new", Value: []byte("v")})
	closed := event.Revision(3*live.QueueEventsMax + 2)
	for name, s := range map[string]*live.Stream{"all": all, "none": none, "late": late} {
		got, err := untilEnd(t, s)
		ended, ok := errors.AsType[live.EndedError](err)
		if !ok || ended.At != closed || ended.Namespace != "n" {
			t.Errorf("%s: ended with %v, want the end at %d", name, err, closed)
		}
		if name != "none" && (len(got) == 0 || got[len(got)-1] != closed || name == "late" && len(got) != int(closed)) {
			t.Errorf("%s: got %d events, want all up to %d", name, len(got), closed)
		}
	}
	again := open(t, h, b, "n", closed+1, "")
	defer again.Close()
	head, err := b.Head("n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(await(t, again, head)), fmt.Sprint([]event.Revision{head - 1, head}); got != want {
		t.Errorf("the next life begins with %s, want %s", got, want)
	}
}

func untilEnd(t *testing.T, s *live.Stream) (got []event.Revision, err error) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		events, caught, err := s.TryNext()
		if err != nil {
			return got, err
		}
		for _, e := range events {
			got = append(got, e.Revision)
		}
		if !caught {
			continue
		}
		select {
		case <-s.Ready():
		case <-limit.C:
			t.Fatal("the stream does not end")
		}
	}
}

// A fault of the ledger reaches all, and so does the end of the server.
func TestFaults(t *testing.T) {
	for _, want := range []error{errors.New("the disk is gone"), gateway.ErrClosed} {
		b := gatewaytest.New("test")
		h := live.New(b)
		s := open(t, h, b, event.Default, 1, "kv.none")
		drain(t, s)
		b.SetFaults(gatewaytest.Faults{Follow: want})
		if _, err := untilEnd(t, s); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		s.Close()
	}
}
