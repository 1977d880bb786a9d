package check

import (
	"fmt"
	"sort"
)

// The guarantees of a watch, besides those of subscriber.go, by the names that etcd has for them.

// CommitsWhole holds subscriptions to commits: the events of one come together, with nothing of another commit between
// them, and a subscriber who was given anything behind a commit, or was told that it is complete up to there, had all of the
// commit that it asked for. Where a connection breaks within a commit, the rest of it is the first of the next.
func CommitsWhole(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	for _, s := range subscriptions {
		size := map[uint64]int{} // by commit: how many events of it were asked for
		for _, e := range s.wanted(ledger) {
			size[e.Commit]++
		}
		ended := map[uint64]bool{}
		began := 0
		for i, e := range s.Events {
			if ended[e.Commit] {
				errs = append(errs, fmt.Errorf("%s got revision %d of commit %d when that was over", s.Name, e.Revision, e.Commit))
			}
			if last := i+1 == len(s.Events); !last && s.Events[i+1].Commit == e.Commit {
				continue
			} else if n := i + 1 - began; n != size[e.Commit] && (!last || s.completeAt(e.Commit, i+1)) {
				errs = append(errs, fmt.Errorf("%s got %d events of commit %d, and then more; it has %d of them", s.Name, n, e.Commit, size[e.Commit]))
			}
			ended[e.Commit], began = true, i+1
		}
		for _, b := range s.Complete {
			if n := len(s.Events); b.Had > 0 && b.Had < n && s.Events[b.Had].Commit == s.Events[b.Had-1].Commit && b.Revision >= s.Events[b.Had].Commit {
				errs = append(errs, fmt.Errorf("%s was told that it is complete up to %d when it had a part of commit %d", s.Name, b.Revision, s.Events[b.Had].Commit))
			}
		}
	}
	return first(errs)
}

// completeAt tells whether a subscriber was told, with so many events, that it has everything up to a revision.
func (s Subscription) completeAt(revision uint64, had int) bool {
	for _, b := range s.Complete {
		if b.Had == had && b.Revision >= revision {
			return true
		}
	}
	return false
}

// ResumesExact holds each connection to what it was asked for: from that revision on it brought what the ledger has of the
// subject, event by event and byte for byte, as somebody got it who was never interrupted. A subscriber asks for nothing
// that it has, and leaves nothing out.
func ResumesExact(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	for _, s := range subscriptions {
		wanted := s.wanted(ledger)
		for n, c := range s.Connections {
			end := len(s.Events)
			if n+1 < len(s.Connections) {
				end = s.Connections[n+1].Had
			}
			if had := s.position(c.Had); c.From <= had {
				errs = append(errs, fmt.Errorf("%s asked for what comes from %d on, and had %d", s.Name, c.From, had))
			} else if left := firstBehind(wanted, had); left != 0 && left < c.From {
				errs = append(errs, fmt.Errorf("%s asked for what comes from %d on, and had not got %d", s.Name, c.From, left))
			}
			want := wanted[sort.Search(len(wanted), func(i int) bool { return wanted[i].Revision >= c.From }):]
			for i, e := range s.Events[c.Had:end] {
				if i >= len(want) {
					errs = append(errs, fmt.Errorf("%s, connection %d from %d on: event %d has revision %d, which is one too many", s.Name, n, c.From, i, e.Revision))
				} else if e != want[i] {
					errs = append(errs, fmt.Errorf("%s, connection %d from %d on: event %d has revision %d, where revision %d was to come: %s", s.Name, n, c.From, i, e.Revision, want[i].Revision, e.Bytes))
				} else {
					continue
				}
				break // what follows is shifted
			}
		}
	}
	return first(errs)
}

// position is the revision of the last of so many events.
func (s Subscription) position(had int) uint64 {
	if had == 0 {
		return s.From - 1
	}
	return s.Events[had-1].Revision
}

// BookmarksAdvance holds what was told to subscribers who are told how far they are: in the end, when nothing has happened for
// a while, that is the ledger's end, whether or not anything of their subject has happened.
func BookmarksAdvance(subscriptions []Subscription, head uint64) error {
	var errs []error
	for _, s := range subscriptions {
		if last := s.Reached(); s.Marked && last < head {
			errs = append(errs, fmt.Errorf("%s was never told how far it is beyond %d, and the ledger ends at %d", s.Name, last, head))
		}
	}
	return first(errs)
}

// Reached is the highest revision up to which a subscriber was told that it has everything; zero where it never was.
func (s Subscription) Reached() uint64 {
	if n := len(s.Complete); n > 0 {
		return s.Complete[n-1].Revision
	}
	return 0
}

// FilterRight holds subscribers who asked for a subject to it: they got those events that match, and no others. What an event
// is about is what the ledger says.
func FilterRight(subscriptions []Subscription, ledger []Delivery) error {
	var errs []error
	subject := map[uint64]string{}
	for _, e := range ledger {
		subject[e.Revision] = e.Subject
	}
	for _, s := range subscriptions {
		if s.Filter == "" {
			continue
		}
		got := map[uint64]bool{}
		for _, e := range s.Events {
			got[e.Revision] = true
			if !Matches(s.Filter, subject[e.Revision]) {
				errs = append(errs, fmt.Errorf("%s asked for %s and got revision %d, about %q", s.Name, s.Filter, e.Revision, subject[e.Revision]))
			}
		}
		for _, e := range s.wanted(ledger) {
			if !got[e.Revision] {
				errs = append(errs, fmt.Errorf("%s asked for %s and did not get revision %d, about %q", s.Name, s.Filter, e.Revision, e.Subject))
			}
		}
	}
	return first(errs)
}

// entryState is a key as the events before make it.
type entryState struct{ revision, created, version uint64 }

// PreviousRight holds events to the ones before them: the previous revision that an event of a key names is that of the
// last event of the key before it, and none where the key did not exist.
func PreviousRight(events []Delivery) error {
	return eachChange(events, func(e Delivery, before entryState) error {
		if e.Change.Previous != before.revision {
			return fmt.Errorf("revision %d says that %q was at %d before; it was at %d: %s", e.Revision, e.Change.Key, e.Change.Previous, before.revision, e.Bytes)
		}
		return nil
	})
}

// CreationRight holds events to the beginnings of keys: the first after nothing, or after the key was gone, creates it with
// version 1 at its own commit, and each one behind that counts on.
func CreationRight(events []Delivery) error {
	return eachChange(events, func(e Delivery, before entryState) error {
		if after := before.after(e); !e.Change.Gone && (e.Change.Created != after.created || e.Change.Version != after.version) {
			return fmt.Errorf("revision %d says that %q was created at %d and has version %d; it was at %d, and this is %d: %s",
				e.Revision, e.Change.Key, e.Change.Created, e.Change.Version, after.created, after.version, e.Bytes)
		}
		return nil
	})
}

func (s entryState) after(e Delivery) entryState {
	switch {
	case e.Change.Gone:
		return entryState{}
	case s.version == 0:
		return entryState{e.Commit, e.Commit, 1}
	}
	return entryState{e.Commit, s.created, s.version + 1}
}

// eachChange walks along the events of keys, with what each key was before.
func eachChange(events []Delivery, judge func(e Delivery, before entryState) error) error {
	var errs []error
	state := map[string]entryState{}
	for _, e := range events {
		if e.Change.Key == "" {
			continue
		}
		before := state[e.Change.Key]
		if err := judge(e, before); err != nil {
			errs = append(errs, err)
		}
		state[e.Change.Key] = before.after(e)
	}
	return first(errs)
}
