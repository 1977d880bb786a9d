package commands

import (
	"fmt"

	"github.com/rollcall/rollcall/log/event"
)

// Code says why a command was refused, in a word that a program can decide on. Codes cross the wire: append only.
type Code string

// The reasons for a rejection.
const (
	CodeInvalidKey       Code = "invalid-key"
	CodeInvalidNamespace Code = "invalid-namespace"
	CodeInvalidInstance  Code = "invalid-instance"
	CodeInvalidTxn       Code = "invalid-transaction"
	CodeInvalidArgument  Code = "invalid-argument"
	CodeTooLarge         Code = "too-large"
	CodeConditionFailed  Code = "condition-failed"
	CodeNotFound         Code = "not-found"
	CodeUnknownNamespace Code = "unknown-namespace"
	CodeUnknownCommand   Code = "unknown-command"
	CodeBusy             Code = "busy"
	CodeInvalidMember    Code = "invalid-member"
	CodeMemberExists     Code = "member-exists"
	CodeQuorumAtRisk     Code = "quorum-at-risk"

	CodeInvalidRequestKey  Code = "invalid-idempotency-key"
	CodeRequestKeyReused   Code = "idempotency-key-reused"
	CodeUnsupportedVersion Code = "unsupported-version"

	CodeInvalidTTL     Code = "invalid-ttl"
	CodeUnknownSession Code = "unknown-session"
	CodeStaleEpoch     Code = "stale-epoch"
	CodeQuotaExceeded  Code = "quota-exceeded"
	CodeHistoryTrimmed Code = "history-trimmed"

	CodeInvalidCheck Code = "invalid-check"
	CodeInvalidNode  Code = "invalid-node"

	CodeNamespaceEnding  Code = "namespace-being-deleted"
	CodeNamespaceFilling Code = "namespace-being-filled"
)

// Rejection is a refusal. It is a value and not a fault: every replica comes to the same one, nothing is written,
// and it goes to the client as it is.
type Rejection struct {
	Code Code `cbor:"1,keyasint"`
	// Message names the offending value and what to do.
	Message string `cbor:"2,keyasint"`
	// Revision is, for CodeConditionFailed on one key, that key's current revision; zero when it does not exist.
	Revision event.Revision `cbor:"3,keyasint,omitempty"`
}

// Error makes a rejection an error for callers that handle it as one.
func (r *Rejection) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Message) }

func reject(code Code, format string, args ...any) *Rejection {
	return &Rejection{Code: code, Message: fmt.Sprintf(format, args...)}
}
