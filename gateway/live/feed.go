package live

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// feed follows one namespace for all the streams that keep up with it.
//
// What must stay true: a stream in the index has been given every event up to position that it wants, behind its own
// after. Who joins or leaves holds mu, and so does the feed while it hands out a chunk.
type feed struct {
	hub       *Hub
	namespace string
	cancel    context.CancelFunc
	done      chan struct{} // closed when its goroutine has ended

	// position is how far everything was handed out. It is the end of a commit.
	position atomic.Uint64

	mu      sync.Mutex
	index   index
	over    bool      // it hands out nothing any more, and nobody may join
	touched []*Stream // of hand: those that get something of the chunk
}

// join puts a stream that has read everything up to its position into the feed of its namespace, which begins with it
// where there is none. It reports false where the feed is further: then there is more to read.
func (h *Hub) join(s *Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[s.namespace]
	if f == nil {
		f = h.start(s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if event.Revision(f.position.Load()) > s.position {
		return false
	}
	s.feed, s.after = f, max(s.after, s.position)
	s.mu.Lock()
	s.joined = true
	s.mu.Unlock()
	f.index.add(s)
	return true
}

// start begins a feed where a stream is, which the caller adds: it holds the hub's lock.
func (h *Hub) start(s *Stream) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{hub: h, namespace: s.namespace, cancel: cancel, done: make(chan struct{})}
	f.position.Store(uint64(s.position))
	h.feeds[s.namespace] = f
	go f.run(ctx, s.source.Fork(s.position+1))
	return f
}

// leave takes a stream out; the feed ends with the last one, and has ended when leave returns.
func (h *Hub) leave(s *Stream) {
	h.mu.Lock()
	delete(h.streams, s)
	f := s.feed
	last := false
	if f != nil {
		f.mu.Lock()
		if s.bucket != nil {
			f.index.remove(s)
		}
		last = h.retire(f)
		f.mu.Unlock()
	}
	h.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

// retire takes a feed without streams off the hub, and reports whether it did. The caller holds both locks.
func (h *Hub) retire(f *feed) bool {
	if f.index.size > 0 || f.over {
		return false
	}
	f.over = true
	delete(h.feeds, f.namespace)
	return true
}

func (f *feed) run(ctx context.Context, follower gateway.Follower) {
	defer close(f.done)
	defer f.cancel()
	defer follower.Close()
	for {
		events, err := follower.Next(ctx)
		if ctx.Err() != nil {
			return // the last stream has left
		}
		if err != nil {
			f.end(err)
			return
		}
		if len(events) == 0 || f.hand(events) {
			continue
		}
		if ended := endOf(events); ended > 0 {
			f.end(EndedError{Namespace: f.namespace, At: ended})
			return
		}
		f.hub.mu.Lock()
		f.mu.Lock()
		gone := f.hub.retire(f)
		f.mu.Unlock()
		f.hub.mu.Unlock()
		if gone {
			return
		}
	}
}

// end tells those that are left why nothing comes any more.
func (f *feed) end(err error) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	delete(f.hub.feeds, f.namespace)
	var all []*Stream
	f.index.each(func(s *Stream) { all = append(all, s) })
	for _, s := range all {
		f.index.remove(s)
		s.mu.Lock()
		s.joined, s.err = false, err
		s.next = event.Revision(f.position.Load()) + 1
		s.mu.Unlock()
		s.wake()
	}
}

// hand gives a chunk of whole commits to those that want something of it, and reports whether the feed goes on: it
// does while there are streams and the namespace is there. A stream gets all its events of the chunk at once, so that it
// never sees half a commit.
func (f *feed) hand(events []event.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended := endOf(events)
	begins := events[0].Revision
	for i := range events {
		if i > 0 && events[i].Commit != events[i-1].Commit {
			begins = events[i].Revision
		}
		f.stage(events[i], begins)
		if events[i].Revision == ended {
			events = events[:i+1] // what is behind is of nobody's namespace
			break
		}
	}
	for i, s := range f.touched {
		if !s.offer() {
			f.index.remove(s)
			f.hub.overflows.Add(1)
		}
		s.wake()
		f.touched[i] = nil
	}
	f.touched = f.touched[:0]
	f.position.Store(uint64(events[len(events)-1].Revision))
	return ended == 0 && f.index.size > 0
}

// stage notes an event for each stream that wants it.
func (f *feed) stage(e event.Event, begins event.Revision) {
	var shared *Event // made when somebody wants it
	f.index.match(e.Body.Subject(), func(streams []*Stream) {
		for _, s := range streams {
			if e.Revision <= s.after {
				continue
			}
			if shared == nil {
				shared = &Event{Event: e, begins: begins, json: gateway.AppendCloudEvent(nil, f.hub.backend.Cluster(), f.namespace, e)}
			}
			if len(s.stage) == 0 {
				f.touched = append(f.touched, s)
			}
			s.stage = append(s.stage, shared)
		}
	})
}

// endOf is the revision of the event that ends the namespace; zero where none does.
func endOf(events []event.Event) event.Revision {
	for i := range events {
		if ends(&events[i]) {
			return events[i].Revision
		}
	}
	return 0
}

func ends(e *event.Event) bool {
	switch e.Body.(type) {
	case event.NamespaceClosed, event.NamespaceExpired:
		return true
	}
	return false
}
