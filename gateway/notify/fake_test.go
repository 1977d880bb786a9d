package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// ledgers is a Backend that holds ledgers in memory and does what a test tells it to.
type ledgers struct {
	gateway.Backend // nil: what else a door may ask, this one does not
	t               testing.TB

	mu      sync.Mutex
	events  map[string][]event.Event
	changed chan struct{} // closed at every change
	fail    error         // what every call about an event gives, when set
	stuck   map[string]bool
	ended   map[string]event.Revision // namespaces that are closed, and where
	open    int                       // followers not closed
	follows map[string]int            // and all there were, by namespace
}

var errBroken = errors.New("the disk is gone")

// newLedgers has _system and default. Followers must be closed when the test ends.
func newLedgers(t testing.TB) *ledgers {
	t.Helper()
	l := &ledgers{t: t, events: map[string][]event.Event{}, changed: make(chan struct{}), stuck: map[string]bool{}, ended: map[string]event.Revision{}, follows: map[string]int{}}
	l.add(event.System, event.NamespaceOpened{Namespace: event.System, Cluster: "test"})
	l.create(event.Default)
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open != 0 {
			t.Errorf("%d followers were not closed", l.open)
		}
	})
	return l
}

// create places a namespace and opens its ledger.
func (l *ledgers) create(namespace string) {
	l.add(namespace, event.NamespaceOpened{Namespace: namespace, Cluster: "test"})
	l.add(event.System, event.NamespaceCreated{Namespace: namespace, Group: 1})
}

// remove closes a namespace's ledger, and has _system's say so; what follows in it is seen by nobody.
func (l *ledgers) remove(namespace string) {
	closed := l.add(namespace, event.NamespaceClosed{Namespace: namespace})
	l.mu.Lock()
	l.ended[namespace] = closed
	l.wake()
	l.mu.Unlock()
}

// add appends one commit and gives its last revision.
func (l *ledgers) add(namespace string, bodies ...event.Body) event.Revision {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := event.Revision(0)
	if all := l.events[namespace]; len(all) > 0 {
		last = all[len(all)-1].Revision
	}
	return l.append(namespace, last, bodies)
}

// jump appends one commit that begins at a revision.
func (l *ledgers) jump(namespace string, to event.Revision, bodies ...event.Body) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(namespace, to-1, bodies)
}

func (l *ledgers) append(namespace string, last event.Revision, bodies []event.Body) event.Revision {
	commit := last + event.Revision(len(bodies))
	for _, b := range bodies {
		last++
		l.events[namespace] = append(l.events[namespace], event.Event{
			Revision: last, Commit: commit, Time: testTime + event.Time(last), Actor: "ada", Reason: "a test", Body: b,
		})
	}
	l.wake()
	return commit
}

// put appends n writes of a key, each its own commit.
func (l *ledgers) put(namespace, key string, n int) {
	for i := range n {
		l.add(namespace, event.KeySet{Key: key, Value: fmt.Appendf(nil, "value %d", i), Version: uint64(i + 1)})
	}
}

func (l *ledgers) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// breakWith makes every use of a ledger fail, until it is called with nil.
func (l *ledgers) breakWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
	l.wake()
}

// hold makes the followers of a namespace see nothing, until it is called with false.
func (l *ledgers) hold(namespace string, stuck bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stuck[namespace] = stuck
	l.wake()
}

func (l *ledgers) all(namespace string) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events[namespace])
}

// followers counts those that there were of a namespace.
func (l *ledgers) followers(namespace string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.follows[namespace]
}

func (l *ledgers) Cluster() string { return "test" }

func (l *ledgers) Members(context.Context) ([]gateway.Member, error) { return nil, nil }

func (l *ledgers) Groups(context.Context) ([]gateway.Group, error) { return nil, nil }

func (l *ledgers) Namespaces() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name := range l.events {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (l *ledgers) Submit(context.Context, string, gateway.Request) (commands.Answer, error) {
	return commands.Answer{}, errors.New("notify submits nothing")
}

func (l *ledgers) Rehearse(context.Context, string, gateway.Request) (commands.Rehearsal, error) {
	return commands.Rehearsal{}, errors.New("notify rehearses nothing")
}

func (l *ledgers) History(context.Context, string, gateway.ReadOptions, string, int) (gateway.History, error) {
	return gateway.History{}, errors.New("notify looks back on nothing")
}

func (l *ledgers) View(context.Context, string, gateway.ReadOptions, func(gateway.View) error) error {
	return errors.New("notify views nothing")
}

func (l *ledgers) Snapshot(context.Context) (gateway.Snapshot, error) { return nil, errBroken }

func (l *ledgers) Head(namespace string) (event.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.events[namespace]
	switch {
	case l.fail != nil:
		return 0, l.fail
	case len(all) == 0 || l.ended[namespace] > 0:
		return 0, gateway.UnknownNamespaceError{Namespace: namespace}
	}
	return all[len(all)-1].Revision, nil
}

func (l *ledgers) Follow(namespace string, from event.Revision) (gateway.Follower, error) {
	if _, err := l.Head(namespace); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	l.follows[namespace]++
	return &tail{ledgers: l, namespace: namespace, next: from}, nil
}

// tail is a Follower of ledgers.
type tail struct {
	ledgers   *ledgers
	namespace string
	next      event.Revision
	closed    bool
}

func (f *tail) Next(ctx context.Context) ([]event.Event, error) {
	for {
		events, changed, err := f.read()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *tail) TryNext() ([]event.Event, error) {
	events, _, err := f.read()
	return events, err
}

// read gives at most a few events at a time, as a reader of a disk would.
func (f *tail) read() ([]event.Event, <-chan struct{}, error) {
	const atOnce = 64
	l := f.ledgers
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil || l.stuck[f.namespace] {
		return nil, l.changed, l.fail
	}
	all := l.events[f.namespace]
	if ended := l.ended[f.namespace]; ended > 0 && f.next > ended {
		return nil, l.changed, gateway.UnknownNamespaceError{Namespace: f.namespace}
	}
	i, _ := slices.BinarySearchFunc(all, f.next, func(e event.Event, r event.Revision) int { return int(e.Revision) - int(r) })
	events := all[i:min(i+atOnce, len(all))]
	if len(events) > 0 {
		f.next = events[len(events)-1].Revision + 1
	}
	return events, l.changed, nil
}

func (f *tail) Fork(from event.Revision) gateway.Follower {
	f.ledgers.mu.Lock()
	defer f.ledgers.mu.Unlock()
	f.ledgers.open++
	return &tail{ledgers: f.ledgers, namespace: f.namespace, next: from}
}

func (f *tail) Close() {
	f.ledgers.mu.Lock()
	defer f.ledgers.mu.Unlock()
	if f.closed {
		f.ledgers.t.Error("a follower was closed twice")
	}
	f.closed = true
	f.ledgers.open--
}
