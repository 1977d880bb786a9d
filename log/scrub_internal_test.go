package log

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// setter is a domain in which every command sets the key "k" to it.
type setter struct{}

func (setter) Decide(_ store.Reader, _ machine.Situation, command []byte) machine.Decision {
	return machine.Decision{
		Events: []event.Body{event.KeySet{Key: "k", Value: command, Version: 1}},
		Reply:  func(event.Revision) []byte { return nil },
	}
}

func (setter) Fold(rows store.Writer, e event.Event) {
	rows.Set(store.TableKV, []byte("k"), e.Body.(event.KeySet).Value)
}

// TestScrubber looks at everything once in a round, rests between rounds, keeps to its budget, and tells of damage.
func TestScrubber(t *testing.T) {
	l := &Log{groups: map[uint64]*group{}, logger: slog.New(slog.DiscardHandler)}
	for id := uint64(1); id <= 2; id++ {
		g, err := openGroup(Config{Dir: t.TempDir()}, id, setter{}, store.Options{FS: store.NewMemFS()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.machine.Close() })
		l.groups[id] = g
	}
	const size = 100 << 10 // of each value, which stands in an event and in a row
	for i, c := range []struct {
		group  uint64
		ledger string
	}{{1, "one"}, {1, "two"}, {2, "three"}, {1, "one"}, {1, "one"}, {1, "one"}, {1, "one"}} {
		command := machine.EncodeCommand(machine.Command{Ledger: c.ledger, Body: make([]byte, size)})
		entry := sm.Entry{Index: uint64(i + 1), Cmd: machine.EncodeEntry(0, [][]byte{command})}
		if _, err := l.groups[c.group].machine.Update([]sm.Entry{entry}); err != nil {
			t.Fatal(err)
		}
	}
	// A row of "two" is there that nobody wrote.
	two, _ := l.groups[1].machine.Ledger("two")
	err := l.groups[1].machine.Read(func(db *store.DB) error {
		b := db.NewBatch()
		b.Ledger(two.ID).Begin(1)
		b.Ledger(two.ID).Set(store.TableKV, []byte("x"), []byte("y"))
		return errors.Join(b.Commit(), b.Close())
	})
	if err != nil {
		t.Fatal(err)
	}

	var damages []Damage
	var spent time.Duration
	const rest = time.Hour // which no chunk lasts
	rests := 0
	s := newScrubber(l, Config{ScrubBytes: 1 << 20, ScrubEvery: rest, Damaged: func(d Damage) { damages = append(damages, d) }})
	over := errors.New("over")
	s.pause = func(_ context.Context, d time.Duration) error {
		if d != calm {
			spent += d
		}
		return nil
	}
	s.idle = func(_ context.Context, d time.Duration) error {
		if d != rest-calm {
			t.Errorf("it rests for %s, want %s", d, rest-calm)
		}
		if rests++; rests > 2 {
			return over
		}
		return nil
	}
	s.run(context.Background())
	if len(damages) != 2 { // one in each round
		t.Fatalf("damage: got %v", damages)
	}
	for _, d := range damages {
		if d.Group != 1 || d.Ledger != "two" || !errors.Is(d.Err, machine.ErrDamaged) {
			t.Errorf("damage: got %+v", d)
		}
	}
	// Seven events and seven rows, twice, at 1 MiB a second.
	const least = time.Duration(2*2*7*size) * time.Second / (1 << 20)
	if spent < least || spent > least+least/20 {
		t.Errorf("two rounds took %s, want %s and a little", spent, least)
	}
	// Damage that somebody else meets ends the rest, however often it is met.
	l.hurry = make(chan struct{}, 1)
	s = newScrubber(l, Config{ScrubEvery: rest})
	l.metDamage()
	l.metDamage()
	if err := s.idle(t.Context(), rest); err != nil {
		t.Error(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.idle(ended, rest); err == nil {
		t.Error("once was told, and it hurries twice")
	}

	s = newScrubber(l, Config{ScrubBytes: -1})
	s.pause = func(context.Context, time.Duration) error {
		t.Error("it runs though it is switched off")
		return over
	}
	s.run(context.Background())
}
