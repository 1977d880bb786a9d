//go:build !race

// The race detector has pools forget what they keep, on purpose.

package dns_test

import (
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
)

// TestNoAllocations: an answer from the view is written straight into the bytes that are sent.
func TestNoAllocations(t *testing.T) {
	f := newBenchFixture(t)
	reply := make([]byte, 0, 4096)
	for _, tt := range []struct {
		name string
		kind uint16
	}{
		{"web.service.rollcall.internal.", miekg.TypeA},
		{"web.service.rollcall.internal.", miekg.TypeSRV},
		{"web.service.rollcall.internal.", miekg.TypeTXT},
		{"all.web.service.rollcall.internal.", miekg.TypeA},
		{"_web._all.service.rollcall.internal.", miekg.TypeSRV},
		{"web-0003.web.instance.rollcall.internal.", miekg.TypeA},
		{"n1.node.rollcall.internal.", miekg.TypeTXT},
		{"7.0.0.10.in-addr.arpa.", miekg.TypePTR},
		{"none.service.rollcall.internal.", miekg.TypeA},
		{"example.com.", miekg.TypeA},
	} {
		raw := packQuery(t, tt.name, tt.kind)
		if got := testing.AllocsPerRun(100, func() { reply = f.handler.Reply(t.Context(), reply[:0], raw, dns.UDP) }); got != 0 {
			t.Errorf("%s %s: %v allocations", tt.name, miekg.TypeToString[tt.kind], got)
		}
	}
}
