package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// The timers of the SOA records, for a secondary that is not told of changes: seconds.
const (
	soaRefresh = 60
	soaRetry   = 15
	soaExpire  = 7 * 24 * 3600
)

// reply is one answer in the making, with room that is used again for the next.
type reply struct {
	message
	h      *Handler
	query  query
	node   node
	domain int // label of the question at which the domain begins
	order  shuffle
	// refusal is the code of a nodeRefused.
	refusal int
	// past is a state that was waited for, and takes the place of the cache; nil while nobody has waited.
	past *pastState
	// later is what the answer has to wait for, once it turned out that it does.
	later *waiting
	// flat has an alias be the whole answer.
	flat bool
	// targets are the SRV answers so far whose instance has an address, for the additional section.
	targets []target
}

// target is an instance, and the offset of its name in the SRV record.
type target struct {
	instance *names.Instance
	offset   int
}

// answerName answers a question about a name of the domain that has left labels before it.
func (r *reply) answerName(left int) (rcode int) {
	r.domain = left
	r.node = r.resolve(left)
	switch r.node.kind {
	case nodeRefused:
		return r.refusal
	case nodeMissing:
		r.authoritative = true
		r.soaAuthority()
		return miekg.RcodeNameError
	}
	r.answerNode()
	return miekg.RcodeSuccess
}

// answerNode answers a question about a name that exists.
func (r *reply) answerNode() {
	r.authoritative = true
	r.answerKind()
	if r.answers == 0 && !r.truncated {
		r.soaAuthority()
	}
}

// answerKind writes the records of the asked type; none when the name has none of it.
func (r *reply) answerKind() {
	if r.query.kind == miekg.TypeANY {
		if r.node.hasData() {
			r.hinfo(r.node.ttl)
		}
		return
	}
	if r.node.kind == nodeNameServer || r.node.nameServer {
		r.answerNameServer()
	}
	switch r.node.kind {
	case nodeApex:
		r.answerApex()
	case nodeRevision:
		if r.query.kind == miekg.TypeTXT {
			// The revision changes with every event: nobody may cache it.
			r.text(strconv.FormatUint(uint64(r.node.zone.Revision()), 10), 0)
		}
	case nodeInstances:
		r.answerInstances()
	case nodeServers:
		if r.query.kind == miekg.TypeSRV {
			r.answerSRV()
		}
	case nodeHost:
		if r.query.kind != miekg.TypeSRV {
			r.answerInstances()
		}
	case nodeAddress:
		if r.query.kind == miekg.TypePTR {
			r.answerPointers()
		} else {
			r.answerApex()
		}
	}
}

// hasData tells whether the node has records of any type.
func (nd *node) hasData() bool {
	switch nd.kind {
	case nodeEmpty:
		return false
	case nodeInstances, nodeServers:
		return nd.set.Len()+nd.also.Len() > 0
	}
	return true
}

func (r *reply) answerNameServer() {
	for _, a := range r.h.addresses {
		switch {
		case r.query.kind == miekg.TypeA && a.Is4():
			r.address4(a.As4(), r.h.ttl)
		case r.query.kind == miekg.TypeAAAA && a.Is6():
			r.address6(a.As16(), r.h.ttl)
		}
	}
}

func (r *reply) answerApex() {
	zone := r.query.name.offset(r.node.zoneLabel)
	switch r.query.kind {
	case miekg.TypeSOA:
		r.answer(r.soa(zone, r.h.ttl))
	case miekg.TypeNS:
		start := r.begin(zone, miekg.TypeNS, r.h.ttl)
		host := r.offset()
		r.buf = r.appendInDomain(r.buf, nameServerLabel)
		if r.answer(start) {
			r.additionalAddresses(host)
		}
	}
}

// additionalAddresses adds the name server's addresses, whose name stands at an offset.
func (r *reply) additionalAddresses(host int) {
	for _, a := range r.h.addresses {
		kind := miekg.TypeAAAA
		if a.Is4() {
			kind = miekg.TypeA
		}
		start := r.begin(host, kind, r.h.ttl)
		r.buf = append(r.buf, a.AsSlice()...)
		if !r.end(start, 2) {
			return
		}
		r.additionals++
	}
}

// soaAuthority says how long the absence of what was asked may be cached (RFC 2308 section 3).
func (r *reply) soaAuthority() {
	if r.end(r.soa(r.query.name.offset(r.node.zoneLabel), r.h.negativeTTL), 2) {
		r.authorities++
	}
}

// soa begins an SOA record of the zone whose name stands at an offset. Its serial is the revision, modulo 2^32.
func (r *reply) soa(zone int, ttl uint32) (start int) {
	start = r.begin(zone, miekg.TypeSOA, ttl)
	b := r.appendInDomain(r.buf, nameServerLabel)
	b = r.appendInDomain(b, "hostmaster")
	serial := uint32(r.node.zone.Revision())
	for _, v := range [...]uint32{serial, soaRefresh, soaRetry, soaExpire, r.h.negativeTTL} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	r.buf = b
	return start
}

// appendInDomain adds a name right below the domain. The reverse name of an address has no domain to point to.
func (r *reply) appendInDomain(b []byte, label string) []byte {
	if r.node.kind == nodeAddress {
		return append(appendLabel(b, label), r.h.domain...)
	}
	return binary.BigEndian.AppendUint16(appendLabel(b, label), pointer|uint16(r.query.name.offset(r.domain)))
}

func (r *reply) answerInstances() {
	set := &r.node.set
	switch r.query.kind {
	case miekg.TypeA, miekg.TypeAAAA, miekg.TypeCNAME:
		r.answerAddresses(set)
	case miekg.TypeSRV:
		r.answerSRV()
	case miekg.TypeTXT:
		n := set.TextLen()
		r.order.begin(n)
		for k := 0; k < n && r.text(set.TextAt(r.order.next(k, n)), r.node.ttl); k++ {
		}
		r.order.end()
	}
}

// answerAddresses gives the addresses of the asked family. Where no instance has an address of either family, but
// a host name, it gives one of the host names as an alias.
func (r *reply) answerAddresses(set *names.Set) {
	n4, n6 := set.V4Len(), set.V6Len()
	if n4+n6 == 0 {
		r.answerAlias(set)
		return
	}
	if r.query.kind != miekg.TypeA {
		n4 = 0
	}
	if r.query.kind != miekg.TypeAAAA {
		n6 = 0
	}
	r.order.begin(max(n4, n6))
	for k := 0; k < n4 && r.address4(set.V4At(r.order.next(k, n4)), r.node.ttl); k++ {
	}
	for k := 0; k < n6 && r.address6(set.V6At(r.order.next(k, n6)), r.node.ttl); k++ {
	}
	r.order.end()
}

// answerAlias writes one CNAME: a name has one at most (RFC 2181 section 10.1). Its TTL is zero, since the name has
// SRV and TXT records besides, which a resolver that kept the alias would no longer ask for.
func (r *reply) answerAlias(set *names.Set) {
	if set.Len() == 0 {
		return
	}
	host := set.At(rand.IntN(set.Len())).Host
	start := r.begin(questionOffset, miekg.TypeCNAME, 0)
	r.buf = appendHost(r.buf, host)
	r.answer(start)
	r.followAlias(host)
}

// answerSRV writes an SRV record for each instance, then the addresses of their targets as far as there is room:
// RFC 2181 section 9 asks for no TC when only additional records are missing.
func (r *reply) answerSRV() {
	first, all := r.node.set.Len(), r.node.set.Len()+r.node.also.Len()
	r.targets = r.targets[:0]
	r.order.begin(all)
	for k, fits := 0, true; k < all && fits; k++ {
		if i := r.order.next(k, all); i < first {
			fits = r.srv(r.node.set.At(i))
		} else {
			fits = r.srv(r.node.also.At(i - first))
		}
	}
	r.order.end()
	for _, t := range r.targets {
		if !r.additionalTarget(t) {
			return
		}
	}
}

func (r *reply) srv(i *names.Instance) bool {
	start := r.begin(questionOffset, miekg.TypeSRV, r.node.ttl)
	b := binary.BigEndian.AppendUint16(r.buf, i.Priority)
	b = binary.BigEndian.AppendUint16(b, i.Weight)
	r.buf = binary.BigEndian.AppendUint16(b, i.Port)
	offset := r.offset()
	// The target is written in full: RFC 2782 forbids to compress it.
	if i.Host != "" {
		r.buf = appendHost(r.buf, i.Host)
		return r.answer(start)
	}
	n := &r.query.name
	r.buf = append(r.appendTarget(r.buf, i), n.wire[n.startOf(r.node.suffix):n.length]...)
	if r.offset()-offset > nameBytesMax {
		// Only below at-REVISION, for which the domain leaves no room, and only with labels of nearly 63 bytes.
		r.buf = r.buf[:start]
		return true
	}
	if !r.answer(start) {
		return false
	}
	r.targets = append(r.targets, target{i, offset})
	return true
}

// appendTarget adds an instance's name up to what names of its moment end in.
func (r *reply) appendTarget(b []byte, i *names.Instance) []byte {
	return appendName(b, names.Pointer{Namespace: r.node.zone.Name, Service: r.node.service, Label: i.Target})
}

// appendName adds the name of an instance, or of a node, up to the domain.
func appendName(b []byte, p names.Pointer) []byte {
	b = appendLabel(b, p.Label)
	if p.Service != "" {
		b = appendLabel(b, p.Service)
		b = appendLabel(b, "instance")
	} else {
		b = appendLabel(b, "node")
	}
	if p.Namespace != event.Default {
		b = appendLabel(b, p.Namespace)
	}
	return b
}

// answerPointers writes the names that an address has.
func (r *reply) answerPointers() {
	n := r.node.pointers.Len()
	r.order.begin(n)
	for k, fits := 0, true; k < n && fits; k++ {
		start := r.begin(questionOffset, miekg.TypePTR, r.node.ttl)
		r.buf = append(appendName(r.buf, r.node.pointers.At(r.order.next(k, n))), r.h.domain...)
		fits = r.answer(start)
	}
	r.order.end()
}

// additionalTarget adds the address of an SRV record's target; false when it does not fit.
func (r *reply) additionalTarget(t target) bool {
	start := len(r.buf)
	if t.offset <= pointerMax {
		r.buf = binary.BigEndian.AppendUint16(r.buf, pointer|uint16(t.offset))
	} else {
		// A pointer does not reach so far into a long message by TCP, but it reaches the question.
		r.buf = r.appendTarget(r.buf, t.instance)
		r.buf = binary.BigEndian.AppendUint16(r.buf, pointer|uint16(r.query.name.offset(r.node.suffix)))
	}
	ownerBytes := len(r.buf) - start
	if a, ok := t.instance.V4(); ok {
		r.fixed(miekg.TypeA, r.node.ttl)
		r.buf = append(r.buf, a[:]...)
	} else if a, ok := t.instance.V6(); ok {
		r.fixed(miekg.TypeAAAA, r.node.ttl)
		r.buf = append(r.buf, a[:]...)
	}
	if !r.end(start, ownerBytes) {
		return false
	}
	r.additionals++
	return true
}
