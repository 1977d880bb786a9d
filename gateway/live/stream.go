package live

import (
	"fmt"
	"sync"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// EndedError says that a namespace has ended, and with it its streams, whether or not there is one of that name again.
type EndedError struct {
	Namespace string
	At        event.Revision // of the event that ended it
}

// Error implements error.
func (e EndedError) Error() string {
	return fmt.Sprintf("namespace %q ended at revision %d", e.Namespace, e.At)
}

// Unwrap gives what every door knows.
func (e EndedError) Unwrap() error { return gateway.UnknownNamespaceError{Namespace: e.Namespace} }

// Stream is the events of one namespace that pass a filter, from a revision on, in order, without gap or repeat, up to
// the end of the namespace. It is used by one goroutine.
type Stream struct {
	hub       *Hub
	namespace string
	filter    event.Filter
	ready     chan struct{}

	// Of the stream's own goroutine.
	source   gateway.Follower // forks of it read on where the namespace has ended since
	follower gateway.Follower // while it is in no feed
	between  bool             // it is behind the end of a namespace and before the next one's opening
	given    []*Event         // what TryNext gave last
	feed     *feed            // the last one that it was in

	// Of the feed, under its lock.
	bucket *bucket
	slot   int
	stage  []*Event
	after  event.Revision // what comes up to here was not asked for, or was given

	mu       sync.Mutex
	joined   bool           // it is in its feed
	position event.Revision // up to here everything was looked at, and given
	sent     event.Revision // what was given last begins behind it; zero where that was taken
	queue    []*Event
	bytes    int64          // in the queue
	busy     int64          // of what was given last, as far as it was in the queue
	next     event.Revision // where to read on once the queue is empty, if it is in no feed
	err      error          // what comes then instead
}

// Open begins a stream with revision first, where known is one that the ledger has reached. Close it after use.
func (h *Hub) Open(namespace string, first, known event.Revision, filter event.Filter) (*Stream, error) {
	s := &Stream{
		hub: h, namespace: namespace, filter: filter, ready: make(chan struct{}, 1),
		position: min(first-1, known), after: first - 1,
	}
	// The event before the first tells whether the reader has come to the end of a namespace: then what follows is how that
	// was emptied, and concerns nobody.
	s.next = max(s.position, 1)
	var err error
	if s.source, err = h.backend.Follow(namespace, s.next); err != nil {
		return nil, err
	}
	s.follower = s.source.Fork(s.next)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams[s] = struct{}{}
	return s, nil
}

// Close takes the stream away.
func (s *Stream) Close() {
	s.hub.leave(s)
	s.closeFollower()
	s.source.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hub.queued.Add(-s.bytes - s.busy)
	s.queue, s.bytes, s.busy, s.joined = nil, 0, 0, false
}

func (s *Stream) closeFollower() {
	if s.follower != nil {
		s.follower.Close()
		s.follower = nil
	}
}

// Ready gets something when there may be more, once TryNext has said that there is not.
func (s *Stream) Ready() <-chan struct{} { return s.ready }

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Position is the revision up to which everything that passes has been given, as of the last TryNext. Where that said that
// all is caught up, it is the end of a commit.
func (s *Stream) Position() event.Revision { return s.position }

// Append appends an event's CloudEvent in JSON.
func (s *Stream) Append(dst []byte, e *Event) []byte {
	if e.json != nil {
		return append(dst, e.json...)
	}
	return gateway.AppendCloudEvent(dst, s.hub.backend.Cluster(), s.namespace, e.Event)
}

// TryNext gives the events that come next, which are valid until it is called again: what it gave has been sent then.
// It may give none before all is read; caught says that there are no more for now, and that Ready will tell. Behind the end
// of the namespace comes an EndedError.
func (s *Stream) TryNext() (events []*Event, caught bool, err error) {
	s.release()
	events, joined, err := s.take()
	if err != nil || len(events) > 0 || joined {
		return events, joined && len(events) == 0, err
	}
	events, more, err := s.read()
	if err != nil || more {
		return events, false, err
	}
	if joined = s.hub.join(s); joined {
		s.closeFollower()
	}
	return nil, joined, nil
}

// release forgets what was given last.
func (s *Stream) release() {
	clear(s.given)
	s.given = s.given[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hub.queued.Add(-s.busy)
	s.busy, s.sent = 0, 0
}

// take gives what the feed has left in the queue. Where that is nothing, the stream is as far as the feed was before it looked.
func (s *Stream) take() (events []*Event, joined bool, err error) {
	var reached event.Revision
	if s.feed != nil {
		reached = event.Revision(s.feed.position.Load())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.queue); n > 0 {
		s.given, s.queue = s.queue, s.given
		s.busy, s.bytes = s.bytes, 0
		// The rest of the last commit is not for this reader, or it would be there: the feed gives whole ones.
		s.position, s.sent = s.given[n-1].Commit, s.given[0].Revision-1
		return s.given, s.joined, nil
	}
	if s.joined {
		s.position = max(s.position, reached)
		return nil, true, nil
	}
	s.position = max(s.position, s.next-1)
	return nil, false, s.err
}

// read gives what passes of the next chunk of the ledger; more is false where there is none.
func (s *Stream) read() (passed []*Event, more bool, err error) {
	if s.follower == nil {
		s.follower = s.source.Fork(s.next)
	}
	events, err := s.follower.TryNext()
	if err != nil || len(events) == 0 {
		return nil, false, err
	}
	passed, start := s.given[:0], s.position
	for i := range events {
		e := &events[i]
		if s.passes(e, start) {
			passed = append(passed, &Event{Event: *e})
		}
		s.next = e.Revision + 1
		if ends(e) && e.Revision > start {
			err = EndedError{Namespace: s.namespace, At: e.Revision}
			break
		}
	}
	s.given = passed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position, s.err = max(start, s.next-1), err
	if len(passed) > 0 {
		s.sent = passed[0].Revision - 1
	}
	return passed, true, nil
}

// passes tells whether an event is for the reader, who had looked at all up to start.
func (s *Stream) passes(e *event.Event, start event.Revision) bool {
	if e.Revision <= start {
		s.between = ends(e)
		return false
	}
	if _, opens := e.Body.(event.NamespaceOpened); opens {
		s.between = false
	}
	return !s.between && e.Revision > s.after && s.filter.Match(e.Body.Subject())
}

// offer puts what is staged into the queue, commit by commit. It reports false, and the stream is no longer in the feed,
// where its reader has not taken enough of what came before. The feed calls it, under its lock.
func (s *Stream) offer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stays := true
	for rest := s.stage; len(rest) > 0 && stays; {
		n, bytes := 0, int64(0)
		for ; n < len(rest) && rest[n].begins == rest[0].begins; n++ {
			bytes += rest[n].bytes()
		}
		if stays = s.fits(n, bytes); stays {
			s.queue = append(s.queue, rest[:n]...)
			s.bytes += bytes
			s.hub.queued.Add(bytes)
			rest = rest[n:]
			continue
		}
		s.joined, s.next = false, rest[0].begins
	}
	clear(s.stage)
	s.stage = s.stage[:0]
	return stays
}

// fits tells whether one more commit may wait for the reader. A large event may wait alone.
func (s *Stream) fits(events int, bytes int64) bool {
	waiting := len(s.queue) + events
	switch {
	case waiting == 1:
		return true
	case s.hub.queued.Load()+bytes > BudgetBytes:
		return false
	}
	return waiting <= QueueEventsMax && s.bytes+bytes <= QueueBytesMax
}

// at is up to where the reader has got what passes, of a ledger with a head, and whether it reads by itself.
func (s *Stream) at(head event.Revision) (at event.Revision, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sent > 0:
		return s.sent, !s.joined
	case len(s.queue) > 0:
		return s.queue[0].Revision - 1, !s.joined
	case s.joined:
		return head, false
	}
	return s.position, true
}
