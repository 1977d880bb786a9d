package log

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall/rollcall/log/machine"
)

// What is stored can go bad without anybody reading it: a disk loses or alters what it once took. So one goroutine reads
// everything again, a ledger after the other, and says so when something is not what was written; see machine.Scrub.

const (
	// DefaultScrubBytes is how many bytes a second are read again, at most: 14 GiB an hour, for some percent of a core.
	DefaultScrubBytes = 4 << 20
	// DefaultScrubEvery is the time between the end of a round through everything and the next: a small state needs no
	// more.
	DefaultScrubEvery = 10 * time.Minute
)

// Damage is what scrubbing found in the state of a ledger on this server.
type Damage struct {
	Group  uint64
	Ledger string
	Err    error // it is machine.ErrDamaged
}

// scrubber reads everything again, for ever.
type scrubber struct {
	log     *Log
	hurry   chan struct{} // somebody has met damage
	bytes   int           // a second
	rest    time.Duration
	pause   func(context.Context, time.Duration) error
	idle    func(context.Context, time.Duration) error
	damaged func(Damage)
}

func newScrubber(l *Log, c Config) *scrubber {
	s := &scrubber{log: l, hurry: l.hurry, bytes: c.ScrubBytes, rest: c.ScrubEvery, pause: pause, damaged: c.Damaged}
	s.idle = s.untilHurry
	if s.bytes == 0 {
		s.bytes = DefaultScrubBytes
	}
	if s.rest == 0 {
		s.rest = DefaultScrubEvery
	}
	if s.damaged == nil {
		s.damaged = func(d Damage) {
			l.logger.Error("the stored state is damaged", "group", d.Group, "namespace", d.Ledger, "error", d.Err)
		}
	}
	return s
}

// run goes on until ctx ends. It rests first: what was just started has better things to do.
func (s *scrubber) run(ctx context.Context) {
	if s.bytes < 0 {
		return
	}
	for s.wait(ctx) == nil {
		s.round(ctx)
	}
}

// calm is how long the scrubber rests at least, whoever meets damage: Pebble tries a compaction that fails again at once,
// many times a second, and what a round has found was told.
const calm = 10 * time.Second

// wait rests until the next round is due, or somebody has met damage: until it is known to be some, answers may be wrong.
func (s *scrubber) wait(ctx context.Context) error {
	least := min(calm, s.rest)
	if err := s.pause(ctx, least); err != nil {
		return err
	}
	return s.idle(ctx, s.rest-least)
}

// untilHurry is how the scrubber rests when somebody may call it.
func (s *scrubber) untilHurry(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.hurry:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// round reads every ledger once.
func (s *scrubber) round(ctx context.Context) {
	for _, id := range s.log.Groups() {
		m := s.log.groups[id].machine
		for _, ledger := range m.Ledgers() {
			err := m.Scrub(ledger, func(bytes int) error { return s.pause(ctx, s.cost(bytes)) })
			if errors.Is(err, machine.ErrDamaged) {
				s.damaged(Damage{Group: id, Ledger: ledger, Err: err})
				continue
			}
			if err != nil && ctx.Err() == nil {
				s.log.logger.Warn("cannot look through the stored state now", "group", id, "namespace", ledger, "error", err)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// cost is how long so many bytes last.
func (s *scrubber) cost(bytes int) time.Duration {
	return time.Duration(float64(bytes) / float64(s.bytes) * float64(time.Second))
}
