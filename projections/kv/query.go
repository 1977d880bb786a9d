package kv

import (
	"bytes"
	"encoding/binary"
	"iter"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Get gives the entry of a key.
func Get(r store.Reader, key string) (event.Entry, bool) {
	row, ok := r.Get(store.TableKV, []byte(key))
	if !ok {
		return event.Entry{}, false
	}
	return decode([]byte(key), row), true
}

// Scan yields the entries whose key starts with prefix and is not below from, in key order.
func Scan(r store.Reader, prefix, from string) iter.Seq[event.Entry] {
	return func(yield func(event.Entry) bool) {
		for key, row := range r.Scan(store.TableKV, []byte(prefix), []byte(from)) {
			if !yield(decode(key, bytes.Clone(row))) {
				return
			}
		}
	}
}

// Revisions yields the keys that start with prefix and the revision of each, in key order and from the key from on. It
// neither copies nor decodes what else is in their rows.
func Revisions(r store.Reader, prefix, from string) iter.Seq2[string, event.Revision] {
	return func(yield func(string, event.Revision) bool) {
		for key, row := range r.Scan(store.TableKV, []byte(prefix), []byte(from)) {
			revision, size := binary.Uvarint(row)
			if size <= 0 {
				corrupt(key)
			}
			if !yield(string(key), event.Revision(revision)) {
				return
			}
		}
	}
}

// Query asks for one page of a list.
type Query struct {
	Prefix    string
	After     string // the page begins behind this key or subtree; empty for the first page
	Separator string // keys that hold it behind the prefix appear once, as their subtree; empty for none
	Limit     int    // at least 1
}

// Item is one element of a page: an entry, or a subtree where Entry is nil.
type Item struct {
	Key   string // a subtree's ends in the separator
	Entry *event.Entry
}

// List gives one page, and the key to give as After for the next one; next is empty at the end.
func List(r store.Reader, q Query) (items []Item, next string) {
	from := q.Prefix
	if q.After != "" && q.After >= q.Prefix {
		if from = q.After + "\x00"; len(q.After) > len(q.Prefix) { // a subtree is longer than the prefix
			from = behind(q.After, q.Separator)
		}
	}
	for {
		subtree := ""
		for e := range Scan(r, q.Prefix, from) {
			if len(items) == q.Limit {
				return items, items[len(items)-1].Key
			}
			if name, ok := subtreeOf(e.Key, q.Prefix, q.Separator); ok {
				items = append(items, Item{Key: name})
				subtree = name
				break // everything else below it is skipped by seeking
			}
			items = append(items, Item{Key: e.Key, Entry: &e})
		}
		if subtree == "" {
			return items, ""
		}
		if from = behind(subtree, q.Separator); from == "" {
			return items, ""
		}
	}
}

// behind is the least key that is not name and, where name is a subtree, not below it.
func behind(name, separator string) string {
	if separator == "" || !strings.HasSuffix(name, separator) {
		return name + "\x00"
	}
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] < 0xff {
			return name[:i] + string([]byte{name[i] + 1})
		}
	}
	return ""
}

func subtreeOf(key, prefix, separator string) (string, bool) {
	if separator == "" {
		return "", false
	}
	i := strings.Index(key[len(prefix):], separator)
	if i < 0 {
		return "", false
	}
	return key[:len(prefix)+i+len(separator)], true
}

// Row names the row of a key.
func Row(key string) (store.Table, []byte) { return store.TableKV, []byte(key) }

// Lease is a key that goes when nobody renews it.
type Lease struct {
	Key      string
	Revision event.Revision // of the entry
	TTL      event.Time
}

// Leases yields the keys that have a TTL of their own, in key order.
func Leases(r store.Reader) iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for key, row := range r.Scan(store.TableLeases, nil, nil) {
			revision, rest := number(key, row)
			ttl, _ := number(key, rest)
			if !yield(Lease{Key: string(key), Revision: event.Revision(revision), TTL: event.Time(ttl)}) {
				return
			}
		}
	}
}

// Held yields the keys that are bound to a session, in key order.
func Held(r store.Reader, session string) iter.Seq[string] {
	return func(yield func(string) bool) {
		prefix := holdKey(session, nil)
		for key := range r.Scan(store.TableKeyHolds, prefix, nil) {
			if !yield(string(key[len(prefix):])) {
				return
			}
		}
	}
}
