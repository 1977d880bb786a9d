package client

import (
	"context"
	"encoding/json"
	"iter"
	"net"
	"time"
)

// SetAttempt has answers over NATS wait no longer than this.
func (c *Client) SetAttempt(d time.Duration) { c.attempt = d }

// Lived is a connection as links use them.
func Lived(c net.Conn) net.Conn { return &lived{c, func() bool { return true }} }

// SetRoom bounds what waits for a watch.
func (c *Client) SetRoom(events, bytes int) { c.room = room{events, bytes} }

// DecodeEvent reads an event with encoding/json.
func DecodeEvent(raw []byte) (Event, error) { return decodeEvent(raw) }

// ScanEvent reads an event of the plain form.
func ScanEvent(raw []byte) (Event, bool) { return scanEvent(raw) }

// AppendText writes a text as JSON.
func AppendText(s string) json.RawMessage { return appendText(nil, s) }

// Operations are method and path of all that the client asks for.
func Operations() map[string][2]string {
	all := map[string][2]string{}
	for name, o := range operations {
		all[name] = [2]string{o.method, o.path}
	}
	return all
}

// CacheKeysBy is CacheKeys with another way to hear of what happens.
func (c *Client) CacheKeysBy(ctx context.Context, prefix string, watch func(context.Context, string, uint64) iter.Seq2[Event, error]) (*KeyCache, error) {
	return c.cacheKeys(ctx, prefix, watch)
}

// CacheServiceBy is CacheService with another way to hear of what happens.
func (c *Client) CacheServiceBy(ctx context.Context, service string, watch func(context.Context, string, uint64) iter.Seq2[Event, error]) (*ServiceCache, error) {
	return c.cacheService(ctx, service, watch)
}

// Bookmark says that everything up to a revision has come.
func Bookmark(revision uint64) Event { return Event{Type: bookmarkType, Revision: revision} }

// Nodes is how many nodes a cache keeps in mind.
func (s *ServiceCache) Nodes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.nodes)
}
