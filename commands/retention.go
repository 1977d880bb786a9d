package commands

import "github.com/rollcall/rollcall/log/event"

// TrimHistory has a namespace no longer keep the states before a revision; it goes to the namespace's own ledger. The
// events stay. What is no longer kept already is no event.
type TrimHistory struct {
	To event.Revision `cbor:"1,keyasint"` // the oldest revision that can be read from then on
}

func (TrimHistory) command() {}

func (TrimHistory) since() uint32 { return VersionLeases }

func decideTrim(s State, ledger string, c TrimHistory) (Decision, *Rejection) {
	floor := s.Floor()
	switch {
	case c.To > s.Head():
		return Decision{}, reject(CodeInvalidArgument, "to keep what is from revision %d on: the last one is %d", c.To, s.Head())
	case c.To <= floor:
		return nothing(s.Head(), Result{}), nil
	}
	return one(event.NamespaceTrimmed{Namespace: ledger, KeptFrom: c.To, Previous: floor}, Result{}), nil
}

// kept refuses to look at a state that is no longer kept. What is asked for is what the ledger says, and not what is
// still stored: replicas delete when they have the time.
func kept(s State, at event.Revision, what string) *Rejection {
	if floor := s.Floor(); at < floor {
		return reject(CodeHistoryTrimmed, "%s takes the state at revision %d, and the oldest that is kept is that of revision %d", what, at, floor)
	}
	return nil
}
