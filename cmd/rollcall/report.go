package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/rollcall/rollcall/client"
)

// misuse is an error that is no refusal: the command was not asked for in the right way. Its exit status is 2.
type misuse struct{ error }

// Unwrap gives the cause.
func (m misuse) Unwrap() error { return m.error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// report says what went wrong and what to do about it, and gives the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, errDiffers) {
		return 1 // which was shown
	}
	if command, ok := errors.AsType[exitStatus](err); ok {
		return command.ExitCode() // it has said itself what went wrong
	}
	var exit kong.ExitCoder
	var wrong misuse
	fmt.Fprintf(stderr, "rollcall: %v\n", err)
	if advice := advice(err); advice != "" {
		fmt.Fprintf(stderr, "  %s\n", advice)
	}
	switch {
	case errors.As(err, &wrong):
		return 2
	case errors.As(err, &exit): // serve has its own
		return exit.ExitCode()
	}
	return 1
}

// advice is what to do about an error, where that can be said.
func advice(err error) string {
	var parse *kong.ParseError
	var unreachable *client.UnreachableError
	var p *client.Problem
	var otherwise *elseError
	switch {
	case errors.As(err, &otherwise):
		return "\"else\" ran, where there is one."
	case errors.As(err, &parse):
		return "Try: " + strings.TrimSpace(commandOf(parse)+" --help")
	case errors.Is(err, client.ErrOutcomeUnknown):
		return "Read what is there before you try again: the change may have been made."
	case errors.As(err, &unreachable):
		return "Is a server running there? Start one with \"rollcall serve\", or name one with --server or ROLLCALL_SERVER."
	case errors.Is(err, context.DeadlineExceeded):
		return "Give it more time with --timeout."
	case errors.As(err, &p):
		return problemAdvice(p)
	}
	return ""
}

func problemAdvice(p *client.Problem) string {
	switch p.Code {
	case client.ErrUnknownNamespace:
		return "Make it with \"rollcall namespace create NAME\", or see \"rollcall namespace list\"."
	case client.ErrConditionFailed:
		return "Nothing was changed. Read it again and decide anew."
	case client.ErrQuotaExceeded:
		return "Nothing was changed. See \"rollcall namespace show NAME\"."
	case client.ErrHistoryTrimmed:
		return "What happened before is still in the ledger: \"rollcall log\", \"rollcall kv history KEY\"."
	case client.ErrUnknownSession:
		return "Make one with \"rollcall session create\", or see \"rollcall session list\"."
	case client.ErrNoQuorum:
		return "Nothing was changed. Most of the group's servers must be running; then try again."
	}
	return ""
}

// commandOf is the command that a faulty command line named, as far as it did.
func commandOf(e *kong.ParseError) string {
	if e.Context == nil {
		return "rollcall"
	}
	words := []string{"rollcall"}
	for _, at := range e.Context.Path {
		if at.Command != nil {
			words = append(words, at.Command.Name)
		}
	}
	return strings.Join(words, " ")
}
