package machine

import (
	"errors"
	"fmt"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// batchBytesMax is how large a batch may get before what comes after the entry goes into another one. A replica that
// catches up is handed hundreds of megabytes of entries at once.
const batchBytesMax = 4 << 20

// Update implements Raft's interface: it applies committed entries. What an entry changes goes into one batch, many
// entries where they are small; how they fall into calls and batches makes no difference to what is written.
//
// An error from here stops the replica before anything of the batch is visible.
func (m *Machine) Update(entries []sm.Entry) (_ []sm.Entry, err error) {
	fault.Point(fault.ApplyBefore)
	for rest := entries; len(rest) > 0; {
		n, err := m.update(rest)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return entries, nil
}

// update applies the first entries, as many as make a batch, and says how many those are.
func (m *Machine) update(entries []sm.Entry) (n int, err error) {
	defer store.Catch(&err)
	a := &applying{machine: m, batch: m.db.NewBatch(), touched: map[string]*touched{}}
	defer func() { err = errors.Join(err, a.batch.Close()) }()
	for n < len(entries) && a.batch.Bytes() < batchBytesMax {
		entries[n].Result = a.entry(entries[n].Cmd)
		n++
	}
	last := entries[n-1].Index
	a.batch.SetApplied(last)
	for _, name := range a.order {
		l := a.touched[name].ledger
		a.batch.SetHead(l.ID, l.Head)
	}
	fault.Point(fault.CommitBefore)
	if err := a.batch.Commit(); err != nil {
		return 0, err
	}
	fault.Point(fault.CommitAfter)
	a.publish(last)
	fault.Point(fault.PublishAfter)
	return n, nil
}

// applying is one batch.
type applying struct {
	machine *Machine
	batch   *store.Batch
	touched map[string]*touched // the ledgers that got events
	order   []string            // their names, in the order in which they got their first
	scratch []byte
}

type touched struct {
	ledger *ledger
	events []event.Event
	marks  []mark // of each commit
}

// Result values of an entry, for its proposer. Result.Data holds one reply for each command.
const (
	ResultApplied   = 0
	ResultMalformed = 1
)

func (a *applying) entry(cmd []byte) sm.Result {
	origin, commands, err := DecodeEntry(cmd)
	if err != nil {
		// Every replica comes to the same verdict about the same bytes, so skipping them is deterministic.
		return sm.Result{Value: ResultMalformed}
	}
	wanted := origin == a.machine.config.Origin
	var replies []byte
	left := EntryReadBytesMax
	for _, c := range commands {
		decision, commit := a.command(c, left)
		left -= decision.Read
		if wanted {
			replies = appendFrame(replies, decision.Reply(commit))
		}
	}
	return sm.Result{Value: ResultApplied, Data: replies}
}

// EntryReadBytesMax bounds what the commands of one entry read together for their replies: an entry is applied as a
// whole, on every replica and again after every restart, so what it costs must have an end.
const EntryReadBytesMax = 32 << 20

// command decides a command and appends its events. It gives their commit.
func (a *applying) command(c Command, readBytes int) (Decision, event.Revision) {
	l := a.machine.ledgers[c.Ledger]
	if l == nil {
		l = &ledger{Ledger: store.Ledger{ID: a.machine.nextID, Name: c.Ledger}}
	}
	now := max(c.Time, l.Head.Time)
	rows := a.batch.Ledger(l.ID)
	decision := a.machine.config.Domain.Decide(rows, Situation{
		Ledger: c.Ledger, Head: l.Head.Revision, Now: now, Asked: c.Time, Live: l.Head.Live, ReadBytes: readBytes,
	}, c.Body)
	if len(decision.Events) == 0 {
		return decision, l.Head.Revision
	}
	if l.Head.Revision == 0 {
		a.machine.ledgers[c.Ledger] = l
		a.machine.nextID++
		a.batch.NameLedger(l.ID, l.Name)
	}
	before := misnumber(l.Head.Revision) + decision.Skip
	commit := before + event.Revision(len(decision.Events))
	rows.Begin(commit)
	t := a.touch(l)
	for i, body := range decision.Events {
		e := event.Event{
			Revision: before + event.Revision(i) + 1, Commit: commit, Time: now,
			Actor: c.Actor, Reason: misspell(c.Reason), Body: body,
		}
		if i == 0 {
			e.Request = decision.Request
		}
		a.append(l, e)
		a.machine.config.Domain.Fold(rows, e)
		t.events = append(t.events, e)
		a.retain(l, e)
	}
	l.Head.Rows = l.Head.Rows.Plus(rows.Sum())
	l.Head.Live = l.Head.Live.Plus(rows.Grown())
	t.marks = append(t.marks, markOf(l.Head))
	return decision, commit
}

// append records one event and its hashes, and moves the ledger's head.
func (a *applying) append(l *ledger, e event.Event) {
	a.scratch = event.Append(a.scratch[:0], e)
	a.batch.AppendEvent(l.ID, e.Revision, a.scratch)
	a.batch.AppendHashes(l.ID, l.Head.Leaves, l.frontier.Append(a.scratch))
	l.Head.Revision, l.Head.Time, l.Head.Leaves = e.Revision, e.Time, l.frontier.Size()
}

func (a *applying) touch(l *ledger) *touched {
	t := a.touched[l.Name]
	if t == nil {
		t = &touched{ledger: l}
		a.touched[l.Name] = t
		a.order = append(a.order, l.Name)
	}
	return t
}

// publish lets readers see the batch, and then tells them.
func (a *applying) publish(index uint64) {
	m := a.machine
	m.mu.Lock()
	m.applied = index
	for name, t := range a.touched {
		m.published[name] = t.ledger.Ledger
		m.recentOf(name).add(t.marks)
	}
	m.mu.Unlock()
	if m.config.Publish == nil {
		return
	}
	for _, name := range a.order {
		m.config.Publish(name, a.touched[name].events)
	}
}

// Check panics when a ledger's head and its Merkle tree disagree: tests call it after every step.
func (m *Machine) Check() {
	for name, l := range m.ledgers {
		if l.Head.Leaves != l.frontier.Size() {
			panic(fmt.Sprintf("ledger %q has %d leaves in its head and %d in its tree", name, l.Head.Leaves, l.frontier.Size()))
		}
	}
}
