package server

import (
	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// Domain gives the state machine its meaning: commands decide on what projections show, and projections fold what
// commands decided. It has no state, so that nothing but its arguments can matter.
type Domain struct{}

var (
	_ machine.Domain = Domain{}
	_ commands.State = projections.View{}
)

// Decide implements machine.Domain.
func (Domain) Decide(rows store.Reader, at machine.Situation, body []byte) ([]event.Body, func(event.Revision) []byte) {
	command, err := commands.Decode(body)
	if err != nil {
		return refuse(&commands.Rejection{Code: commands.CodeUnknownCommand, Message: err.Error()})
	}
	decision, rejection := commands.Decide(projections.NewView(rows, at.Head), at.Now, at.Ledger, command)
	if rejection != nil {
		return refuse(rejection)
	}
	return decision.Events, func(commit event.Revision) []byte {
		decision.Answer.Resolve(commit)
		return commands.EncodeReply(decision.Answer, nil)
	}
}

func refuse(r *commands.Rejection) ([]event.Body, func(event.Revision) []byte) {
	return nil, func(event.Revision) []byte { return commands.EncodeReply(commands.Answer{}, r) }
}

// Fold implements machine.Domain.
func (Domain) Fold(rows store.Writer, e event.Event) { projections.Fold(rows, e) }
