// Package namespaces is the view of _system's ledger that says which namespaces exist and which group hosts each.
//
// It is decisive, as package kv is.
package namespaces

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// The rows of TableSystem: how many groups the cluster was made with, in _system's ledger, and what restores have
// done to the ledger, in any.
var (
	groupsKey   = []byte("groups")
	restoredKey = []byte("restored")
)

// Fold applies an event to the view; events of other families change nothing.
func Fold(w store.Writer, e event.Event) {
	foldSettings(w, e)
	foldLife(w, e)
	switch b := e.Body.(type) {
	case event.NamespaceOpened:
		if b.Namespace == event.System {
			w.Set(store.TableSystem, groupsKey, binary.AppendUvarint(nil, b.Groups))
		}
	case event.NamespaceRestored:
		skipped := Restored(w).Skipped + b.Skipped
		w.Set(store.TableSystem, restoredKey, append(binary.AppendUvarint(nil, uint64(skipped)), b.Cluster...))
	case event.NamespaceCreated:
		row := binary.AppendUvarint(nil, b.Group)
		row = binary.AppendUvarint(row, uint64(e.Commit))
		row = binary.AppendUvarint(row, uint64(e.Time))
		if b.Previous > 0 || b.From != "" {
			row = binary.AppendUvarint(row, uint64(b.Previous))
			row = append(binary.AppendUvarint(row, uint64(b.FromRevision)), b.From...)
		}
		w.Set(store.TableNamespaces, []byte(b.Namespace), row)
	}
}

// A row of a namespace is three uvarints: group, revision, time. Where one of its name was deleted before, or it was
// filled from another one, two more (when that was, and as of which revision) and the other one's name follow.
func decode(name, row []byte) event.Namespace {
	var n [3]uint64
	rest := numbers(n[:], string(name), row)
	out := event.Namespace{Name: string(name), Group: n[0], Revision: event.Revision(n[1]), Time: event.Time(n[2])}
	if len(rest) > 0 {
		var more [2]uint64
		rest = numbers(more[:], string(name), rest)
		out.Previous, out.FromRevision, out.From = event.Revision(more[0]), event.Revision(more[1]), string(rest)
	}
	return out
}

// Get gives one namespace.
func Get(r store.Reader, name string) (event.Namespace, bool) {
	row, ok := r.Get(store.TableNamespaces, []byte(name))
	if !ok {
		return event.Namespace{}, false
	}
	return decode([]byte(name), row), true
}

// All yields every namespace, in name order. _system itself is not among them: it is always on the first group.
func All(r store.Reader) iter.Seq[event.Namespace] {
	return func(yield func(event.Namespace) bool) {
		for name, row := range r.Scan(store.TableNamespaces, nil, nil) {
			if !yield(decode(name, row)) {
				return
			}
		}
	}
}

// Groups is how many groups the cluster was made with; zero outside _system's ledger.
func Groups(r store.Reader) uint64 {
	row, ok := r.Get(store.TableSystem, groupsKey)
	if !ok {
		return 0
	}
	n, _ := binary.Uvarint(row)
	return n
}

// Restored is what restores have done to a ledger; zero where there was none.
func Restored(r store.Reader) event.Restored {
	row, ok := r.Get(store.TableSystem, restoredKey)
	if !ok {
		return event.Restored{}
	}
	skipped, size := binary.Uvarint(row)
	if size <= 0 {
		panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of the last restore is cut short")})
	}
	return event.Restored{Cluster: string(row[size:]), Skipped: event.Revision(skipped)}
}
