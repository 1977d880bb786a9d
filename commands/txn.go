package commands

import (
	"iter"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/log/event"
)

func decideTxn(s State, at Situation, c Txn) (Decision, *Rejection) {
	d := Decision{Answer: Answer{Branch: BranchThen, Failed: failing(s, c.If)}}
	operations := c.Then
	if len(d.Answer.Failed) > 0 {
		d.Answer.Branch, operations = BranchElse, c.Else
	}
	w := newWorking(s, at)
	for _, op := range operations {
		r, rejection := w.run(op)
		if rejection != nil {
			return Decision{}, rejection
		}
		d.Answer.Results = append(d.Answer.Results, r)
	}
	d.Events, d.BytesRead = w.events, w.bytesRead
	if len(d.Events) == 0 {
		d.Answer.Revision = s.Head() // a transaction that only read shows the state as of the last commit
	}
	return d, nil
}

// working is the state as a transaction sees it while it runs: what was there, with its own writes on top.
// Entries that it wrote have revision 0, which Answer.Resolve turns into the commit.
type working struct {
	State
	at        Situation
	events    []event.Body
	entries   map[string]*event.Entry       // nil: deleted by this transaction
	instances map[[2]string]*event.Instance // nil: removed by this transaction

	entriesRead, bytesRead int
}

func newWorking(s State, at Situation) *working {
	return &working{State: s, at: at, entries: map[string]*event.Entry{}, instances: map[[2]string]*event.Instance{}}
}

func (w *working) run(op Operation) (Result, *Rejection) {
	switch {
	case op.Put != nil:
		if r := checkSession(w, op.Put.Session); r != nil {
			return Result{}, r
		}
		current, exists := w.Key(op.Put.Key)
		e := put(*op.Put, current)
		w.events = append(w.events, e)
		entry := e.Entry(0, w.at.Now)
		w.entries[e.Key] = &entry
		return Result{Created: !exists}, nil
	case op.Delete != nil:
		return w.delete(*op.Delete)
	case op.Get != nil:
		return w.get(*op.Get)
	case op.Register != nil:
		if r := checkSession(w, op.Register.Instance.Session); r != nil {
			return Result{}, r
		}
		return w.register(*op.Register), nil
	case op.Deregister != nil:
		return w.deregister(*op.Deregister), nil
	}
	return Result{}, reject(CodeInvalidTxn, "an operation without a verb")
}

func (w *working) delete(t Target) (Result, *Rejection) {
	var doomed []event.Body
	for key, revision := range w.revisions(t) {
		if len(w.events)+len(doomed) == event.CommitEventsMax {
			return Result{}, reject(CodeTooLarge, "the transaction makes more than %d events: delete longer prefixes one by one", event.CommitEventsMax)
		}
		doomed = append(doomed, event.KeyDeleted{Key: key, Previous: revision})
	}
	for _, body := range doomed {
		w.entries[body.(event.KeyDeleted).Key] = nil
	}
	w.events = append(w.events, doomed...)
	return Result{Deleted: uint64(len(doomed))}, nil
}

// get reads within the bounds of an answer, which every replica makes and one of them sends.
func (w *working) get(t Target) (Result, *Rejection) {
	var entries []event.Entry
	for e := range w.target(t) {
		w.entriesRead++
		if w.bytesRead += len(e.Key) + len(e.Value); w.entriesRead > event.ListEntriesMax || w.bytesRead > event.TxnReadBytesMax {
			return Result{}, reject(CodeTooLarge, "the transaction reads more than %d keys or %d bytes: list them page by page instead",
				event.ListEntriesMax, event.TxnReadBytesMax)
		}
		if w.bytesRead > w.at.ReadBytes {
			return Result{}, reject(CodeBusy, "too much is being read by others at the same moment; nothing was written, try again")
		}
		entries = append(entries, e)
	}
	return Result{Entries: entries}, nil
}

// revisions yields the keys that a target names, and their revisions.
func (w *working) revisions(t Target) iter.Seq2[string, event.Revision] {
	if t.IsPrefix {
		return w.KeyRevisions(t.Prefix)
	}
	return func(yield func(string, event.Revision) bool) {
		if e, ok := w.Key(t.Key); ok {
			yield(e.Key, e.Revision)
		}
	}
}

// target yields the entries that a target names.
func (w *working) target(t Target) iter.Seq[event.Entry] {
	if t.IsPrefix {
		return w.Keys(t.Prefix)
	}
	return func(yield func(event.Entry) bool) {
		if e, ok := w.Key(t.Key); ok {
			yield(e)
		}
	}
}

func (w *working) register(c RegisterInstance) Result {
	events, r := register(w, c)
	if len(events) > 0 {
		w.events = append(w.events, events...)
		w.instances[[2]string{c.Instance.Service, c.Instance.ID}] = &c.Instance
	}
	return r
}

func (w *working) deregister(c DeregisterInstance) Result {
	current, exists := w.Instance(c.Service, c.ID)
	if !exists {
		return Result{}
	}
	w.events = append(w.events, event.InstanceDeregistered{Service: c.Service, ID: c.ID, Previous: current.Revision})
	w.instances[[2]string{c.Service, c.ID}] = nil
	return Result{Deleted: 1}
}

// Key implements State over the transaction's own writes.
func (w *working) Key(key string) (event.Entry, bool) {
	if e, mine := w.entries[key]; mine {
		if e == nil {
			return event.Entry{}, false
		}
		return *e, true
	}
	return w.State.Key(key)
}

// Keys implements State over the transaction's own writes.
func (w *working) Keys(prefix string) iter.Seq[event.Entry] {
	theirs := func(yield func(string, event.Entry) bool) {
		for e := range w.State.Keys(prefix) {
			if !yield(e.Key, e) {
				return
			}
		}
	}
	return func(yield func(event.Entry) bool) {
		for _, e := range merge(w, prefix, theirs, func(e event.Entry) event.Entry { return e }) {
			if !yield(e) {
				return
			}
		}
	}
}

// KeyRevisions implements State over the transaction's own writes.
func (w *working) KeyRevisions(prefix string) iter.Seq2[string, event.Revision] {
	return merge(w, prefix, w.State.KeyRevisions(prefix), func(e event.Entry) event.Revision { return e.Revision })
}

// merge puts the transaction's own entries in their places among those of the state: both are in key order, and its
// own stand for those of the same key. Of its own it takes what pick gives.
func merge[T any](w *working, prefix string, theirs iter.Seq2[string, T], pick func(event.Entry) T) iter.Seq2[string, T] {
	own := make([]string, 0, len(w.entries))
	for key := range w.entries {
		if strings.HasPrefix(key, prefix) {
			own = append(own, key)
		}
	}
	slices.Sort(own)
	return func(yield func(string, T) bool) {
		own := own
		emit := func(key string) bool {
			e := w.entries[key]
			return e == nil || yield(key, pick(*e))
		}
		for key, v := range theirs {
			for len(own) > 0 && own[0] < key {
				if !emit(own[0]) {
					return
				}
				own = own[1:]
			}
			if len(own) > 0 && own[0] == key {
				continue // replaced or deleted here: its turn comes with the next key, or at the end
			}
			if !yield(key, v) {
				return
			}
		}
		for _, key := range own {
			if !emit(key) {
				return
			}
		}
	}
}

// Instance implements State over the transaction's own writes.
func (w *working) Instance(service, id string) (event.Registration, bool) {
	if i, mine := w.instances[[2]string{service, id}]; mine {
		if i == nil {
			return event.Registration{}, false
		}
		return event.Registration{Instance: *i}, true
	}
	return w.State.Instance(service, id)
}
