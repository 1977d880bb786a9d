package check

import "fmt"

// The guarantees of a namespace that is deleted and made again under the same name. All its lives are in one ledger: each begins
// and ends with an event, and between two of them comes how the first was emptied, which concerns nobody who follows.

// Lives are the lives that a ledger tells of, each from its beginning to its end, without what is between them.
func Lives(ledger []Delivery) (lives [][]Delivery) {
	living := false
	for _, e := range ledger {
		if e.Begins {
			lives, living = append(lives, nil), true
		}
		if living {
			lives[len(lives)-1] = append(lives[len(lives)-1], e)
		}
		living = living && !e.Ends
	}
	return lives
}

// LivesWhole holds a ledger to the lives that are in it: it begins with a beginning, nothing begins before what was there has ended,
// and until the next beginning nothing happens but that the keys of the one that ended go.
func LivesWhole(ledger []Delivery) error {
	var errs []error
	living, left := false, map[string]bool{}
	for _, e := range ledger {
		switch {
		case e.Begins && living:
			errs = append(errs, fmt.Errorf("revision %d begins a life within another one", e.Revision))
		case e.Begins && len(left) > 0:
			errs = append(errs, fmt.Errorf("revision %d begins a life, and %d keys of the one before are left", e.Revision, len(left)))
		case !e.Begins && !living && !e.Change.Gone:
			errs = append(errs, fmt.Errorf("revision %d is in no life: %s", e.Revision, e.Bytes))
		}
		living = e.Begins || living && !e.Ends
		if e.Change.Gone {
			delete(left, e.Change.Key)
		} else if e.Change.Key != "" {
			left[e.Change.Key] = true
		}
	}
	return first(errs)
}

// EndsTrue holds what subscribers were told of ends to the ledger, of which each life is given: something ended at that revision,
// and when they were told they had what they asked for up to it, and nothing from behind it.
func EndsTrue(subscriptions []Subscription, lives [][]Delivery) error {
	var errs []error
	ends := map[uint64]bool{}
	var ledger []Delivery
	for _, life := range lives {
		last := life[len(life)-1]
		ends[last.Revision] = last.Ends
		ledger = append(ledger, life...)
	}
	for _, s := range subscriptions {
		wanted := s.wanted(ledger)
		for _, told := range s.Ends {
			all := 0
			for all < len(wanted) && wanted[all].Revision <= told.Revision {
				all++
			}
			switch {
			case !ends[told.Revision]:
				errs = append(errs, fmt.Errorf("%s was told of an end at %d, where nothing ended", s.Name, told.Revision))
			case told.Had != all:
				errs = append(errs, fmt.Errorf("%s was told of the end at %d when it had %d events, and there are %d up to it", s.Name, told.Revision, told.Had, all))
			}
		}
	}
	return first(errs)
}

// AcknowledgedInLife holds writes to the lives that they were made in. A life is over for its writer when its deletion is acknowledged,
// and what was acknowledged before and after that is not in the same life; the revisions that were told come in the order given, by
// life of the writer.
func AcknowledgedInLife(told [][]uint64, lives [][]Delivery) error {
	var errs []error
	in := map[uint64]int{}
	for n, life := range lives {
		for _, e := range life {
			in[e.Revision] = n + 1
		}
	}
	before := 0
	for n, revisions := range told {
		latest := before
		for _, revision := range revisions {
			switch at := in[revision]; {
			case at == 0:
				errs = append(errs, fmt.Errorf("revision %d was acknowledged in life %d and is in none", revision, n))
			case at <= before:
				errs = append(errs, fmt.Errorf("revision %d was acknowledged in life %d, behind a deletion, and is in a life from before it", revision, n))
			default:
				latest = max(latest, at)
			}
		}
		before = latest
	}
	return first(errs)
}
