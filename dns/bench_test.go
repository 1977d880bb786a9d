package dns_test

import (
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
)

// newBenchFixture has a service of ten instances, which is asked for by a client that takes 1232 bytes.
func newBenchFixture(t testing.TB) *fixture {
	t.Helper()
	f := newFixture(t, dns.Config{})
	f.many("web", 10)
	f.commit(event.Default, event.NodeSet{Node: "n1", Address: "10.9.9.9", Meta: map[string]string{"k": "v"}})
	return f
}

func benchmarkReply(b *testing.B, name string, kind uint16) {
	f := newBenchFixture(b)
	raw := packQuery(b, name, kind)
	reply := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if reply = f.handler.Reply(b.Context(), reply[:0], raw, dns.UDP); len(reply) < len(raw) {
			b.Fatal("no reply")
		}
	}
}

func packQuery(t testing.TB, name string, kind uint16) []byte {
	t.Helper()
	q := new(miekg.Msg)
	q.SetQuestion(name, kind)
	q.SetEdns0(1232, false)
	raw, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func BenchmarkA(b *testing.B)   { benchmarkReply(b, "web.service.rollcall.internal.", miekg.TypeA) }
func BenchmarkSRV(b *testing.B) { benchmarkReply(b, "web.service.rollcall.internal.", miekg.TypeSRV) }

func BenchmarkTXT(b *testing.B) { benchmarkReply(b, "web.service.rollcall.internal.", miekg.TypeTXT) }

func BenchmarkInstance(b *testing.B) {
	benchmarkReply(b, "web-0003.web.instance.rollcall.internal.", miekg.TypeA)
}

func BenchmarkPTR(b *testing.B) { benchmarkReply(b, "7.0.0.10.in-addr.arpa.", miekg.TypePTR) }

func BenchmarkNode(b *testing.B) { benchmarkReply(b, "n1.node.rollcall.internal.", miekg.TypeA) }

// BenchmarkPast is a name of the past that was asked for before.
func BenchmarkPast(b *testing.B) {
	benchmarkReply(b, "web.service.at-10.rollcall.internal.", miekg.TypeA)
}

func BenchmarkNXDOMAIN(b *testing.B) {
	benchmarkReply(b, "none.service.rollcall.internal.", miekg.TypeA)
}

// BenchmarkPackFixed is what the library takes to read the query and to write a fixed answer of ten addresses: the
// yardstick for BenchmarkA.
func BenchmarkPackFixed(b *testing.B) {
	f := newFixture(b, dns.Config{})
	f.many("web", 10)
	raw := packQuery(b, "web.service.rollcall.internal.", miekg.TypeA)
	answer := new(miekg.Msg)
	if err := answer.Unpack(f.handler.Reply(b.Context(), nil, raw, dns.UDP)); err != nil {
		b.Fatal(err)
	}
	answer.Compress = true
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		q := new(miekg.Msg)
		if err := q.Unpack(raw); err != nil {
			b.Fatal(err)
		}
		answer.Id = q.Id
		if _, err := answer.PackBuffer(buf); err != nil {
			b.Fatal(err)
		}
	}
}
