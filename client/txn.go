package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Txn is a transaction: when all of If hold, all of Then happens in one commit, otherwise all of Else does. Each of
// the three may have 512 elements, and a branch may write a thing once.
type Txn struct {
	If   []Condition `json:"if,omitempty"`
	Then []Operation `json:"then,omitempty"`
	Else []Operation `json:"else,omitempty"`
}

// Op is how a condition compares.
type Op string

// The comparisons.
const (
	Equal    Op = "="
	NotEqual Op = "!="
	Less     Op = "<"
	Greater  Op = ">"
)

// Condition is one comparison. Make it with one of the functions below.
type Condition struct{ fields map[string]any }

// MarshalJSON implements json.Marshaler.
func (c Condition) MarshalJSON() ([]byte, error) { return json.Marshal(c.fields) }

// KeyRevision compares the revision that last changed a key. A key that does not exist has revision, create revision
// and version 0.
func KeyRevision(key string, op Op, n uint64) Condition { return compare(key, "revision", op, n) }

// KeyCreateRevision compares the revision that made a key.
func KeyCreateRevision(key string, op Op, n uint64) Condition {
	return compare(key, "create_revision", op, n)
}

// KeyVersion compares how often a key was changed since it was made; 1 is a new key.
func KeyVersion(key string, op Op, n uint64) Condition { return compare(key, "version", op, n) }

// KeyValue compares a key's value, byte by byte. What does not exist equals nothing.
func KeyValue(key string, op Op, value []byte) Condition {
	w := newWireValue(value)
	if w.Value != nil {
		return compare(key, "value", op, *w.Value)
	}
	return compare(key, "value_base64", op, w.ValueBase64)
}

// KeyExists holds when a key exists, or, with false, when it does not.
func KeyExists(key string, exists bool) Condition { return compare(key, "exists", Equal, exists) }

// KeySession compares the session that a key is bound to; the empty text is none. It takes Equal and NotEqual.
func KeySession(key string, op Op, id string) Condition { return compare(key, "session", op, id) }

// PrefixEmpty holds when no key starts with a prefix.
func PrefixEmpty(prefix string) Condition {
	return Condition{map[string]any{"prefix": prefix, "empty": true}}
}

func compare(key, field string, op Op, value any) Condition {
	if op != Equal {
		value = map[string]any{"op": op, "to": value}
	}
	return Condition{map[string]any{"key": key, field: value}}
}

// Operation is one step of a transaction: exactly one field is set.
type Operation struct {
	Put        *PutKey      `json:"put,omitempty"`
	Delete     *Target      `json:"delete,omitempty"` // deleting nothing is no fault here
	Get        *Target      `json:"get,omitempty"`
	Register   *Instance    `json:"register,omitempty"`
	Deregister *InstanceRef `json:"deregister,omitempty"`
}

// PutKey gives a key a value. A key that ends in a slash is a directory, which has a TTL and no value.
type PutKey struct {
	Key         string
	Value       []byte
	ContentType string
	Flags       uint64
	// TTL has the key end so long after it was written or refreshed last, and Session with a session; a key has at most
	// one of them.
	TTL     time.Duration
	Session string
}

// MarshalJSON implements json.Marshaler.
func (p PutKey) MarshalJSON() ([]byte, error) {
	value := newWireValue(p.Value)
	if strings.HasSuffix(p.Key, "/") && len(p.Value) == 0 {
		value = wireValue{} // a directory has none, not an empty one
	}
	return json.Marshal(struct {
		Key string `json:"key"`
		wireValue
		ContentType string   `json:"content_type,omitempty"`
		Flags       uint64   `json:"flags,omitempty"`
		TTL         duration `json:"ttl,omitempty"`
		Session     string   `json:"session,omitempty"`
	}{p.Key, value, p.ContentType, p.Flags, duration(p.TTL), p.Session})
}

// Target names keys. Make it with Key or Prefix.
type Target struct {
	Key    *string `json:"key,omitempty"`
	Prefix *string `json:"prefix,omitempty"`
}

// Key is one key.
func Key(key string) *Target { return &Target{Key: &key} }

// Prefix is every key that starts with a prefix.
func Prefix(prefix string) *Target { return &Target{Prefix: &prefix} }

// InstanceRef names an instance of a service.
type InstanceRef struct {
	Service string `json:"service"`
	ID      string `json:"id"`
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Succeeded says that all conditions held, so that Then ran; otherwise Else did.
	Succeeded bool
	// Revision is the commit; of a transaction that changed nothing, the state that it saw.
	Revision uint64
	// Failed are the indexes of the conditions that did not hold.
	Failed []int
	// Results has one element for each operation of the branch that ran.
	Results []Result
	// Raw is the server's whole answer.
	Raw json.RawMessage
}

// Result is what one operation did.
type Result struct {
	Revision uint64
	Created  bool    // a put or a register made something that was not there
	Deleted  uint64  // how many things a delete or a deregister removed
	Entries  []Entry // what a get read
	Warnings []string
}

// Txn runs a transaction.
func (c *Client) Txn(ctx context.Context, t Txn, options ...WriteOption) (TxnResult, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return TxnResult{}, fmt.Errorf("run transaction: %w", err)
	}
	return c.TxnJSON(ctx, raw, options...)
}

// TxnJSON runs a transaction that is JSON already, as POST /v1/{namespace}/txn takes it.
func (c *Client) TxnJSON(ctx context.Context, transaction []byte, options ...WriteOption) (TxnResult, error) {
	r := c.newRequest("txn").with(options)
	r.body = transaction
	r.set("Content-Type", "application/json")
	var w struct {
		Succeeded bool   `json:"succeeded"`
		Revision  uint64 `json:"revision"`
		Failed    []int  `json:"failed"`
		Results   []struct {
			Revision uint64      `json:"revision"`
			Created  bool        `json:"created"`
			Deleted  uint64      `json:"deleted"`
			Entries  []wireEntry `json:"entries"`
			Warnings []string    `json:"warnings"`
		} `json:"results"`
	}
	a, err := c.do(ctx, r)
	if err == nil {
		err = a.decode(&w)
	}
	if err != nil {
		return TxnResult{}, fmt.Errorf("run transaction: %w", err)
	}
	result := TxnResult{Succeeded: w.Succeeded, Revision: w.Revision, Failed: w.Failed, Raw: a.body}
	for _, one := range w.Results {
		entries := make([]Entry, len(one.Entries))
		for i, e := range one.Entries {
			entries[i] = e.entry()
		}
		result.Results = append(result.Results, Result{one.Revision, one.Created, one.Deleted, entries, one.Warnings})
	}
	return result, nil
}
