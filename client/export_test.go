package client

import (
	"context"
	"iter"
)

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
