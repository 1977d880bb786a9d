package dns_test

import (
	"context"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
)

// The names that are asked are those of a service of ten instances, by a client that takes 1232 bytes.
func benchmarkReply(b *testing.B, name string, kind uint16) {
	f := newFixture(b, dns.Config{})
	f.many("web", 10)
	raw := packQuery(b, name, kind)
	reply := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if reply = f.handler.Reply(context.Background(), reply[:0], raw, dns.UDP); len(reply) < len(raw) {
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
	if err := answer.Unpack(f.handler.Reply(context.Background(), nil, raw, dns.UDP)); err != nil {
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
