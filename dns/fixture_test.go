package dns_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// fixture is a handler over a view that the test fills.
type fixture struct {
	view    *names.View
	handler *dns.Handler
	heads   map[string]event.Revision
}

func newFixture(t testing.TB, c dns.Config) *fixture {
	t.Helper()
	c.View = names.New()
	h, err := dns.NewHandler(c)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{view: c.View, handler: h, heads: map[string]event.Revision{}}
}

// commit applies bodies as one commit.
func (f *fixture) commit(namespace string, bodies ...event.Body) {
	head := f.heads[namespace]
	events := make([]event.Event, len(bodies))
	for i, b := range bodies {
		events[i] = event.Event{Revision: head + event.Revision(i) + 1, Commit: head + event.Revision(len(bodies)), Body: b}
	}
	f.heads[namespace] = head + event.Revision(len(bodies))
	f.view.Apply(namespace, events)
}

// many registers n instances of a service, each with an address of its own and an id of the same length.
func (f *fixture) many(service string, n int) {
	bodies := make([]event.Body, n)
	for i := range bodies {
		bodies[i] = event.InstanceRegistered{Instance: event.Instance{
			Service: service, ID: fmt.Sprintf("%s-%04d", service, i), Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Port: 80,
			Tags: []string{"all"}, Meta: map[string]string{"n": strconv.Itoa(i)},
		}}
	}
	f.commit(event.Default, bodies...)
}

// ask sends a message and gives the reply, which has passed checkReply.
func (f *fixture) ask(t rapidT, q *miekg.Msg, transport dns.Transport, limit int) *miekg.Msg {
	t.Helper()
	raw, err := q.Pack()
	if err != nil {
		t.Fatalf("pack %v: %v", q, err)
	}
	return checkReply(t, q, f.handler.Reply(context.Background(), nil, raw, transport), limit)
}

// rapidT is what testing.T and rapid.T have in common.
type rapidT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkReply parses a reply and checks everything that holds for all of them.
func checkReply(t rapidT, q *miekg.Msg, raw []byte, limit int) *miekg.Msg {
	t.Helper()
	r := new(miekg.Msg)
	if err := r.Unpack(raw); err != nil {
		t.Fatalf("reply %x to %v: %v", raw, q.Question, err)
	}
	if len(raw) > limit {
		t.Errorf("reply has %d bytes, want at most %d", len(raw), limit)
	}
	if r.Id != q.Id || !r.Response || r.RecursionAvailable || r.RecursionDesired != q.RecursionDesired || r.Opcode != q.Opcode {
		t.Errorf("header of the reply: got %+v to %+v", r.MsgHdr, q.MsgHdr)
	}
	if len(r.Question) == 1 {
		if diff := cmp.Diff(r.Question, q.Question); diff != "" {
			t.Errorf("question (-got +want):\n%s", diff)
		}
	}
	if (q.IsEdns0() != nil) != (r.IsEdns0() != nil) {
		t.Errorf("OPT in the query %t, in the reply %t", q.IsEdns0() != nil, r.IsEdns0() != nil)
	}
	checkSections(t, r)
	return r
}

func checkSections(t rapidT, r *miekg.Msg) {
	t.Helper()
	negative := len(r.Answer) == 0 && !r.Truncated && (r.Rcode == miekg.RcodeSuccess || r.Rcode == miekg.RcodeNameError)
	if negative != (len(r.Ns) == 1) {
		t.Errorf("reply without answer %t, but %d records in authority:\n%v", negative, len(r.Ns), r)
	}
	for _, rr := range r.Answer {
		if got, want := rr.Header().Name, r.Question[0].Name; got != want {
			t.Errorf("owner of an answer: got %q, want %q", got, want)
		}
	}
	for _, section := range [][]miekg.RR{r.Answer, r.Ns, r.Extra} {
		if lines := zoneLines(section); len(slices.Compact(lines)) != len(section) {
			t.Errorf("the same record twice:\n%s", strings.Join(lines, "\n"))
		}
	}
}

// zoneLines prints records as in a zone file, sorted.
func zoneLines(rrs []miekg.RR) []string {
	var lines []string
	for _, rr := range rrs {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	slices.Sort(lines)
	return lines
}

// parseRegister reads "SERVICE ID ADDRESS:PORT [tags=a,b] [meta=k:v,k:v] [protocol=P] [weight=N] [priority=N]". "%20" in a word is
// a blank.
func parseRegister(words []string) (event.Instance, error) {
	if len(words) < 3 {
		return event.Instance{}, fmt.Errorf("register %q: SERVICE ID ADDRESS:PORT", words)
	}
	host, port, err := net.SplitHostPort(words[2])
	if err != nil {
		return event.Instance{}, err
	}
	i := event.Instance{Service: words[0], ID: words[1], Address: host}
	numbers := map[string]*uint16{"port": &i.Port, "weight": &i.Weight, "priority": &i.Priority}
	for _, word := range append([]string{"port=" + port}, words[3:]...) {
		option, value, _ := strings.Cut(word, "=")
		switch option {
		case "tags":
			i.Tags = strings.Split(value, ",")
		case "protocol":
			i.Protocol = value
		case "meta":
			i.Meta = map[string]string{}
			for entry := range strings.SplitSeq(value, ",") {
				k, v, _ := strings.Cut(entry, ":")
				i.Meta[strings.ReplaceAll(k, "%20", " ")] = v
			}
		default:
			if numbers[option] == nil {
				return i, fmt.Errorf("register: no option %q", word)
			}
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return i, err
			}
			*numbers[option] = uint16(n)
		}
	}
	return i, nil
}
