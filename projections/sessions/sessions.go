// Package sessions is the view of sessions, and of who keeps the time of the ledger's leases.
//
// It is decisive, as package kv is. What is bound to a session is in the views of those things. When a session ends is in
// none: deadlines move with every keepalive, which is no event, and are in the timekeeper's memory alone.
package sessions

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// timekeeperKey is the row of TableSystem that says who keeps the time.
var timekeeperKey = []byte("timekeeper")

// Fold applies an event to the view; events of other families change nothing.
func Fold(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.SessionCreated:
		w.Set(store.TableSessions, []byte(b.ID), encode(b.Session(e.Commit, e.Time)))
	case event.SessionEnded:
		w.Delete(store.TableSessions, []byte(b.ID))
	case event.SessionExpired:
		w.Delete(store.TableSessions, []byte(b.ID))
	case event.TimekeeperClaimed:
		w.Set(store.TableSystem, timekeeperKey, binary.AppendUvarint(nil, uint64(e.Commit)))
	}
}

// A row is five uvarints: TTL, what becomes of keys, lock delay, revision, time. The id is the row's key.
func encode(s event.Session) []byte {
	b := make([]byte, 0, 5*binary.MaxVarintLen64)
	for _, n := range [...]uint64{uint64(s.TTL), uint64(s.OnEnd), uint64(s.LockDelay), uint64(s.Revision), uint64(s.Time)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decode(id, row []byte) event.Session {
	var n [5]uint64
	for i := range n {
		v, size := binary.Uvarint(row)
		if size <= 0 {
			panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of session %q is cut short", id)})
		}
		n[i], row = v, row[size:]
	}
	return event.Session{
		ID: string(id), TTL: event.Time(n[0]), OnEnd: event.OnEnd(n[1]), LockDelay: event.Time(n[2]),
		Revision: event.Revision(n[3]), Time: event.Time(n[4]),
	}
}

// Get gives one session.
func Get(r store.Reader, id string) (event.Session, bool) {
	row, ok := r.Get(store.TableSessions, []byte(id))
	if !ok {
		return event.Session{}, false
	}
	return decode([]byte(id), row), true
}

// All yields the sessions behind one of a name, in the order of their ids as text; behind "" are all of them.
func All(r store.Reader, after string) iter.Seq[event.Session] {
	return func(yield func(event.Session) bool) {
		var from []byte
		if after != "" {
			from = append([]byte(after), 0)
		}
		for id, row := range r.Scan(store.TableSessions, nil, from) {
			if !yield(decode(id, row)) {
				return
			}
		}
	}
}

// Timekeeper is the epoch of who keeps the ledger's time: the commit of the claim; zero while nobody does.
func Timekeeper(r store.Reader) event.Revision {
	row, ok := r.Get(store.TableSystem, timekeeperKey)
	if !ok {
		return 0
	}
	n, _ := binary.Uvarint(row)
	return event.Revision(n)
}
