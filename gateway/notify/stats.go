package notify

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	// SlowClients counts those that were cut off because they did not read.
	SlowClients uint64
	// PendingBytes is what waits for the slowest connection.
	PendingBytes int
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
	// Consumers is how many the stream has, Pending how many events the slowest has before it, of at most 256 that were looked at.
	Consumers int
	Pending   uint64
}

// A look at the streams costs little, whatever clients have made: so many streams with consumers are looked at, one page
// of consumers of each (server.JSApiListLimit, 256), for so long.
const (
	streamsLookedAt = 64
	lookTime        = time.Second
)

// Stats looks at the server.
func (s *Server) Stats() Stats {
	stats := Stats{
		Clients: s.broker.clients(), SlowClients: uint64(max(0, s.broker.server.NumSlowConsumers())) + s.crowded.Load(), PendingBytes: s.broker.pending(),
	}
	if d := s.door; d != nil {
		stats.Refused, stats.Unanswerable, stats.Lost = d.refused.Load(), d.unanswerable.Load(), d.lost()
	}
	consumers, pending := s.readers()
	for _, f := range s.list() {
		reached := f.reached.Load()
		n := NamespaceStats{
			Namespace: f.namespace, Revision: event.Revision(reached), Events: f.events.Load(), Resyncs: f.resyncs.Load(),
		}
		n.Consumers, n.Pending = consumers[Stream(f.namespace)], pending[Stream(f.namespace)]
		if head, err := s.config.Backend.Head(f.namespace); err == nil && uint64(head) > reached {
			n.Lag = uint64(head) - reached
		}
		stats.Namespaces = append(stats.Namespaces, n)
	}
	return stats
}

// readers tells how many consumers each stream has, and how many events the slowest has before it.
func (s *Server) readers() (consumers map[string]int, pending map[string]uint64) {
	consumers, pending = map[string]int{}, map[string]uint64{}
	account, err := s.broker.server.JszAccount(&server.JSzOptions{Account: ledgerAccount, Streams: true})
	if err != nil {
		s.log.Debug("cannot look at the streams", "error", err)
		return consumers, pending
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	looked := 0
	for _, stream := range account.Streams {
		if stream.State.Consumers == 0 {
			continue
		}
		consumers[stream.Name] = stream.State.Consumers
		if looked++; looked > streamsLookedAt {
			continue
		}
		m, err := s.looks.RequestWithContext(ctx, "$JS.API.CONSUMER.LIST."+stream.Name, nil)
		var list server.JSApiConsumerListResponse
		if err == nil {
			err = json.Unmarshal(m.Data, &list)
		}
		if err != nil {
			s.log.Debug("cannot look at the consumers of a stream", "stream", stream.Name, "error", err)
			continue
		}
		for _, c := range list.Consumers {
			pending[stream.Name] = max(pending[stream.Name], c.NumPending)
		}
	}
	return consumers, pending
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
	return f.bookmark(0)
}

// bookmark tells how far the namespace is. The last one says that it has ended, at a revision.
func (f *feeder) bookmark(ended event.Revision) error {
	f.telling.Lock()
	defer f.telling.Unlock()
	if f.over {
		return nil
	}
	revision := f.reached.Load()
	if ended > 0 {
		revision = min(revision, uint64(ended)) // it may have looked at how the namespace was emptied
	}
	body, err := json.Marshal(struct {
		Namespace string `json:"namespace"`
		Revision  uint64 `json:"revision"`
		Ended     bool   `json:"ended,omitempty"`
	}{f.namespace, revision, ended > 0})
	if err != nil {
		return err
	}
	f.over = ended > 0
	return f.line.PublishMsg(&nats.Msg{
		Subject: Bookmark(f.namespace), Data: body,
		Header: nats.Header{HeaderRevision: {strconv.FormatUint(revision, 10)}},
	})
}
