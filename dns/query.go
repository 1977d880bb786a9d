package dns

import (
	"encoding/binary"

	miekg "github.com/miekg/dns"
)

// Sizes of the wire format (RFC 1035 section 4).
const (
	headerBytes     = 12
	labelBytesMax   = 63
	nameBytesMax    = 255
	rrFixedBytes    = 10    // type, class, TTL and length of a record, after its owner
	minimumBytes    = 512   // what every client takes by UDP
	messageBytesMax = 65535 // what TCP's length can say
)

// Bits of the header's second 16 (RFC 1035 section 4.1.1, RFC 2535 section 6.1).
const (
	bitResponse           = 1 << 15
	bitAuthoritative      = 1 << 10
	bitTruncated          = 1 << 9
	bitRecursionDesired   = 1 << 8
	bitRecursionAvailable = 1 << 7
	bitCheckingDisabled   = 1 << 4
	maskOpcode            = 15 << 11
	bitDNSSECOK           = 1 << 15 // of an OPT record's TTL
	pointer               = 0xC000  // marks a name that continues at an offset
	pointerMax            = 0x3FFF  // the last offset that a pointer can name
	questionOffset        = headerBytes
)

// query is what a client asked. It refers to the client's bytes.
type query struct {
	raw         []byte
	id, bits    uint16
	name        name
	questionEnd int // offset of what follows the question
	kind, class uint16
	edns        edns
}

// edns is the OPT record of a query (RFC 6891).
type edns struct {
	present  bool
	dnssecOK bool
	version  uint8
	size     uint16
}

func (q *query) opcode() int { return int(q.bits&maskOpcode) >> 11 }

// readHeader takes the header of raw, which has at least 12 bytes.
func (q *query) readHeader(raw []byte) {
	q.raw, q.edns, q.questionEnd = raw, edns{}, headerBytes
	q.id = binary.BigEndian.Uint16(raw)
	q.bits = binary.BigEndian.Uint16(raw[2:])
}

// readBody takes the question and the OPT record; false means that the message is malformed. Other records are
// skipped: IXFR brings an SOA and a signed query a TSIG, and neither changes the answer here.
func (q *query) readBody() bool {
	counts := q.raw[4:headerBytes]
	if binary.BigEndian.Uint16(counts) != 1 { // RFC 9619
		return false
	}
	at := q.name.read(q.raw, headerBytes)
	if at < 0 || at+4 > len(q.raw) {
		return false
	}
	q.kind, q.class = binary.BigEndian.Uint16(q.raw[at:]), binary.BigEndian.Uint16(q.raw[at+2:])
	at += 4
	end := at
	skip := int(binary.BigEndian.Uint16(counts[2:])) + int(binary.BigEndian.Uint16(counts[4:]))
	for range skip {
		if at = q.readRecord(at, false); at < 0 {
			return false
		}
	}
	for range binary.BigEndian.Uint16(counts[6:]) {
		if at = q.readRecord(at, true); at < 0 {
			return false
		}
	}
	q.questionEnd = end
	return at == len(q.raw)
}

// readRecord passes one record and gives the offset after it, or -1. An OPT record belongs into the additional
// section, once, and its owner is the root (RFC 6891 section 6.1.1).
func (q *query) readRecord(at int, additional bool) int {
	root := at < len(q.raw) && q.raw[at] == 0
	if at = skipName(q.raw, at); at < 0 || at+rrFixedBytes > len(q.raw) {
		return -1
	}
	fixed := q.raw[at : at+rrFixedBytes]
	if at += rrFixedBytes + int(binary.BigEndian.Uint16(fixed[8:])); at > len(q.raw) {
		return -1
	}
	if binary.BigEndian.Uint16(fixed) != miekg.TypeOPT {
		return at
	}
	if !additional || !root || q.edns.present {
		return -1
	}
	q.edns = edns{
		present: true, version: fixed[5], size: binary.BigEndian.Uint16(fixed[2:]),
		dnssecOK: binary.BigEndian.Uint16(fixed[6:])&bitDNSSECOK != 0,
	}
	return at
}

// skipName gives the offset after a name, or -1.
func skipName(raw []byte, at int) int {
	for at < len(raw) {
		switch length := int(raw[at]); {
		case length == 0:
			return at + 1
		case length >= pointer>>8:
			return at + 2
		case length > labelBytesMax:
			return -1
		default:
			at += 1 + length
		}
	}
	return -1
}

// name is a name of a question, in lower case (RFC 4343).
type name struct {
	wire   [nameBytesMax]byte
	length int
	starts [nameBytesMax / 2]uint8 // where each label begins in wire
	labels int
}

// read takes a name without pointers: the first name of a message has nothing to point to. It gives the offset
// after the name, or -1.
func (n *name) read(raw []byte, at int) int {
	n.labels, n.length = 0, 0
	for at < len(raw) {
		length := int(raw[at])
		if length == 0 {
			n.wire[n.length] = 0
			n.length++
			return at + 1
		}
		// One byte stays free for the root.
		if length > labelBytesMax || at+1+length > len(raw) || n.length+1+length >= nameBytesMax {
			return -1
		}
		n.starts[n.labels] = uint8(n.length)
		n.labels++
		n.wire[n.length] = byte(length)
		for i, c := range raw[at+1 : at+1+length] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			n.wire[n.length+1+i] = c
		}
		n.length += 1 + length
		at += 1 + length
	}
	return -1
}

// label is the i-th label from the left.
func (n *name) label(i int) []byte {
	start := int(n.starts[i])
	return n.wire[start+1 : start+1+int(n.wire[start])]
}

// startOf is where the i-th label from the left begins in wire, or the root behind the last one.
func (n *name) startOf(i int) int {
	if i == n.labels {
		return n.length - 1
	}
	return int(n.starts[i])
}

// below gives how many labels stand before a domain of so many labels; false when the name is not in the domain.
func (n *name) below(domain []byte, labels int) (int, bool) {
	if n.labels < labels {
		return 0, false
	}
	left := n.labels - labels
	return left, string(n.wire[n.starts[left]:n.length]) == string(domain)
}

// offset is where the name's part from the i-th label on stands in a message that repeats the question.
func (n *name) offset(i int) int { return questionOffset + int(n.starts[i]) }
