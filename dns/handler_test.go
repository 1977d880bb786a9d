package dns_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
)

// TestTruncation: whatever the sizes, a reply keeps its limit, TC is set exactly when answers are missing, and what
// is there are as many as fit.
func TestTruncation(t *testing.T) {
	fixtures := map[int]*fixture{}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(60, 80), rapid.IntRange(200, 300)).Draw(t, "instances")
		if fixtures[n] == nil {
			fixtures[n] = newFixtureOf(t, dns.Config{UDPBytesMax: 4096}, n)
		}
		kind := rapid.SampledFrom([]uint16{miekg.TypeA, miekg.TypeSRV, miekg.TypeTXT}).Draw(t, "type")
		q := new(miekg.Msg)
		q.SetQuestion("web.service.rollcall.internal.", kind)
		limit := 512
		if rapid.Bool().Draw(t, "edns") {
			limit = rapid.OneOf(rapid.IntRange(0, 600), rapid.IntRange(1200, 1260), rapid.IntRange(4000, 5000)).Draw(t, "size")
			q.SetEdns0(uint16(limit), false)
			limit = min(max(limit, 512), 4096)
		}
		r := fixtures[n].ask(t, q, dns.UDP, limit)
		if got, want := r.Truncated, len(r.Answer) < n; got != want {
			t.Fatalf("TC: got %t with %d of %d answers", got, len(r.Answer), n)
		}
		if r.Truncated {
			checkFull(t, r, limit)
		}
	})
}

func newFixtureOf(t *rapid.T, c dns.Config, n int) *fixture {
	// rapid.T is no testing.TB; the configuration is a good one.
	f := newFixture(discardTB{}, c)
	f.many("web", n)
	return f
}

type discardTB struct{ testing.TB }

func (discardTB) Helper()           {}
func (discardTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// checkFull checks that another answer, as long as the longest one that is there, would not fit.
func checkFull(t rapidT, r *miekg.Msg, limit int) {
	t.Helper()
	if len(r.Answer) == 0 {
		t.Fatalf("no answer at all in %d bytes", limit)
	}
	longest := 0
	for _, rr := range r.Answer {
		longest = max(longest, miekg.Len(rr)-len(rr.Header().Name)-1+2) // the owner is a pointer
	}
	// What a message takes is known by its parts: the library compresses otherwise than this server.
	size := 12 + len(r.Question[0].Name) + 1 + 4
	for _, rr := range r.Answer {
		size += miekg.Len(rr) - len(rr.Header().Name) - 1 + 2
	}
	if r.IsEdns0() != nil {
		size += 11
	}
	if size+longest+2 <= limit {
		t.Errorf("%d answers take %d of %d bytes, but another one of at most %d is missing", len(r.Answer), size, limit, longest)
	}
}

// TestExactFit: at the very size that all answers take there is no TC, one byte below there is.
func TestExactFit(t *testing.T) {
	const n = 40
	f := newFixture(t, dns.Config{UDPBytesMax: 4096})
	f.many("web", n)
	q := new(miekg.Msg)
	q.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
	all := 12 + 31 + 4 + n*16 + 11
	for size, truncated := range map[int]bool{all - 1: true, all: false, all + 1: false} {
		q.Extra = nil
		q.SetEdns0(uint16(size), false)
		if r := f.ask(t, q, dns.UDP, size); r.Truncated != truncated {
			t.Errorf("TC at %d bytes: got %t, want %t", size, r.Truncated, truncated)
		}
	}
}

// TestFarTargets: in a long message the additional records' owners stand beyond a pointer's reach, and are still
// the targets' names.
func TestFarTargets(t *testing.T) {
	const n = 500
	for _, namespace := range []string{event.Default, "prod"} {
		f := newFixture(t, dns.Config{})
		f.view.AddNamespace(namespace)
		f.many("web", n)
		name := "web.service.rollcall.internal."
		if namespace != event.Default {
			f.heads[namespace] = 0
			bodies := make([]event.Body, n)
			for i := range bodies {
				bodies[i] = register("web", fmt.Sprintf("w%d", i), fmt.Sprintf("fd00::%x", i), 80)
			}
			f.commit(namespace, bodies...)
			name = "web.service." + namespace + ".rollcall.internal."
		}
		q := new(miekg.Msg)
		q.SetQuestion(name, miekg.TypeSRV)
		r := f.ask(t, q, dns.TCP, 65535)
		targets, owners := map[string]bool{}, map[string]bool{}
		for i := range r.Answer {
			targets[r.Answer[i].(*miekg.SRV).Target] = true
		}
		for _, rr := range r.Extra {
			owners[rr.Header().Name] = true
		}
		if len(targets) != n {
			t.Errorf("%s: %d targets, want %d", name, len(targets), n)
		}
		if diff := cmp.Diff(owners, targets); diff != "" {
			t.Errorf("%s: additional owners (-got +want targets):\n%s", name, diff)
		}
	}
}

func register(service, id, address string, port uint16) event.Body {
	return event.InstanceRegistered{Instance: event.Instance{Service: service, ID: id, Address: address, Port: port}}
}

// TestShuffle: each instance comes first, and second, about as often as every other.
func TestShuffle(t *testing.T) {
	const n, rounds = 10, 20_000
	f := newFixture(t, dns.Config{})
	f.many("web", n)
	raw := packQuery(t, "web.service.rollcall.internal.", miekg.TypeSRV)
	firsts, seconds := map[string]int{}, map[string]int{}
	for range rounds {
		r := new(miekg.Msg)
		if err := r.Unpack(f.handler.Reply(context.Background(), nil, raw, dns.UDP)); err != nil {
			t.Fatal(err)
		}
		firsts[r.Answer[0].(*miekg.SRV).Target]++
		seconds[r.Answer[1].(*miekg.SRV).Target]++
	}
	// The standard deviation is 42: seven of them make a false alarm unheard of.
	for place, counts := range map[string]map[string]int{"first": firsts, "second": seconds} {
		if len(counts) != n {
			t.Errorf("%s: %d different instances, want %d", place, len(counts), n)
		}
		for target, count := range counts {
			if count < rounds/n-300 || count > rounds/n+300 {
				t.Errorf("%s: %s came %d times of %d", place, target, count, rounds)
			}
		}
	}
}

// TestLongText: an entry longer than a character string is split, and read back whole.
func TestLongText(t *testing.T) {
	f := newFixture(t, dns.Config{})
	value := strings.Repeat("0123456789", 60)
	f.commit(event.Default, event.InstanceRegistered{Instance: event.Instance{
		Service: "web", ID: "w", Address: "10.0.0.1", Meta: map[string]string{"long": value},
	}})
	q := new(miekg.Msg)
	q.SetQuestion("web.service.rollcall.internal.", miekg.TypeTXT)
	if r := f.ask(t, q, dns.UDP, 512); !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("by UDP: got TC %t and %d answers, want TC and none", r.Truncated, len(r.Answer))
	}
	r := f.ask(t, q, dns.TCP, 65535)
	if got, want := strings.Join(r.Answer[0].(*miekg.TXT).Txt, ""), "long="+value; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

// TestWholeCommits: while commits move two instances together, no answer shows one moved and the other not, none
// is older than the revision read before it, and the revision never falls.
func TestWholeCommits(t *testing.T) {
	const commits = 3000
	f := newFixture(t, dns.Config{})
	f.commit(event.Default, register("web", "a", "10.0.0.1", 1), register("web", "b", "10.0.0.2", 1))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for port := uint16(2); port <= commits; port++ {
			f.commit(event.Default, register("web", "a", "10.0.0.1", port), register("web", "b", "10.0.0.2", port))
		}
	}()
	last := uint64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		revision := readRevision(t, f)
		if revision < last || revision%2 != 0 {
			t.Fatalf("revision %d after %d; every commit has two", revision, last)
		}
		last = revision
		ports := readPorts(t, f)
		if len(ports) != 2 || ports[0] != ports[1] || uint64(ports[0])*2 < revision {
			t.Fatalf("ports %v after revision %d: half of a commit, or an old one", ports, revision)
		}
	}
	if last != 2*commits {
		t.Errorf("last revision: got %d, want %d", last, 2*commits)
	}
}

func readRevision(t *testing.T, f *fixture) uint64 {
	t.Helper()
	q := new(miekg.Msg)
	q.SetQuestion("_revision.rollcall.internal.", miekg.TypeTXT)
	revision, err := strconv.ParseUint(f.ask(t, q, dns.UDP, 512).Answer[0].(*miekg.TXT).Txt[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func readPorts(t *testing.T, f *fixture) (ports []uint16) {
	t.Helper()
	q := new(miekg.Msg)
	q.SetQuestion("web.service.rollcall.internal.", miekg.TypeSRV)
	for _, rr := range f.ask(t, q, dns.UDP, 512).Answer {
		ports = append(ports, rr.(*miekg.SRV).Port)
	}
	return ports
}

func TestStats(t *testing.T) {
	f := newFixture(t, dns.Config{})
	f.many("web", 100)
	for _, name := range []string{"web.service.rollcall.internal.", "x.service.rollcall.internal.", "example.com."} {
		f.handler.Reply(context.Background(), nil, packQuery(t, name, miekg.TypeA), dns.UDP)
	}
	f.handler.Reply(context.Background(), nil, packQuery(t, "web.service.rollcall.internal.", miekg.TypeA), dns.TCP)
	f.handler.Reply(context.Background(), nil, []byte{1, 2, 3}, dns.UDP)
	want := dns.Stats{
		UDPQueries: 4, TCPQueries: 1, Truncated: 1, Dropped: 1,
		Replies: map[string]uint64{"noerror": 2, "nxdomain": 1, "refused": 1},
	}
	if diff := cmp.Diff(f.handler.Stats(), want); diff != "" {
		t.Errorf("stats (-got +want):\n%s", diff)
	}
}

func TestConfigFaults(t *testing.T) {
	view := newFixture(t, dns.Config{}).view
	for _, tt := range []struct {
		name   string
		config dns.Config
		want   string
	}{
		{"no view", dns.Config{}, "no view"},
		{"domain with an empty label", dns.Config{View: view, Domain: "a..b"}, `"" is no label`},
		{"root as the domain", dns.Config{View: view, Domain: "."}, `"" is no label`},
		{"domain too long", dns.Config{View: view, Domain: strings.Repeat("abcdefghi.", 6)}, "at most 54"},
		{"negative TTL", dns.Config{View: view, TTL: -time.Second}, "TTL -1s"},
		{"TTL of 69 years", dns.Config{View: view, NegativeTTL: 1 << 31 * time.Second}, "TTL 596523h"},
		{"replies below 512 bytes", dns.Config{View: view, UDPBytesMax: 511}, "511 bytes"},
		{"negative connections", dns.Config{View: view, TCPConnectionsMax: -1}, "-1 TCP connections"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := dns.NewHandler(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error: got %v, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzHandler: any bytes get a reply that parses and keeps the limit, or none; a reply gets none.
func FuzzHandler(f *testing.F) {
	fx := newFixture(f, dns.Config{})
	fx.many("web", 100)
	fx.view.AddNamespace("prod")
	fx.commit(event.Default, event.NodeSet{Node: "n1", Address: "10.0.0.7", Meta: map[string]string{"k": "v"}})
	for _, name := range []string{
		"web.service.rollcall.internal.", "all.web.service.rollcall.internal.", "web-0001.web.instance.rollcall.internal.",
		"_web._tcp.service.rollcall.internal.", "_revision.rollcall.internal.", "prod.rollcall.internal.", "example.com.",
		"n1.node.rollcall.internal.", "7.0.0.10.in-addr.arpa.", "web.service.at-100.rollcall.internal.", "prod.at-1.rollcall.internal.",
		"n1.node.default.at-101.rollcall.internal.", "2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
	} {
		for _, kind := range []uint16{miekg.TypeA, miekg.TypeSRV, miekg.TypeTXT, miekg.TypeANY, miekg.TypeSOA, miekg.TypeNS, miekg.TypePTR} {
			f.Add(packQuery(f, name, kind), false)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, tcp bool) {
		transport, limit := dns.UDP, 1232
		if tcp {
			transport, limit = dns.TCP, 65535
		}
		reply := fx.handler.Reply(context.Background(), []byte("before"), raw, transport)
		if string(reply[:6]) != "before" {
			t.Fatal("what was in the buffer is gone")
		}
		reply = reply[6:]
		if dropped := len(raw) < 12 || raw[2]&0x80 != 0; dropped != (len(reply) == 0) {
			t.Fatalf("reply of %d bytes to %x", len(reply), raw)
		}
		if len(reply) > 0 {
			checkFuzzed(t, raw, reply, limit)
		}
	})
}

func checkFuzzed(t *testing.T, raw, reply []byte, limit int) {
	t.Helper()
	r := new(miekg.Msg)
	if err := r.Unpack(reply); err != nil {
		t.Fatalf("reply %x: %v", reply, err)
	}
	if len(reply) > limit {
		t.Fatalf("reply of %d bytes, want at most %d", len(reply), limit)
	}
	if !r.Response || r.Id != uint16(raw[0])<<8|uint16(raw[1]) {
		t.Fatalf("reply %v to %x", r.MsgHdr, raw[:12])
	}
	if r.Rcode == miekg.RcodeFormatError || r.Rcode == miekg.RcodeNotImplemented {
		return
	}
	q := new(miekg.Msg)
	if err := q.Unpack(raw); err != nil {
		return // the library looks into records that do not matter here
	}
	if diff := cmp.Diff(r.Question, q.Question); diff != "" {
		t.Fatalf("question (-got +want):\n%s", diff)
	}
	checkSections(t, r)
}
