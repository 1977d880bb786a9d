package dns_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
)

// upstream is a DNS server that a test answers for, by UDP and TCP on one port.
func upstream(t *testing.T, answer func(w miekg.ResponseWriter, q *miekg.Msg)) string {
	t.Helper()
	var packet net.PacketConn
	var stream net.Listener
	for try := 0; ; try++ {
		var err error
		if packet, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if stream, err = net.Listen("tcp", packet.LocalAddr().String()); err == nil {
			break
		}
		_ = packet.Close()
		if try == 20 {
			t.Fatal(err)
		}
	}
	for _, s := range []*miekg.Server{{PacketConn: packet}, {Listener: stream}} {
		s.Handler = miekg.HandlerFunc(answer)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := errors.Join(s.Shutdown(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
	return packet.LocalAddr().String()
}

// answerA answers with so many addresses, as far as they fit.
func answerA(n int) func(miekg.ResponseWriter, *miekg.Msg) {
	return func(w miekg.ResponseWriter, q *miekg.Msg) {
		r := new(miekg.Msg)
		r.SetReply(q)
		r.RecursionAvailable = true
		for i := range n {
			r.Answer = append(r.Answer, &miekg.A{
				Hdr: miekg.RR_Header{Name: strings.ToLower(q.Question[0].Name), Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 60},
				A:   net.IPv4(192, 0, 2, byte(i)),
			})
		}
		if _, isTCP := w.RemoteAddr().(*net.TCPAddr); !isTCP {
			r.Truncate(1232)
		}
		_ = w.WriteMsg(r)
	}
}

func exchange(t *testing.T, network, server string, q *miekg.Msg) *miekg.Msg {
	t.Helper()
	r, _, err := (&miekg.Client{Net: network, Timeout: patience, UDPSize: 1232}).Exchange(q, server)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func question(name string, kind uint16) *miekg.Msg {
	q := new(miekg.Msg)
	q.SetQuestion(name, kind)
	return q
}

// TestForward: other names, and the reverse names of unknown addresses, are answered by who is asked for them; the own
// ones are not.
func TestForward(t *testing.T) {
	var asked atomic.Pointer[miekg.Msg]
	one := answerA(1)
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		asked.Store(q)
		one(w, q)
	})
	s, f := listen(t, dns.Config{Forward: []string{server}})
	f.many("web", 1)
	// Letters' case is the client's, whatever becomes of it on the way.
	q := question("wWw.ExAmple.com.", miekg.TypeA)
	q.CheckingDisabled = true
	r := exchange(t, "udp", s.Addr(), q)
	if len(r.Answer) != 1 || r.Question[0] != q.Question[0] || r.Authoritative || !r.RecursionAvailable || r.IsEdns0() != nil {
		t.Errorf("reply: %v", r)
	}
	if got := asked.Load(); got.Id == q.Id || !got.CheckingDisabled || got.IsEdns0() == nil || got.IsEdns0().Do() {
		t.Errorf("what was asked: %v; the number was %d", got, q.Id)
	}
	q = question("4.3.2.10.in-addr.arpa.", miekg.TypePTR)
	q.SetEdns0(1232, true)
	if r = exchange(t, "tcp", s.Addr(), q); r.Rcode != miekg.RcodeSuccess || r.IsEdns0() == nil || !asked.Load().IsEdns0().Do() {
		t.Errorf("reply: %v", r)
	}
	before := asked.Load()
	for _, q := range []*miekg.Msg{
		question("web.service.rollcall.internal.", miekg.TypeA), question("none.service.rollcall.internal.", miekg.TypeA),
		question("0.0.0.10.in-addr.arpa.", miekg.TypePTR),
	} {
		if r := exchange(t, "udp", s.Addr(), q); !r.Authoritative || !r.RecursionAvailable {
			t.Errorf("reply: %v", r)
		}
	}
	refused := []*miekg.Msg{question("example.com.", miekg.TypeAXFR), question("example.com.", miekg.TypeIXFR), question("example.com.", miekg.TypeA), question("example.com.", miekg.TypeA)}
	refused[2].RecursionDesired = false
	refused[3].Question[0].Qclass = miekg.ClassCHAOS
	for _, q := range refused {
		if r := exchange(t, "udp", s.Addr(), q); r.Rcode != miekg.RcodeRefused {
			t.Errorf("got %v, want REFUSED", r)
		}
	}
	if asked.Load() != before {
		t.Errorf("was forwarded: %v", asked.Load().Question)
	}
	if got := s.Stats().Forwarded; got != 2 {
		t.Errorf("forwarded: got %d, want 2", got)
	}
}

// TestForwardTruncated: what does not fit into UDP comes by TCP, and goes on as far as the client takes it.
func TestForwardTruncated(t *testing.T) {
	s, _ := listen(t, dns.Config{Forward: []string{upstream(t, answerA(200))}})
	q := question("example.com.", miekg.TypeA)
	if r := exchange(t, "udp", s.Addr(), q); !r.Truncated || len(r.Answer) == 0 || len(r.Answer) > 30 {
		t.Errorf("by UDP: TC %t with %d answers", r.Truncated, len(r.Answer))
	}
	if r := exchange(t, "tcp", s.Addr(), q); r.Truncated || len(r.Answer) != 200 {
		t.Errorf("by TCP: TC %t with %d answers", r.Truncated, len(r.Answer))
	}
}

// TestForwardNext: who does not answer, or has none, is not the last to be asked.
func TestForwardNext(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	failing := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		_ = w.WriteMsg(new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure))
	})
	s, _ := listen(t, dns.Config{ForwardTimeout: time.Second, Forward: []string{silent.LocalAddr().String(), failing, upstream(t, answerA(1))}})
	if r := exchange(t, "udp", s.Addr(), question("example.com.", miekg.TypeA)); len(r.Answer) != 1 {
		t.Errorf("reply: %v", r)
	}
	s, _ = listen(t, dns.Config{ForwardTimeout: time.Second, Forward: []string{failing, silent.LocalAddr().String()}})
	if r := exchange(t, "udp", s.Addr(), question("example.com.", miekg.TypeA)); r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("reply: %v", r)
	}
}

// TestForwardForged: what comes to the port and is no answer to the question is passed over.
func TestForwardForged(t *testing.T) {
	one := answerA(1)
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		forged := func(change func(*miekg.Msg)) {
			r := new(miekg.Msg).SetReply(q)
			r.Answer = []miekg.RR{&miekg.A{
				Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(6, 6, 6, 6),
			}}
			change(r)
			_ = w.WriteMsg(r)
		}
		forged(func(r *miekg.Msg) { r.Id++ })
		forged(func(r *miekg.Msg) { r.Response = false })
		forged(func(r *miekg.Msg) { r.Question[0].Name = "other.example." })
		forged(func(r *miekg.Msg) { r.Question[0].Qtype = miekg.TypeAAAA })
		forged(func(r *miekg.Msg) { r.Question = nil })
		forged(func(r *miekg.Msg) { r.Opcode = miekg.OpcodeNotify })
		_, _ = w.Write([]byte{1, 2, 3})
		one(w, q)
	})
	s, _ := listen(t, dns.Config{Forward: []string{server}})
	r := exchange(t, "udp", s.Addr(), question("example.com.", miekg.TypeA))
	if len(r.Answer) != 1 || strings.Contains(r.String(), "6.6.6.6") {
		t.Errorf("reply: %v", r)
	}
}

// TestForwardBound: beyond so many questions that wait, the next is told so at once, and own names are answered.
func TestForwardBound(t *testing.T) {
	const places = 512
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release() // the server upstream waits for it at the end
	waiting := make(chan struct{}, places)
	one := answerA(1)
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		waiting <- struct{}{}
		<-held
		one(w, q)
	})
	s, f := listen(t, dns.Config{Forward: []string{server}, ForwardTimeout: patience})
	f.many("web", 1)
	conn, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &miekg.Conn{Conn: conn}
	for i := range places {
		q := question(fmt.Sprintf("n%d.example.com.", i), miekg.TypeA)
		q.Id = 1
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		select {
		case <-waiting: // one at a time, or the system drops some of them
		case <-time.After(patience):
			t.Fatalf("question %d was not forwarded", i)
		}
	}
	if r := exchange(t, "udp", s.Addr(), question("more.example.com.", miekg.TypeA)); r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("one too many: got %v, want SERVFAIL", r)
	}
	if r := exchange(t, "udp", s.Addr(), question("web.service.rollcall.internal.", miekg.TypeA)); len(r.Answer) != 1 {
		t.Errorf("an own name meanwhile: %v", r)
	}
	release()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if r, err := c.ReadMsg(); err != nil || len(r.Answer) != 1 {
		t.Errorf("a reply that was waited for: %v, %v", r, err)
	}
}

// TestForwardCircle: a question that comes back to who has forwarded it goes no further.
func TestForwardCircle(t *testing.T) {
	var address atomic.Pointer[string]
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		on := q.Copy()
		on.Id++
		r, _, err := (&miekg.Client{Timeout: patience}).Exchange(on, *address.Load())
		if err != nil {
			return
		}
		r.Id = q.Id
		_ = w.WriteMsg(r)
	})
	s, _ := listen(t, dns.Config{Forward: []string{server}, ForwardTimeout: 2 * time.Second})
	own := s.Addr()
	address.Store(&own)
	if r := exchange(t, "udp", own, question("example.com.", miekg.TypeA)); r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("reply: %v", r)
	}
	if got := s.Stats().UDPQueries; got != 2 {
		t.Errorf("the question came %d times, want twice: by the client, and by the circle", got)
	}
}

// TestForwardShared: the same question, asked by several at once, is forwarded once, and each gets it as he spelt it.
func TestForwardShared(t *testing.T) {
	const clients = 20
	release := make(chan struct{})
	var asked atomic.Int64
	one := answerA(1)
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		asked.Add(1)
		<-release
		one(w, q)
	})
	s, _ := listen(t, dns.Config{Forward: []string{server}, ForwardTimeout: patience})
	conn := dialTCP(t, s)
	for i := range clients {
		q := question([]string{"example.com.", "EXAMPLE.com."}[i%2], miekg.TypeA)
		q.Id = uint16(i)
		raw, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, conn, append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
	}
	// What comes behind them by the same connection was read behind them.
	last := packQuery(t, "none.service.rollcall.internal.", miekg.TypeA)
	mustWrite(t, conn, append(binary.BigEndian.AppendUint16(nil, uint16(len(last))), last...))
	readFramed(t, conn)
	close(release)
	for range clients {
		r := new(miekg.Msg)
		if err := r.Unpack(readFramed(t, conn)); err != nil {
			t.Fatal(err)
		}
		if want := []string{"example.com.", "EXAMPLE.com."}[r.Id%2]; len(r.Answer) != 1 || r.Question[0].Name != want {
			t.Errorf("reply: %v", r)
		}
	}
	if got := asked.Load(); got == clients {
		t.Errorf("forwarded for each of the %d clients that asked at once", clients)
	}
}

// TestForwardFaults: addresses that are none, and the server's own.
func TestForwardFaults(t *testing.T) {
	view := newEmptyFixture().view
	for _, tt := range []struct {
		address, forward, want string
	}{
		{"127.0.0.1:7653", "192.0.2.1", "HOST:PORT"},
		{"127.0.0.1:7653", ":53", "HOST:PORT"},
		{"127.0.0.1:7653", "192.0.2.1:0", "HOST:PORT"},
		{"127.0.0.1:7653", "127.0.0.1:7653", "is this server"},
		{"0.0.0.0:7653", "127.0.0.1:7653", "is this server"},
		{"[::]:7653", "[::1]:7653", "is this server"},
		{"127.0.0.1:7653", "127.0.0.2:7653", ""},
		{"127.0.0.1:7653", "127.0.0.1:53", ""},
		{"127.0.0.1:7653", "resolver.example:53", ""},
	} {
		err := dns.Config{View: view, Address: tt.address, Forward: []string{tt.forward}}.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("forward from %s to %s: got %v, want %q", tt.address, tt.forward, err, tt.want)
		}
	}
	if err := (dns.Config{View: view, Forward: slices.Repeat([]string{"192.0.2.1:53"}, 9)}).Validate(); err == nil {
		t.Error("nine servers: no error")
	}
}

// TestForwardAlias: the host name of an instance is asked for elsewhere, for a stub resolver does not, and takes an alias alone
// for a name without addresses.
func TestForwardAlias(t *testing.T) {
	var asked atomic.Pointer[miekg.Msg]
	one := answerA(1)
	server := upstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		asked.Store(q)
		switch q.Question[0].Name {
		case "none.example.com.":
			r := new(miekg.Msg)
			r.SetRcode(q, miekg.RcodeNameError)
			_ = w.WriteMsg(r)
		case "bad.example.com.":
			r := new(miekg.Msg)
			r.SetRcode(q, miekg.RcodeServerFailure)
			_ = w.WriteMsg(r)
		default:
			one(w, q)
		}
	})
	s, f := listen(t, dns.Config{Forward: []string{server}})
	for service, host := range map[string]string{
		"db": "db.example.com", "chain": "db.service.rollcall.internal", "none": "none.example.com", "bad": "bad.example.com",
	} {
		f.commit(event.Default, event.InstanceRegistered{Instance: event.Instance{Service: service, ID: "a", Address: host, Port: 1}})
	}
	for _, c := range []struct {
		name, service string
		plain         bool // without recursion
		rcode         int
		want          []string
	}{
		{name: "outside", service: "db", want: []string{"CNAME db.example.com.", "A 192.0.2.0"}},
		{name: "chain", service: "chain", want: []string{"CNAME db.service.rollcall.internal.", "CNAME db.example.com.", "A 192.0.2.0"}},
		{name: "no recursion", service: "db", plain: true, want: []string{"CNAME db.example.com."}},
		{name: "no recursion, chain", service: "chain", plain: true, want: []string{"CNAME db.service.rollcall.internal.", "CNAME db.example.com."}},
		{name: "no such name", service: "none", rcode: miekg.RcodeNameError, want: []string{"CNAME none.example.com."}},
		{name: "failure", service: "bad", rcode: miekg.RcodeServerFailure},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(c.name+"/"+network, func(t *testing.T) {
				q := question("a."+c.service+".instance.rollcall.internal.", miekg.TypeA)
				if network == "tcp" {
					q = question(c.service+".Service.rollcall.internal.", miekg.TypeA)
					q.SetEdns0(1232, true)
				}
				q.RecursionDesired = !c.plain
				asked.Store(nil)
				r := exchange(t, network, s.Addr(), q)
				var got []string
				for _, rr := range r.Answer {
					got = append(got, strings.Join(strings.Fields(rr.String())[3:], " "))
				}
				if r.Rcode != c.rcode || !slices.Equal(got, c.want) || r.Question[0] != q.Question[0] || (r.IsEdns0() != nil) != (network == "tcp") {
					t.Errorf("got %v, want %d and %q", r, c.rcode, c.want)
				}
				if (asked.Load() == nil) != c.plain {
					t.Errorf("without recursion %t, and elsewhere was asked %v", c.plain, asked.Load())
				}
			})
		}
	}
}
