package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"

	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Opener is a Domain that knows how a ledger begins: Opens gives the name of the ledger that an event opens, and
// Skipped how many revisions an event says that it leaves out before itself. With it, Verify notices a ledger that
// stands under another's name, and allows the jumps that restores make.
type Opener interface {
	Opens(e event.Event) (ledger string, ok bool)
	Skipped(e event.Event) event.Revision
}

// Verified is what Verify found of a ledger that is as it should be.
type Verified struct {
	Ledger  string
	Events  uint64
	Rows    uint64 // versions of rows
	Trimmed uint64 // versions that are no longer kept, and need not be
	Root    string // of the Merkle tree, in base64
}

// Verify holds the state of a machine that does not run against its ledgers: every event's bytes are canonical,
// revisions have no gap, time never goes back, the Merkle hashes are those of the bytes, all rows, old versions too,
// are what the events fold into, and there is nothing else. The error names the first difference.
//
// The rows are folded anew into the folder scratch, or into memory where it is empty.
func Verify(ctx context.Context, c Config, scratch string) ([]Verified, error) {
	c.Existing, c.Store.ReadOnly = true, true
	m, err := New(c)
	if err != nil {
		return nil, err
	}
	var all []Verified
	err = m.Read(func(db *store.DB) error {
		ledgers, err := db.Ledgers()
		if err != nil {
			return err
		}
		for _, l := range ledgers {
			v, err := verifyLedger(ctx, db, l, c.Domain, scratch)
			if err != nil {
				return fmt.Errorf("ledger %q: %w", l.Name, err)
			}
			all = append(all, v)
		}
		return db.Stray(ledgers)
	})
	return all, errors.Join(err, m.Close())
}

func verifyLedger(ctx context.Context, db *store.DB, l store.Ledger, domain Domain, scratch string) (Verified, error) {
	options := store.Options{Counted: counted(domain)}
	if scratch == "" {
		options.FS = store.NewMemFS()
	} else {
		scratch = filepath.Join(scratch, l.Name)
	}
	folded, err := store.Open(scratch, options)
	if err != nil {
		return Verified{}, err
	}
	v := &verifying{db: db, ledger: l, domain: domain, folded: folded}
	err = v.events(ctx)
	if err == nil {
		err = v.compareRows()
	}
	if err == nil {
		err = v.compareLive()
	}
	if err = errors.Join(err, folded.Close()); err != nil {
		return Verified{}, err
	}
	return Verified{Ledger: l.Name, Events: v.frontier.Size(), Rows: v.rows, Trimmed: v.trimmed.Rows, Root: v.frontier.Root().String()}, nil
}

// verifying reads one ledger from its start, and folds it anew into a database in memory.
type verifying struct {
	db       *store.DB
	ledger   store.Ledger
	domain   Domain
	folded   *store.DB
	frontier audit.Frontier
	rows     uint64
	sum      store.Sum     // of the rows that are kept
	trimmed  store.Trimmed // what of them is not there, as this finds it
}

func (v *verifying) events(ctx context.Context) error {
	var last event.Event
	var commit []event.Event
	opener, _ := v.domain.(Opener)
	for last.Revision < v.ledger.Head.Revision {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := v.event(last.Revision + 1)
		if err != nil {
			return fmt.Errorf("revision %d: %w", last.Revision+1, err)
		}
		revision, skipped := e.Revision, event.Revision(0)
		if opener != nil {
			skipped = opener.Skipped(e)
		}
		switch {
		case revision != last.Revision+skipped+1, skipped > 0 && len(commit) > 0:
			return fmt.Errorf("revision %d: there is no event; the next one is at revision %d and says that it leaves out %d",
				last.Revision+1, revision, skipped)
		case e.Time < last.Time:
			return fmt.Errorf("revision %d: its time %d is before that of the event before, %d", revision, e.Time, last.Time)
		case e.Commit < revision, len(commit) > 0 && e.Commit != commit[0].Commit:
			return fmt.Errorf("revision %d: it says that its commit ends at %d", revision, e.Commit)
		}
		if opener != nil && last.Revision == 0 {
			if name, ok := opener.Opens(e); !ok || name != v.ledger.Name {
				return fmt.Errorf("revision %d: it does not open this ledger but %q", revision, name)
			}
		}
		last, commit = e, append(commit, e)
		if e.Revision == e.Commit {
			if err := v.fold(commit); err != nil {
				return err
			}
			commit = commit[:0]
		}
	}
	if len(commit) > 0 {
		return fmt.Errorf("revision %d: the ledger ends inside the commit that ends at %d", last.Revision, last.Commit)
	}
	if v.frontier.Size() != v.ledger.Head.Leaves || last.Time != v.ledger.Head.Time {
		return fmt.Errorf("the head says %d leaves at time %d, the events give %d at %d",
			v.ledger.Head.Leaves, v.ledger.Head.Time, v.frontier.Size(), last.Time)
	}
	return nil
}

// event reads the first event from a revision on and holds its bytes and hashes against what is kept.
func (v *verifying) event(from event.Revision) (event.Event, error) {
	revision, b, err := v.db.NextEvent(v.ledger.ID, from)
	if err != nil {
		return event.Event{}, err
	}
	if b == nil {
		return event.Event{}, errors.New("there is no event")
	}
	e, err := event.DecodeCanonical(b)
	if err != nil {
		return event.Event{}, err
	}
	if e.Revision != revision {
		return event.Event{}, fmt.Errorf("the event says that it is revision %d", e.Revision)
	}
	kept, err := v.db.Hashes(v.ledger.ID, v.frontier.Size())
	if err != nil {
		return event.Event{}, err
	}
	if want := v.frontier.Append(b); !bytes.Equal(kept, want) {
		return event.Event{}, fmt.Errorf("the Merkle hashes that are kept are not those of the event's bytes")
	}
	return e, nil
}

func (v *verifying) fold(commit []event.Event) error {
	b := v.folded.NewBatch()
	rows := b.Ledger(v.ledger.ID)
	rows.Begin(commit[0].Commit)
	for _, e := range commit {
		v.domain.Fold(rows, e)
	}
	return errors.Join(b.Commit(), b.Close())
}

// compareRows walks the rows that are kept and those that were folded anew, side by side. Of the latter those may be
// missing that the ledger's floor lets go, if what was recorded of the trimming says that they went.
func (v *verifying) compareRows() error {
	recorded, err := v.db.Trimmed(v.ledger.ID)
	if err != nil {
		return err
	}
	may := store.Kept{}
	if retainer, ok := v.domain.(Retainer); ok {
		if may.Floor, err = floorOf(v.folded, v.ledger.ID, retainer); err != nil {
			return err
		}
	}
	next, stop := iter.Pull(v.folded.RowVersions(v.ledger.ID))
	defer stop()
	want, more := next()
	for kept := range v.db.RowVersions(v.ledger.ID) {
		for ; more && bytes.Compare(want.Key, kept.Key) < 0; want, more = next() {
			if err := v.missing(&may, want); err != nil {
				return err
			}
		}
		if !more {
			return fmt.Errorf("row %s: no event made it", kept)
		}
		if !bytes.Equal(kept.Key, want.Key) || !bytes.Equal(kept.Row, want.Row) {
			return fmt.Errorf("row %s: the events fold into %s", kept, want)
		}
		may.Must(want)
		v.rows++
		v.sum = v.sum.Plus(kept.Sum())
		want, more = next()
	}
	for ; more; want, more = next() {
		if err := v.missing(&may, want); err != nil {
			return err
		}
	}
	if v.trimmed.Sum != recorded.Sum || v.trimmed.Rows != recorded.Rows {
		return fmt.Errorf("%d versions of rows with the sum %s are missing, and %d with the sum %s were trimmed",
			v.trimmed.Rows, v.trimmed.Sum, recorded.Rows, recorded.Sum)
	}
	if sum := v.sum.Plus(v.trimmed.Sum); sum != v.ledger.Head.Rows {
		return fmt.Errorf("the head says that the sum of the rows is %s, and it is %s", v.ledger.Head.Rows, sum)
	}
	return nil
}

// missing is a version that is not kept.
func (v *verifying) missing(may *store.Kept, want store.RowVersion) error {
	if may.Must(want) {
		return fmt.Errorf("row %s, which the events fold into, is missing", want)
	}
	v.trimmed.Rows++
	v.trimmed.Sum = v.trimmed.Sum.Plus(want.Sum())
	return nil
}

// compareLive holds what was counted against the rows.
func (v *verifying) compareLive() error {
	live, err := v.folded.CountRows(v.ledger.ID)
	if err == nil && live != v.ledger.Head.Live {
		err = fmt.Errorf("the rows that count are %d of %d bytes, and %d of %d were counted", live.Rows, live.Bytes, v.ledger.Head.Live.Rows, v.ledger.Head.Live.Bytes)
	}
	return err
}
