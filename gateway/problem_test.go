package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

// The table of codes as clients know it. A line may be added; none may change.
func TestProblemCodes(t *testing.T) {
	want := map[commands.Code]int{
		"invalid-key": 400, "invalid-namespace": 400, "invalid-instance": 400, "invalid-transaction": 400,
		"quota-exceeded": 507, "history-trimmed": 410, "invalid-ttl": 400, "unknown-session": 409, "stale-epoch": 409, "no-lease": 409, "namespace-being-deleted": 409, "namespace-being-filled": 503, "conflicting-parameters": 400,
		"invalid-check": 400, "invalid-node": 400, "invalid-argument": 400, "too-large": 413, "condition-failed": 412, "not-found": 404,
		"unknown-namespace": 404, "unknown-command": 501,
		"invalid-member": 400, "member-exists": 409, "quorum-at-risk": 409,
		"invalid-idempotency-key": 400, "idempotency-key-reused": 422, "unsupported-version": 409,

		"cross-origin": 403, "internal": 500, "invalid-body": 400, "invalid-etag": 400,
		"invalid-filter": 400, "invalid-header": 400, "invalid-json": 400, "invalid-parameter": 400,
		"invalid-revision": 400, "method-not-allowed": 405, "missing-parameter": 400, "no-quorum": 503, "busy": 503,
		"outcome-unknown": 504, "reserved-namespace": 403, "revision-not-reached": 503, "stopping": 503,
		"unknown-field": 400, "unknown-header": 400, "unknown-parameter": 400, "unknown-path": 404, "version-not-reached": 503,
		"state-diverged": 503, "invalid-document": 400, "document-conflict": 409, "not-representable": 409,
	}
	got := map[commands.Code]int{}
	for _, c := range gateway.ProblemCodes() {
		got[c.Code] = c.Status
		if c.Title == "" {
			t.Errorf("code %q has no title", c.Code)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

// Every code that the sources declare has a meaning, so that nobody adds one without.
func TestEveryCodeHasAMeaning(t *testing.T) {
	known := map[string]bool{}
	for _, c := range gateway.ProblemCodes() {
		known[string(c.Code)] = true
	}
	declared := 0
	for _, file := range []string{"problem.go", "../commands/reject.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil || !known[code] {
				t.Errorf("%s declares code %q (%v), which has no meaning", file, code, err)
			}
			declared++
			return true
		})
	}
	if declared != len(known) {
		t.Errorf("%d codes are declared and %d have a meaning", declared, len(known))
	}
}

func TestProblemOf(t *testing.T) {
	secret := errors.New("open /secret/path: permission denied")
	for _, c := range []struct {
		name       string
		err        error
		code       commands.Code
		retryAfter int
	}{
		{"rejection", &commands.Rejection{Code: commands.CodeInvalidKey}, "invalid-key", 0},
		{"wrapped rejection", fmt.Errorf("put: %w", &commands.Rejection{Code: commands.CodeTooLarge}), "too-large", 0},
		{"unknown namespace", gateway.UnknownNamespaceError{Namespace: "x"}, "unknown-namespace", 0},
		{"revision", gateway.RevisionError{Asked: 9, Head: 1}, "invalid-revision", 0},
		{"no quorum", fmt.Errorf("%w: %w", gateway.ErrUnavailable, secret), "no-quorum", 1},
		{"no quorum in time", fmt.Errorf("%w: %w", gateway.ErrUnavailable, context.DeadlineExceeded), "no-quorum", 1},
		{"outcome unknown", fmt.Errorf("%w: %w", gateway.ErrOutcomeUnknown, secret), "outcome-unknown", 0},
		{"busy", gateway.ErrBusy, "busy", 1},
		{"closed", gateway.ErrClosed, "stopping", 1},
		{"deadline", context.DeadlineExceeded, "outcome-unknown", 0},
		{"canceled", context.Canceled, "outcome-unknown", 0},
		{"problem", gateway.NewProblem(gateway.CodeUnknownPath, "x"), "unknown-path", 0},
		{"fault", secret, "internal", 0},
		{"a code nobody declared", &commands.Rejection{Code: "made-up"}, "internal", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := gateway.ProblemOf(c.err)
			if p.Code != c.code || p.RetryAfter != c.retryAfter {
				t.Errorf("got %q, retry after %d; want %q, %d", p.Code, p.RetryAfter, c.code, c.retryAfter)
			}
			if p.Type != gateway.ProblemType+string(c.code) || p.Title == "" {
				t.Errorf("got type %q, title %q", p.Type, p.Title)
			}
			if strings.Contains(p.Detail, "secret") {
				t.Errorf("the detail tells what is inside: %q", p.Detail)
			}
		})
	}
	p := gateway.ProblemOf(&commands.Rejection{Code: commands.CodeConditionFailed, Message: "no", Revision: 7})
	if p.Revision != 7 || p.Detail != "no" {
		t.Errorf("got revision %d and detail %q, want 7 and %q", p.Revision, p.Detail, "no")
	}
}
