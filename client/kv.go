package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listMax is how many entries a page of List asks for: large enough that pages cost little, and small enough that
// one of the longest values fits into memory.
const listMax = 250

// Entry is a key with its value and what is known about it.
type Entry struct {
	Key   string
	Value []byte
	// ContentType says what the value is.
	ContentType string
	// Flags is the writer's own number.
	Flags uint64
	// Revision last changed the key, CreateRevision made it; Version counts the changes since then, from 1.
	Revision, CreateRevision, Version uint64
	// Session is the session that the key ends with; empty for none.
	Session string
	// TTL is for how long the key stays after it was written or refreshed last; zero is for good, or for as long as its
	// session.
	TTL time.Duration
	// Time is when the key was last changed.
	Time time.Time
}

// wireEntry is an Entry in JSON.
type wireEntry struct {
	Key string `json:"key"`
	wireValue
	ContentType    string    `json:"content_type,omitempty"`
	Revision       uint64    `json:"revision"`
	CreateRevision uint64    `json:"create_revision"`
	Version        uint64    `json:"version"`
	Flags          uint64    `json:"flags"`
	Session        string    `json:"session,omitempty"`
	TTL            duration  `json:"ttl,omitempty"`
	Time           time.Time `json:"time"`
}

func (w wireEntry) entry() Entry {
	return Entry{
		Key: w.Key, Value: w.bytes(), ContentType: w.ContentType, Flags: w.Flags, Revision: w.Revision,
		CreateRevision: w.CreateRevision, Version: w.Version, Session: w.Session, TTL: time.Duration(w.TTL), Time: w.Time,
	}
}

// Written is the answer to a change.
type Written struct {
	// Revision is the commit that made the change.
	Revision uint64 `json:"revision"`
	// Created says that the change made something that was not there.
	Created bool `json:"-"`
	// Deleted is how many things a deletion removed, where the server says so.
	Deleted uint64 `json:"deleted,omitempty"`
	// Warnings say what was accepted but will not work as one may expect.
	Warnings []string `json:"warnings,omitempty"`
}

// Put gives a key a value. A condition that does not hold is ErrConditionFailed, and the Problem has the revision
// that the key is at.
func (c *Client) Put(ctx context.Context, key string, value []byte, options ...WriteOption) (Written, error) {
	r := c.newRequest("kv.put", "key", key).with(options)
	r.setValue(value)
	return c.written(ctx, r, "put key", key)
}

// Delete removes a key. A key that is not there is ErrNotFound.
func (c *Client) Delete(ctx context.Context, key string, options ...WriteOption) (Written, error) {
	return c.written(ctx, c.newRequest("kv.delete", "key", key).with(options), "delete key", key)
}

// DeletePrefix removes every key that starts with a prefix, in one commit; the empty prefix means every key. No such
// key is ErrNotFound.
func (c *Client) DeletePrefix(ctx context.Context, prefix string, options ...WriteOption) (Written, error) {
	r := c.newRequest("kv.delete-prefix").with(options)
	r.ask("prefix", prefix)
	return c.written(ctx, r, "delete prefix", prefix)
}

// Get reads a key. A key that is not there is ErrNotFound.
func (c *Client) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	r := c.newRequest("kv.get", "key", key).options(options)
	r.set("Accept", "application/json")
	var w wireEntry
	if _, err := c.read(ctx, r, &w); err != nil {
		return Entry{}, fmt.Errorf("get key %q: %w", key, err)
	}
	return w.entry(), nil
}

// Page is one page of a list.
type Page struct {
	// Revision is the state that the page shows.
	Revision uint64
	Entries  []Entry
	// Next is what the next page comes after; empty at the end.
	Next string
}

// ListPage reads the entries whose keys start with a prefix, in key order, behind the key after, at most limit of
// them; zero leaves the limit to the server. Give the first page's revision with At to the ones that follow.
func (c *Client) ListPage(ctx context.Context, prefix, after string, limit int, options ...ReadOption) (Page, error) {
	var w struct {
		Revision uint64      `json:"revision"`
		Entries  []wireEntry `json:"entries"`
		Next     string      `json:"next"`
	}
	if err := c.listPage(ctx, &w, prefix, after, "", limit, options); err != nil {
		return Page{}, err
	}
	p := Page{Revision: w.Revision, Next: w.Next, Entries: make([]Entry, len(w.Entries))}
	for i, e := range w.Entries {
		p.Entries[i] = e.entry()
	}
	return p, nil
}

// List yields the entries whose keys start with a prefix, in key order, all of them as of one revision. An error ends
// the list.
func (c *Client) List(ctx context.Context, prefix string, options ...ReadOption) iter.Seq2[Entry, error] {
	limit := listMax
	return paged(options, func(after string, options []ReadOption) ([]Entry, uint64, string, error) {
		p, err := c.ListPage(ctx, prefix, after, limit, options...)
		if n := len(p.Entries); n > 0 && p.Next != "" {
			limit = min(limit, n) // where fewer fitted, the next ones will hardly be smaller
		}
		return p.Entries, p.Revision, p.Next, err
	})
}

// Keys yields the keys that start with a prefix, in order, all as of one revision. With a separator, keys that hold it
// behind the prefix appear once, as their subtree: with "/", the keys "a/b" and "a/c" are one "a/".
func (c *Client) Keys(ctx context.Context, prefix, separator string, options ...ReadOption) iter.Seq2[string, error] {
	return paged(options, func(after string, options []ReadOption) ([]string, uint64, string, error) {
		var w struct {
			Revision uint64   `json:"revision"`
			Entries  []string `json:"entries"`
			Next     string   `json:"next"`
		}
		keys := append(options, func(q url.Values) { q.Set("keys", "true") })
		err := c.listPage(ctx, &w, prefix, after, separator, 0, keys)
		return w.Entries, w.Revision, w.Next, err
	})
}

func (c *Client) listPage(ctx context.Context, v any, prefix, after, separator string, limit int, options []ReadOption) error {
	r := c.newRequest("kv.list").options(options)
	r.ask("prefix", prefix)
	if after != "" {
		r.ask("after", after)
	}
	if separator != "" {
		r.ask("separator", separator)
	}
	if err := c.readPage(ctx, r, v, limit); err != nil {
		return fmt.Errorf("list prefix %q: %w", prefix, err)
	}
	return nil
}

// paged goes through the pages that fetch gives. The first one fixes the revision for all of them.
func paged[T any](options []ReadOption, fetch func(after string, options []ReadOption) ([]T, uint64, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		options := slices.Clip(options)
		for after := ""; ; {
			items, revision, next, err := fetch(after, options)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			if next <= after {
				yield(zero, fmt.Errorf("list: the page behind %q says that it ends at %q", after, next))
				return
			}
			if after == "" {
				options = append(options, At(revision))
			}
			after = next
		}
	}
}

func (c *Client) written(ctx context.Context, r *request, what, name string) (Written, error) {
	a, err := c.do(ctx, r)
	if err != nil {
		return Written{}, fmt.Errorf("%s %q: %w", what, name, err)
	}
	w := Written{Created: a.status == http.StatusCreated}
	if revision, ok := onlyRevision(a.body); ok {
		w.Revision = revision
		return w, nil
	}
	return w, a.decode(&w)
}

// read sends a read, decodes its answer into v and gives the revision that it shows.
func (c *Client) read(ctx context.Context, r *request, v any) (revision uint64, err error) {
	a, err := c.do(ctx, r)
	if err != nil {
		return 0, err
	}
	return a.revision, a.decode(v)
}

// pageDefault is more than a page that is not asked to be smaller needs to have to be too large for a message.
const pageDefault = 1024

// readPage reads a page of at most limit things, where zero leaves that to the server. One that is too large for a
// message is asked for again with fewer things in it.
func (c *Client) readPage(ctx context.Context, r *request, v any, limit int) error {
	for {
		if limit > 0 {
			r.ask("limit", strconv.Itoa(limit))
		}
		r.pages = limit != 1
		_, err := c.read(ctx, r, v)
		p, ok := errors.AsType[*Problem](err)
		if !ok || p.Code != ErrTooLarge || !r.pages || !overNATS(p) {
			return err
		}
		if limit == 0 {
			limit = pageDefault
		}
		limit = max(1, limit/4)
	}
}

// overNATS tells whether a refusal came over NATS.
func overNATS(p *Problem) bool { return strings.HasPrefix(p.Server, "nats:") }
