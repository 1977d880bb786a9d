package names

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/log/event"
)

// Instance is one instance as DNS shows it, or a node. It never changes.
type Instance struct {
	// Target is the label that names this instance, and no other, below its service: its id in lower case or,
	// where that is no DNS label or the id of another instance too, 16 hex digits made from service and id.
	Target string
	// Host is the host name that was registered as the address, without a dot at the end; empty where the
	// address is an IP address.
	Host string
	// Port, Weight and Priority are as registered (RFC 2782).
	Port, Weight, Priority uint16

	family  family
	usable  bool // by its status
	shared  bool // its label is another instance's too
	address [16]byte

	key       instanceKey
	namespace string
	service   string   // in lower case; empty for a node
	label     string   // the id in lower case; the hash where that is no DNS label
	tags      []string // those that are DNS labels: in lower case, sorted, without repeats
	protocol  string   // in lower case; empty when it is no DNS label
	text      []string
	node      string // as it was registered

	condition *condition // nil where it has no checks and never was in maintenance
}

// condition is what an instance's status comes from, besides its node.
type condition struct {
	checks []event.Check
	health event.Health
}

// family is what an address is.
type family uint8

const (
	familyNone family = iota // a host name, or nothing that DNS can say
	family4
	family6
)

// instanceKey is the identity in the ledger. Services that differ only in case share a name here.
type instanceKey struct{ service, id string }

func newInstance(namespace, service string, e event.Instance) *Instance {
	i := &Instance{
		Port: e.Port, Weight: e.Weight, Priority: e.Priority, namespace: namespace, service: service,
		key: instanceKey{service: e.Service, id: e.ID}, tags: foldTags(e.Tags), text: texts(e.Meta), node: e.Node,
	}
	if e.Service == service {
		i.key.service = service // one string for all of them
	}
	i.label = labelOf(i.key)
	if event.IsDNSLabel(e.Protocol) {
		i.protocol = fold(e.Protocol)
	}
	i.setAddress(e.Address)
	return i
}

// labelOf is the label that an instance is asked for by.
func labelOf(k instanceKey) string {
	if event.IsDNSLabel(k.id) {
		return fold(k.id)
	}
	return hashLabel(k)
}

func (i *Instance) setAddress(address string) {
	addr, err := netip.ParseAddr(address)
	switch addr = addr.Unmap(); {
	case err != nil:
		if host := strings.TrimSuffix(address, "."); len(host) <= event.DNSNameBytesMax {
			i.Host = host
		}
	case addr.Is4():
		i.family, i.address = family4, addr.As16()
	default:
		i.family, i.address = family6, addr.As16()
	}
}

// V4 is the instance's IPv4 address; false when it has none.
func (i *Instance) V4() ([4]byte, bool) { return [4]byte(i.address[12:]), i.family == family4 }

// V6 is the instance's IPv6 address; false when it has none.
func (i *Instance) V6() ([16]byte, bool) { return i.address, i.family == family6 }

// shown tells whether DNS answers with the instance: its status lets it be used, and it has an address or a host name.
// A nil instance is none.
func (i *Instance) shown() bool {
	return i != nil && i.usable && (i.family != familyNone || i.Host != "")
}

// ifShown is the instance itself, or nil when it is not shown.
func (i *Instance) ifShown() *Instance {
	if i.shown() {
		return i
	}
	return nil
}

// named is the instance with the target that it has to have, a copy where it has another one: its label, unless that
// is shared.
func (i *Instance) named(shared bool) *Instance {
	target := i.label
	if shared {
		target = hashLabel(i.key)
	}
	if i.Target == target && i.shared == shared {
		return i
	}
	c := *i
	c.Target, c.shared = target, shared
	return &c
}

// health is what is known of the instance besides its registration.
func (i *Instance) health() event.Health {
	if i.condition == nil {
		return event.Health{}
	}
	return i.condition.health
}

func (i *Instance) checks() []event.Check {
	if i.condition == nil {
		return nil
	}
	return i.condition.checks
}

func (i *Instance) compare(o *Instance) int {
	if c := cmp.Compare(i.label, o.label); c != 0 {
		return c // as nearly always: the rest is for what differs only in case
	}
	return cmp.Or(cmp.Compare(i.key.service, o.key.service), cmp.Compare(i.key.id, o.key.id))
}

func hashLabel(k instanceKey) string {
	sum := sha256.Sum256([]byte(k.service + "\x00" + k.id))
	return hex.EncodeToString(sum[:8])
}

// The keys of what instances answer together.
type (
	addressV4 [4]byte
	addressV6 [16]byte
	attribute string
)

func (a addressV4) compare(b addressV4) int { return bytes.Compare(a[:], b[:]) }
func (a addressV6) compare(b addressV6) int { return bytes.Compare(a[:], b[:]) }
func (a attribute) compare(b attribute) int { return cmp.Compare(a, b) }

func foldTags(tags []string) []string {
	var labels []string
	for _, t := range tags {
		if event.IsDNSLabel(t) {
			labels = append(labels, fold(t))
		}
	}
	slices.Sort(labels)
	return slices.Compact(labels)
}

// texts is the metadata as RFC 1464 writes it, sorted: "name=value", where a back quote guards an equals sign, a
// back quote, and blanks at the ends of the name.
func texts(meta map[string]string) []string {
	var all []string
	for name, value := range meta {
		all = append(all, quoteAttribute(name)+"="+value)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func quoteAttribute(name string) string {
	if !strings.ContainsAny(name, "=` \t") {
		return name
	}
	var b strings.Builder
	inner := len(strings.TrimRight(name, " \t"))
	for i, leading := 0, true; i < len(name); i++ {
		c := name[i]
		blank := c == ' ' || c == '\t'
		leading = leading && blank
		if c == '=' || c == '`' || blank && (leading || i >= inner) {
			b.WriteByte('`')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// fold is strings.ToLower for ASCII: DNS compares names so (RFC 4343), and a label has nothing else.
func fold(s string) string { return strings.ToLower(s) }
