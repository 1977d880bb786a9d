package dns_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// TestPastFaults: a past that cannot be read is no answer, and says so.
func TestPastFaults(t *testing.T) {
	f := newFixture(t, dns.Config{At: func(context.Context, dns.Past) (*names.Namespace, error) { return nil, errors.New("broken disk") }})
	q := new(miekg.Msg)
	q.SetQuestion("web.service.at-1.rollcall.internal.", miekg.TypeA)
	q.SetEdns0(1232, false)
	r := f.ask(t, q, dns.UDP, 1232)
	if r.Rcode != miekg.RcodeServerFailure || !strings.Contains(r.String(), "could not be read") || strings.Contains(r.String(), "broken disk") {
		t.Errorf("reply: %v", r)
	}
}

// TestPastParts: what is asked for is read, and nothing else, and read once.
func TestPastParts(t *testing.T) {
	var asked []dns.Past
	f := newFixture(t, dns.Config{At: func(_ context.Context, p dns.Past) (*names.Namespace, error) {
		asked = append(asked, p)
		return names.Fold(p.Namespace, p.Revision, names.State{}), nil
	}})
	f.view.AddNamespace("prod")
	for _, tt := range []struct {
		name string
		want dns.Past
	}{
		{"Web.service.at-7", dns.Past{Service: "web"}},
		{"x.web.service.prod.at-7", dns.Past{Namespace: "prod", Service: "web"}},
		{"_web._tcp.service.at-7", dns.Past{Service: "web"}},
		{"i.web.instance.at-7", dns.Past{Service: "web"}},
		{"web.instance.at-7", dns.Past{Service: "web"}},
		{"N1.node.at-7", dns.Past{Node: "n1"}},
		{"at-7", dns.Past{}},
		{"_revision.at-7", dns.Past{}},
		{"service.at-7", dns.Past{}},
		{"a.b.c.service.at-7", dns.Past{}},
	} {
		tt.want.Revision = 7
		if tt.want.Namespace == "" {
			tt.want.Namespace = event.Default
		}
		q := new(miekg.Msg)
		q.SetQuestion(tt.name+".rollcall.internal.", miekg.TypeA)
		before := len(asked)
		f.ask(t, q, dns.UDP, 512)
		if got := append(asked, dns.Past{}); len(asked) == before+1 && got[before] != tt.want {
			t.Errorf("%s: read %+v, want %+v", tt.name, got[before], tt.want)
		}
		before = len(asked)
		f.ask(t, q, dns.TCP, 65535)
		if len(asked) != before {
			t.Errorf("%s: read again", tt.name)
		}
	}
	if len(asked) != 4 {
		t.Errorf("read %d times, want one for each of the parts: %+v", len(asked), asked)
	}
}

// TestPastMemory: what is kept of the past has a bound, and what was asked for last stays.
func TestPastMemory(t *testing.T) {
	var reads atomic.Int64
	instances := make([]names.Registered, 30_000)
	for i := range instances {
		instances[i].Instance = event.Instance{Service: "web", ID: fmt.Sprintf("i%05d", i), Address: "10.0.0.1"}
	}
	f := newFixture(t, dns.Config{At: func(_ context.Context, p dns.Past) (*names.Namespace, error) {
		reads.Add(1)
		return names.Fold(p.Namespace, p.Revision, names.State{Instances: func(yield func(names.Registered) bool) {
			for _, r := range instances {
				if !yield(r) {
					return
				}
			}
		}}), nil
	}})
	ask := func(revision int) (read bool) {
		before := reads.Load()
		q := new(miekg.Msg)
		q.SetQuestion(fmt.Sprintf("web.service.at-%d.rollcall.internal.", revision), miekg.TypeA)
		if r := f.ask(t, q, dns.UDP, 512); len(r.Answer) != 1 {
			t.Fatalf("reply: %v", r)
		}
		return reads.Load() > before
	}
	for revision := 1; revision <= 3; revision++ {
		ask(revision)
	}
	if ask(1) || !ask(4) || ask(1) {
		t.Error("what was asked for last is not kept")
	}
	if !ask(2) {
		t.Error("four states of 30,000 instances are kept")
	}
}

// TestPastHoldsUpNobody: while the past is read, others are answered, on the same connection too; and when too many
// wait, the next one is told so.
func TestPastHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{}, 1000)
	s, f := listen(t, dns.Config{At: func(ctx context.Context, p dns.Past) (*names.Namespace, error) {
		begun <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return names.Fold(p.Namespace, p.Revision, names.State{}), nil
	}})
	f.many("web", 1)
	conn := dialTCP(t, s)
	send := func(id uint16, name string) {
		q := new(miekg.Msg)
		q.SetQuestion(name, miekg.TypeA)
		q.Id = id
		raw, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, conn, append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
	}
	read := func() *miekg.Msg {
		r := new(miekg.Msg)
		if err := r.Unpack(readFramed(t, conn)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	const places, atOnce = 256, 4 // that wait, and that are read meanwhile
	for id := range uint16(places) {
		send(1000+id, fmt.Sprintf("web.service.at-%d.rollcall.internal.", id+1))
	}
	for range atOnce {
		<-begun
	}
	send(100, "web.service.rollcall.internal.")
	if r := read(); r.Id != 100 || len(r.Answer) != 1 {
		t.Errorf("the first reply is not that to the question of the present: %v", r)
	}
	send(101, "web.service.at-9999.rollcall.internal.")
	if r := read(); r.Id != 101 || r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("one too many: got %v, want SERVFAIL", r)
	}
	client := &miekg.Client{Timeout: patience}
	q := new(miekg.Msg)
	q.SetQuestion("web.service.rollcall.internal.", miekg.TypeA)
	if r, _, err := client.Exchange(q, s.Addr()); err != nil || len(r.Answer) != 1 {
		t.Errorf("by UDP: %v, %v", r, err)
	}
	close(release)
	seen := map[uint16]bool{}
	for range places {
		seen[read().Id] = true
	}
	if len(seen) != places {
		t.Errorf("late replies: got %v, want %d", seen, places)
	}
	q.SetQuestion("web.service.at-5000.rollcall.internal.", miekg.TypeA)
	if r, _, err := client.Exchange(q, s.Addr()); err != nil || r.Rcode != miekg.RcodeNameError {
		t.Errorf("the past by UDP, when there is room again: %v, %v", r, err)
	}
}
