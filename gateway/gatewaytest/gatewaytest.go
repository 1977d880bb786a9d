// Package gatewaytest is a gateway.Backend in memory, for tests of doors and of what talks to them.
//
// Decisions and folds are the real ones; only what is below them is not: there is no Raft, no disk and no other
// server. Tests set its clock, and have it fail in each way that a server can.
package gatewaytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections"
)

// Groups is how many Raft groups the cluster claims to have.
const Groups = 3

// Start is where the clock of every new Backend stands, so that what tests print never changes.
var Start = time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)

// Backend implements gateway.Backend. The function of a View must not call the Backend: it runs under its lock.
type Backend struct {
	cluster string

	mu        sync.RWMutex // guards what follows, and everything in the ledgers
	now       time.Time
	ledgers   map[string]*ledger
	submitted int
	faults    Faults
	closed    chan struct{}
	// observations are by namespace and service.
	observations map[[2]string]map[gateway.CheckKey]gateway.Observation
}

var _ gateway.Backend = (*Backend)(nil)

// Faults are what goes wrong. The zero value is a server that works.
type Faults struct {
	// Submit fails commands before they are decided: nothing is written.
	Submit error
	// Applied fails commands after they have taken effect, as a lost answer does.
	Applied error
	// View fails linearizable reads; those that accept stale state go on.
	View error
	// Follow fails whoever wants to follow, and ends those who do.
	Follow error
	// Staleness is how old what is there claims to be, for those that accept stale state.
	Staleness time.Duration
	// Snapshot is what a snapshot's file holds, and SnapshotBreaks that it breaks off behind that.
	Snapshot       []byte
	SnapshotBreaks bool
}

// New makes a cluster with the namespaces _system (at revision 2) and default (at revision 1).
func New(cluster string) *Backend {
	b := &Backend{cluster: cluster, now: Start, ledgers: map[string]*ledger{}, closed: make(chan struct{}), observations: map[[2]string]map[gateway.CheckKey]gateway.Observation{}}
	b.ledgers[event.System] = newLedger()
	b.mustDecide(event.System, commands.OpenNamespace{Namespace: event.System, Cluster: cluster, Groups: Groups})
	if _, err := b.create(gateway.Request{Command: commands.CreateNamespace{Namespace: event.Default}}); err != nil {
		panic(fmt.Sprintf("create %s: %v", event.Default, err)) // nothing that a test does can make this fail
	}
	b.submitted = 0
	return b
}

// Cluster implements gateway.Backend.
func (b *Backend) Cluster() string { return b.cluster }

// Namespaces implements gateway.Backend.
func (b *Backend) Namespaces() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b.ledgers)), func(name string) bool { return b.life(name).Phase.Ended() })
}

// Members implements gateway.Backend: they are those of _system's view, and all alive.
func (b *Backend) Members(ctx context.Context) (all []gateway.Member, err error) {
	err = b.View(ctx, event.System, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
		for m := range v.Members() {
			all = append(all, gateway.Member{
				Name: m.Name, Replica: m.Replica, Raft: m.Address, HTTP: "127.0.0.1:7600", Voter: m.Voter, Alive: true, Revision: v.Head(),
			})
		}
		return nil
	})
	return all, err
}

// Groups implements gateway.Backend: every member takes part in each, and the first one leads.
func (b *Backend) Groups(ctx context.Context) (all []gateway.Group, err error) {
	err = b.View(ctx, event.System, gateway.ReadOptions{}, func(v gateway.View) error {
		for id := uint64(1); id <= Groups; id++ {
			g := gateway.Group{ID: id, Namespaces: []string{}}
			for m := range v.Members() {
				if m.Voter {
					g.Members = append(g.Members, m.Name)
				} else {
					g.NonVoters = append(g.NonVoters, m.Name)
				}
			}
			if len(g.Members) > 0 {
				g.Leader = g.Members[0]
			}
			for n := range v.Namespaces() {
				if n.Group == id {
					g.Namespaces = append(g.Namespaces, n.Name)
				}
			}
			all = append(all, g)
		}
		return nil
	})
	return all, err
}

// Renew implements gateway.Backend: nothing ends here but by a command.
func (b *Backend) Renew(ctx context.Context, namespace string, lease gateway.Lease) (r gateway.Renewal, err error) {
	err = b.View(ctx, namespace, gateway.ReadOptions{}, func(v gateway.View) error {
		if r = whole(v, lease); r.TTL == 0 {
			return gateway.ErrNoLease
		}
		return nil
	})
	return r, err
}

// Note implements gateway.Backend.
func (b *Backend) Note(namespace, service string, k gateway.CheckKey, o gateway.Observation) {
	b.mu.RLock()
	o.Server, o.At = "test", b.now // what it shows has one clock
	b.mu.RUnlock()
	b.SetObservation(namespace, service, k, o)
}

// Observations implements gateway.Backend: they are those that SetObservation has set.
func (b *Backend) Observations(_ context.Context, namespace, service string) (map[gateway.CheckKey]gateway.Observation, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if _, err := b.ledger(namespace); err != nil {
		return nil, err
	}
	return maps.Clone(b.observations[[2]string{namespace, service}]), nil
}

// Left implements gateway.Backend: every lease was renewed just now.
func (b *Backend) Left(ctx context.Context, namespace string, leases []gateway.Lease) (map[gateway.Lease]time.Duration, error) {
	left := map[gateway.Lease]time.Duration{}
	err := b.View(ctx, namespace, gateway.ReadOptions{}, func(v gateway.View) error {
		for _, lease := range leases {
			if r := whole(v, lease); r.TTL > 0 {
				left[lease] = r.TTL
			}
		}
		return nil
	})
	return left, err
}

func whole(v gateway.View, lease gateway.Lease) gateway.Renewal {
	switch {
	case lease.Namespace:
		return gateway.Renewal{TTL: time.Duration(v.Settings().TTL), Revision: v.Settings().Configured}
	case lease.Session != "":
		s, _ := v.Session(lease.Session)
		return gateway.Renewal{TTL: time.Duration(s.TTL), Revision: s.Revision}
	case lease.Service != "":
		d, _ := v.Due(lease.Service, lease.ID, lease.Check)
		if d.Status != lease.Status {
			return gateway.Renewal{}
		}
		return gateway.Renewal{TTL: time.Duration(d.After), Revision: d.Revision}
	}
	e, _ := v.Key(lease.Key)
	return gateway.Renewal{TTL: time.Duration(e.TTL), Revision: e.Revision}
}

// History implements gateway.Backend.
func (b *Backend) History(ctx context.Context, namespace string, o gateway.ReadOptions, subject string, limit int) (h gateway.History, err error) {
	if _, ok, err := projections.RowsOf(subject); err != nil {
		return h, fmt.Errorf("%w: %w", gateway.ErrNoHistory, err)
	} else if !ok {
		return h, fmt.Errorf("%w: %q", gateway.ErrNoHistory, subject)
	}
	err = b.view(ctx, namespace, o, false, func(v gateway.View) error { // the lock is held
		h.Head, h.Staleness = v.Head(), v.Staleness
		for _, e := range slices.Backward(b.ledgers[namespace].events[:h.Head]) {
			if e.Commit > h.Head || e.Body.Subject() != subject {
				continue
			}
			if len(h.Events) == limit {
				h.Next = h.Events[limit-1].Revision - 1
				return nil
			}
			h.Events = append(h.Events, e)
		}
		return nil
	})
	return h, err
}

// Head implements gateway.Backend.
func (b *Backend) Head(namespace string) (event.Revision, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	l, err := b.ledger(namespace)
	if err != nil {
		return 0, err
	}
	return l.head(), nil
}

// Submit implements gateway.Backend. What it is given may be changed once it has returned.
func (b *Backend) Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.admit(ctx, namespace, r); err != nil {
		return commands.Answer{}, err
	}
	answer, err := b.submit(namespace, r)
	if err == nil && b.faults.Applied != nil {
		return commands.Answer{}, b.faults.Applied
	}
	return answer, err
}

func (b *Backend) admit(ctx context.Context, namespace string, r gateway.Request) error {
	if _, err := b.ledger(namespace); err != nil {
		return err
	}
	if rejection := commands.Validate(r.Command); rejection != nil {
		return rejection
	}
	if rejection := commands.ValidateKeyOf(r.Key); r.Key != "" && rejection != nil {
		return rejection
	}
	if err := b.faults.Submit; err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", gateway.ErrUnavailable, err)
	}
	return nil
}

// Rehearse implements gateway.Backend.
func (b *Backend) Rehearse(ctx context.Context, namespace string, r gateway.Request) (commands.Rehearsal, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.admit(ctx, namespace, r); err != nil {
		return commands.Rehearsal{}, err
	}
	order, err := commands.Decode(commands.Order{Version: commands.Version, Key: r.Key, Command: r.Command}.Encode())
	if err != nil {
		return commands.Rehearsal{}, err
	}
	view, at := b.situation(namespace)
	if c, ok := r.Command.(commands.DeleteNamespace); ok {
		if n, exists := view.Namespace(c.Namespace); exists {
			c.Placed, c.Closed = n.Revision, b.ledgers[c.Namespace].head()+1
			order.Command = c
		}
	}
	out, rejection := commands.Rehearse(view, at, order, r.Actor, r.Reason)
	if rejection != nil {
		return commands.Rehearsal{}, rejection
	}
	return out, nil
}

// situation is what a command is decided on now.
func (b *Backend) situation(namespace string) (projections.View, commands.Situation) {
	l := b.ledgers[namespace]
	asked := event.Time(b.now.UnixNano())
	view := projections.NewView(l.at(l.head()), l.head())
	return view, commands.Situation{
		Ledger: namespace, Now: max(asked, l.time()), Asked: asked, ReadBytes: event.TxnReadBytesMax, Usage: l.usage(),
		Past: func(r event.Revision) commands.State { return view.At(r) },
	}
}

func (b *Backend) submit(namespace string, r gateway.Request) (commands.Answer, error) {
	b.submitted++
	if namespace == event.System {
		switch c := r.Command.(type) {
		case commands.CreateNamespace:
			return b.create(r)
		case commands.ConfigureNamespace:
			return b.configure(r, c.Namespace)
		case commands.DeleteNamespace:
			return b.delete(r, c)
		}
	}
	answer, err := b.decide(namespace, r)
	if err == nil && b.life(namespace).Phase == event.Expired {
		b.bury(namespace)
	}
	return answer, err
}

// create places a namespace and opens its ledger.
func (b *Backend) create(r gateway.Request) (commands.Answer, error) {
	c := r.Command.(commands.CreateNamespace)
	if l := b.ledgers[c.From]; l != nil {
		c.FromRevision = l.head()
	}
	r.Command = c
	answer, err := b.decide(event.System, r)
	if err != nil {
		return answer, err
	}
	b.open(c.Namespace)
	return answer, nil
}

// open opens a namespace's ledger, and fills it, unless that was done.
func (b *Backend) open(name string) {
	view, _ := b.situation(event.System)
	n, ok := view.Namespace(name)
	if !ok {
		return
	}
	if b.ledgers[name] == nil {
		b.ledgers[name] = newLedger()
	}
	b.mustDecide(name, commands.OpenNamespace{
		Namespace: name, Cluster: b.cluster, Placed: n.Revision, From: n.From, FromRevision: n.FromRevision, Again: n.Previous > 0,
	})
	if b.life(name).Phase == event.Filling {
		fill := commands.FillNamespace{Namespace: name, Placed: n.Revision, Done: true}
		for e := range projections.NewView(b.ledgers[n.From].at(n.FromRevision), n.FromRevision).Keys("") {
			if e.TTL == 0 && e.Session == "" {
				fill.Entries = append(fill.Entries, commands.FillEntry{Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags})
			}
		}
		b.mustDecide(name, fill)
	}
}

// life is where a ledger stands.
func (b *Backend) life(name string) event.Life {
	if b.ledgers[name] == nil {
		return event.Life{}
	}
	view, _ := b.situation(name)
	return view.Life()
}

// delete ends a namespace, and does at once what a server does by and by.
func (b *Backend) delete(r gateway.Request, c commands.DeleteNamespace) (commands.Answer, error) {
	view, _ := b.situation(event.System)
	if n, ok := view.Namespace(c.Namespace); ok {
		closed, err := b.decide(c.Namespace, gateway.Request{
			Command: commands.CloseNamespace{Namespace: c.Namespace, Placed: n.Revision}, Actor: r.Actor, Reason: r.Reason,
		})
		if err != nil {
			return closed, err
		}
		c.Placed, c.Closed = n.Revision, closed.Revision
	}
	r.Command = c
	answer, err := b.decide(event.System, r)
	if err == nil && b.life(c.Namespace).Phase.Ended() {
		b.mustDecide(c.Namespace, commands.ClearNamespace{Namespace: c.Namespace})
	}
	return answer, err
}

// bury does what a server does behind the end of a namespace that nobody renewed.
func (b *Backend) bury(name string) {
	view, _ := b.situation(event.System)
	if n, ok := view.Namespace(name); ok {
		b.mustDecide(event.System, commands.DeleteNamespace{Namespace: name, Placed: n.Revision, Closed: b.life(name).Since, Expired: true})
	}
	b.mustDecide(name, commands.ClearNamespace{Namespace: name})
}

// configure also carries the settings into the namespace's ledger.
func (b *Backend) configure(r gateway.Request, name string) (commands.Answer, error) {
	c := r.Command.(commands.ConfigureNamespace)
	if l := b.ledgers[c.From]; l != nil {
		c.FromRevision = l.head()
	}
	r.Command = c
	answer, err := b.decide(event.System, r)
	if err != nil {
		return answer, err
	}
	b.open(name)
	view, _ := b.situation(event.System)
	if wish, ok := view.Wish(name); ok {
		b.mustDecide(name, commands.ApplySettings{
			Namespace: name, Keys: wish.Keys, Bytes: wish.Bytes, Age: wish.Age, Revisions: wish.Revisions, TTL: wish.TTL, Configured: wish.Configured,
		})
	}
	return answer, nil
}

func (b *Backend) mustDecide(namespace string, c commands.Command) {
	if _, err := b.decide(namespace, gateway.Request{Command: c}); err != nil {
		panic(fmt.Sprintf("open %s: %v", namespace, err)) // nothing that a test does can make this fail
	}
}

// decide takes the way of a real command: through its bytes, the decision, the events' bytes, the fold, and the
// bytes of the reply. So nothing is shared with the caller, and what those bytes cannot hold shows here too.
func (b *Backend) decide(namespace string, r gateway.Request) (commands.Answer, error) {
	order, err := commands.Decode(commands.Order{Version: commands.Version, Key: r.Key, Command: r.Command}.Encode())
	if err != nil {
		return commands.Answer{}, err
	}
	l := b.ledgers[namespace]
	view, at := b.situation(namespace)
	decision, rejection := commands.Decide(view, at, order)
	if decision.Skip > 0 {
		return commands.Answer{}, fmt.Errorf("%T: revisions do not jump in this backend", r.Command)
	}
	if rejection == nil && len(decision.Events) > 0 {
		l.commit(at.Now, r, decision)
	}
	decision.Answer.Resolve(l.head())
	answer, rejection, err := commands.DecodeReply(commands.EncodeReply(decision.Answer, rejection))
	switch {
	case err != nil:
		return commands.Answer{}, err
	case rejection != nil:
		return commands.Answer{}, rejection
	}
	return answer, nil
}

// View implements gateway.Backend.
func (b *Backend) View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error {
	return b.view(ctx, namespace, o, true, fn)
}

// view runs fn on a state, where keep says so only on one that is kept.
func (b *Backend) view(ctx context.Context, namespace string, o gateway.ReadOptions, keep bool, fn func(gateway.View) error) error {
	if err := b.await(ctx, namespace, o); err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	l, err := b.ledger(namespace)
	if err != nil {
		return err
	}
	revision := l.head()
	switch {
	case o.At > revision:
		return gateway.RevisionError{Asked: o.At, Head: revision}
	case o.At > 0:
		revision = o.At
	case !o.AtTime.IsZero():
		revision = l.revisionAt(event.Time(o.AtTime.UnixNano()))
	}
	if floor := projections.Floor(l.at(l.head())); keep && revision < floor {
		return gateway.TrimmedError{Asked: revision, KeptFrom: floor, Time: l.events[floor-1].Time}
	}
	v := gateway.View{View: projections.NewView(l.at(revision), revision), Usage: l.usage()}
	if r := commands.Unseen(namespace, v.Life().Phase); r != nil {
		return r
	}
	if o.Stale {
		v.Staleness = b.faults.Staleness
	}
	return fn(v)
}

// await returns when a reader may read: at once, unless it wants to see a revision that is not there yet.
func (b *Backend) await(ctx context.Context, namespace string, o gateway.ReadOptions) error {
	for {
		b.mu.RLock()
		l, err := b.ledger(namespace)
		if err == nil && !o.Stale && b.faults.View != nil {
			err = b.faults.View
		}
		if err != nil || l.head() >= o.MinRevision {
			b.mu.RUnlock()
			return err
		}
		head, changed := l.head(), l.changed
		b.mu.RUnlock()
		select {
		case <-changed:
		case <-b.closed:
			return gateway.ErrClosed
		case <-ctx.Done():
			return gateway.RevisionError{Asked: o.MinRevision, Head: head}
		}
	}
}

// ledger finds a ledger; the caller holds the lock.
func (b *Backend) ledger(namespace string) (*ledger, error) {
	select {
	case <-b.closed:
		return nil, gateway.ErrClosed
	default:
	}
	l := b.ledgers[namespace]
	if l == nil || b.life(namespace).Phase.Ended() {
		return nil, gateway.UnknownNamespaceError{Namespace: namespace}
	}
	return l, nil
}
