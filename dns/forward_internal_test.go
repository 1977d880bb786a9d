package dns

import (
	"net"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/projections/names"
)

// FuzzForwarded: whatever another server sends, it is no answer, or becomes one that the client can read, to its
// question, under its number and within what it takes.
func FuzzForwarded(f *testing.F) {
	h, err := NewHandler(Config{View: names.New(), Forward: []string{"192.0.2.1:53"}})
	if err != nil {
		f.Fatal(err)
	}
	q := new(miekg.Msg)
	q.SetQuestion("eXample.com.", miekg.TypeA)
	q.Id = 77
	answer := new(miekg.Msg).SetReply(q)
	answer.Answer = []miekg.RR{
		&miekg.CNAME{Hdr: miekg.RR_Header{Name: "example.com.", Rrtype: miekg.TypeCNAME, Class: miekg.ClassINET, Ttl: 5}, Target: "a.example.com."},
		&miekg.A{Hdr: miekg.RR_Header{Name: "a.example.com.", Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 5}, A: net.IPv4(192, 0, 2, 1)},
	}
	answer.SetEdns0(1232, true)
	for _, compress := range []bool{false, true} {
		answer.Compress = compress
		raw, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint16(1232), true)
		f.Add(raw[:len(raw)-3], uint16(512), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, limit uint16, edns bool) {
		got, err := readAnswer(q, raw)
		if err != nil {
			return
		}
		asked := new(miekg.Msg)
		asked.SetQuestion("EXAMPLE.com.", miekg.TypeA)
		asked.Id = 4711
		if edns {
			asked.SetEdns0(max(limit, minimumBytes), false)
		}
		w := &waiting{h: h, limit: max(int(limit), minimumBytes)}
		packed, err := w.pack(asked, got)
		if err != nil {
			return // SERVFAIL takes its place
		}
		r := new(miekg.Msg)
		if err := r.Unpack(packed); err != nil {
			t.Fatalf("reply %x: %v", packed, err)
		}
		if len(packed) > w.limit || r.Id != asked.Id || !r.Response || len(r.Question) != 1 || r.Question[0] != asked.Question[0] ||
			(r.IsEdns0() != nil) != edns {
			t.Fatalf("%d of %d bytes: %v", len(packed), w.limit, r)
		}
	})
}
