package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code says why a request was refused, in a word that a program can decide on. Codes are errors, so that
// errors.Is(err, client.ErrNotFound) works; a server may send more of them than are named here.
type Code string

// Error implements error.
func (c Code) Error() string { return string(c) }

// The codes that callers decide on most.
const (
	ErrNotFound         Code = "not-found"
	ErrConditionFailed  Code = "condition-failed"
	ErrUnknownNamespace Code = "unknown-namespace"
	ErrInvalidKey       Code = "invalid-key"
	ErrTooLarge         Code = "too-large"
	ErrInvalidDocument  Code = "invalid-document"
	ErrDocumentConflict Code = "document-conflict"
	ErrNoQuorum         Code = "no-quorum"
	// ErrQuotaExceeded says that the namespace would hold more than it may.
	ErrQuotaExceeded Code = "quota-exceeded"
	// ErrHistoryTrimmed says that the state of that time is no longer kept; the Problem has the oldest that is.
	ErrHistoryTrimmed Code = "history-trimmed"
	ErrUnknownSession Code = "unknown-session" // what was to be bound to it is not written
	ErrNoLease        Code = "no-lease"        // there is no TTL to renew
	// ErrOutcomeUnknown says that a change may or may not have taken effect, though the client has tried again for a
	// while: read before you do. An error can be this and another at once: the last attempt was refused, and an
	// earlier one had no answer.
	ErrOutcomeUnknown Code = "outcome-unknown"
)

// Problem is a refusal, as the server gave it (RFC 9457). Compare its code with errors.Is.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title,omitempty"`
	Status int    `json:"status"` // of HTTP
	Code   Code   `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"` // names the offending value and what to do
	// Revision is, where a condition on one key failed, that key's revision; zero when it does not exist.
	Revision uint64 `json:"-"`
	// Line and Column are where a document is not one, from 1; zero for everything else.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// KeptFrom is, of ErrHistoryTrimmed, the oldest revision that can be read, and KeptFromTime its time.
	KeptFrom     uint64    `json:"kept_from,omitempty"`
	KeptFromTime time.Time `json:"kept_from_time,omitzero"`
	// RetryAfter is how long the server asked to wait; zero when it did not.
	RetryAfter time.Duration `json:"-"`
	// Server is the base URL of the server that answered.
	Server string `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(p.Status))
	}
	if p.Code == "" {
		return fmt.Sprintf("%s (status %d from %s)", text, p.Status, p.Server)
	}
	return fmt.Sprintf("%s (%s)", text, p.Code)
}

// Is implements errors.Is against a Code.
func (p *Problem) Is(target error) bool {
	code, ok := target.(Code)
	return ok && p.Code == code
}

// problemBytesMax bounds what is read of an answer that is no success.
const problemBytesMax = 64 << 10

// newProblem reads a refusal. Something between here and the server may answer with a page of its own: that becomes a
// problem without a code.
func newProblem(status int, h http.Header, server string, body []byte) *Problem {
	p := &Problem{}
	if mediaType(h) != "application/problem+json" || json.Unmarshal(body, p) != nil {
		p = &Problem{}
		if location := h.Get("Location"); location != "" {
			p.Detail = fmt.Sprintf("something between here and the server redirects to %q: give the server's own address", location)
		}
	}
	p.Status, p.Server = status, server
	p.Revision = etagRevision(h)
	if seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// etagRevision is the revision in an ETag; zero when there is none.
func etagRevision(h http.Header) uint64 {
	n, err := strconv.ParseUint(strings.Trim(h.Get("ETag"), `"`), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// UnreachableError says that no server could be reached: nothing was sent.
type UnreachableError struct {
	Servers []string
	Err     error // why, for the one that was tried last
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no server could be reached at %s: %v", strings.Join(e.Servers, ", "), e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// uncertainError is the end of a call one of whose attempts had no answer.
type uncertainError struct{ err error }

func (e *uncertainError) Error() string {
	return fmt.Sprintf("%v; there was an attempt at this change whose answer did not come, so it may take effect, or have done so (%s)", e.err, ErrOutcomeUnknown)
}

func (e *uncertainError) Unwrap() error { return e.err }

func (e *uncertainError) Is(target error) bool { return target == error(ErrOutcomeUnknown) }

// brokenError is a connection that broke after a request was sent.
type brokenError struct {
	write bool
	err   error
}

func (e *brokenError) Error() string {
	if e.write {
		return fmt.Sprintf("the connection broke after the change was sent, so it may yet take effect; read before you try again (%s): %v", ErrOutcomeUnknown, e.err)
	}
	return fmt.Sprintf("the connection broke: %v", e.err)
}

func (e *brokenError) Unwrap() error { return e.err }

func (e *brokenError) Is(target error) bool { return e.write && target == error(ErrOutcomeUnknown) }
