package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func txnOperation() operation {
	return operation{
		id: "txn", method: http.MethodPost, path: "/v1/{namespace}/txn", group: "txn", write: true,
		summary: "Run a transaction",
		about:   "When all conditions of `if` hold, all of `then` happens in one commit, otherwise all of `else` does. Each has at most 512 elements, all keys and values together 2 MiB. A branch may write a thing once; it sees its own writes.",
		body:    jsonBody[transaction]("The transaction"),
		answers: []answer{{status: 200, about: "It ran; `succeeded` says which branch", headers: []string{"ETag"}, as: asJSON[transacted]()}},
		refusals: []commands.Code{
			commands.CodeInvalidTxn, commands.CodeInvalidKey, commands.CodeInvalidInstance, commands.CodeInvalidCheck, commands.CodeInvalidArgument,
			commands.CodeInvalidTTL, commands.CodeUnknownSession, commands.CodeTooLarge, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody,
		},
		handle: runTxn,
	}
}

// transacted is the answer to a transaction.
type transacted struct {
	Succeeded bool           `json:"succeeded" doc:"All conditions held, and then ran; otherwise else did"`
	Revision  event.Revision `json:"revision" doc:"The commit; where nothing was written, the state that was seen"`
	Failed    []int          `json:"failed" doc:"The indexes of the conditions that did not hold"`
	Results   []result       `json:"results" doc:"One for each operation of the branch that ran"`
}

// result is what one operation did.
type result struct {
	Revision event.Revision `json:"revision"`
	Created  bool           `json:"created,omitempty" doc:"A put or a register made something that was not there"`
	Deleted  *uint64        `json:"deleted,omitempty" doc:"How many things a delete or a deregister removed"`
	Entries  []entry        `json:"entries,omitzero" doc:"What a get read, in key order"`
	Warnings []string       `json:"warnings,omitempty" doc:"What was accepted, but will not work as one may expect"`
}

func runTxn(c *call) error {
	raw, err := c.body(jsonBytesMax, "the transaction")
	if err != nil {
		return err
	}
	var given transaction
	if err := decode(raw, &given, commands.CodeInvalidTxn); err != nil {
		return err
	}
	command, err := given.command()
	if err != nil {
		return err
	}
	answer, err := c.submit(c.namespace, command)
	if err != nil {
		return err
	}
	if err := c.renewRegistered(command, answer); err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(http.StatusOK, newTransacted(command, answer))
}

// renewRegistered has the instances with a TTL that a transaction registered, maybe again, live for the whole of it.
func (c *call) renewRegistered(t commands.Txn, a commands.Answer) error {
	operations := t.Then
	if a.Branch == commands.BranchElse {
		operations = t.Else
	}
	for _, op := range operations {
		if op.Register == nil || op.Register.Instance.TTL == 0 {
			continue
		}
		i := op.Register.Instance
		_, err := c.api.Backend.Renew(c.ctx, c.namespace, gateway.Lease{Service: i.Service, ID: i.ID})
		if err != nil && !errors.Is(err, gateway.ErrNoLease) { // it may be gone again by now
			return err
		}
	}
	return nil
}

func newTransacted(t commands.Txn, a commands.Answer) transacted {
	out := transacted{
		Succeeded: a.Branch == commands.BranchThen, Revision: a.Revision,
		Failed: append([]int{}, a.Failed...), Results: make([]result, len(a.Results)),
	}
	operations := t.Then
	if !out.Succeeded {
		operations = t.Else
	}
	for i, r := range a.Results {
		out.Results[i] = newResult(operations[i], r)
	}
	return out
}

func newResult(op commands.Operation, r commands.Result) result {
	out := result{Revision: r.Revision, Created: r.Created}
	switch {
	case op.Delete != nil, op.Deregister != nil:
		out.Deleted = &r.Deleted
	case op.Get != nil:
		out.Entries = make([]entry, len(r.Entries))
		for i, e := range r.Entries {
			out.Entries[i] = newEntry(e)
		}
	case op.Register != nil:
		out.Warnings = warnings(op.Register.Instance)
	}
	return out
}

// command is what a transaction asks for. Its problems say in which part of the transaction they are.
func (t transaction) command() (c commands.Txn, err error) {
	if c.If, err = convert("if", t.If, condition.command); err != nil {
		return c, err
	}
	if c.Then, err = convert("then", t.Then, txnStep.command); err != nil {
		return c, err
	}
	c.Else, err = convert("else", t.Else, txnStep.command)
	return c, err
}

func convert[From, To any](name string, all []From, one func(From) (To, string)) ([]To, error) {
	out := make([]To, len(all))
	for i, from := range all {
		var wrong string
		if out[i], wrong = one(from); wrong != "" {
			return nil, gateway.NewProblem(commands.CodeInvalidTxn, "%s: %s", name+"["+strconv.Itoa(i)+"]", wrong)
		}
	}
	return out, nil
}

// command is the condition; wrong says what is wrong with it.
func (c condition) command() (out commands.Condition, wrong string) {
	tests := c.tests()
	switch {
	case len(tests) != 1:
		return out, "a condition has exactly one of revision, create_revision, version, value, value_base64, exists, session and empty"
	case (c.Empty != nil) != (c.Prefix != nil), (c.Empty == nil) != (c.Key != nil):
		return out, "a condition has a key, or a prefix and empty"
	}
	out = tests[0].condition
	if c.Key != nil {
		out.Key = *c.Key
	} else {
		out.Key = *c.Prefix
	}
	op := slices.Index(ops, tests[0].op)
	if op < 0 {
		return out, "op is one of = != < >, not " + strconv.Quote(tests[0].op)
	}
	out.Op = commands.Op(op)
	if (out.Field == commands.FieldExists || out.Field == commands.FieldSession) && out.Op > commands.NotEqual {
		return out, "exists and session take = and !=, not " + strconv.Quote(tests[0].op)
	}
	return out, ""
}

// ops are the comparisons by the numbers that commands have for them.
var ops = []string{commands.Equal: "=", commands.NotEqual: "!=", commands.Less: "<", commands.Greater: ">"}

// tested is one comparison as it stands in a condition.
type tested struct {
	op        string
	condition commands.Condition
}

func (c condition) tests() (all []tested) {
	add := func(op string, field commands.Field, number uint64, value []byte) {
		all = append(all, tested{op, commands.Condition{Field: field, Number: number, Value: value}})
	}
	if t := c.Revision; t != nil {
		add(t.Op, commands.FieldRevision, t.To, nil)
	}
	if t := c.CreateRevision; t != nil {
		add(t.Op, commands.FieldCreateRevision, t.To, nil)
	}
	if t := c.Version; t != nil {
		add(t.Op, commands.FieldVersion, t.To, nil)
	}
	if t := c.Value; t != nil {
		add(t.Op, commands.FieldValue, 0, []byte(t.To))
	}
	if t := c.ValueBase64; t != nil {
		add(t.Op, commands.FieldValue, 0, t.To)
	}
	if t := c.Exists; t != nil {
		add(t.Op, commands.FieldExists, truth(t.To), nil)
	}
	if t := c.Session; t != nil {
		add(t.Op, commands.FieldSession, 0, []byte(t.To))
	}
	if c.Empty != nil {
		add("=", commands.FieldEmpty, truth(*c.Empty), nil)
	}
	return all
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// command is the operation; wrong says what is wrong with it. That there is exactly one verb is commands' to check.
func (o txnStep) command() (out commands.Operation, wrong string) {
	if p := o.Put; p != nil {
		directory := event.IsDirectory(p.Key) && p.TTL != ""
		if (p.Value == nil) == (p.ValueBase64 == nil) && !(directory && p.Value == nil) {
			return out, "a put has a value or a value_base64"
		}
		ttl, wrong := duration(p.TTL)
		if wrong != "" {
			return out, "ttl is " + strconv.Quote(p.TTL) + "; " + wrong
		}
		value := p.ValueBase64
		if p.Value != nil {
			value = []byte(*p.Value)
		}
		out.Put = &commands.PutKey{Key: p.Key, Value: value, ContentType: p.ContentType, Flags: p.Flags, TTL: ttl, Session: p.Session}
	}
	if out.Delete, wrong = o.Delete.command("delete"); wrong != "" {
		return out, wrong
	}
	if out.Get, wrong = o.Get.command("get"); wrong != "" {
		return out, wrong
	}
	if o.Register != nil {
		c, problem := o.Register.command()
		if problem != nil {
			return out, problem.Detail
		}
		out.Register = &c
	}
	if d := o.Deregister; d != nil {
		out.Deregister = &commands.DeregisterInstance{Service: d.Service, ID: d.ID}
	}
	return out, ""
}

func (t *target) command(verb string) (out *commands.Target, wrong string) {
	switch {
	case t == nil:
		return nil, ""
	case (t.Key == nil) == (t.Prefix == nil):
		return nil, "a " + verb + " has a key or a prefix"
	case t.Key != nil:
		return &commands.Target{Key: *t.Key}, ""
	}
	return &commands.Target{Prefix: *t.Prefix, IsPrefix: true}, ""
}
