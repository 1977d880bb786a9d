package check

import (
	"fmt"
)

// Delivery is one event as somebody was given it, byte for byte.
type Delivery struct {
	Revision, Commit uint64
	Bytes            string
}

// Subscription is what one subscriber was given, in order, over all its connections: after each it asked for what comes
// behind the last event that it had.
type Subscription struct {
	Name   string
	From   uint64 // the first revision that it asked for
	Events []Delivery
	// Complete are the revisions up to which it was told that it has everything, and how many events it had then.
	Complete []Bookmark
}

// Bookmark says that all events up to a revision were delivered, as the first Had events.
type Bookmark struct {
	Revision uint64
	Had      int
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
// ledger's end there is every event, with the ledger's own bytes, and nothing else.
func SubscribersMissNothing(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	for _, s := range subscriptions {
		got := map[uint64]Delivery{}
		for _, e := range s.Events {
			got[e.Revision] = e
		}
		for _, want := range ledger {
			if want.Revision < s.From {
				continue
			}
			have, ok := got[want.Revision]
			if !ok {
				errs = append(errs, fmt.Errorf("%s never got revision %d, of the commit %d", s.Name, want.Revision, want.Commit))
			} else if have != want {
				errs = append(errs, fmt.Errorf("%s got at revision %d %s; the ledger has %s", s.Name, want.Revision, have.Bytes, want.Bytes))
			}
			delete(got, want.Revision)
		}
		for revision := range got {
			errs = append(errs, fmt.Errorf("%s got revision %d, which the ledger does not have", s.Name, revision))
		}
	}
	return first(errs)
}

// BookmarksTrue holds what subscribers were told about completeness to what they had: everything up to the revision, and
// no half of a commit.
func BookmarksTrue(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	commit := map[uint64]uint64{}
	for _, e := range ledger {
		commit[e.Revision] = e.Commit
	}
	for _, s := range subscriptions {
		last := uint64(0)
		for _, b := range s.Complete {
			had := s.From - 1
			if b.Had > 0 {
				had = s.Events[b.Had-1].Revision
			}
			switch {
			case b.Revision < last:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, after %d", s.Name, b.Revision, last))
			case b.Revision > had:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, and had %d", s.Name, b.Revision, had))
			case commit[b.Revision] != 0 && commit[b.Revision] != b.Revision:
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d, which is inside of commit %d", s.Name, b.Revision, commit[b.Revision]))
			}
			last = b.Revision
		}
	}
	return first(errs)
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
