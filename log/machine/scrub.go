package machine

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/rollcall/rollcall/log/audit"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// ErrDamaged says that what is stored is not what was written.
var ErrDamaged = errors.New("the stored state is damaged")

// scrubChunk bounds what Scrub reads while it holds an iterator, which keeps Pebble from giving up what it compacted.
var scrubChunk = store.Chunk{Events: 1024, Bytes: 256 << 10}

// Scrub reads all that is stored of a ledger and holds it against what was recorded when it was written: every event
// has its canonical bytes and every Merkle hash is theirs; the sum of all row versions is the one that apply kept. An
// error that is ErrDamaged says what is wrong. Unlike Verify it folds nothing, so it needs no more memory than a chunk,
// and it may run beside everything else: apply never waits for it.
//
// What is compared is the ledger as it ended when Scrub began. Events and row versions up to there stay as they are
// while others are added, so it does not matter that each chunk is read at another moment. Versions that are trimmed meanwhile are
// reckoned with. Where a snapshot replaces the state, the pass ends without a finding.
//
// After each chunk pace is told how many bytes were read; what it returns ends the pass.
func (m *Machine) Scrub(ledger string, pace func(bytes int) error) error {
	s := &scrubbing{machine: m, pace: pace}
	if ok, err := s.begin(ledger); err != nil || !ok {
		return err
	}
	defer s.end()
	for _, part := range []func() error{s.events, s.rows} {
		if err := part(); errors.Is(err, errReplaced) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// errReplaced says that a snapshot has replaced the state in the middle of a pass: what was trimmed of the one is still
// there in the other.
var errReplaced = errors.New("the state was replaced")

type scrubbing struct {
	machine  *Machine
	ledger   store.Ledger // as it was at the beginning
	pace     func(int) error
	frontier audit.Frontier

	state uint64 // the number of the state that is read
	// Of the rows, guarded by the machine's sweep: the last key that was read; whether that was the last of all; the sum
	// of what was read, and of what was trimmed before it could be.
	after []byte
	over  bool
	sum   store.Sum
}

func (s *scrubbing) damaged(format string, args ...any) error {
	return fmt.Errorf("ledger %q: %w: %w", s.ledger.Name, ErrDamaged, fmt.Errorf(format, args...))
}

// read runs fn on the database. A disk that does not answer is damage too.
func (s *scrubbing) read(fn func(*store.DB) error) error {
	err := s.machine.Read(fn)
	if _, ok := errors.AsType[*store.Fault](err); ok {
		return s.damaged("%w", err)
	}
	return err
}

func (s *scrubbing) events() error {
	head := s.ledger.Head
	for next := event.Revision(1); next <= head.Revision; {
		var leaves []store.Leaf
		err := s.read(func(db *store.DB) (err error) {
			leaves, err = db.Leaves(s.ledger.ID, next, head.Revision, s.frontier.Size(), scrubChunk)
			return err
		})
		if err != nil {
			return err
		}
		if len(leaves) == 0 {
			return s.damaged("there are no events from revision %d on, and the head is %d", next, head.Revision)
		}
		read := 0
		for _, leaf := range leaves {
			if err := s.leaf(leaf); err != nil {
				return err
			}
			read += len(leaf.Event) + len(leaf.Hashes)
		}
		next = leaves[len(leaves)-1].Revision + 1
		if err := s.pace(read); err != nil {
			return err
		}
	}
	if s.frontier.Size() != head.Leaves {
		return s.damaged("there are %d events, and the head says %d", s.frontier.Size(), head.Leaves)
	}
	return nil
}

func (s *scrubbing) leaf(l store.Leaf) error {
	e, err := event.DecodeCanonical(l.Event)
	if err != nil {
		return s.damaged("revision %d: %w", l.Revision, err)
	}
	if e.Revision != l.Revision {
		return s.damaged("revision %d: the event says that it is revision %d", l.Revision, e.Revision)
	}
	if want := s.frontier.Append(l.Event); !bytes.Equal(l.Hashes, want) {
		return s.damaged("revision %d: the Merkle hashes that are kept are not those of the event's bytes, or an event before it is missing", l.Revision)
	}
	return nil
}

func (s *scrubbing) rows() error {
	m := s.machine
	for over := false; !over; {
		var read int
		err := s.read(func(db *store.DB) error {
			if m.db.number != s.state {
				return errReplaced
			}
			m.sweep.Lock()
			defer m.sweep.Unlock()
			part, last, n, err := db.SumSome(s.ledger.ID, s.ledger.Head.Revision, s.after, scrubChunk.Bytes)
			over = last == nil
			s.sum, s.after, s.over, read = s.sum.Plus(part), last, over, n
			return err
		})
		if err != nil {
			return err
		}
		if err := s.pace(read); err != nil {
			return err
		}
	}
	m.sweep.Lock()
	defer m.sweep.Unlock()
	if s.sum != s.ledger.Head.Rows {
		return s.damaged("the sum of the rows up to revision %d is %s, with those that were trimmed, and %s was recorded: a row was lost, added or changed",
			s.ledger.Head.Revision, s.sum, s.ledger.Head.Rows)
	}
	return nil
}

// begin says what the pass is about, and has the trimmer tell it from now on what it deletes. Both at once: a ledger's
// floor goes on with its head, so what was trimmed later may be newer than what is compared.
func (s *scrubbing) begin(ledger string) (ok bool, err error) {
	m := s.machine
	err = s.machine.Read(func(db *store.DB) error {
		m.sweep.Lock()
		defer m.sweep.Unlock()
		if s.ledger, ok = m.Ledger(ledger); !ok {
			return nil
		}
		t, err := db.Trimmed(s.ledger.ID)
		if err != nil {
			return err
		}
		s.sum, s.state = t.Sum, m.db.number
		m.scrubs[s] = struct{}{}
		return nil
	})
	if _, fault := errors.AsType[*store.Fault](err); fault {
		err = s.damaged("%w", err)
	}
	return ok, err
}

func (s *scrubbing) end() {
	s.machine.sweep.Lock()
	defer s.machine.sweep.Unlock()
	delete(s.machine.scrubs, s)
}

// trimmed is told of versions that went: those that the pass would have read are taken for read. The caller holds
// sweep.
func (s *scrubbing) trimmed(l store.LedgerID, deleted []store.Deleted) {
	if l != s.ledger.ID || s.over {
		return
	}
	for _, d := range deleted {
		if bytes.Compare(d.Key, s.after) > 0 && d.Commit() <= s.ledger.Head.Revision {
			s.sum = s.sum.Plus(d.Sum)
		}
	}
}
