package check

import (
	"errors"
	"fmt"
	"time"
)

// Lease is a session as its holder saw it. Its times are of the wall clock, as those of events are.
type Lease struct {
	ID  string
	TTL time.Duration
	// Renewals are the requests that were acknowledged, the creation first.
	Renewals []Renewal
	// Gone says that a renewal was told that there is no such session.
	Gone bool
}

// Renewal is one request to go on.
type Renewal struct {
	Call time.Time // when it was made
}

// LeaseEnd is the event by which a session ended.
type LeaseEnd struct {
	Time    time.Time
	Expired bool // by itself; nobody ended it
}

// LeasesLastTheirTime holds sessions to their promise: none ends before its TTL has passed since its holder made the last
// request that was acknowledged, none is acknowledged that has ended, and none is told to be gone that has not.
func LeasesLastTheirTime(leases []Lease, ends map[string]LeaseEnd) error {
	var errs []error
	for _, l := range leases {
		end, ended := ends[l.ID]
		if l.Gone && !ended {
			errs = append(errs, fmt.Errorf("session %s was told to be gone, and no event ended it", l.ID))
		}
		if !ended || !end.Expired {
			continue
		}
		last := l.Renewals[len(l.Renewals)-1].Call
		switch due := last.Add(l.TTL); {
		case last.After(end.Time):
			errs = append(errs, fmt.Errorf("session %s was acknowledged %s after it had expired", l.ID, last.Sub(end.Time)))
		case end.Time.Before(due):
			errs = append(errs, fmt.Errorf("session %s expired %s early", l.ID, due.Sub(end.Time)))
		}
	}
	return errors.Join(errs...)
}
