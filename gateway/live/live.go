// Package live hands the events of namespaces to the live streams that want them.
//
// Each namespace that has streams is followed once, for all of them (feed), and an event costs as much as there are
// streams that want it: it wakes no other, and is put into its outside form once. A stream that does not keep up leaves the
// feed and reads on from the ledger by itself, until it has caught up: so it costs neither the others nor memory. Where
// it changes over, nothing is lost and nothing comes twice, because both sides count in revisions.
//
// Who needs every event of a namespace follows it by itself (gateway.Backend.Follow).
package live

import (
	"sync"
	"sync/atomic"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// What waits in memory for a stream whose reader is busy. A stream with more reads it from the ledger.
const (
	QueueEventsMax = 1024
	QueueBytesMax  = 1 << 20
	// BudgetBytes bounds what waits for all streams together: beyond it none has more than one chunk waiting.
	BudgetBytes = 64 << 20
)

// Hub has the streams of all namespaces. Its methods may be called concurrently.
type Hub struct {
	backend gateway.Backend

	// queued is what waits for the streams, in bytes; what waits for several counts for each.
	queued    atomic.Int64
	overflows atomic.Uint64
	stalled   atomic.Uint64

	mu      sync.Mutex // taken before a feed's, which is taken before a stream's
	feeds   map[string]*feed
	streams map[*Stream]struct{}
}

// New makes a hub of a server's namespaces. It needs no closing: what it runs ends with its last stream.
func New(b gateway.Backend) *Hub {
	return &Hub{backend: b, feeds: map[string]*feed{}, streams: map[*Stream]struct{}{}}
}

// Event is an event that several streams may hold. It is not to be changed.
type Event struct {
	event.Event
	json   []byte         // its CloudEvent; nil where only one stream has it
	begins event.Revision // the first of its commit
}

// bytes is about what the event holds in memory.
func (e *Event) bytes() int64 {
	const overhead = 512 // the event beside its value, which is in json again
	return overhead + 2*int64(len(e.json))
}

// Stats is how the streams do.
type Stats struct {
	// Namespaces are those with streams.
	Namespaces map[string]NamespaceStats
	// QueuedBytes is what waits in memory for readers that are busy.
	QueuedBytes int64
	// Overflows counts how often a stream had to leave the others because its reader did not keep up.
	Overflows uint64
	// Stalled counts the readers that were cut off because they took nothing at all.
	Stalled uint64
}

// NamespaceStats is how the streams of one namespace do.
type NamespaceStats struct {
	Streams int
	// Behind are those that read on from the ledger by themselves.
	Behind int
	// Lag is how many revisions the slowest one is behind the ledger.
	Lag uint64
}

// Stats looks at all streams.
func (h *Hub) Stats() Stats {
	s := Stats{Namespaces: map[string]NamespaceStats{}, QueuedBytes: h.queued.Load(), Overflows: h.overflows.Load(), Stalled: h.stalled.Load()}
	h.mu.Lock()
	defer h.mu.Unlock()
	heads := map[string]event.Revision{}
	for stream := range h.streams {
		head, ok := heads[stream.namespace]
		if !ok {
			head, _ = h.backend.Head(stream.namespace) // of one that is gone there is no lag
			heads[stream.namespace] = head
		}
		at, behind := stream.at(head)
		n := s.Namespaces[stream.namespace]
		n.Streams++
		if behind {
			n.Behind++
		}
		if at < head {
			n.Lag = max(n.Lag, uint64(head-at))
		}
		s.Namespaces[stream.namespace] = n
	}
	return s
}

// NoteStall counts a reader that was cut off.
func (h *Hub) NoteStall() { h.stalled.Add(1) }
