package client

import (
	"net/url"
	"strconv"
	"time"
)

// WriteOption changes a put or a delete.
type WriteOption func(*request)

// IfRevision goes ahead only while the key was last changed at this revision.
func IfRevision(revision uint64) WriteOption {
	return func(r *request) { r.set("If-Match", `"`+strconv.FormatUint(revision, 10)+`"`) }
}

// IfAbsent goes ahead only while the key does not exist. It is for puts.
func IfAbsent() WriteOption {
	return func(r *request) { r.set("If-None-Match", "*") }
}

// IfExists goes ahead only while the key exists.
func IfExists() WriteOption {
	return func(r *request) { r.set("If-Match", "*") }
}

// IfValue goes ahead only while the key has this very value. The value travels in the URL, so it should be short: at
// most some kilobytes. A transaction has no such bound.
func IfValue(value []byte) WriteOption {
	return func(r *request) { r.ask("if-value", string(value)) }
}

// ContentType says what a value is; it is kept with the value and given back. It is for puts.
func ContentType(t string) WriteOption {
	return func(r *request) { r.set("Content-Type", t) }
}

// Flags is a number of the caller's own that is kept with the value. It is for puts.
func Flags(n uint64) WriteOption {
	return func(r *request) { r.ask("flags", strconv.FormatUint(n, 10)) }
}

// Reason is kept on the change, like a commit message; it goes before the client's own.
func Reason(text string) WriteOption {
	return func(r *request) { r.reason = text }
}

// IdempotencyKey names the change: made again with the same name within ten minutes, it gets the first answer and has
// no second effect. Every change has such a name, which the client makes up; give one where the program itself may try
// again, after a crash for example. It is up to 128 printable ASCII characters.
func IdempotencyKey(key string) WriteOption {
	return func(r *request) { r.key = key }
}

// ReadOption says which state a read shows. Without one it is the present, as all servers agree on it.
type ReadOption func(url.Values)

// At reads the state as it was at a revision.
func At(revision uint64) ReadOption {
	return func(q url.Values) { q.Set("at", strconv.FormatUint(revision, 10)) }
}

// AtTime reads the state as it was at an instant.
func AtTime(t time.Time) ReadOption {
	return func(q url.Values) { q.Set("at", t.UTC().Format(time.RFC3339Nano)) }
}

// Stale reads what the server that answers has, without asking the others whether it is current.
func Stale() ReadOption {
	return func(q url.Values) { q.Set("consistency", "stale") }
}

// MinRevision waits until the server that answers has applied a revision.
func MinRevision(revision uint64) ReadOption {
	return func(q url.Values) { q.Set("min-revision", strconv.FormatUint(revision, 10)) }
}
