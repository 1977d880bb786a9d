package gatewaytest

import (
	"bytes"
	"iter"
	"slices"
	"sort"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// ledger is a namespace's events and the rows that they fold into. The Backend's lock guards it.
type ledger struct {
	events  []event.Event // the one at i has revision i+1
	tables  map[store.Table]*table
	changed chan struct{} // closed and made anew by every commit
}

// table holds rows in key order, each with its versions in commit order.
type table struct {
	keys []string
	rows map[string][]version
}

type version struct {
	commit event.Revision
	row    []byte // nil: deleted
}

func newLedger() *ledger {
	return &ledger{tables: map[store.Table]*table{}, changed: make(chan struct{})}
}

func (l *ledger) head() event.Revision { return event.Revision(len(l.events)) }

func (l *ledger) time() event.Time {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].Time
}

// revisionAt is the last revision that is not after t.
func (l *ledger) revisionAt(t event.Time) event.Revision {
	return event.Revision(sort.Search(len(l.events), func(i int) bool { return l.events[i].Time > t }))
}

// usage counts what there is.
func (l *ledger) usage() (u event.Usage) {
	for key, row := range l.at(l.head()).Scan(projections.Counted.Table, nil, nil) {
		u.Keys, u.Bytes = u.Keys+1, u.Bytes+uint64(projections.Counted.Size(key, row))
	}
	return u
}

func (l *ledger) at(r event.Revision) rows { return rows{ledger: l, revision: r} }

// commit records events and folds them.
func (l *ledger) commit(now event.Time, r gateway.Request, d commands.Decision) {
	commit := l.head() + event.Revision(len(d.Events))
	for i, body := range d.Events {
		e := event.Event{Revision: l.head() + 1, Commit: commit, Time: now, Actor: r.Actor, Reason: r.Reason, Body: body}
		if i == 0 {
			e.Request = d.Request
		}
		e, err := event.DecodeCanonical(event.Append(nil, e))
		if err != nil {
			panic(err) // an event that has no bytes: a real server could not write it either
		}
		l.events = append(l.events, e)
		projections.Fold(writer{l.at(commit)}, e)
	}
	l.wake()
}

func (l *ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// rows reads a ledger's rows as of a revision. It implements store.Reader.
type rows struct {
	ledger   *ledger
	revision event.Revision
}

func (r rows) Get(t store.Table, key []byte) ([]byte, bool) {
	row := r.find(t, string(key))
	return bytes.Clone(row), row != nil
}

// At implements store.Reader.
func (r rows) At(commit event.Revision) store.Reader { return r.ledger.at(min(commit, r.revision)) }

func (r rows) find(t store.Table, key string) []byte {
	table := r.ledger.tables[t]
	if table == nil {
		return nil
	}
	versions := table.rows[key]
	n := sort.Search(len(versions), func(i int) bool { return versions[i].commit > r.revision })
	if n == 0 {
		return nil
	}
	return versions[n-1].row
}

// Scan yields from buffers that it uses again, as a real store may: who keeps them shows in the test.
func (r rows) Scan(t store.Table, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		table := r.ledger.tables[t]
		if table == nil {
			return
		}
		var key, row []byte
		start, _ := slices.BinarySearch(table.keys, max(string(prefix), string(from)))
		for _, k := range table.keys[start:] {
			if key = append(key[:0], k...); !bytes.HasPrefix(key, prefix) {
				return
			}
			if found := r.find(t, k); found != nil {
				if row = append(row[:0], found...); !yield(key, row) {
					return
				}
			}
		}
	}
}

// writer writes rows at the commit that it reads as of. It implements store.Writer.
type writer struct{ rows }

func (w writer) Set(t store.Table, key, row []byte) { w.put(t, string(key), append([]byte{}, row...)) }

func (w writer) Delete(t store.Table, key []byte) { w.put(t, string(key), nil) }

func (w writer) put(t store.Table, key string, row []byte) {
	all := w.ledger.tables[t]
	if all == nil {
		all = &table{rows: map[string][]version{}}
		w.ledger.tables[t] = all
	}
	versions := all.rows[key]
	if len(versions) == 0 {
		i, _ := slices.BinarySearch(all.keys, key)
		all.keys = slices.Insert(all.keys, i, key)
	}
	if n := len(versions); n > 0 && versions[n-1].commit == w.revision {
		versions = versions[:n-1]
	}
	all.rows[key] = append(versions, version{w.revision, row})
}
