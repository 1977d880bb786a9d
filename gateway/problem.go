package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// Problem is a refusal as it leaves the server, on every door: problem details (RFC 9457) with a code that a program
// can decide on.
type Problem struct {
	Type   string        `json:"type" doc:"A URI that names the code; it leads nowhere"`
	Title  string        `json:"title" doc:"What the code means, always in the same words"`
	Status int           `json:"status" doc:"The status of HTTP"`
	Code   commands.Code `json:"code" doc:"What a program decides on: lower-case words with dashes"`
	Detail string        `json:"detail" doc:"The offending value, and what to do about it"`
	// Revision is, where a condition on one key failed, that key's revision; zero when it does not exist.
	Revision event.Revision `json:"revision,omitempty" doc:"Of condition-failed: the revision that the key is at"`
	// Line and Column are where a document is not one, from 1; zero for everything else.
	Line   int `json:"line,omitempty" doc:"Of invalid-document: the line of the fault, from 1"`
	Column int `json:"column,omitempty" doc:"Of invalid-document: its column in characters, from 1"`
	// KeptFrom is, of history-trimmed, the oldest revision that can be read, and KeptFromTime its time.
	KeptFrom     event.Revision `json:"kept_from,omitempty" doc:"Of history-trimmed: the oldest revision whose state is kept"`
	KeptFromTime string         `json:"kept_from_time,omitempty" format:"date-time" doc:"Of history-trimmed: the time of that revision"`
	// Request finds the fault in the server's log.
	Request string `json:"request,omitempty" doc:"Of internal: what to look for in the server's log"`
	// RetryAfter is in how many seconds to try again; zero where that would not help.
	RetryAfter int `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

// The codes that only doors give. They cross the wire: append only.
const (
	CodeConflicting       commands.Code = "conflicting-parameters"
	CodeCrossOrigin       commands.Code = "cross-origin"
	CodeDocumentConflict  commands.Code = "document-conflict"
	CodeInternal          commands.Code = "internal"
	CodeInvalidBody       commands.Code = "invalid-body"
	CodeInvalidDocument   commands.Code = "invalid-document"
	CodeInvalidETag       commands.Code = "invalid-etag"
	CodeInvalidFilter     commands.Code = "invalid-filter"
	CodeInvalidHeader     commands.Code = "invalid-header"
	CodeInvalidJSON       commands.Code = "invalid-json"
	CodeInvalidParameter  commands.Code = "invalid-parameter"
	CodeInvalidRevision   commands.Code = "invalid-revision"
	CodeMethodNotAllowed  commands.Code = "method-not-allowed"
	CodeMissingParameter  commands.Code = "missing-parameter"
	CodeNoQuorum          commands.Code = "no-quorum"
	CodeNoLease           commands.Code = "no-lease"
	CodeNotRepresentable  commands.Code = "not-representable"
	CodeOutcomeUnknown    commands.Code = "outcome-unknown"
	CodeReservedNamespace commands.Code = "reserved-namespace"
	CodeRevisionNotSeen   commands.Code = "revision-not-reached"
	CodeStateDiverged     commands.Code = "state-diverged"
	CodeStopping          commands.Code = "stopping"
	CodeUnknownField      commands.Code = "unknown-field"
	CodeUnknownHeader     commands.Code = "unknown-header"
	CodeUnknownParameter  commands.Code = "unknown-parameter"
	CodeUnknownPath       commands.Code = "unknown-path"
	CodeVersionNotReached commands.Code = "version-not-reached"
)

// meaning is what a code is outside.
type meaning struct {
	status     int
	title      string
	retryAfter int // seconds
}

// meanings is the one place that says how a refusal looks outside.
//
// A 503 promises that nothing was written, so that every client may try again, here or on another server; what may
// have been written is a 504.
var meanings = map[commands.Code]meaning{
	commands.CodeInvalidKey:       {400, "The key cannot be written", 0},
	commands.CodeInvalidNamespace: {400, "This cannot be done with a namespace of that name", 0},
	commands.CodeInvalidInstance:  {400, "The instance cannot be registered", 0},
	commands.CodeInvalidTxn:       {400, "The transaction is not one", 0},
	commands.CodeInvalidArgument:  {400, "A part of the request is not valid", 0},
	commands.CodeTooLarge:         {413, "It is larger than is kept", 0},
	commands.CodeConditionFailed:  {412, "A condition does not hold", 0},
	commands.CodeNotFound:         {404, "It does not exist", 0},
	commands.CodeUnknownNamespace: {404, "The namespace does not exist", 0},
	commands.CodeInvalidMember:    {400, "The server cannot be added", 0},
	commands.CodeMemberExists:     {409, "There is such a server already", 0},
	commands.CodeQuorumAtRisk:     {409, "The cluster would lose its quorum", 0},
	commands.CodeUnknownCommand:   {501, "The server's version does not know the command", 0},

	commands.CodeInvalidRequestKey:  {400, "The idempotency key is not valid", 0},
	commands.CodeRequestKeyReused:   {422, "The idempotency key was used for another request", 0},
	commands.CodeUnsupportedVersion: {409, "A server does not know the version", 0},

	commands.CodeInvalidCheck:   {400, "A check cannot be made", 0},
	commands.CodeInvalidNode:    {400, "The node cannot be registered", 0},
	commands.CodeInvalidTTL:     {400, "The TTL is not one that a lease can have", 0},
	commands.CodeUnknownSession: {409, "The session does not exist", 0},
	commands.CodeStaleEpoch:     {409, "Another server keeps the time by now", 0},

	commands.CodeQuotaExceeded:  {507, "The namespace would hold more than its quota", 0},
	commands.CodeHistoryTrimmed: {410, "The state of that time is no longer kept", 0},

	commands.CodeNamespaceEnding:  {409, "The namespace is being deleted; nothing was written", 1},
	commands.CodeNamespaceFilling: {503, "The namespace is still being made from another; nothing was written", 1},

	CodeConflicting:       {400, "Two parts of the request contradict each other", 0},
	CodeCrossOrigin:       {403, "Another site's page may not write", 0},
	CodeDocumentConflict:  {409, "Two keys cannot stand in one document", 0},
	CodeInternal:          {500, "The server made a mistake", 0},
	CodeInvalidBody:       {400, "The body could not be read", 0},
	CodeInvalidDocument:   {400, "The document is not valid", 0},
	CodeInvalidETag:       {400, "The entity tag is not one of Rollcall's", 0},
	CodeInvalidFilter:     {400, "The subject filter is not one", 0},
	CodeInvalidHeader:     {400, "A header is not valid", 0},
	CodeInvalidJSON:       {400, "The JSON is not valid", 0},
	CodeInvalidParameter:  {400, "A query parameter is not valid", 0},
	CodeInvalidRevision:   {400, "The revision is not one that can be read", 0},
	CodeMethodNotAllowed:  {405, "The method is not known here", 0},
	CodeMissingParameter:  {400, "A query parameter is missing", 0},
	CodeNoQuorum:          {503, "No quorum could be asked; nothing was written", 1},
	commands.CodeBusy:     {503, "Too much is waiting already; nothing was written", 1},
	CodeNoLease:           {409, "It has no TTL to renew", 0},
	CodeNotRepresentable:  {409, "The format cannot hold a key or its value", 0},
	CodeOutcomeUnknown:    {504, "The time ran out; the change may yet take effect", 0},
	CodeReservedNamespace: {403, "The namespace is Rollcall's own", 0},
	CodeRevisionNotSeen:   {503, "This server has not reached the revision yet", 1},
	CodeStateDiverged:     {503, "The server's state cannot be trusted; nothing was written", 0},
	CodeStopping:          {503, "The server is stopping; nothing was written", 1},
	CodeUnknownField:      {400, "A field is not known", 0},
	CodeUnknownHeader:     {400, "A header that matters is not known here", 0},
	CodeUnknownParameter:  {400, "A query parameter is not known here", 0},
	CodeUnknownPath:       {404, "The path is not known", 0},
	CodeVersionNotReached: {503, "The cluster has not come to the version yet; nothing was written", 1},
}

// ProblemType is where the URIs of problem types begin; the code follows.
const ProblemType = "urn:rollcall:problem:"

// NewProblem makes a problem. The code must be one of ProblemCodes: another one would be a mistake in a door, and
// becomes CodeInternal.
func NewProblem(code commands.Code, format string, args ...any) *Problem {
	m, ok := meanings[code]
	if !ok {
		code, m = CodeInternal, meanings[CodeInternal]
	}
	return &Problem{
		Type: ProblemType + string(code), Title: m.title, Status: m.status, Code: code,
		Detail: strings.ToValidUTF8(fmt.Sprintf(format, args...), "\uFFFD"), RetryAfter: m.retryAfter,
	}
}

// ProblemOf says how an error looks outside. What is no refusal is a fault: it becomes CodeInternal, with nothing of
// the error's own text, and the door logs the error under a request id that it adds.
func ProblemOf(err error) *Problem {
	var (
		p         *Problem
		rejection *commands.Rejection
		unknown   UnknownNamespaceError
		revision  RevisionError
		trimmed   TrimmedError
		absent    AbsentError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &rejection):
		p = NewProblem(rejection.Code, "%s", rejection.Message)
		p.Revision = rejection.Revision
		return p
	case errors.As(err, &unknown):
		return NewProblem(commands.CodeUnknownNamespace, "%s; PUT /v1/_system/namespaces/{name} makes one", unknown)
	case errors.As(err, &revision):
		return NewProblem(CodeInvalidRevision, "%s", revision)
	case errors.As(err, &absent):
		return NewProblem(CodeInvalidRevision, "%s", absent)
	}
	if errors.As(err, &trimmed) {
		p = NewProblem(commands.CodeHistoryTrimmed, "%s; what happened before is in the ledger: /events and /history", trimmed)
		p.KeptFrom, p.KeptFromTime = trimmed.KeptFrom, FormatTime(trimmed.Time)
		return p
	}
	for _, c := range conditions {
		if errors.Is(err, c.err) {
			return NewProblem(c.code, "%s", c.detail)
		}
	}
	return NewProblem(CodeInternal, "an unexpected fault; its cause is in the server's log")
}

// conditions are the errors of a Backend that are no rejections, and what a client is told of them. A deadline comes
// last: a Backend that says more says so by wrapping one of the others.
var conditions = []struct {
	err    error
	code   commands.Code
	detail string
}{
	{ErrOutcomeUnknown, CodeOutcomeUnknown, "the time ran out after the change was proposed: read before you try again"},
	{ErrBusy, commands.CodeBusy, "try again a little later"},
	{ErrClosed, CodeStopping, "ask another server, or this one when it is back"},
	{ErrUnavailable, CodeNoQuorum, "no leader could be asked in time; ?consistency=stale reads what this server has"},
	{context.DeadlineExceeded, CodeOutcomeUnknown, "the time ran out: if this was a change, read before you try again"},
	{context.Canceled, CodeOutcomeUnknown, "the request was given up: if this was a change, read before you try again"},
}

// ProblemCode is a code with what it means outside, for documents.
type ProblemCode struct {
	Code   commands.Code
	Status int
	Title  string
}

// ProblemCodes are all codes, sorted.
func ProblemCodes() []ProblemCode {
	var all []ProblemCode
	for _, code := range slices.Sorted(maps.Keys(meanings)) {
		all = append(all, ProblemCode{code, meanings[code].status, meanings[code].title})
	}
	return all
}

// IsText tells whether a value reads as text: UTF-8 without control characters other than tab and line ends.
func IsText(value []byte) bool { return isText(value) }
