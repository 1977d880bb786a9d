package namespaces

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Still more rows of TableSystem. In a namespace's own ledger: its life, where it is not that of one that was opened once
// and goes on. In _system's: the namespaces that were deleted, and were not made again.
var lifeKey = []byte("life")

const gonePrefix = "gone/"

func goneKey(namespace string) []byte { return []byte(gonePrefix + namespace) }

func foldLife(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.NamespaceOpened:
		if b.Closed == 0 && b.From == "" && !b.Again {
			return // as ledgers began when there was nothing else: no row says the same
		}
		l := event.Life{Placed: b.Placed, Since: e.Commit, Began: e.Commit, From: b.From, FromRevision: b.FromRevision}
		if b.From != "" {
			l.Phase = event.Filling
		}
		w.Set(store.TableSystem, lifeKey, encodeLife(l))
		for _, key := range [][]byte{settingsKey, levelKey} { // they begin anew
			if _, ok := w.Get(store.TableSystem, key); ok {
				w.Delete(store.TableSystem, key)
			}
		}
	case event.NamespaceFilled:
		l := Life(w)
		l.Phase, l.Since = event.Open, e.Commit
		w.Set(store.TableSystem, lifeKey, encodeLife(l))
	case event.NamespaceClosed:
		w.Set(store.TableSystem, lifeKey, encodeLife(event.Life{Phase: event.Closed, Placed: b.Placed, Since: e.Commit, Began: Life(w).Began}))
	case event.NamespaceExpired:
		w.Set(store.TableSystem, lifeKey, encodeLife(event.Life{Phase: event.Expired, Placed: b.Placed, Since: e.Commit, Began: Life(w).Began}))
	case event.NamespaceCreated:
		if b.Previous > 0 {
			w.Delete(store.TableSystem, goneKey(b.Namespace))
		}
	case event.NamespaceDeleted:
		w.Delete(store.TableNamespaces, []byte(b.Namespace))
		if _, ok := w.Get(store.TableSystem, wishKey(b.Namespace)); ok {
			w.Delete(store.TableSystem, wishKey(b.Namespace))
		}
		var row []byte
		for _, n := range []uint64{b.Group, uint64(b.Placed), uint64(b.Closed), uint64(e.Commit), uint64(e.Time)} {
			row = binary.AppendUvarint(row, n)
		}
		w.Set(store.TableSystem, goneKey(b.Namespace), row)
	}
}

// A row of a life is five uvarints (phase, placed, since, the revision that it was filled from, and the commit that it
// began with), then the name of the namespace that it was filled from.
func encodeLife(l event.Life) []byte {
	var b []byte
	for _, n := range []uint64{uint64(l.Phase), uint64(l.Placed), uint64(l.Since), uint64(l.FromRevision), uint64(l.Began)} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, l.From...)
}

// numbers reads the uvarints that a row begins with, and gives what is behind them.
func numbers(n []uint64, what string, row []byte) (rest []byte) {
	for i := range n {
		v, size := binary.Uvarint(row)
		if size <= 0 {
			panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row %q is cut short", what)})
		}
		n[i], row = v, row[size:]
	}
	return row
}

// Life is where a namespace's own ledger stands.
func Life(r store.Reader) event.Life {
	row, ok := r.Get(store.TableSystem, lifeKey)
	if !ok {
		return event.Life{}
	}
	var n [5]uint64
	from := numbers(n[:], string(lifeKey), row)
	return event.Life{
		Phase: event.Phase(n[0]), Placed: event.Revision(n[1]), Since: event.Revision(n[2]),
		FromRevision: event.Revision(n[3]), Began: event.Revision(n[4]), From: string(from),
	}
}

func decodeGone(name string, row []byte) event.Gone {
	var n [5]uint64
	numbers(n[:], gonePrefix+name, row)
	return event.Gone{
		Name: name, Group: n[0], Placed: event.Revision(n[1]), Closed: event.Revision(n[2]),
		Revision: event.Revision(n[3]), Time: event.Time(n[4]),
	}
}

// Gone gives a namespace that was deleted and not made again; only _system's ledger knows any.
func Gone(r store.Reader, name string) (event.Gone, bool) {
	row, ok := r.Get(store.TableSystem, goneKey(name))
	if !ok {
		return event.Gone{}, false
	}
	return decodeGone(name, row), true
}

// AllGone yields them in name order.
func AllGone(r store.Reader) iter.Seq[event.Gone] {
	return func(yield func(event.Gone) bool) {
		for key, row := range r.Scan(store.TableSystem, []byte(gonePrefix), nil) {
			if !yield(decodeGone(strings.TrimPrefix(string(key), gonePrefix), row)) {
				return
			}
		}
	}
}
