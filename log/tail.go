package log

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// What a tail keeps in memory for its followers. Who is further behind reads the store until it has caught up.
const (
	tailEventsMax = 8192
	tailBytesMax  = 16 << 20
)

// How much a follower is given at once of what it reads from the store. There may be thousands of forks, each of which
// holds a chunk for as long as its reader takes to take it.
var (
	followerChunk = store.Chunk{Events: 512, Bytes: 4 << 20}
	forkChunk     = store.Chunk{Events: 512, Bytes: 256 << 10}
)

// tail is the newest end of one ledger, shared by all its followers. Publishing appends and wakes; it never waits
// for a follower.
type tail struct {
	mu sync.Mutex
	// recent are the last events, without gap, ending at the newest. Followers hold parts of it, so its elements
	// are never changed: it grows at the end, and is copied when its front has been given up.
	recent []event.Event
	bytes  int
	// changed is closed at the next publication; nil while nobody waits.
	changed chan struct{}
}

// publish adds whole commits. No events means that the store has moved on by itself: a snapshot arrived.
func (t *tail) publish(events []event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(events) == 0 {
		t.recent, t.bytes = nil, 0
	}
	t.recent = append(t.recent, events...)
	for _, e := range events {
		t.bytes += approximateBytes(e)
	}
	t.trim()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// trim gives up the oldest events. It waits until there is twice as much as is kept, so that copying what stays
// costs each event once.
func (t *tail) trim() {
	if len(t.recent) <= 2*tailEventsMax && t.bytes <= 2*tailBytesMax {
		return
	}
	start := max(0, len(t.recent)-tailEventsMax)
	for _, e := range t.recent[:start] {
		t.bytes -= approximateBytes(e)
	}
	for t.bytes > tailBytesMax && start < len(t.recent) {
		t.bytes -= approximateBytes(t.recent[start])
		start++
	}
	t.recent = slices.Clone(t.recent[start:])
}

func approximateBytes(e event.Event) int {
	const overhead = 256
	size := overhead + len(e.Actor) + len(e.Reason)
	switch b := e.Body.(type) {
	case event.KeySet:
		size += len(b.Key) + len(b.Value) + len(b.ContentType)
	case event.KeyDeleted:
		size += len(b.Key)
	case event.KeyExpired:
		size += len(b.Key) + len(b.Directory)
	case event.KeyReleased:
		size += len(b.Key)
	case event.InstanceRegistered:
		for _, tag := range b.Instance.Tags {
			size += 16 + len(tag)
		}
		for k, v := range b.Instance.Meta {
			size += 48 + len(k) + len(v)
		}
		for _, c := range b.Instance.Checks {
			size += c.Bytes()
		}
	case event.InstanceCredentials:
		for k, v := range b.Credentials {
			size += 48 + len(k) + len(v)
		}
	case event.NodeSet:
		for k, v := range b.Meta {
			size += 48 + len(k) + len(v)
		}
	case event.InstanceMaintenance:
		size += len(b.Reason)
	case event.NodeMaintenance:
		size += len(b.Reason)
	}
	return size
}

// after gives what is in memory from a revision on; covered is false where that does not reach back far enough.
// Where there is nothing yet it gives a channel that is closed when there is.
func (t *tail) after(from event.Revision) (events []event.Event, covered bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.recent)
	switch {
	case n > 0 && from > t.recent[n-1].Revision:
		covered = true
	case n > 0 && from >= t.recent[0].Revision:
		i, _ := slices.BinarySearchFunc(t.recent, from, func(e event.Event, r event.Revision) int {
			return int(int64(e.Revision) - int64(r))
		})
		return t.recent[i:n:n], true, nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return nil, covered, t.changed
}

// Follower reads one ledger from a revision on and goes on live: in order, without gap or repeat. A follower that
// is slow reads from the store what memory no longer holds, and holds up nobody. It is used by one goroutine.
type Follower struct {
	machine *machine.Machine
	tail    *tail
	ledger  string
	next    event.Revision
	chunk   store.Chunk
	closed  <-chan struct{}
}

// Next gives the events that come next, waiting for the first of them. The follower must have begun at the start
// of a commit for them to be whole commits. The slice is not to be changed.
func (f *Follower) Next(ctx context.Context) ([]event.Event, error) {
	for {
		events, changed, err := f.poll()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.closed:
			return nil, ErrClosed
		}
	}
}

// TryNext is Next without the wait: it gives nothing when everything there is has been read.
func (f *Follower) TryNext() ([]event.Event, error) {
	events, _, err := f.poll()
	return events, err
}

// Fork is another follower of the same ledger, from a revision on. It is given less at once.
func (f *Follower) Fork(from event.Revision) *Follower {
	other := *f
	other.next, other.chunk = max(from, 1), forkChunk
	return &other
}

// Position is the revision that comes next.
func (f *Follower) Position() event.Revision { return f.next }

func (f *Follower) poll() ([]event.Event, <-chan struct{}, error) {
	// The channel is taken before the store is asked, so that nothing slips in between.
	events, covered, changed := f.tail.after(f.next)
	if len(events) > 0 {
		events = wholeCommits(events, f.chunk.Events)
	} else if !covered {
		var err error
		if events, err = f.read(); err != nil {
			return nil, nil, err
		}
	}
	if len(events) > 0 {
		f.next = events[len(events)-1].Revision + 1
	}
	return events, changed, nil
}

// read takes the next chunk from the store.
func (f *Follower) read() (events []event.Event, err error) {
	l, ok := f.machine.Ledger(f.ledger)
	if !ok || f.next > l.Head.Revision {
		return nil, nil
	}
	err = f.machine.Read(func(db *store.DB) error {
		if events, err = db.Events(l.ID, f.next, l.Head.Revision, f.chunk); err != nil {
			return err
		}
		if len(events) == 0 {
			return fmt.Errorf("ledger %q ends before its head %d: nothing from revision %d on", f.ledger, l.Head.Revision, f.next)
		}
		// A chunk ends where its size says, which may be inside a commit: give the whole commits in it, or
		// where the first is larger than a chunk, all of that one.
		if whole := wholeCommits(events, len(events)); whole != nil {
			events = whole
			return nil
		}
		last := events[len(events)-1]
		rest, err := db.Events(l.ID, last.Revision+1, last.Commit, store.Chunk{Events: event.CommitEventsMax, Bytes: 1 << 30})
		events = append(events, rest...)
		return err
	})
	return events, err
}

// wholeCommits cuts a run of events to about n of them, at the end of a commit; nil where there is no such end
// within it.
func wholeCommits(events []event.Event, n int) []event.Event {
	for i := min(n, len(events)) - 1; i >= 0; i-- {
		if events[i].Revision == events[i].Commit {
			return events[:i+1]
		}
	}
	for i := min(n, len(events)); i < len(events); i++ {
		if events[i].Revision == events[i].Commit {
			return events[:i+1]
		}
	}
	return nil
}
