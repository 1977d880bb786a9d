package notify

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rollcall/rollcall/log/event"
)

// Stats is what Stats gives, for metrics.
type Stats struct {
	// Clients is how many connections there are.
	Clients int
	// Refused counts the requests that were refused because too many were under way, Unanswerable those that were not
	// carried out because their answer had nowhere to go, and Lost those that the NATS library dropped.
	Refused, Unanswerable, Lost uint64
	// Namespaces are sorted by name.
	Namespaces []NamespaceStats
}

// NamespaceStats is how the feed of one namespace does.
type NamespaceStats struct {
	Namespace string
	// Revision is the last one that is in the stream, Lag how many the ledger is ahead of it. Lag is 0 while
	// the ledger cannot be asked.
	Revision event.Revision
	Lag      uint64
	// Events counts what was published since the start, Resyncs how often the feed had to be taken up again.
	Events  uint64
	Resyncs uint64
}

// Stats looks at the server.
func (s *Server) Stats() Stats {
	stats := Stats{Clients: s.broker.clients()}
	if d := s.door; d != nil {
		stats.Refused, stats.Unanswerable, stats.Lost = d.refused.Load(), d.unanswerable.Load(), d.lost()
	}
	for _, f := range s.list() {
		reached := f.reached.Load()
		n := NamespaceStats{
			Namespace: f.namespace, Revision: event.Revision(reached), Events: f.events.Load(), Resyncs: f.resyncs.Load(),
		}
		if head, err := s.config.Backend.Head(f.namespace); err == nil && uint64(head) > reached {
			n.Lag = uint64(head) - reached
		}
		stats.Namespaces = append(stats.Namespaces, n)
	}
	return stats
}

// bookmarks announces how far each namespace is. A subscriber that gets a bookmark has been sent every event up to
// it: it names what the stream has confirmed, and goes over the connection that the events went over.
func (s *Server) bookmarks(ctx context.Context) {
	ticker := time.NewTicker(s.config.BookmarkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, f := range s.list() {
			if err := s.bookmark(f); err != nil {
				s.log.Warn("lost a bookmark", "namespace", f.namespace, "error", err)
			}
		}
	}
}

func (s *Server) bookmark(f *feeder) error {
	select {
	case <-f.ready:
	default:
		return nil // while the window is being filled there is nothing to say
	}
	revision := f.reached.Load()
	body, err := json.Marshal(struct {
		Namespace string `json:"namespace"`
		Revision  uint64 `json:"revision"`
	}{f.namespace, revision})
	if err != nil {
		return err
	}
	return s.feed.PublishMsg(&nats.Msg{
		Subject: Bookmark(f.namespace), Data: body,
		Header: nats.Header{HeaderRevision: {strconv.FormatUint(revision, 10)}},
	})
}
