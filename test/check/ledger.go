package check

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
)

// RevisionsContiguous holds a ledger to its numbering: revisions begin at 1 and have no gap and no repeat, and every
// commit is whole.
func RevisionsContiguous(ledger []Entry) error {
	var open uint64 // the commit that has begun and not ended
	for i, e := range ledger {
		if e.Revision != uint64(i)+1 {
			return fmt.Errorf("event %d of the ledger has revision %d", i+1, e.Revision)
		}
		if e.Commit < e.Revision || open != 0 && e.Commit != open {
			return fmt.Errorf("revision %d: it belongs to commit %d, in the middle of commit %d", e.Revision, e.Commit, open)
		}
		if open = e.Commit; e.Commit == e.Revision {
			open = 0
		}
	}
	if open != 0 {
		return fmt.Errorf("the ledger ends inside of commit %d", open)
	}
	return nil
}

// NoAcknowledgedWriteLost holds a ledger to what clients were told: a write that is OK is there, once, at the revision
// that it was told and with all that it wrote; one that was refused or failed is not there; one whose outcome is unknown
// is there whole or not at all, and once.
func NoAcknowledgedWriteLost(history []Operation, ledger []Entry) error {
	commits := map[string][]Entry{}
	for _, e := range ledger {
		if e.ID != "" {
			commits[e.ID] = append(commits[e.ID], e)
		}
	}
	var errs []error
	for _, o := range history {
		if !o.IsWrite() {
			continue
		}
		if err := recorded(o, commits[o.ID]); err != nil {
			errs = append(errs, fmt.Errorf("%w: %s", err, o))
		}
		delete(commits, o.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(commits)) {
		errs = append(errs, fmt.Errorf("the ledger holds operation %s, which no client asked for", id))
	}
	return first(errs)
}

func recorded(o Operation, entries []Entry) error {
	switch {
	case len(entries) == 0 && o.Outcome == OK:
		return errors.New("an acknowledged write is lost")
	case len(entries) == 0:
		return nil
	case o.Outcome == Refused, o.Outcome == Failed:
		return fmt.Errorf("a write that did not happen is at revision %d", entries[0].Revision)
	}
	commit := entries[0].Commit
	wrote := map[Write]bool{}
	for _, e := range entries {
		if e.Commit != commit {
			return fmt.Errorf("a write has two effects, at %d and at %d", commit, e.Commit)
		}
		wrote[e.Write] = true
	}
	if o.Outcome == OK && commit != o.Revision {
		return fmt.Errorf("an acknowledged write is at %d", commit)
	}
	for _, w := range o.Writes {
		if !wrote[w] {
			return fmt.Errorf("the commit at %d lacks %+v of a write", commit, w)
		}
	}
	return nil
}

// Resolved replaces outcomes that clients did not know by what the ledger says: a write that is there is OK and may
// have taken effect at any time after its call, one that is not there did not happen. The ledger must have been held to
// the history first (NoAcknowledgedWriteLost), and nothing may be under way any more. Searching is much faster then.
func Resolved(history []Operation, ledger []Entry) []Operation {
	commits := map[string]uint64{}
	for _, e := range ledger {
		commits[e.ID] = e.Commit
	}
	resolved := slices.Clone(history)
	for i := range resolved {
		o := &resolved[i]
		if !o.IsWrite() || o.Outcome != Unknown {
			continue
		}
		if o.Revision = commits[o.ID]; o.Revision == 0 {
			o.Outcome = Failed
			continue
		}
		o.Outcome, o.Return = OK, math.MaxInt64
	}
	return resolved
}

// first bounds what an error says: one fault of a kind is usually many.
func first(errs []error) error {
	const shown = 5
	if len(errs) > shown {
		errs = append(errs[:shown:shown], fmt.Errorf("and %d more", len(errs)-shown))
	}
	return errors.Join(errs...)
}

// ReadsMatchLedger holds every answered read, stale or not, to the ledger: what it was shown is what the events up to
// the revision that it was told fold into.
func ReadsMatchLedger(history []Operation, ledger []Entry) error {
	reads := slices.DeleteFunc(slices.Clone(history), func(o Operation) bool { return o.IsWrite() || o.Outcome != OK })
	sort.SliceStable(reads, func(i, j int) bool { return reads[i].Revision < reads[j].Revision })
	state := map[string]Read{}
	var errs []error
	next := 0
	for _, o := range reads {
		for ; next < len(ledger) && ledger[next].Revision <= o.Revision; next++ {
			apply(state, ledger[next])
		}
		if n := len(ledger); o.Revision > 0 && (n == 0 || ledger[n-1].Revision < o.Revision) {
			errs = append(errs, fmt.Errorf("a read was shown a revision that the ledger does not reach: %s", o))
			continue
		}
		for _, r := range o.Reads {
			want := state[r.Key]
			want.Key = r.Key
			if r != want {
				errs = append(errs, fmt.Errorf("a read was shown what the ledger does not say (%q@%d): %s", want.Value, want.Revision, o))
			}
		}
	}
	return first(errs)
}

func apply(state map[string]Read, e Entry) {
	switch {
	case e.Write.Key == "":
	case e.Write.Delete:
		delete(state, e.Write.Key)
	default:
		state[e.Write.Key] = Read{Key: e.Write.Key, Value: e.Write.Value, Revision: e.Commit}
	}
}

// WritesMatchLedger holds every write that is in the ledger to its own conditions: they held just before its commit.
func WritesMatchLedger(history []Operation, ledger []Entry) error {
	byID := map[string]Operation{}
	for _, o := range history {
		byID[o.ID] = o
	}
	state := map[string]Read{}
	var errs []error
	seen := map[string]bool{}
	for _, e := range ledger {
		if o, ok := byID[e.ID]; ok && !seen[e.ID] {
			seen[e.ID] = true
			for _, c := range o.If {
				if !c.holds(state[c.Key].Revision, state[c.Key].Value) {
					errs = append(errs, fmt.Errorf("revision %d was written though %s was at %d: %s", e.Revision, c.Key, state[c.Key].Revision, o))
				}
			}
		}
		apply(state, e)
	}
	return first(errs)
}

func (c Condition) holds(revision uint64, value string) bool {
	switch {
	case c.Exists:
		return revision != 0
	case c.ByValue:
		return revision != 0 && value == c.Value
	}
	return revision == c.Revision
}
