package dns

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// Past says what is asked for of a namespace's past: one service, one node, or neither.
type Past struct {
	Namespace string
	Revision  event.Revision
	Service   string // in lower case, as instances of several services may have it in the ledger; empty for none
	Node      string // in lower case; empty for none
}

// What Config.At fails with where that decides the answer. Anything else is a failure of this server.
var (
	ErrNoRevision = errors.New("dns: the ledger has no such revision")
	ErrTrimmed    = errors.New("dns: the state at that revision is no longer kept")
)

// pastPrefix begins the label that names a revision.
const pastPrefix = "at-"

func isPast(label []byte) bool { return bytes.HasPrefix(label, []byte(pastPrefix)) }

// resolvePast finds a name that has left labels before at-REVISION, which stands right before the domain: it is what
// the rest of the name was at that revision of its namespace. nd is where to look for it if there is no such revision.
func (r *reply) resolvePast(nd node, left int) node {
	n := &r.query.name
	revision, ok := parseNumber(n.label(left)[len(pastPrefix):], math.MaxUint64)
	if !ok || revision == 0 || r.h.pasts == nil {
		return nd
	}
	then, namespace := node{zoneLabel: left, suffix: left, ttl: r.h.ttl}, []byte(event.Default)
	if left > 0 && !isWord(n.label(left-1)) {
		left--
		namespace, then.zoneLabel = n.label(left), left
	}
	if ns := r.h.view.Namespace(namespace); ns == nil {
		return nd
	}
	p := pastOf(n, left)
	p.Namespace, p.Revision = string(namespace), event.Revision(revision)
	state := r.past
	if state == nil {
		zone, ok := r.h.pasts.get(p)
		if !ok {
			return r.awaitPast(p)
		}
		state = &pastState{zone: zone}
	}
	switch {
	case state.err == nil:
		then.zone = state.zone
		then.resolveZone(n, left)
		return then
	case errors.Is(state.err, ErrNoRevision):
		if r.domain == 1 {
			nd.kind = nodeEmpty // another namespace may have come so far, and has its names below
		}
		return nd
	case errors.Is(state.err, ErrTrimmed):
		return r.refuse(miekg.RcodeRefused, "the state at that revision is no longer kept")
	}
	return r.refuse(miekg.RcodeServerFailure, "the state at that revision could not be read")
}

// pastOf says what has to be known to answer for a name that has left labels before its zone.
func pastOf(n *name, left int) (p Past) {
	if left < 2 {
		return Past{}
	}
	switch word, last := n.label(left-1), n.label(left-2); {
	case string(word) == "node" && left == 2:
		p.Node = string(last)
	case string(word) == "instance" && left <= 3:
		p.Service = string(last)
	case string(word) == "service" && left <= 3:
		p.Service = string(last)
		if left == 3 && isUnderscored(n.label(0)) && isUnderscored(last) {
			p.Service = string(n.label(0)[1:])
		}
	}
	return p
}

// refuse gives a node that is answered with a code, and an explanation for people.
func (r *reply) refuse(rcode int, explanation string) node {
	r.refusal, r.explanation = rcode, explanation
	return node{kind: nodeRefused}
}

// awaitPast has the answer wait until a state of the past is there.
func (r *reply) awaitPast(p Past) node {
	if !r.h.pasts.begin() {
		return r.refuse(miekg.RcodeServerFailure, "too many questions about the past at once")
	}
	r.later = &waiting{h: r.h, past: p}
	return node{kind: nodeRefused}
}

// pastState is a namespace as it was, or why it is not known.
type pastState struct {
	zone *names.Namespace
	err  error
}

// Bounds of what questions about the past may take.
const (
	pastsAtOnce       = 4       // read from the ledger
	pastsWaiting      = 256     // questions that wait for one to be read, those that are read with them
	pastInstancesMax  = 100_000 // kept in memory
	pastNamespacesMax = 1000    // likewise
	pastTimeout       = 5 * time.Second
)

// pasts keeps the states of the past that were asked for last, since nothing changes them any more.
type pasts struct {
	read   func(context.Context, Past) (*names.Namespace, error)
	places chan struct{} // of those that wait
	slots  chan struct{} // of those that are read

	mu        sync.Mutex
	kept      map[Past]*list.Element // guarded by mu, as is all that follows
	recent    *list.List             // of keptPast, the one asked for last first
	instances int
}

type keptPast struct {
	past Past
	zone *names.Namespace
	cost int
}

func newPasts(read func(context.Context, Past) (*names.Namespace, error)) *pasts {
	return &pasts{read: read, places: make(chan struct{}, pastsWaiting), slots: make(chan struct{}, pastsAtOnce), kept: map[Past]*list.Element{}, recent: list.New()}
}

// get gives a state that is kept.
func (c *pasts) get(p Past) (*names.Namespace, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[p]
	if e == nil {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*keptPast).zone, true
}

// begin takes one of the places for who waits for the past; false when there is none.
func (c *pasts) begin() bool {
	select {
	case c.places <- struct{}{}:
		return true
	default:
		return false
	}
}

// load reads a state when its turn has come, and gives the place back. Who asked for the same finds it then.
func (c *pasts) load(ctx context.Context, p Past) *pastState {
	defer func() { <-c.places }()
	ctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return &pastState{err: ctx.Err()}
	}
	if zone, ok := c.get(p); ok {
		return &pastState{zone: zone}
	}
	zone, err := c.read(ctx, p)
	if err != nil {
		return &pastState{err: err}
	}
	c.keep(p, zone)
	return &pastState{zone: zone}
}

func (c *pasts) keep(p Past, zone *names.Namespace) {
	k := &keptPast{p, zone, 1 + zone.Instances()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[p] != nil || k.cost > pastInstancesMax {
		return
	}
	c.kept[p] = c.recent.PushFront(k)
	c.instances += k.cost
	for c.instances > pastInstancesMax || len(c.kept) > pastNamespacesMax {
		oldest := c.recent.Remove(c.recent.Back()).(*keptPast)
		delete(c.kept, oldest.past)
		c.instances -= oldest.cost
	}
}
