package log

import "errors"

// The conditions that a caller decides on. Compare with errors.Is; everything else is a fault.
var (
	// ErrUnavailable says that the group had no leader in time: nothing was written.
	ErrUnavailable = errors.New("the group has no leader")
	// ErrOutcomeUnknown says that the time ran out after the command was proposed: it may yet take effect. It is
	// told apart from ErrUnavailable because a caller must not blindly repeat the command.
	ErrOutcomeUnknown = errors.New("the outcome is not known")
	// ErrBusy says that too much is waiting already: nothing was written.
	ErrBusy = errors.New("too much is waiting")
	// ErrTooLarge says that a command is larger than an entry may be: nothing was written.
	ErrTooLarge = errors.New("the command is too large")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("the log is closed")
	// ErrMembershipChanged says that who takes part in a group is not what the caller looked at any more: nothing was
	// changed, and looking again is safe.
	ErrMembershipChanged = errors.New("who takes part in the group has changed meanwhile")
	// ErrNoLedger says that the group has no such ledger.
	ErrNoLedger = errors.New("no such ledger")
)
