package dns_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/log/event"
)

// TestScenarios runs testdata/dns. Each file starts from an empty view. Its commands:
//
//	config [domain=D] [ttl=30s] [negative-ttl=30s] [addresses=(A,B)] [udp=BYTES]   starts anew, so configured
//	namespace add|drop NAME
//	trim before=REVISION         what is older in the default namespace is no longer kept
//	commit [namespace=N]         one commit, each line one event; see parseBody, and "many SERVICE N"
//	dig NAME TYPE [class=C] [edns=BYTES] [version=N] [do] [tcp] [count]
//	raw                          a message in hex
//
// Replies are printed with their records sorted, since their order is random; count prints only how many there are.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "../testdata/dns", func(t *testing.T, path string) {
		f := newFixture(t, dns.Config{})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "config":
				f = newFixture(t, parseConfig(t, d))
			case "namespace":
				changeNamespace(f, d)
			case "trim":
				var floor uint64
				d.ScanArgs(t, "before", &floor)
				f.floor = event.Revision(floor)
			case "commit":
				return runCommit(f, d)
			case "dig":
				return runDig(t, f, d)
			case "raw":
				return runRaw(t, f, d)
			default:
				d.Fatalf(t, "no command %q", d.Cmd)
			}
			return ""
		})
	})
}

func parseConfig(t *testing.T, d *datadriven.TestData) dns.Config {
	t.Helper()
	var c dns.Config
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "domain":
			c.Domain = arg.Vals[0]
		case "ttl":
			c.TTL = parseDuration(t, arg.Vals[0])
		case "negative-ttl":
			c.NegativeTTL = parseDuration(t, arg.Vals[0])
		case "addresses":
			for _, a := range arg.Vals {
				c.Addresses = append(c.Addresses, netip.MustParseAddr(a))
			}
		case "udp":
			arg.Scan(t, 0, &c.UDPBytesMax)
		default:
			d.Fatalf(t, "no option %q", arg.Key)
		}
	}
	return c
}

func parseDuration(t *testing.T, s string) time.Duration {
	t.Helper()
	v, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func changeNamespace(f *fixture, d *datadriven.TestData) {
	name := d.CmdArgs[1].Key
	if d.CmdArgs[0].Key == "add" {
		f.view.AddNamespace(name)
		return
	}
	f.view.DropNamespace(name)
	delete(f.heads, name)
}

func runCommit(f *fixture, d *datadriven.TestData) string {
	namespace := event.Default
	for _, arg := range d.CmdArgs {
		if arg.Key == "namespace" {
			namespace = arg.Vals[0]
		}
	}
	var bodies []event.Body
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		if words[0] == "many" {
			n, err := strconv.Atoi(words[2])
			if err != nil {
				return err.Error()
			}
			f.many(words[1], n)
			continue
		}
		body, err := parseBody(words)
		if err != nil {
			return fmt.Sprintf("%q: %v", line, err)
		}
		bodies = append(bodies, body)
	}
	f.commit(namespace, bodies...)
	return ""
}

func runDig(t *testing.T, f *fixture, d *datadriven.TestData) string {
	t.Helper()
	q := new(miekg.Msg)
	q.Id = 1
	q.Question = []miekg.Question{{
		Name: miekg.Fqdn(d.CmdArgs[0].Key), Qtype: miekg.StringToType[d.CmdArgs[1].Key], Qclass: miekg.ClassINET,
	}}
	transport, limit, count := dns.UDP, 512, false
	for _, arg := range d.CmdArgs[2:] {
		switch arg.Key {
		case "class":
			q.Question[0].Qclass = miekg.StringToClass[arg.Vals[0]]
		case "edns":
			arg.Scan(t, 0, &limit)
			q.SetEdns0(uint16(limit), false)
			limit = max(limit, 512)
		case "version":
			var version int
			arg.Scan(t, 0, &version)
			q.IsEdns0().SetVersion(uint8(version))
		case "do":
			q.IsEdns0().SetDo()
		case "rd":
			q.RecursionDesired = true
		case "tcp":
			transport, limit = dns.TCP, 65535
		case "count":
			count = true
		default:
			d.Fatalf(t, "no option %q", arg.Key)
		}
	}
	return printReply(f.ask(t, q, transport, limit), count)
}

func runRaw(t *testing.T, f *fixture, d *datadriven.TestData) string {
	t.Helper()
	query, err := hex.DecodeString(strings.Join(strings.Fields(d.Input), ""))
	if err != nil {
		t.Fatal(err)
	}
	raw := f.handler.Reply(context.Background(), nil, query, dns.UDP)
	if len(raw) == 0 {
		return "no reply\n"
	}
	r := new(miekg.Msg)
	if err := r.Unpack(raw); err != nil {
		t.Fatalf("reply %x: %v", raw, err)
	}
	return printReply(r, false)
}

func printReply(r *miekg.Msg, count bool) string {
	var b strings.Builder
	b.WriteString(rcodeName(r.Rcode))
	for _, flag := range []struct {
		name string
		set  bool
	}{{"aa", r.Authoritative}, {"tc", r.Truncated}, {"rd", r.RecursionDesired}, {"ra", r.RecursionAvailable}, {"ad", r.AuthenticatedData}} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	if r.Opcode != miekg.OpcodeQuery {
		b.WriteString(" " + miekg.OpcodeToString[r.Opcode])
	}
	if len(r.Question) == 0 {
		b.WriteString(" (no question)")
	}
	if opt := r.IsEdns0(); opt != nil {
		fmt.Fprintf(&b, " edns(version %d, udp %d, do %t)", opt.Version(), opt.UDPSize(), opt.Do())
		for _, o := range opt.Option {
			b.WriteString(" " + o.String())
		}
		r.Extra = r.Extra[:len(r.Extra)-1]
	}
	b.WriteString("\n")
	for _, section := range []struct {
		name string
		rrs  []miekg.RR
	}{{"answer", r.Answer}, {"authority", r.Ns}, {"additional", r.Extra}} {
		if len(section.rrs) == 0 {
			continue
		}
		if count {
			fmt.Fprintf(&b, ";; %s: %d\n", section.name, len(section.rrs))
			continue
		}
		fmt.Fprintf(&b, ";; %s\n%s\n", section.name, strings.Join(zoneLines(section.rrs), "\n"))
	}
	return b.String()
}

// rcodeName knows 16 by the name that it has in a reply to a query with EDNS.
func rcodeName(rcode int) string {
	if rcode == miekg.RcodeBadVers {
		return "BADVERS"
	}
	return miekg.RcodeToString[rcode]
}
