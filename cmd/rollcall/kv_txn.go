package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/client"
)

// txnBytesMax is more than a transaction may have: 2 MiB of keys and values, in base64 and with their JSON around.
const txnBytesMax = 16 << 20

type kvTxnCmd struct {
	File string `arg:"" help:"The transaction, in JSON; - is standard input."`
	rehearsing
}

// Help teaches by example.
func (kvTxnCmd) Help() string {
	return `When all conditions of "if" hold, all of "then" happens in one commit; otherwise all of "else" does.

Examples:

    rollcall kv txn move.json
    rollcall kv txn move.json --dry-run            which branch would run, and what it would write
    echo '{"if": [{"key": "app/lock", "exists": false}, {"key": "app/limit", "revision": {"op": "<", "to": 90}}],
           "then": [{"put": {"key": "app/lock", "value": "me", "session": "7"}}, {"delete": {"prefix": "app/tmp/"}}],
           "else": [{"get": {"key": "app/lock"}}]}' | rollcall kv txn - --json

Conditions: {"key", and one of revision, create_revision, version, value, value_base64, exists, session}, or {"prefix",
"empty": true}. Operations: put {key, value or value_base64, ttl, session, flags, content_type}, delete {key or prefix},
get {key or prefix}, register {service, id, address, …}, deregister {service, id}.

The exit status is 0 when "then" ran, and 1 when "else" did.`
}

// Run runs a transaction.
func (c kvTxnCmd) Run(ctx context.Context, s *session) error {
	transaction, err := s.readFile(c.File, txnBytesMax)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	result, err := cl.TxnJSON(ctx, transaction, c.rehearse(nil, &plan)...)
	if err != nil {
		return err
	}
	if c.DryRun {
		result.Succeeded, result.Failed = plan.Succeeded, plan.Failed
		err = s.rehearsed(ctx, cl, plan)
	} else {
		err = s.transacted(result)
	}
	if err == nil && !result.Succeeded {
		return &elseError{Failed: result.Failed}
	}
	return err
}

func (s *session) transacted(t client.TxnResult) error {
	var rows [][]string
	for _, r := range t.Results {
		for _, warning := range r.Warnings {
			s.warnf("warning: %s", warning)
		}
		for _, e := range r.Entries {
			rows = append(rows, []string{plain(e.Key), "#" + strconv.FormatUint(e.Revision, 10), shownValue(e), lease(e)})
		}
	}
	if s.JSON {
		return s.sayf("%s", bytes.TrimSpace(t.Raw))
	}
	branch := "then"
	if !t.Succeeded {
		branch = "else"
	}
	if err := s.sayf("%s ran, at revision %d", branch, t.Revision); err != nil {
		return err
	}
	return table(s.stdout, rows)
}

// elseError says that a transaction's conditions did not all hold. It is a refusal of what "then" asked for.
type elseError struct {
	Failed []int // the indexes of the conditions
}

// Error implements error.
func (e *elseError) Error() string {
	words := make([]string, len(e.Failed))
	for i, n := range e.Failed {
		words[i] = fmt.Sprintf("if[%d]", n)
	}
	return "not all conditions hold: " + strings.Join(words, ", ")
}
