package server

import (
	"errors"

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
	_ machine.Domain   = Domain{}
	_ machine.Counter  = Domain{}
	_ machine.Retainer = Domain{}
	_ commands.State   = projections.View{}
)

// Decide implements machine.Domain.
func (Domain) Decide(rows store.Reader, at machine.Situation, body []byte) machine.Decision {
	order, err := commands.Decode(body)
	if errors.Is(err, commands.ErrVersion) {
		panic(&store.Fault{Op: "decide a command", Err: err}) // the replica stops: to skip it would be to differ
	}
	if err != nil {
		return refuse(&commands.Rejection{Code: commands.CodeUnknownCommand, Message: err.Error()})
	}
	view := projections.NewView(rows, at.Head)
	decision, rejection := commands.Decide(view, commands.Situation{
		Ledger: at.Ledger, Now: at.Now, Asked: at.Asked, ReadBytes: at.ReadBytes, Usage: usageOf(at.Live),
		Past: func(r event.Revision) commands.State { return view.At(r) },
	}, order)
	if rejection != nil {
		return refuse(rejection)
	}
	reply := func(commit event.Revision) []byte {
		decision.Answer.Resolve(commit)
		return commands.EncodeReply(decision.Answer, nil)
	}
	return machine.Decision{
		Events: decision.Events, Skip: decision.Skip, Request: decision.Request, Read: decision.BytesRead, Reply: reply,
	}
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
func (Domain) Fold(rows store.Writer, e event.Event) {
	if !forgets(e) {
		projections.Fold(rows, e)
	}
}

// Counted implements machine.Counter.
func (Domain) Counted() store.Counted { return projections.Counted }

func usageOf(l store.Live) event.Usage { return event.Usage{Keys: l.Rows, Bytes: l.Bytes} }

// Floor implements machine.Retainer.
func (Domain) Floor(rows store.Reader) event.Revision { return projections.Floor(rows) }

// Trims implements machine.Retainer.
func (Domain) Trims(e event.Event) (event.Revision, bool) {
	trimmed, ok := e.Body.(event.NamespaceTrimmed)
	return trimmed.KeptFrom, ok
}
