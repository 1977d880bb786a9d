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
func (Domain) Decide(rows store.Reader, at machine.Situation, body []byte) machine.Decision {
	command, err := commands.Decode(body)
	if err != nil {
		return refuse(&commands.Rejection{Code: commands.CodeUnknownCommand, Message: err.Error()})
	}
	decision, rejection := commands.Decide(projections.NewView(rows, at.Head), commands.Situation{
		Ledger: at.Ledger, Now: at.Now, ReadBytes: at.ReadBytes,
	}, command)
	if rejection != nil {
		return refuse(rejection)
	}
	return machine.Decision{Events: decision.Events, Skip: decision.Skip, Read: decision.BytesRead, Reply: func(commit event.Revision) []byte {
		decision.Answer.Resolve(commit)
		return commands.EncodeReply(decision.Answer, nil)
	}}
}

func refuse(r *commands.Rejection) machine.Decision {
	return machine.Decision{Reply: func(event.Revision) []byte { return commands.EncodeReply(commands.Answer{}, r) }}
}

// Opens implements machine.Opener.
func (Domain) Opens(e event.Event) (ledger string, ok bool) {
	opened, ok := e.Body.(event.NamespaceOpened)
	return opened.Namespace, ok
}

// Skipped implements machine.Opener.
func (Domain) Skipped(e event.Event) event.Revision { return event.Skipped(e.Body) }

// Fold implements machine.Domain.
func (Domain) Fold(rows store.Writer, e event.Event) { projections.Fold(rows, e) }
