package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// askDNS gives the code and the addresses, or other data, that a server's DNS answers with.
func askDNS(t *testing.T, s *Server, name string, kind uint16) string {
	t.Helper()
	q := new(miekg.Msg)
	q.SetQuestion(miekg.Fqdn(name), kind)
	r, _, err := (&miekg.Client{Timeout: time.Minute}).Exchange(q, s.Endpoints().DNS)
	if err != nil {
		t.Fatal(err)
	}
	shown := miekg.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		shown += " " + miekg.Field(rr, 1)
	}
	return shown
}

func submit(t *testing.T, s *Server, c commands.Command) event.Revision {
	t.Helper()
	answer, err := s.Submit(t.Context(), event.Default, gateway.Request{Command: c})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Revision
}

// TestNamesAfterRestart: what DNS shows of health, nodes and settings is in its rows, and is as it was at every
// revision: with the spelling that names had then, and with the maintenance that was on then.
func TestNamesAfterRestart(t *testing.T) {
	var said journal
	s, c := startAlone(t, &said)
	checks := []event.Check{{ID: "up", TTL: event.Time(time.Hour), Initial: event.Passing}}
	submit(t, s, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: "a", Address: "10.0.0.1", Checks: checks}})
	submit(t, s, commands.RegisterInstance{Instance: event.Instance{Service: "Web", ID: "b", Address: "10.0.0.2", Node: "n1"}})
	both := submit(t, s, commands.PutNode{Node: "N2", Address: "10.0.0.9"})
	critical := submit(t, s, commands.ReportStatus{Service: "web", ID: "a", Check: "up", Status: event.Critical})
	neither := submit(t, s, commands.SetNodeMaintenance{Node: "n1", Enabled: true})
	submit(t, s, commands.ConfigureService{Service: "web", DNSTTL: event.Time(30 * time.Second)})
	gone := submit(t, s, commands.DeregisterInstance{Service: "web", ID: "a"})
	check := func() {
		t.Helper()
		at := func(r event.Revision) string { return fmt.Sprintf("at-%d.rollcall.internal", r) }
		for _, tt := range []struct {
			name string
			kind uint16
			want []string
		}{
			{"web.service.rollcall.internal", miekg.TypeA, []string{"NOERROR"}},
			{"n2.node.rollcall.internal", miekg.TypeA, []string{"NOERROR 10.0.0.9"}},
			{"9.0.0.10.in-addr.arpa", miekg.TypePTR, []string{"NOERROR n2.node.rollcall.internal."}},
			{"2.0.0.10.in-addr.arpa", miekg.TypePTR, []string{"NOERROR"}},
			{"web.service." + at(both), miekg.TypeA, []string{"NOERROR 10.0.0.1 10.0.0.2", "NOERROR 10.0.0.2 10.0.0.1"}},
			{"web.service." + at(critical), miekg.TypeA, []string{"NOERROR 10.0.0.2"}},
			{"web.service." + at(neither), miekg.TypeA, []string{"NOERROR"}},
			{"a.web.instance." + at(neither), miekg.TypeA, []string{"NOERROR"}},
			{"a.web.instance." + at(gone), miekg.TypeA, []string{"NXDOMAIN"}},
			{"n2.node." + at(both), miekg.TypeA, []string{"NOERROR 10.0.0.9"}},
			{"n2.node." + at(both-1), miekg.TypeA, []string{"NXDOMAIN"}},
			{"web.service." + at(gone+1000), miekg.TypeA, []string{"NXDOMAIN"}},
			{"example.com", miekg.TypeA, []string{"REFUSED"}},
		} {
			got := askDNS(t, s, tt.name, tt.kind)
			if got != tt.want[0] && got != tt.want[len(tt.want)-1] {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want[0])
			}
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if s, err = Start(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDNSForward: other names go where the configuration says, in order.
func TestDNSForward(t *testing.T) {
	packet, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	other := &miekg.Server{PacketConn: packet, NotifyStartedFunc: func() { close(started) }, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		r := new(miekg.Msg).SetReply(q)
		r.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(192, 0, 2, 7)}}
		_ = w.WriteMsg(r)
	})}
	done := make(chan error, 1)
	go func() { done <- other.ActivateAndServe() }()
	<-started
	defer func() {
		if err := errors.Join(other.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	}()
	s, err := Start(t.Context(), Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: Duration(10 * time.Millisecond), DNSForward: packet.LocalAddr().String() + "," + packet.LocalAddr().String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := askDNS(t, s, "example.com", miekg.TypeA); got != "NOERROR 192.0.2.7" {
		t.Errorf("another name: %s", got)
	}
	if got := askDNS(t, s, "none.service.rollcall.internal", miekg.TypeA); got != "NXDOMAIN" {
		t.Errorf("an own name: %s", got)
	}
}
