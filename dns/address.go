package dns

import (
	"net/netip"

	"github.com/rollcall/rollcall/log/event"
)

// resolveAddress finds the reverse name of an address that something is registered at; false for every other name.
// Each is a zone of its own, so that what nobody knows here can be asked for elsewhere. Its serial is the default
// namespace's revision, for it has names of all of them.
func (r *reply) resolveAddress() bool {
	a, ok := r.query.name.address()
	if !ok {
		return false
	}
	p, known := r.h.view.Pointers(a)
	if !known {
		return false
	}
	r.node = node{kind: nodeAddress, zone: r.h.view.Namespace([]byte(event.Default)), ttl: r.h.ttl, pointers: p}
	return true
}

// address is the one whose reverse name it is (RFC 1035 section 3.5, RFC 3596 section 2.5).
func (n *name) address() (netip.Addr, bool) {
	if n.labels < 2 || string(n.label(n.labels-1)) != "arpa" {
		return netip.Addr{}, false
	}
	switch zone := n.label(n.labels - 2); {
	case string(zone) == "in-addr" && n.labels == 6:
		return n.address4()
	case string(zone) == "ip6" && n.labels == 34:
		return n.address6()
	}
	return netip.Addr{}, false
}

func (n *name) address4() (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		v, ok := parseNumber(n.label(3-i), 255)
		if !ok {
			return netip.Addr{}, false
		}
		a[i] = byte(v)
	}
	return netip.AddrFrom4(a), true
}

func (n *name) address6() (netip.Addr, bool) {
	var a [16]byte
	for i := range 2 * len(a) {
		label := n.label(31 - i)
		digit, ok := hexDigit(label[0])
		if !ok || len(label) != 1 {
			return netip.Addr{}, false
		}
		a[i/2] = a[i/2]<<4 | digit
	}
	addr := netip.AddrFrom16(a)
	return addr, !addr.Is4In6() // that one has another name
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// parseNumber reads a decimal number without zeros in front, up to a greatest one.
func parseNumber(digits []byte, most uint64) (v uint64, ok bool) {
	if len(digits) == 0 || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' || v > (most-uint64(c-'0'))/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}
