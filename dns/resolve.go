package dns

import (
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// nodeKind is what a name is, which says what types it can have.
type nodeKind uint8

const (
	nodeMissing    nodeKind = iota // no such name: NXDOMAIN
	nodeEmpty                      // nothing but names below it (RFC 8020): NODATA for every type
	nodeApex                       // of a zone: SOA, NS
	nodeNameServer                 // the host that the NS records name: A, AAAA
	nodeRevision                   // TXT
	nodeInstances                  // A, AAAA or CNAME, SRV, TXT
	nodeServers                    // SRV only (RFC 2782)
	nodeHost                       // a node: A, AAAA or CNAME, TXT
	nodeAddress                    // the reverse name of an address, which is a zone of its own: PTR, SOA, NS
	nodeRefused                    // nothing that may be answered
)

// node is what the view has for a name, at one moment.
type node struct {
	kind      nodeKind
	zone      *names.Namespace // whose zone the name is in: its revision is the serial
	zoneLabel int              // label of the question at which the zone's name begins
	suffix    int              // label at which begins what names of the same moment end in: the domain, or at-REVISION
	ttl       uint32           // of its records, unless they say otherwise
	service   string           // of the instances
	set       names.Set
	also      names.Set      // of nodeServers: those that are not in the set, and answer too
	pointers  names.Pointers // of nodeAddress
	// nameServer says that a namespace's apex is the name server's name too, because of the namespace's name.
	nameServer bool
}

// nameServerLabel is below the domain what the NS records name.
const nameServerLabel = "ns"

// resolve finds a name that has left labels before the domain.
//
// The grammar reads from the right: the domain, at-REVISION for a state of the past, a namespace unless it is the
// default one, a word that says what kind of name it is, and before it what that kind asks for.
func (r *reply) resolve(left int) node {
	h, n := r.h, &r.query.name
	nd := node{zone: h.view.Namespace([]byte(event.Default)), zoneLabel: left, suffix: left, ttl: h.ttl}
	if left == 0 {
		nd.kind = nodeApex
		return nd
	}
	word := n.label(left - 1)
	if isPast(word) {
		return r.resolvePast(nd, left-1)
	}
	if !isWord(word) {
		ns := h.view.Namespace(word)
		nd.nameServer = left == 1 && string(word) == nameServerLabel
		switch {
		case ns == nil && nd.nameServer:
			nd.kind = nodeNameServer
			return nd
		case ns == nil:
			return nd
		}
		left--
		nd.zone, nd.zoneLabel = ns, left
	}
	nd.resolveZone(n, left)
	return nd
}

// resolveZone finds a name that has left labels before its zone.
func (nd *node) resolveZone(n *name, left int) {
	if left == 0 {
		nd.kind = nodeApex
		return
	}
	switch word := n.label(left - 1); {
	case string(word) == "_revision" && left == 1:
		nd.kind = nodeRevision
	case string(word) == "service":
		nd.resolveService(n, left-1)
	case string(word) == "instance":
		nd.resolveInstance(n, left-1)
	case string(word) == "node":
		nd.resolveNode(n, left-1)
	}
}

// isWord tells whether the label before the domain can be no namespace: it is a word of the grammar, which are
// reserved for that purpose.
func isWord(label []byte) bool {
	switch string(label) {
	case "service", "instance", "node", "election", "query", "_revision":
		return true
	}
	return isPast(label)
}

// resolveService finds what stands before "service": a service, a tag and a service, or the two labels of
// RFC 2782.
func (nd *node) resolveService(n *name, left int) {
	switch {
	case left == 0:
		nd.kind = nodeEmpty
	case left == 1:
		if s := nd.zone.Service(n.label(0)); s != nil {
			nd.instances(s, s.All)
		} else if isUnderscored(n.label(0)) {
			// A protocol or a tag, with services below it. Which ones is not looked up: a resolver that asks label
			// by label (RFC 9156) needs only not to be told that there is nothing.
			nd.kind = nodeEmpty
		}
	case left == 2 && isUnderscored(n.label(0)) && isUnderscored(n.label(1)):
		nd.resolveRFC2782(n)
	case left == 2:
		if s := nd.zone.Service(n.label(1)); s != nil {
			if set, ok := s.Tagged(n.label(0)); ok {
				nd.instances(s, set)
			}
		}
	}
}

// resolveRFC2782 finds _service._protocol. The transports name no selection: whoever asks for _tcp or _udp wants
// the service.
func (nd *node) resolveRFC2782(n *name) {
	s := nd.zone.Service(n.label(0)[1:])
	if s == nil {
		return
	}
	nd.instances(s, s.All)
	if protocol := n.label(1)[1:]; string(protocol) != "tcp" && string(protocol) != "udp" {
		var ok bool
		if nd.set, nd.also, ok = s.Offering(protocol); !ok {
			nd.kind = nodeMissing
			return
		}
	}
	nd.kind = nodeServers
}

// instances makes the node one of a service's, and of those instances of it.
func (nd *node) instances(s *names.Service, set names.Set) {
	nd.kind, nd.service, nd.set = nodeInstances, s.Name, set
	if s.TTL != 0 {
		nd.ttl = s.TTL
	}
}

func (nd *node) resolveInstance(n *name, left int) {
	if left == 0 {
		nd.kind = nodeEmpty
		return
	}
	s := nd.zone.Service(n.label(left - 1))
	if s == nil || left > 2 {
		return
	}
	if left == 1 {
		nd.kind = nodeEmpty
		return
	}
	if set, ok := s.Instance(n.label(0)); ok {
		nd.instances(s, set)
	}
}

func isUnderscored(label []byte) bool { return len(label) > 1 && label[0] == '_' }

// resolveNode finds what stands before "node": the name of one.
func (nd *node) resolveNode(n *name, left int) {
	switch left {
	case 0:
		nd.kind = nodeEmpty
	case 1:
		if set, ok := nd.zone.Node(n.label(0)); ok {
			nd.kind, nd.set = nodeHost, set
		}
	}
}
