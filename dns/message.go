package dns

import (
	"encoding/binary"

	miekg "github.com/miekg/dns"
)

// message is a reply under construction. It is written straight into the bytes that are sent, with every owner a
// pointer to a name that stands there already; that leaves nothing to pack and nothing to allocate.
type message struct {
	buf     []byte // what it appends to; the message begins at base
	base    int
	limit   int // bytes of the message, less what the OPT record will take
	optSize int // what the OPT record will say that this server takes
	query   *query

	answers, authorities, additionals uint16
	authoritative, truncated          bool
	recursive                         bool   // whoever asks may ask for other names too
	explanation                       string // of a code, for people (RFC 8914); empty for none
}

// optBytes is the length of an OPT record without options.
const optBytes = 1 + rrFixedBytes

// start writes the header's place and the question, as the client spelt it: some clients put a secret into the
// letters' case.
func (m *message) start(dst []byte, q *query, limit, optSize int) {
	*m = message{buf: dst, base: len(dst), limit: limit, optSize: optSize, query: q}
	if q.edns.present {
		m.limit -= optBytes
	}
	m.buf = append(m.buf, make([]byte, headerBytes)...)
	m.buf = append(m.buf, q.raw[headerBytes:q.questionEnd]...)
}

// finish writes the OPT record and the header.
func (m *message) finish(rcode int) []byte {
	if m.query.edns.present {
		m.appendOPT(rcode)
	}
	bits := uint16(bitResponse) | m.query.bits&(maskOpcode|bitRecursionDesired|bitCheckingDisabled) | uint16(rcode&15)
	if m.authoritative {
		bits |= bitAuthoritative
	}
	if m.truncated {
		bits |= bitTruncated
	}
	if m.recursive {
		bits |= bitRecursionAvailable
	}
	questions := uint16(0)
	if m.query.questionEnd > headerBytes {
		questions = 1
	}
	header := m.buf[m.base : m.base+headerBytes]
	for i, v := range [...]uint16{m.query.id, bits, questions, m.answers, m.authorities, m.additionals} {
		binary.BigEndian.PutUint16(header[2*i:], v)
	}
	return m.buf
}

func (m *message) appendOPT(rcode int) {
	b := append(m.buf, 0) // the root
	b = binary.BigEndian.AppendUint16(b, miekg.TypeOPT)
	b = binary.BigEndian.AppendUint16(b, uint16(m.optSize))
	b = append(b, byte(rcode>>4), 0) // this server speaks version 0
	flags := uint16(0)
	if m.query.edns.dnssecOK {
		flags = bitDNSSECOK // copied by RFC 3225 section 3
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	if m.explanation == "" {
		m.buf = binary.BigEndian.AppendUint16(b, 0)
	} else {
		// It comes with a code and without records, so there is room for it.
		option := uint16(2 + len(m.explanation))
		for _, v := range [...]uint16{4 + option, miekg.EDNS0EDE, option, miekg.ExtendedErrorCodeOther} {
			b = binary.BigEndian.AppendUint16(b, v)
		}
		m.buf = append(b, m.explanation...)
	}
	m.additionals++
}

// offset is where the next byte will stand in the message.
func (m *message) offset() int { return len(m.buf) - m.base }

// begin writes a record up to its data. The owner is the name at an offset that a pointer can reach.
func (m *message) begin(owner int, kind uint16, ttl uint32) (start int) {
	start = len(m.buf)
	m.buf = binary.BigEndian.AppendUint16(m.buf, pointer|uint16(owner))
	m.fixed(kind, ttl)
	return start
}

func (m *message) fixed(kind uint16, ttl uint32) {
	b := binary.BigEndian.AppendUint16(m.buf, kind)
	b = binary.BigEndian.AppendUint16(b, miekg.ClassINET)
	b = binary.BigEndian.AppendUint32(b, ttl)
	m.buf = append(b, 0, 0)
}

// end completes the record that begins at start and has ownerBytes before its fixed part. It takes the record back
// and tells false when the message would pass its limit.
func (m *message) end(start, ownerBytes int) bool {
	if m.offset() > m.limit {
		m.buf = m.buf[:start]
		return false
	}
	data := start + ownerBytes + rrFixedBytes
	binary.BigEndian.PutUint16(m.buf[data-2:], uint16(len(m.buf)-data))
	return true
}

// answer completes a record of the answer section, which begins at start. One that does not fit marks the message
// truncated: every answer is required.
func (m *message) answer(start int) bool {
	if !m.end(start, 2) {
		m.truncated = true
		return false
	}
	m.answers++
	return true
}

func (m *message) address4(a [4]byte, ttl uint32) bool {
	start := m.begin(questionOffset, miekg.TypeA, ttl)
	m.buf = append(m.buf, a[:]...)
	return m.answer(start)
}

func (m *message) address6(a [16]byte, ttl uint32) bool {
	start := m.begin(questionOffset, miekg.TypeAAAA, ttl)
	m.buf = append(m.buf, a[:]...)
	return m.answer(start)
}

// text writes a TXT record. A text longer than a character string goes on in the next one, to be joined by the
// reader (as in RFC 7208 section 3.3).
func (m *message) text(s string, ttl uint32) bool {
	start := m.begin(questionOffset, miekg.TypeTXT, ttl)
	for {
		n := min(len(s), 255)
		m.buf = append(append(m.buf, byte(n)), s[:n]...)
		if s = s[n:]; s == "" {
			return m.answer(start)
		}
	}
}

// hinfo is the whole answer to a query for ANY (RFC 8482 section 4.2).
func (m *message) hinfo(ttl uint32) bool {
	start := m.begin(questionOffset, miekg.TypeHINFO, ttl)
	m.buf = append(m.buf, "\x07RFC8482\x00"...)
	return m.answer(start)
}

// appendLabel adds one label of at most 63 bytes.
func appendLabel[T string | []byte](b []byte, label T) []byte {
	return append(append(b, byte(len(label))), label...)
}

// appendHost adds a host name whose form was checked when it was registered.
func appendHost(b []byte, host string) []byte {
	for more := true; more; {
		end := 0
		for end < len(host) && host[end] != '.' {
			end++
		}
		b = appendLabel(b, host[:end])
		if more = end < len(host); more {
			host = host[end+1:]
		}
	}
	return append(b, 0)
}
