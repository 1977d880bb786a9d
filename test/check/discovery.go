package check

import (
	"errors"
	"fmt"
	"slices"
)

// Look is what a server's DNS answered when it was asked for the instances of a service that can be used. Its revisions
// are those that the same server claimed just before and just after.
type Look struct {
	Server    string
	From, To  uint64
	Instances []string // by id
}

// Usable is that an instance could be used, or no longer, from a commit on.
type Usable struct {
	Commit   uint64
	Instance string
	Usable   bool
}

// DNSShowsOnlyUsable holds what DNS answered to the ledger: an instance that was shown could be used at some revision
// between the two that the server claimed, and one that was left out could not be used at some revision between them.
// The changes are in the order of their commits.
func DNSShowsOnlyUsable(looks []Look, changes []Usable) error {
	timelines := map[string][]Usable{}
	for _, c := range changes {
		timelines[c.Instance] = append(timelines[c.Instance], c)
	}
	var errs []error
	for _, l := range looks {
		for _, id := range l.Instances {
			if could, _ := between(timelines[id], l.From, l.To); !could {
				errs = append(errs, fmt.Errorf("server %s showed instance %s, which could not be used at any revision from %d to %d", l.Server, id, l.From, l.To))
			}
		}
		for id, timeline := range timelines {
			if _, couldNot := between(timeline, l.From, l.To); !couldNot && !slices.Contains(l.Instances, id) {
				errs = append(errs, fmt.Errorf("server %s left out instance %s, which could be used at every revision from %d to %d", l.Server, id, l.From, l.To))
			}
		}
	}
	return errors.Join(errs[:min(len(errs), 10)]...)
}

// between tells whether an instance could be used at some revision of those, and whether it could not at some. One that
// was never heard of cannot.
func between(timeline []Usable, from, to uint64) (could, couldNot bool) {
	at := false // before from
	for _, c := range timeline {
		switch {
		case c.Commit <= from:
			at = c.Usable
		case c.Commit <= to:
			could, couldNot = could || c.Usable, couldNot || !c.Usable
		}
	}
	return could || at, couldNot || !at
}
