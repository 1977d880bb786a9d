package dns

import (
	"strconv"
	"strings"
	"sync/atomic"

	miekg "github.com/miekg/dns"
)

// rcodesCount is one more than the highest code that is answered, BADVERS.
const rcodesCount = miekg.RcodeBadVers + 1

// counters count since the handler was made.
type counters struct {
	transports [2]atomic.Uint64
	rcodes     [rcodesCount]atomic.Uint64
	truncated  atomic.Uint64
	dropped    atomic.Uint64
	forwarded  atomic.Uint64
	unsent     atomic.Uint64
	refused    atomic.Uint64
	open       atomic.Int64
}

// Stats are counts since the server started, but for TCPConnections.
type Stats struct {
	// UDPQueries and TCPQueries are all messages that came, malformed ones too.
	UDPQueries, TCPQueries uint64
	// Replies is how many replies had each code, by its name in lower case ("noerror", "nxdomain").
	Replies map[string]uint64
	// Truncated is how many replies had TC set.
	Truncated uint64
	// Dropped is how many messages got no reply.
	Dropped uint64
	// Forwarded is how many replies another server gave.
	Forwarded uint64
	// Unsent is how many replies the system refused to send by UDP.
	Unsent uint64
	// TCPConnections is how many are open now, TCPRefused how many were too many.
	TCPConnections int64
	TCPRefused     uint64
}

// Stats are the counts of this handler.
func (h *Handler) Stats() Stats {
	c := &h.counters
	s := Stats{
		UDPQueries: c.transports[UDP].Load(), TCPQueries: c.transports[TCP].Load(),
		Replies: make(map[string]uint64, rcodesCount), Truncated: c.truncated.Load(), Dropped: c.dropped.Load(), Forwarded: c.forwarded.Load(), Unsent: c.unsent.Load(),
		TCPConnections: c.open.Load(), TCPRefused: c.refused.Load(),
	}
	for rcode := range c.rcodes {
		if n := c.rcodes[rcode].Load(); n > 0 {
			s.Replies[rcodeName(rcode)] = n
		}
	}
	return s
}

func rcodeName(rcode int) string {
	if rcode == miekg.RcodeBadVers {
		return "badvers" // its number is also BADSIG's, and the library knows it by that name
	}
	if name, ok := miekg.RcodeToString[rcode]; ok {
		return strings.ToLower(name)
	}
	return strconv.Itoa(rcode)
}
