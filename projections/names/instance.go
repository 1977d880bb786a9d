package names

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/log/event"
)

// Instance is one instance as DNS shows it. It never changes.
type Instance struct {
	// Target is the label that names this instance, and no other, below its service: its id in lower case or,
	// where that is no DNS label or the id of another instance too, 16 hex digits made from service and id.
	Target string
	// Host is the host name that was registered as the address, without a dot at the end; empty where the
	// address is an IP address.
	Host string
	// Port, Weight and Priority are as registered (RFC 2782).
	Port, Weight, Priority uint16

	key      instanceKey
	label    string   // the id in lower case; the hash where that is no DNS label
	tags     []string // those that are DNS labels: in lower case, sorted, without repeats
	protocol string   // in lower case; empty when it is no DNS label
	v4       [][4]byte
	v6       [][16]byte
	text     []string
}

// instanceKey is the identity in the ledger. Services that differ only in case share a name here.
type instanceKey struct{ service, id string }

func newInstance(e event.Instance) *Instance {
	i := &Instance{
		Port: e.Port, Weight: e.Weight, Priority: e.Priority,
		key: instanceKey{service: e.Service, id: e.ID}, tags: foldTags(e.Tags), text: texts(e.Meta),
	}
	i.label = hashLabel(i.key)
	if event.IsDNSLabel(e.ID) {
		i.label = fold(e.ID)
	}
	i.Target = i.label
	if event.IsDNSLabel(e.Protocol) {
		i.protocol = fold(e.Protocol)
	}
	i.setAddress(e.Address)
	return i
}

func (i *Instance) setAddress(address string) {
	addr, err := netip.ParseAddr(address)
	switch addr = addr.Unmap(); {
	case err != nil:
		if host := strings.TrimSuffix(address, "."); len(host) <= event.DNSNameBytesMax {
			i.Host = host
		}
	case addr.Is4():
		i.v4 = [][4]byte{addr.As4()}
	default:
		i.v6 = [][16]byte{addr.As16()}
	}
}

// V4 is the instance's IPv4 address; false when it has none.
func (i *Instance) V4() ([4]byte, bool) {
	if len(i.v4) == 0 {
		return [4]byte{}, false
	}
	return i.v4[0], true
}

// V6 is the instance's IPv6 address; false when it has none.
func (i *Instance) V6() ([16]byte, bool) {
	if len(i.v6) == 0 {
		return [16]byte{}, false
	}
	return i.v6[0], true
}

// renamed is the same instance under the other of its two labels.
func (i *Instance) renamed(target string) *Instance {
	c := *i
	c.Target = target
	return &c
}

// reachable tells whether anything can be answered for the instance: it has an address, or a host name.
func (i *Instance) reachable() bool { return i.Host != "" || len(i.v4)+len(i.v6) > 0 }

func hashLabel(k instanceKey) string {
	sum := sha256.Sum256([]byte(k.service + "\x00" + k.id))
	return hex.EncodeToString(sum[:8])
}

func compareInstances(a, b *Instance) int {
	return cmp.Or(
		cmp.Compare(a.label, b.label), cmp.Compare(a.key.service, b.key.service), cmp.Compare(a.key.id, b.key.id),
	)
}

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
	return all
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
