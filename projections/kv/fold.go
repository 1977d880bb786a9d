// Package kv is the key/value view: the current and every earlier entry of each key.
//
// It is decisive: decisions read it, so its rows are part of the replicated state and their bytes may not change
// without a step of the cluster's version.
package kv

import (
	"encoding/binary"
	"fmt"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Fold applies an event to the view; events of other families change nothing.
func Fold(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.KeySet:
		w.Set(store.TableKV, []byte(b.Key), encode(b.Entry(e.Commit, e.Time)))
	case event.KeyDeleted:
		w.Delete(store.TableKV, []byte(b.Key))
	}
}

// A row is six uvarints (revision, create revision, version, time, flags, length of the content type), then the
// content type, then the value up to the row's end. The key is the row's key.
func encode(e event.Entry) []byte {
	b := make([]byte, 0, 6*binary.MaxVarintLen64+len(e.ContentType)+len(e.Value))
	for _, n := range []uint64{
		uint64(e.Revision), uint64(e.CreateRevision), e.Version, uint64(e.Time), e.Flags, uint64(len(e.ContentType)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, e.ContentType...)
	return append(b, e.Value...)
}

func decode(key, row []byte) event.Entry {
	var n [6]uint64
	rest := row
	for i := range n {
		v, size := binary.Uvarint(rest)
		if size <= 0 {
			corrupt(key)
		}
		n[i], rest = v, rest[size:]
	}
	if n[5] > uint64(len(rest)) {
		corrupt(key)
	}
	return event.Entry{
		Key: string(key), Revision: event.Revision(n[0]), CreateRevision: event.Revision(n[1]), Version: n[2],
		Time: event.Time(n[3]), Flags: n[4], ContentType: string(rest[:n[5]]), Value: rest[n[5]:],
	}
}

func corrupt(key []byte) {
	panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of key %q is cut short", key)})
}
