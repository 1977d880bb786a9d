package log

import (
	"context"
	"fmt"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Find gives the revision that at chooses, as View does, of those that rows are no longer kept for too.
func (l *Log) Find(group uint64, ledger string, at func(*store.DB, store.Ledger) (event.Revision, error)) (found event.Revision, err error) {
	g, err := l.group(group)
	if err != nil {
		return 0, err
	}
	err = g.machine.Read(func(db *store.DB) (err error) {
		end, ok := g.machine.Ledger(ledger)
		if !ok {
			return fmt.Errorf("%w: %q on group %d", ErrNoLedger, ledger, group)
		}
		if found = end.Head.Revision; at != nil {
			found, err = at(db, end)
		}
		return err
	})
	return found, err
}

// What one call of History gives and looks at: a value may be large, and so may a commit.
const (
	historyBytesMax = 8 << 20
	historyScanMax  = 2 * event.CommitEventsMax
	historyWalkMax  = 20_000 // events that are read one by one, where there is no index
	historyLook     = 1024   // events between two looks at whether somebody still waits
)

// History is the past of one thing.
type History struct {
	Events []event.Event // the newest first
	// Next is up to which revision to look next; zero where there is nothing further back.
	Next event.Revision
}

// History gives the events of a subject that changed any of some rows, newest first: those of commits up to a revision, at most
// limit of them, fewer where they are large or finding them costs much. There may be none although there are some
// further back.
//
// Down to the ledger's floor they are found by the row's versions. Further back those may be gone, but not the events:
// the ledger is read backwards, so many events in a call.
func (l *Log) History(ctx context.Context, group uint64, ledger, subject string, rows []store.RowName, upTo event.Revision, limit int) (History, error) {
	g, err := l.group(group)
	if err != nil {
		return History{}, err
	}
	w := &past{ctx: ctx, subject: subject, limit: limit}
	err = g.machine.Read(func(db *store.DB) error {
		end, release, ok := g.machine.Pin(ledger)
		if !ok {
			return fmt.Errorf("%w: %q on group %d", ErrNoLedger, ledger, group)
		}
		defer release()
		upTo = min(upTo, end.Head.Revision)
		if upTo > end.Head.Floor {
			if full, err := w.index(db, end, rows, upTo); full || err != nil {
				return err
			}
		}
		return w.walk(db, end.ID, min(upTo, end.Head.Floor))
	})
	return w.History, err
}

// past is a look back.
type past struct {
	History
	ctx           context.Context
	subject       string
	limit         int
	scanned, size int
}

// full tells whether the call has given or cost enough.
func (w *past) full() bool {
	n := len(w.Events)
	return n >= w.limit || n > 0 && (w.scanned >= historyScanMax || w.size >= historyBytesMax)
}

// take looks at one event, and tells whether it is one of those that are wanted.
func (w *past) take(e event.Event) (bool, error) {
	if w.scanned++; w.scanned%historyLook == 0 && w.ctx.Err() != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(w.ctx))
	}
	if e.Body.Subject() != w.subject {
		return false, nil
	}
	w.Events, w.size = append(w.Events, e), w.size+approximateBytes(e)
	return true, nil
}

// index finds events by the versions of the rows. Done says that the call ends here.
func (w *past) index(db *store.DB, l store.Ledger, rows []store.RowName, upTo event.Revision) (done bool, err error) {
	for commit := range db.TouchesAny(l.ID, rows, upTo) {
		if commit <= l.Head.Floor {
			return false, nil
		}
		if w.full() {
			w.Next = w.Events[len(w.Events)-1].Revision - 1
			return true, nil
		}
		for e := range db.Commit(l.ID, commit) {
			found, err := w.take(e)
			if err != nil {
				return false, err
			}
			if found && len(rows) == 1 {
				break // a commit writes a row once
			}
		}
	}
	return false, nil
}

// walk finds events by reading the ledger backwards, by whole commits. One that goes beyond upTo is not shown, as its
// rows would not be.
func (w *past) walk(db *store.DB, l store.LedgerID, upTo event.Revision) error {
	walked := 0
	for e := range db.Backward(l, upTo) {
		if e.Revision == e.Commit && (walked >= historyWalkMax || w.full()) {
			w.Next = e.Revision
			return nil
		}
		walked++
		if e.Commit > upTo {
			continue
		}
		if _, err := w.take(e); err != nil {
			return err
		}
	}
	return nil
}
