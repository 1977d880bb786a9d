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
		set(w, b.Entry(e.Commit, e.Time))
	case event.KeyReleased:
		if before, ok := Get(w, b.Key); ok {
			set(w, b.Entry(before, e.Commit, e.Time))
		}
	case event.KeyDeleted:
		remove(w, b.Key)
	case event.KeyExpired:
		remove(w, b.Key)
	}
}

func set(w store.Writer, e event.Entry) {
	key := []byte(e.Key)
	unlease(w, key, e)
	w.Set(store.TableKV, key, encode(e))
	if e.TTL > 0 {
		w.Set(store.TableLeases, key, binary.AppendUvarint(binary.AppendUvarint(nil, uint64(e.Revision)), uint64(e.TTL)))
	}
	if e.Session != "" {
		w.Set(store.TableKeyHolds, holdKey(e.Session, key), held)
	}
}

func remove(w store.Writer, key string) {
	unlease(w, []byte(key), event.Entry{})
	w.Delete(store.TableKV, []byte(key))
}

// unlease removes what the tables of leases say of the entry that is there, and the next one does not say again. The
// decision has just read that row, so it need not come from the disk.
func unlease(w store.Writer, key []byte, next event.Entry) {
	row, ok := w.Get(store.TableKV, key)
	if !ok || !leased(key, row) {
		return
	}
	before := decode(key, row)
	if before.TTL > 0 && next.TTL == 0 {
		w.Delete(store.TableLeases, key)
	}
	if before.Session != "" && before.Session != next.Session {
		w.Delete(store.TableKeyHolds, holdKey(before.Session, key))
	}
}

// held is the row of a hold, which says everything in its key.
var held = []byte{1}

// holdKey is the session and the key with a NUL between, which no session's name has: what one holds are neighbours.
func holdKey(session string, key []byte) []byte {
	b := make([]byte, 0, len(session)+1+len(key))
	return append(append(append(b, session...), 0), key...)
}

// A row is six uvarints (revision, create revision, version, time, flags, length of the content type), then the
// content type, then the value up to the row's end. The key is the row's key. Where the key has a lease, leasedBit is
// added to the length, and two more uvarints (TTL, length of the session) and the session stand before the content type:
// rows without one are as they were before there were leases.
func encode(e event.Entry) []byte {
	b := make([]byte, 0, 8*binary.MaxVarintLen64+len(e.Session)+len(e.ContentType)+len(e.Value))
	length := uint64(len(e.ContentType))
	if e.TTL > 0 || e.Session != "" {
		length |= leasedBit
	}
	for _, n := range [...]uint64{uint64(e.Revision), uint64(e.CreateRevision), e.Version, uint64(e.Time), e.Flags, length} {
		b = binary.AppendUvarint(b, n)
	}
	if length&leasedBit != 0 {
		b = binary.AppendUvarint(b, uint64(e.TTL))
		b = binary.AppendUvarint(b, uint64(len(e.Session)))
		b = append(b, e.Session...)
	}
	b = append(b, e.ContentType...)
	return append(b, e.Value...)
}

// leasedBit is more than any content type's length.
const leasedBit = 1 << 16

// header reads the numbers that a row begins with, and gives what is behind them.
func header(key, row []byte) (n [6]uint64, rest []byte) {
	rest = row
	for i := range n {
		n[i], rest = number(key, rest)
	}
	return n, rest
}

func number(key, b []byte) (n uint64, rest []byte) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		corrupt(key)
	}
	return n, b[size:]
}

func leased(key, row []byte) bool {
	n, _ := header(key, row)
	return n[5]&leasedBit != 0
}

func decode(key, row []byte) event.Entry {
	n, rest := header(key, row)
	e := event.Entry{
		Key: string(key), Revision: event.Revision(n[0]), CreateRevision: event.Revision(n[1]), Version: n[2],
		Time: event.Time(n[3]), Flags: n[4],
	}
	if n[5]&leasedBit != 0 {
		var ttl, size uint64
		ttl, rest = number(key, rest)
		size, rest = number(key, rest)
		if size > uint64(len(rest)) {
			corrupt(key)
		}
		e.TTL, e.Session, rest = event.Time(ttl), string(rest[:size]), rest[size:]
		n[5] &^= leasedBit
	}
	if n[5] > uint64(len(rest)) {
		corrupt(key)
	}
	e.ContentType, e.Value = string(rest[:n[5]]), rest[n[5]:]
	return e
}

func corrupt(key []byte) {
	panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of key %q is cut short", key)})
}
