package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	events  map[string][]event.Event // all that were committed, for the past
	floor   event.Revision           // states of the default namespace before it are no longer kept
}

func newFixture(t testing.TB, c dns.Config) *fixture {
	t.Helper()
	f := newEmptyFixture()
	c.View = f.view
	if c.At == nil {
		c.At = f.at
	}
	var err error
	if f.handler, err = dns.NewHandler(c); err != nil {
		t.Fatal(err)
	}
	return f
}

func newEmptyFixture() *fixture {
	return &fixture{view: names.New(), heads: map[string]event.Revision{}, events: map[string][]event.Event{}}
}

// at gives a namespace as it was, whatever part of it is asked for.
func (f *fixture) at(_ context.Context, p dns.Past) (*names.Namespace, error) {
	if p.Revision > f.heads[p.Namespace] {
		return nil, dns.ErrNoRevision
	}
	if p.Namespace == event.Default && p.Revision < f.floor {
		return nil, dns.ErrTrimmed
	}
	past := names.New()
	past.AddNamespace(p.Namespace)
	for _, e := range f.events[p.Namespace] {
		if e.Commit <= p.Revision {
			past.Apply(p.Namespace, []event.Event{e})
		}
	}
	past.Load(p.Namespace, p.Revision, names.State{}) // the revision that was asked for, in the middle of a commit too
	return past.Namespace([]byte(p.Namespace)), nil
}

// commit applies bodies as one commit.
func (f *fixture) commit(namespace string, bodies ...event.Body) {
	head := f.heads[namespace]
	events := make([]event.Event, len(bodies))
	for i, b := range bodies {
		events[i] = event.Event{Revision: head + event.Revision(i) + 1, Commit: head + event.Revision(len(bodies)), Body: b}
	}
	f.heads[namespace] = head + event.Revision(len(bodies))
	f.events[namespace] = append(f.events[namespace], events...)
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
	if n := len(r.Answer); n > 0 {
		_, negative = r.Answer[n-1].(*miekg.CNAME) // it leads to nothing, or to where only others can look
		negative = negative && len(r.Ns) > 0
	}
	if negative != (len(r.Ns) == 1) {
		t.Errorf("reply without answer %t, but %d records in authority:\n%v", negative, len(r.Ns), r)
	}
	owner := ""
	if len(r.Question) > 0 {
		owner = r.Question[0].Name
	}
	for _, rr := range r.Answer {
		if got := rr.Header().Name; got != owner {
			t.Errorf("owner of an answer: got %q, want %q", got, owner)
		}
		if alias, ok := rr.(*miekg.CNAME); ok {
			owner = alias.Target // it is followed
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

// parseBody reads one event:
//
//	register SERVICE ID ADDRESS:PORT [tags=a,b] [meta=k:v,k:v] [protocol=P] [weight=N] [priority=N] [node=N] [checks=ID:STATUS,…]
//	deregister|expire SERVICE ID
//	status SERVICE ID CHECK STATUS
//	maintenance SERVICE ID on|off
//	configure SERVICE [ttl=30s] [only-passing]
//	node NODE ADDRESS [meta=k:v]
//	node-maintenance NODE on|off
//	node-delete NODE
//
// "%20" in a word is a blank.
func parseBody(words []string) (event.Body, error) {
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "%20", " ")
	}
	// No event has fewer words than two; those of one that has too few are empty.
	arg := func(i int) string {
		if i >= len(words) {
			return ""
		}
		return words[i]
	}
	switch words[0] {
	case "register":
		i, err := parseRegister(words[1:])
		return event.InstanceRegistered{Instance: i}, err
	case "deregister":
		return event.InstanceDeregistered{Service: arg(1), ID: arg(2)}, nil
	case "expire":
		return event.InstanceExpired{Service: arg(1), ID: arg(2)}, nil
	case "status":
		status, err := parseStatus(arg(4))
		return event.InstanceStatus{Service: arg(1), ID: arg(2), Check: arg(3), Status: status}, err
	case "maintenance":
		return event.InstanceMaintenance{Service: arg(1), ID: arg(2), Enabled: arg(3) == "on"}, nil
	case "configure":
		return parseConfigure(words[1:])
	case "node":
		return event.NodeSet{Node: arg(1), Address: arg(2), Meta: parseMeta(strings.TrimPrefix(arg(3), "meta="))}, nil
	case "node-maintenance":
		return event.NodeMaintenance{Node: arg(1), Enabled: arg(2) == "on"}, nil
	case "node-delete":
		return event.NodeDeleted{Node: arg(1)}, nil
	}
	return nil, errors.New("no such event")
}

func parseStatus(s string) (event.Status, error) {
	for _, status := range []event.Status{event.Passing, event.Warning, event.Critical} {
		if status.String() == s {
			return status, nil
		}
	}
	return 0, fmt.Errorf("no status %q", s)
}

func parseConfigure(words []string) (event.Body, error) {
	c := event.ServiceConfigured{Service: words[0]}
	for _, word := range words[1:] {
		option, value, _ := strings.Cut(word, "=")
		switch option {
		case "ttl":
			ttl, err := time.ParseDuration(value)
			if err != nil {
				return nil, err
			}
			c.DNSTTL = event.Time(ttl)
		case "only-passing":
			c.OnlyPassing = true
		default:
			return nil, fmt.Errorf("no option %q", word)
		}
	}
	return c, nil
}

func parseMeta(s string) map[string]string {
	if s == "" {
		return nil
	}
	meta := map[string]string{}
	for entry := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(entry, ":")
		meta[k] = v
	}
	return meta
}

func parseChecks(s string) (all []event.Check, err error) {
	for entry := range strings.SplitSeq(s, ",") {
		id, initial, _ := strings.Cut(entry, ":")
		c := event.Check{ID: id, TTL: event.Time(15 * time.Second)}
		if initial != "" {
			if c.Initial, err = parseStatus(initial); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// parseRegister reads what stands behind "register".
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
		case "node":
			i.Node = value
		case "meta":
			i.Meta = parseMeta(value)
		case "checks":
			if i.Checks, err = parseChecks(value); err != nil {
				return i, err
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
