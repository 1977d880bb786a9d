package projections

import (
	"iter"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/kv"
	"github.com/rollcall/rollcall/projections/namespaces"
)

// Counted is what makes up a namespace's usage.
var Counted = kv.Counted

// Life is where the namespace's own ledger stands.
func (v View) Life() event.Life { return namespaces.Life(v.rows) }

// Gone gives a namespace that was deleted and not made again; only _system's view knows any.
func (v View) Gone(namespace string) (event.Gone, bool) { return namespaces.Gone(v.rows, namespace) }

// AllGone yields the namespaces that were deleted and not made again, in name order; only _system's view knows any.
func (v View) AllGone() iter.Seq[event.Gone] { return namespaces.AllGone(v.rows) }

// Life is where a namespace's own ledger stands, given its rows.
func Life(r store.Reader) event.Life { return namespaces.Life(r) }

// Settings are what the namespace keeps to.
func (v View) Settings() event.Settings { return namespaces.Settings(v.rows) }

// Wish is what a namespace was asked to keep to; only _system's view knows.
func (v View) Wish(namespace string) (event.Settings, bool) {
	return namespaces.Wish(v.rows, namespace)
}

// Level is how close the namespace is to its quotas, as its ledger said last.
func (v View) Level() event.Level { return namespaces.Level(v.rows) }

// Floor is the oldest revision whose state can be read; zero where that is all.
func (v View) Floor() event.Revision { return namespaces.Floor(v.rows) }

// RestoredRow is the row that every restore of a ledger writes.
func RestoredRow() (store.Table, []byte) { return namespaces.RestoredRow() }

// Floor is the oldest revision of a ledger, given its newest rows, whose state can be read.
func Floor(r store.Reader) event.Revision { return namespaces.Floor(r) }
