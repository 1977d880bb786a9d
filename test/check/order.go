package check

import (
	"fmt"
	"sort"
)

// RealTimeOrder holds revisions to the order of what clients did: a write gets a revision above everything that any
// client had been told before the write began, and a linearizable read is shown at least that. It is weaker than
// KeysLinearizable on one key and stronger across keys: together they are strict serializability.
func RealTimeOrder(history []Operation) error {
	type moment struct {
		at   int64
		call bool
		op   *Operation
	}
	var moments []moment
	for i := range history {
		if o := &history[i]; o.Outcome == OK {
			moments = append(moments, moment{o.Call, true, o}, moment{o.Return, false, o})
		}
	}
	sort.Slice(moments, func(i, j int) bool { return moments[i].at < moments[j].at })
	var told uint64 // the highest revision that somebody was told
	var teller *Operation
	floor := map[*Operation]uint64{}
	by := map[*Operation]*Operation{}
	var errs []error
	for _, m := range moments {
		if m.call {
			floor[m.op], by[m.op] = told, teller
			continue
		}
		switch low := floor[m.op]; {
		case m.op.IsWrite() && m.op.Revision <= low:
			errs = append(errs, fmt.Errorf("a write got a revision that was told before it began: %s; before: %s", m.op, by[m.op]))
		case !m.op.IsWrite() && m.op.Consistency == Linearizable && m.op.Revision < low:
			errs = append(errs, fmt.Errorf("a linearizable read was shown an older state: %s; before: %s", m.op, by[m.op]))
		}
		if m.op.Revision > told {
			told, teller = m.op.Revision, m.op
		}
	}
	return first(errs)
}

// MinRevisionHonoured holds every answered read to the revision that it asked to see at least.
func MinRevisionHonoured(history []Operation) error {
	var errs []error
	for _, o := range history {
		if !o.IsWrite() && o.Outcome == OK && o.Revision < o.MinRevision {
			errs = append(errs, fmt.Errorf("a read was shown revision %d, older than it asked for: %s", o.Revision, o))
		}
	}
	return first(errs)
}

// Sample is what somebody saw of one server at a moment.
type Sample struct {
	Server string
	// Life counts the server's starts: what it had not made durable may be gone in the next life, until it is current.
	Life     int
	Current  bool // the server had just made sure that it is
	Revision uint64
}

// RevisionsNeverFall holds each server to its own past, given samples in the order in which they were taken: within one
// life its last revision never falls, and when it is current it is not behind anything that it ever showed.
func RevisionsNeverFall(samples []Sample) error {
	type life struct {
		server string
		n      int
	}
	inLife, ever := map[life]uint64{}, map[string]uint64{}
	var errs []error
	for i, s := range samples {
		key := life{s.Server, s.Life}
		if s.Revision < inLife[key] {
			errs = append(errs, fmt.Errorf("sample %d: %s fell from revision %d to %d", i, s.Server, inLife[key], s.Revision))
		}
		if s.Current && s.Revision < ever[s.Server] {
			errs = append(errs, fmt.Errorf("sample %d: %s is current at revision %d and showed %d in another life", i, s.Server, s.Revision, ever[s.Server]))
		}
		inLife[key] = max(inLife[key], s.Revision)
		ever[s.Server] = max(ever[s.Server], s.Revision)
	}
	return first(errs)
}

// Digest is what a part of a server's state came to, as of a revision.
type Digest struct {
	Server   string
	Of       string // which part, and what else must be equal for it to be comparable
	Revision uint64
	Sum      string
}

// ServersEqual holds all servers, in all their lives, to one another: the same bytes at the same revision.
func ServersEqual(digests []Digest) error {
	type part struct {
		of       string
		revision uint64
	}
	at := map[part]Digest{}
	var errs []error
	for _, d := range digests {
		key := part{d.Of, d.Revision}
		other, ok := at[key]
		if !ok {
			at[key] = d
		} else if other.Sum != d.Sum {
			errs = append(errs, fmt.Errorf("at revision %d the %s of %s is %s, and of %s %s", d.Revision, d.Of, other.Server, other.Sum, d.Server, d.Sum))
		}
	}
	return first(errs)
}
