package check

import (
	"fmt"
	"sort"
)

// Delivery is one event as somebody was given it, byte for byte, and what it says.
type Delivery struct {
	Revision, Commit uint64
	Bytes            string
	Subject          string // behind "rollcall.{namespace}."
	Change           Change
	Begins, Ends     bool // a life of the namespace
}

// Change is what an event says that it does to a key; the zero value where it is about something else.
type Change struct {
	Key  string
	Gone bool // the key does not exist any more
	// Previous is the revision of the entry before, as the event has it, Created that of the entry that began the key, and
	// Version counts the entries since then. All three are commits, by which entries go.
	Previous, Created, Version uint64
}

// Subscription is what one subscriber was given, in order, over all its connections: after each it asked for what comes
// behind the last event that it had.
type Subscription struct {
	Name   string
	Filter string // the subject that it asked for, with wildcards; empty for everything
	From   uint64 // the first revision that it asked for
	Events []Delivery
	// Complete are the revisions up to which it was told that it has everything, and how many events it had then.
	Complete []Bookmark
	// Connections are where each of its connections began, where it can tell.
	Connections []Connection
	// Marked says that it is told now and then how far it is, whatever it asked for.
	Marked bool
	// Ends are the revisions at which it was told that the namespace has ended, and how many events it had then.
	Ends []Bookmark
}

// Bookmark says that all events up to a revision were delivered, as the first Had events.
type Bookmark struct {
	Revision uint64
	Had      int
}

// Connection is one connection of a subscriber, who asked for what comes from a revision on when it had so many events.
type Connection struct {
	From uint64
	Had  int
}

// SubscribersInOrder holds every subscription to the order of the ledger: no event comes twice, and none before one of a
// lower revision.
func SubscribersInOrder(subscriptions []Subscription) error {
	var errs []error
	for _, s := range subscriptions {
		last := uint64(0)
		for i, e := range s.Events {
			if e.Revision <= last {
				errs = append(errs, fmt.Errorf("%s: event %d has revision %d, after revision %d", s.Name, i, e.Revision, last))
			}
			last = e.Revision
		}
	}
	return first(errs)
}

// SubscribersMissNothing holds every subscription to the ledger: from the first revision that was asked for to the
// ledger's end there is every event of the subject that was asked for, with the ledger's own bytes, and nothing that the
// ledger does not have.
func SubscribersMissNothing(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	exists := map[uint64]bool{}
	for _, e := range ledger {
		exists[e.Revision] = true
	}
	for _, s := range subscriptions {
		got := map[uint64]Delivery{}
		for _, e := range s.Events {
			got[e.Revision] = e
			if e.Revision < s.From || !exists[e.Revision] {
				errs = append(errs, fmt.Errorf("%s got revision %d, which the ledger does not have, from %d on", s.Name, e.Revision, s.From))
			}
		}
		for _, want := range s.wanted(ledger) {
			have, ok := got[want.Revision]
			if !ok {
				errs = append(errs, fmt.Errorf("%s never got revision %d, of the commit %d", s.Name, want.Revision, want.Commit))
			} else if have != want {
				errs = append(errs, fmt.Errorf("%s got at revision %d %s; the ledger has %s", s.Name, want.Revision, have.Bytes, want.Bytes))
			}
		}
	}
	return first(errs)
}

// BookmarksTrue holds what subscribers were told about completeness to what they had: everything of their subject up to the
// revision, which does not fall and is not inside of a commit. A revision that the ledger does not reach is no truth either.
func BookmarksTrue(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	commit := map[uint64]uint64{}
	head := uint64(0)
	for _, e := range ledger {
		commit[e.Revision] = e.Commit
		head = e.Revision
	}
	for _, s := range subscriptions {
		wanted := s.wanted(ledger)
		last := uint64(0)
		for _, b := range s.Complete {
			switch all := sort.Search(len(wanted), func(i int) bool { return wanted[i].Revision > b.Revision }); {
			case b.Revision < last:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, after %d", s.Name, b.Revision, last))
			case b.Had < all:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, and had %d events of %d", s.Name, b.Revision, b.Had, all))
			case b.Revision > head && b.Revision >= s.From:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, and the ledger ends at %d", s.Name, b.Revision, head))
			case commit[b.Revision] != 0 && commit[b.Revision] != b.Revision:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, which is inside of commit %d", s.Name, b.Revision, commit[b.Revision]))
			}
			last = b.Revision
		}
	}
	return first(errs)
}

// firstBehind is the first revision above one, of events in order; zero where there is none.
func firstBehind(events []Delivery, revision uint64) uint64 {
	i := sort.Search(len(events), func(i int) bool { return events[i].Revision > revision })
	if i == len(events) {
		return 0
	}
	return events[i].Revision
}

// Repeat is one request that was sent several times under one idempotency key, with the answers that told an outcome.
type Repeat struct {
	ID      string
	Answers []string // status, revision and body
}

// RepeatsAgree holds repeats to the first answer. That they have one effect is NoAcknowledgedWriteLost's to find.
func RepeatsAgree(repeats []Repeat) error {
	var errs []error
	for _, r := range repeats {
		for _, answer := range r.Answers {
			if answer != r.Answers[0] {
				errs = append(errs, fmt.Errorf("%s was answered with %q, and when it was repeated with %q", r.ID, r.Answers[0], answer))
			}
		}
	}
	return first(errs)
}
