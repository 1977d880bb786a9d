// Package requests is the view of the requests with idempotency keys that a ledger has answered: by key, the commit
// that is the answer.
//
// It is decisive, as package kv is. It keeps no answers: a decision is made again on the rows as they were before its
// commit. It forgets late and little by little (sweep.go): how long a row counts is for the decisions to say.
package requests

import (
	"encoding/binary"
	"fmt"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Fold applies an event to the view; events that begin no such commit change nothing. A key that is used again after
// its time has a new row.
func Fold(w store.Writer, e event.Event) {
	if r := e.Request; r != nil {
		w.Set(store.TableRequests, []byte(r.Key), encode(event.Done{Request: *r, First: e.Revision, Commit: e.Commit, Time: e.Time}))
	}
	if b, ok := e.Body.(event.NamespaceTrimmed); ok {
		sweep(w, e.Time, b.KeptFrom-b.Previous)
	}
}

// A row is four uvarints (first revision, commit, time, version), then the fingerprint up to the row's end.
func encode(d event.Done) []byte {
	b := make([]byte, 0, 4*binary.MaxVarintLen64+len(d.Fingerprint))
	for _, n := range []uint64{uint64(d.First), uint64(d.Commit), uint64(d.Time), uint64(d.Version)} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, d.Fingerprint...)
}

// Get gives the request that last bore a key.
func Get(r store.Reader, key string) (event.Done, bool) {
	row, ok := r.Get(store.TableRequests, []byte(key))
	if !ok {
		return event.Done{}, false
	}
	var n [4]uint64
	for i := range n {
		v, size := binary.Uvarint(row)
		if size <= 0 {
			panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of request %q is cut short", key)})
		}
		n[i], row = v, row[size:]
	}
	return event.Done{
		Request: event.Request{Key: key, Fingerprint: row, Version: uint32(n[3])},
		First:   event.Revision(n[0]), Commit: event.Revision(n[1]), Time: event.Time(n[2]),
	}, true
}
