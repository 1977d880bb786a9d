package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// KeysLinearizable holds writes and linearizable reads to one order that explains all answers and agrees with who ended
// before whom, by search (porcupine). Lost requests are part of it: an unknown write may take effect at any later
// moment, or never. Keys are looked at by what stands before their first "/", so that a transaction within is judged as
// a whole. It gives up after a while, which is an error too: nothing was shown.
func KeysLinearizable(history []Operation, patience time.Duration) error {
	parts := map[string][]porcupine.Operation{}
	for _, o := range history {
		if o.Outcome == Failed || !o.IsWrite() && (o.Outcome != OK || o.Consistency != Linearizable) {
			continue
		}
		part, err := partOf(o)
		if err != nil {
			return err
		}
		end := o.Return
		if o.Outcome == Unknown {
			end = math.MaxInt64
		}
		parts[part] = append(parts[part], porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: o.Call, Return: end})
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		switch porcupine.CheckOperationsTimeout(model, parts[part], patience) {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("no order explains the %d operations on the keys below %q", len(parts[part]), part)
		case porcupine.Unknown:
			return fmt.Errorf("the %d operations on the keys below %q could not be judged in %s", len(parts[part]), part, patience)
		}
	}
	return nil
}

// partOf is what stands before the first "/" of all keys of an operation.
func partOf(o Operation) (string, error) {
	var parts []string
	for _, c := range o.If {
		parts = append(parts, c.Key)
	}
	for _, w := range o.Writes {
		parts = append(parts, w.Key)
	}
	for _, r := range o.Reads {
		parts = append(parts, r.Key)
	}
	for i, key := range parts {
		parts[i], _, _ = strings.Cut(key, "/")
		if parts[i] != parts[0] {
			return "", fmt.Errorf("keys below %q and %q in one operation cannot be judged: %s", parts[0], parts[i], o)
		}
	}
	return parts[0], nil
}

// A model's state is a sorted list of the keys that exist. Where an unknown write took effect, the revision is not
// known until somebody is shown it, but it is above all that were known before.
type object struct {
	key, value string
	revision   uint64
	open       bool // the revision is not known, only that it is above this one
}

type state struct {
	objects string // encoded, so that states compare with ==
	head    uint64 // the highest revision that is known
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, _, output any) (bool, any) {
		s, okState := before.(state)
		o, okOutput := output.(Operation)
		if !okState || !okOutput {
			return false, before
		}
		return s.step(o)
	},
	DescribeOperation: func(_, output any) string { return fmt.Sprint(output) },
}

// step tells whether an operation can be what happens next, and what comes of it.
func (s state) step(o Operation) (bool, state) {
	objects := s.decode()
	if !o.IsWrite() {
		if o.Revision < s.head {
			return false, s
		}
		for _, r := range o.Reads {
			if !objects.shows(r) {
				return false, s
			}
		}
		s.head = max(s.head, o.Revision)
		return true, s.with(objects)
	}
	holds, fails := objects.judge(o.If)
	switch o.Outcome {
	case Refused:
		return fails, s
	case OK:
		if !holds || o.Revision <= s.head {
			return false, s
		}
		s.head = o.Revision
		for _, c := range o.If { // it held, so now it is known
			if at, ok := objects[c.Key]; ok && !c.Exists && !c.ByValue {
				at.revision, at.open = c.Revision, false
				objects[c.Key] = at
			}
		}
		objects.write(o.Writes, object{revision: o.Revision})
		return true, s.with(objects)
	case Failed, Unknown:
		if !holds {
			return true, s // it had no effect
		}
		objects.write(o.Writes, object{revision: s.head, open: true})
		return true, s.with(objects)
	}
	return false, s
}

type objects map[string]object

// shows tells whether a read could be shown this, and remembers a revision that becomes known by it.
func (os objects) shows(r Read) bool {
	at, ok := os[r.Key]
	switch {
	case !ok || r.Revision == 0:
		return !ok && r.Revision == 0
	case at.value != r.Value:
		return false
	case at.open:
		if r.Revision <= at.revision {
			return false
		}
		at.revision, at.open = r.Revision, false
		os[r.Key] = at
		return true
	}
	return at.revision == r.Revision
}

// judge tells whether all conditions may hold, and whether one may fail: with a revision that is not known, both.
func (os objects) judge(conditions []Condition) (holds, fails bool) {
	holds = true
	for _, c := range conditions {
		at, ok := os[c.Key]
		revision := at.revision
		if ok {
			revision = max(revision, 1) // it exists, at a revision that may not be known
		}
		switch {
		case ok && at.open && !c.Exists && !c.ByValue:
			holds = holds && c.Revision > at.revision
			fails = true
		case !c.holds(revision, at.value):
			holds, fails = false, true
		}
	}
	return holds, fails
}

func (os objects) write(writes []Write, as object) {
	for _, w := range writes {
		if w.Delete {
			delete(os, w.Key)
			continue
		}
		as.key, as.value = w.Key, w.Value
		os[w.Key] = as
	}
}

func (s state) with(os objects) state {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(os)) {
		fmt.Fprintf(&b, "%q %q %d %t\n", key, os[key].value, os[key].revision, os[key].open)
	}
	s.objects = b.String()
	return s
}

func (s state) decode() objects {
	os := objects{}
	for line := range strings.Lines(s.objects) {
		var at object
		if _, err := fmt.Sscanf(line, "%q %q %d %t\n", &at.key, &at.value, &at.revision, &at.open); err != nil {
			panic(fmt.Sprintf("check: a state that this package did not write: %q: %v", line, err))
		}
		os[at.key] = at
	}
	return os
}
