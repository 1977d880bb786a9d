package commands

import "github.com/rollcall/rollcall/log/event"

// Rehearsal is what a command would come to on a state. Nothing of it has happened.
type Rehearsal struct {
	// Answer is what the caller would be told, if nothing else came first.
	Answer Answer
	// Events are what would be written, with the revisions that they would have then; none where nothing would change.
	Events []event.Event
	// Head is the revision of the state.
	Head event.Revision
}

// Rehearse decides an order and writes nothing. The decision is the one that Decide makes, so what it refuses is refused.
func Rehearse(s State, at Situation, o Order, actor, reason string) (Rehearsal, *Rejection) {
	d, rejection := Decide(s, at, o)
	if rejection != nil {
		return Rehearsal{}, rejection
	}
	head := s.Head()
	before := head + d.Skip
	commit := before + event.Revision(len(d.Events))
	if len(d.Events) == 0 {
		commit = head
	}
	out := Rehearsal{Answer: d.Answer, Head: head}
	out.Answer.Resolve(commit)
	for i, body := range d.Events {
		out.Events = append(out.Events, event.Event{
			Revision: before + event.Revision(i) + 1, Commit: commit, Time: at.Now, Actor: actor, Reason: reason, Body: body,
		})
	}
	return out, nil
}
