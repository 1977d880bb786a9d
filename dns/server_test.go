package dns_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// listen starts a server over a fixture's view; it is closed when the test ends.
func listen(t *testing.T, c dns.Config) (*dns.Server, *fixture) {
	t.Helper()
	f := newEmptyFixture()
	c.View = f.view
	if c.At == nil {
		c.At = f.at
	}
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	s, err := dns.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, f
}

// TestClient asks with the library's client by UDP and by TCP.
func TestClient(t *testing.T) {
	s, f := listen(t, dns.Config{})
	f.many("web", 100)
	for _, tt := range []struct {
		network   string
		answers   int
		truncated bool
	}{{"udp", 29, true}, {"tcp", 100, false}} {
		t.Run(tt.network, func(t *testing.T) {
			q := new(miekg.Msg)
			q.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
			client := &miekg.Client{Net: tt.network, Timeout: patience}
			r, _, err := client.Exchange(q, s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Answer) != tt.answers || r.Truncated != tt.truncated {
				t.Errorf("got %d answers, TC %t; want %d, %t", len(r.Answer), r.Truncated, tt.answers, tt.truncated)
			}
		})
	}
	if got := s.Stats(); got.UDPQueries != 1 || got.TCPQueries != 1 || got.Replies["noerror"] != 2 {
		t.Errorf("stats: %+v", got)
	}
}

// TestFail answers nothing about the domain any more; what it would have refused is still refused.
func TestFail(t *testing.T) {
	s, f := listen(t, dns.Config{})
	f.many("web", 1)
	s.Fail()
	for name, want := range map[string]int{
		"web.service.rollcall.internal.": miekg.RcodeServerFailure, "missing.service.rollcall.internal.": miekg.RcodeServerFailure,
		"example.com.": miekg.RcodeRefused,
	} {
		q := new(miekg.Msg)
		q.SetQuestion(name, miekg.TypeA)
		r, _, err := (&miekg.Client{Timeout: patience}).Exchange(q, s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if r.Rcode != want || len(r.Answer)+len(r.Ns) > 0 {
			t.Errorf("%s: %s with %d records, want %s", name, miekg.RcodeToString[r.Rcode], len(r.Answer)+len(r.Ns), miekg.RcodeToString[want])
		}
	}
}

// TestResolver asks as every Go program does, which changes to TCP by itself when a reply is truncated.
func TestResolver(t *testing.T) {
	s, f := listen(t, dns.Config{})
	f.many("big", 100)
	f.commit(event.Default, event.InstanceRegistered{Instance: event.Instance{
		Service: "web", ID: "w1", Address: "10.9.9.9", Port: 8080, Weight: 7, Meta: map[string]string{"env": "prod", "zone": "a"},
		Checks: []event.Check{{ID: "up", TTL: 1, Initial: event.Passing}},
	}}, event.NodeSet{Node: "n1", Address: "fd00::1"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
	hosts, err := r.LookupHost(ctx, "web.service.rollcall.internal.")
	if diff := cmp.Diff(hosts, []string{"10.9.9.9"}); err != nil || diff != "" {
		t.Errorf("hosts: %v (-got +want):\n%s", err, diff)
	}
	big, err := r.LookupHost(ctx, "big.service.rollcall.internal.")
	if err != nil || len(big) != 100 {
		t.Errorf("hosts of a long answer: %d, %v; want 100", len(big), err)
	}
	_, srv, err := r.LookupSRV(ctx, "web", "tcp", "service.rollcall.internal.")
	want := []*net.SRV{{Target: "w1.web.instance.rollcall.internal.", Port: 8080, Weight: 7}}
	if diff := cmp.Diff(srv, want); err != nil || diff != "" {
		t.Errorf("SRV: %v (-got +want):\n%s", err, diff)
	}
	texts, err := r.LookupTXT(ctx, "web.service.rollcall.internal.")
	slices.Sort(texts)
	if diff := cmp.Diff(texts, []string{"env=prod", "zone=a"}); err != nil || diff != "" {
		t.Errorf("TXT: %v (-got +want):\n%s", err, diff)
	}
	node, err := r.LookupHost(ctx, "n1.node.rollcall.internal.")
	if diff := cmp.Diff(node, []string{"fd00::1"}); err != nil || diff != "" {
		t.Errorf("node: %v (-got +want):\n%s", err, diff)
	}
	for address, want := range map[string]string{"10.9.9.9": "w1.web.instance.rollcall.internal.", "fd00::1": "n1.node.rollcall.internal."} {
		name, err := r.LookupAddr(ctx, address)
		if diff := cmp.Diff(name, []string{want}); err != nil || diff != "" {
			t.Errorf("name of %s: %v (-got +want):\n%s", address, err, diff)
		}
	}
	passing := f.heads[event.Default]
	f.commit(event.Default, event.InstanceStatus{Service: "web", ID: "w1", Check: "up", Status: event.Critical})
	if hosts, err := r.LookupHost(ctx, "web.service.rollcall.internal."); err == nil {
		t.Errorf("hosts of a service that does not pass: %v", hosts)
	}
	hosts, err = r.LookupHost(ctx, fmt.Sprintf("web.service.at-%d.rollcall.internal.", passing))
	if diff := cmp.Diff(hosts, []string{"10.9.9.9"}); err != nil || diff != "" {
		t.Errorf("hosts when it passed: %v (-got +want):\n%s", err, diff)
	}
	var missing *net.DNSError
	if _, err := r.LookupHost(ctx, "none.service.rollcall.internal."); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Errorf("a service that does not exist: got %v, want not found", err)
	}
}

// TestDig asks with the tool that people ask with.
func TestDig(t *testing.T) {
	dig, err := exec.LookPath("dig")
	if err != nil {
		t.Skip("dig is not installed")
	}
	s, f := listen(t, dns.Config{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53")}})
	f.many("big", 100)
	f.commit(event.Default, event.InstanceRegistered{Instance: event.Instance{
		Service: "web", ID: "w1", Address: "10.9.9.9", Port: 8080, Weight: 7, Priority: 1, Meta: map[string]string{"env": "prod"},
	}}, event.NodeSet{Node: "n1", Address: "10.9.9.8"})
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		want  string // in the output
		lines int    // of +short; zero where it is not used
	}{
		{[]string{"+short", "web.service.rollcall.internal", "A"}, "10.9.9.9", 1},
		{[]string{"+short", "web.service.rollcall.internal", "SRV"}, "1 7 8080 w1.web.instance.rollcall.internal.", 1},
		{[]string{"+short", "_web._tcp.service.rollcall.internal", "SRV"}, "1 7 8080 w1.web.instance.rollcall.internal.", 1},
		{[]string{"+short", "web.service.rollcall.internal", "TXT"}, `"env=prod"`, 1},
		{[]string{"+short", "n1.node.rollcall.internal", "A"}, "10.9.9.8", 1},
		{[]string{"+short", "-x", "10.9.9.9"}, "w1.web.instance.rollcall.internal.", 1},
		{[]string{"+short", "web.service.at-102.rollcall.internal"}, "10.9.9.9", 1},
		{[]string{"+short", "rollcall.internal", "NS"}, "ns.rollcall.internal.", 1},
		{[]string{"+short", "big.service.rollcall.internal", "A"}, "10.0.0.99", 100}, // dig goes on by TCP
		{[]string{"+short", "+tcp", "big.service.rollcall.internal", "A"}, "10.0.0.99", 100},
		{[]string{"+ignore", "big.service.rollcall.internal", "A"}, "flags: qr aa tc rd", 0},
		{[]string{"+ignore", "+noedns", "big.service.rollcall.internal", "SRV"}, "flags: qr aa tc rd", 0},
		{[]string{"none.service.rollcall.internal", "A"}, "status: NXDOMAIN", 0},
		{[]string{"web.service.rollcall.internal", "AAAA"}, "AUTHORITY: 1", 0},
		{[]string{"+edns=1", "+noednsnegotiation", "web.service.rollcall.internal"}, "status: BADVERS", 0},
		{[]string{"web.service.at-9999.rollcall.internal"}, "status: NXDOMAIN", 0},
		{[]string{"example.com"}, "status: REFUSED", 0},
		{[]string{"-c", "CH", "version.bind", "TXT"}, "status: REFUSED", 0},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			args := append([]string{"@" + host, "-p", port, "+time=5", "+tries=1"}, tt.args...)
			out, err := exec.CommandContext(t.Context(), dig, args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) || strings.Contains(strings.ToLower(string(out)), "malformed") {
				t.Fatalf("%v, want %q in:\n%s", err, tt.want, out)
			}
			lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(out)), "\n"), func(l string) bool { return strings.HasPrefix(l, ";;") })
			if tt.lines != 0 && len(lines) != tt.lines {
				t.Errorf("%d lines, want %d:\n%s", len(lines), tt.lines, out)
			}
		})
	}
}

// TestPipelining sends many queries before it reads a reply, the last one in two halves.
func TestPipelining(t *testing.T) {
	s, f := listen(t, dns.Config{})
	f.many("web", 10)
	conn := dialTCP(t, s)
	raw := packQuery(t, "web.service.rollcall.internal.", miekg.TypeA)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	const n = 200
	stream := slices.Repeat(framed, n)
	half := len(stream) - len(framed)/2
	mustWrite(t, conn, stream[:half])
	// All but the last are answered although half of it waits.
	for i := range n {
		if i == n-1 {
			mustWrite(t, conn, stream[half:])
		}
		r := new(miekg.Msg)
		if err := r.Unpack(readFramed(t, conn)); err != nil || len(r.Answer) != 10 {
			t.Fatalf("reply %d: %v with %d answers", i, err, len(r.Answer))
		}
	}
}

func dialTCP(t *testing.T, s *dns.Server) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func mustWrite(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func readFramed(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// wantClosed checks that the server ends the connection.
func wantClosed(t *testing.T, conn net.Conn, why string) {
	t.Helper()
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s: read %d bytes, %v; want the connection closed", why, n, err)
	}
}

func TestBadConnections(t *testing.T) {
	s, _ := listen(t, dns.Config{TCPIdleTimeout: 100 * time.Millisecond})
	for _, tt := range []struct {
		name string
		send []byte
	}{
		{"silence", nil},
		{"half of a query", []byte{0, 100, 1, 2, 3}},
		{"an empty message", []byte{0, 0}},
		{"a reply", append([]byte{0, 12}, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"a query too long", []byte{0xff, 0xff, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := dialTCP(t, s)
			mustWrite(t, conn, tt.send)
			wantClosed(t, conn, tt.name)
		})
	}
}

// TestConnectionBound: a connection too many is closed, and there is room again when another one ends.
func TestConnectionBound(t *testing.T) {
	s, f := listen(t, dns.Config{TCPConnectionsMax: 1})
	f.many("web", 1)
	first := dialTCP(t, s)
	client := &miekg.Client{Net: "tcp", Timeout: patience}
	q := new(miekg.Msg)
	q.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
	if _, _, err := client.ExchangeWithConn(q, &miekg.Conn{Conn: first}); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, dialTCP(t, s), "second connection")
	if got := s.Stats(); got.TCPConnections != 1 || got.TCPRefused != 1 {
		t.Errorf("stats: %+v", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if _, _, err := client.Exchange(q, s.Addr()); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no room again: %v", err)
		}
	}
}

// TestAnyAddress: a server on all addresses replies from the one that was asked.
func TestAnyAddress(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			s, f := listen(t, dns.Config{Address: address, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
			f.many("web", 1)
			_, port, err := net.SplitHostPort(s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			// A connected socket takes replies from this address only.
			conn, err := net.Dial("udp", "127.0.0.2:"+port)
			if err != nil {
				t.Skipf("no second loopback address here: %v", err)
			}
			defer conn.Close()
			q := new(miekg.Msg)
			q.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
			r, _, err := (&miekg.Client{Timeout: patience}).ExchangeWithConn(q, &miekg.Conn{Conn: conn})
			if err != nil || len(r.Answer) != 1 {
				t.Errorf("reply: %v, %v", r, err)
			}
		})
	}
}

// TestShutdown: a client that is connected and silent does not keep the server, and both ports are free after it.
func TestShutdown(t *testing.T) {
	s, f := listen(t, dns.Config{})
	f.many("web", 1)
	conn := dialTCP(t, s)
	raw := packQuery(t, "web.service.rollcall.internal.", miekg.TypeA)
	mustWrite(t, conn, append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
	readFramed(t, conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	wantClosed(t, conn, "after the shutdown")
	if got := s.Stats().TCPConnections; got != 0 {
		t.Errorf("open connections: got %d, want 0", got)
	}
	again, _ := listen(t, dns.Config{Address: s.Addr()})
	if got, want := again.Addr(), s.Addr(); got != want {
		t.Errorf("address: got %s, want %s", got, want)
	}
}

func TestListenRefusals(t *testing.T) {
	s, f := listen(t, dns.Config{})
	for _, tt := range []struct {
		name, address, want string
	}{
		{"a port in use", s.Addr(), "address already in use"},
		{"no port", "127.0.0.1", "missing port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other, err := dns.Listen(dns.Config{View: f.view, Address: tt.address})
			if err == nil {
				t.Fatal(errors.Join(errors.New("it listens"), other.Close()))
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || !strings.Contains(got, "listen for DNS on "+tt.address) {
				t.Errorf("error: got %q, want one with %q", got, tt.want)
			}
		})
	}
}
