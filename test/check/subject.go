package check

import "strings"

// Matches tells whether a subject is one that a filter asks for, by the rules of NATS: segments are joined by dots, "*" stands
// for any one of them, and ">" at the end for one or more. The empty filter asks for everything. It is written anew here,
// because the servers' own matcher is among what is judged.
func Matches(filter, subject string) bool {
	if filter == "" {
		return true
	}
	for {
		want, restWanted, moreWanted := strings.Cut(filter, ".")
		have, restHad, moreHad := strings.Cut(subject, ".")
		switch {
		case want == ">" && !moreWanted:
			return true
		case want != "*" && want != have:
			return false
		case !moreWanted || !moreHad:
			return moreWanted == moreHad
		}
		filter, subject = restWanted, restHad
	}
}

// wanted are the events of a ledger that a subscription asked for.
func (s Subscription) wanted(ledger []Delivery) []Delivery {
	var all []Delivery
	for _, e := range ledger {
		if e.Revision >= s.From && Matches(s.Filter, e.Subject) {
			all = append(all, e)
		}
	}
	return all
}
