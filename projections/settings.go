package projections

import (
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/kv"
	"github.com/rollcall/rollcall/projections/namespaces"
)

// Counted is what makes up a namespace's usage.
var Counted = kv.Counted

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
