package dns

import (
	"net"

	miekg "github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// udpReadersMax is how many goroutines read the one socket at most: beyond a few they only wait for each other.
const udpReadersMax = 4

// udpReadBufferBytes is what the system may keep of queries that nobody has read yet.
const udpReadBufferBytes = 4 << 20

// queryBytesMax is the longest query that is read. The longest sensible one is a name of 255 bytes with a
// signature and options, about a quarter of that.
const queryBytesMax = 4096

// serveUDP answers what comes to a socket that has one address.
func (s *Server) serveUDP() {
	query, reply := make([]byte, queryBytesMax), make([]byte, 0, s.handler.udpBytesMax)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(query)
		if err != nil {
			if !s.pause(err, "read a query by UDP") {
				return
			}
			continue
		}
		var later *waiting
		if reply, later = s.handler.reply(reply[:0], query[:n], UDP); later != nil {
			s.running.Go(func() {
				_, err := s.udp.WriteToUDPAddrPort(later.reply(s.waits, nil), from)
				s.noteWrite(err)
			})
		} else if len(reply) > 0 {
			_, err = s.udp.WriteToUDPAddrPort(reply, from)
			s.noteWrite(err)
		}
	}
}

// serveUDPAnyAddress answers what comes to a socket that has all addresses of the host. The reply must come from
// the one that the query went to, or the client does not take it.
func (s *Server) serveUDPAnyAddress() {
	query, reply := make([]byte, queryBytesMax), make([]byte, 0, s.handler.udpBytesMax)
	for {
		n, session, err := miekg.ReadFromSessionUDP(s.udp, query)
		if err != nil {
			if !s.pause(err, "read a query by UDP") {
				return
			}
			continue
		}
		var later *waiting
		if reply, later = s.handler.reply(reply[:0], query[:n], UDP); later != nil {
			s.running.Go(func() {
				_, err := miekg.WriteToSessionUDP(s.udp, later.reply(s.waits, nil), session)
				s.noteWrite(err)
			})
		} else if len(reply) > 0 {
			_, err = miekg.WriteToSessionUDP(s.udp, reply, session)
			s.noteWrite(err)
		}
	}
}

// askForDestination has the kernel tell where each query went. A socket that speaks one family only refuses the
// other one's option, and a system that knows neither answers from the address that its routes give.
func askForDestination(conn *net.UDPConn) {
	_ = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	_ = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
}

// noteWrite counts a reply that could not be sent: the client asks again, there is nothing else to do.
func (s *Server) noteWrite(err error) {
	if err != nil {
		s.handler.counters.unsent.Add(1)
	}
}
