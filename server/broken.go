package server

import (
	"errors"
	"iter"
	"slices"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
)

// In builds for tests parts of the server can be made wrong on purpose, to see that the checkers notice. In every other
// build all of this is compiled away.

const nowAndThen = 8 // in events

// boast acknowledges a write before Raft has it.
func (s *Server) boast(namespace string, submit func()) (commands.Answer, bool) {
	if !fault.Broken(fault.AckBeforeCommit) {
		return commands.Answer{}, false
	}
	head, err := s.Head(namespace)
	if err != nil {
		return commands.Answer{}, false
	}
	go submit()
	return commands.Answer{Revision: head + 1}, true
}

// forgets tells whether a fold leaves out an event.
func forgets(e event.Event) bool {
	return fault.Broken(fault.DropRow) && e.Revision%nowAndThen == 0
}

// lookBack has who asks for no particular revision see an older one.
func lookBack(head event.Revision, o gateway.ReadOptions) gateway.ReadOptions {
	if fault.Broken(fault.RevisionFalls) && o.Stale && o.At == 0 && o.AtTime.IsZero() && head%3 == 0 && head > 3 {
		o.At = head - 3
	}
	return o
}

// breakOff has the reading of a ledger end too early.
func breakOff(f *log.Follower, err error) error {
	if err == nil && fault.Broken(fault.ReplayBreaks) && f.Position() > nowAndThen {
		return errors.New("the reading breaks off, on purpose")
	}
	return err
}

// starve gives a follower nothing of what comes live, or not all.
func starve(events []event.Event) []event.Event {
	switch {
	case fault.Broken(fault.FeedStops):
		return nil
	case fault.Broken(fault.LoseEvent): // live alone: who reads the ledger to judge by it has all of it
		return slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool { return e.Revision%nowAndThen == 0 })
	}
	return distort(events)
}

// distort gives a follower other events than those that there are.
func distort(events []event.Event) []event.Event {
	switch {
	case fault.Broken(fault.LoseEnd):
		return slices.DeleteFunc(slices.Clone(events), endsLife)
	case fault.Broken(fault.HalfCommit):
		return slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool {
			return e.Revision == e.Commit && len(events) > 1 && events[0].Commit == e.Commit
		})
	case fault.Broken(fault.RepeatEvent):
		if last := events[max(len(events)-1, 0):]; len(last) == 1 && last[0].Revision%nowAndThen == 0 {
			return slices.Concat(events, last)
		}
	case fault.Broken(fault.PreviousWrong), fault.Broken(fault.VersionGoesOn):
		return slices.Collect(misremember(events))
	}
	return events
}

// misremember gives events that say wrong things of what was before them.
func misremember(events []event.Event) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		for _, e := range events {
			if key, ok := e.Body.(event.KeySet); ok {
				switch {
				case fault.Broken(fault.PreviousWrong) && key.Previous > 1 && e.Revision%nowAndThen == 0:
					key.Previous--
				case fault.Broken(fault.VersionGoesOn) && key.Version == 1:
					key.Version++
				}
				e.Body = key
			}
			if !yield(e) {
				return
			}
		}
	}
}

// overlook gives DNS what it is to hear of.
func overlook(events []event.Event) []event.Event {
	if !fault.Broken(fault.NamesBehind) {
		return events
	}
	return slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool {
		status, ok := e.Body.(event.InstanceStatus)
		return ok && status.Status == event.Critical
	})
}
