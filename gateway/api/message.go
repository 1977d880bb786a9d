package api

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// A request that comes as a message is an operation's id and one JSON object. It is taken apart into what the operation's
// handler would find in an HTTP request, so that there is one handler, and one meaning, behind both doors.

// message is what a call has in place of an HTTP request and its answer.
type message struct {
	body       []byte               // as the operation's handler reads it
	conditions []commands.Condition // what stood in "if"
	room       func(ctx context.Context, large, wait bool) bool
	roomy      bool // it has given room

	content []byte // the answer
	other   string // its media type, where it is not JSON
	problem *gateway.Problem
	size    int // of an answer that was too large, else 0
}

// errNoRoom says that a read is to wait until other answers have left.
var errNoRoom = errors.New("no room for the answer")

// hasRoom tells whether an answer may be made. Over HTTP each is on a connection of its own, which bounds them.
func (c *call) hasRoom(ctx context.Context, wait bool) bool {
	m := c.message
	if m == nil || m.room == nil || m.roomy {
		return true
	}
	m.roomy = m.room(ctx, c.op.id != "kv.get", wait)
	return m.roomy
}

// awaitRoom returns when an answer may be made.
func (c *call) awaitRoom(ctx context.Context) error {
	if !c.hasRoom(ctx, true) {
		return gateway.NewProblem(commands.CodeBusy, "too many large answers are being made; try again a little later, or ask for less at a time")
	}
	return nil
}

// answer keeps an answer that fits. It copies: what it is given may be used again.
func (m *message) answer(contentType string, body []byte) {
	if len(body) > gateway.ReplyBytesMax {
		m.size = len(body)
		return
	}
	m.content = bytes.Clone(body)
	if !strings.HasPrefix(contentType, "application/") || !strings.HasSuffix(contentType, "json") {
		m.other = contentType
	}
}

// head is the http.ResponseWriter of a message: handlers set headers on it. Bodies go through call.send.
type head struct{ header http.Header }

func (h *head) Header() http.Header { return h.header }
func (h *head) Write([]byte) (int, error) {
	return 0, errors.New("this operation cannot be answered with a message")
}
func (h *head) WriteHeader(int) {}

// do answers a message.
func (a *api) do(ctx context.Context, m gateway.Call) gateway.Reply {
	c := &call{api: a, ctx: ctx, operation: "unknown", message: &message{room: m.Room}}
	c.w = &head{http.Header{}}
	c.r = (&http.Request{Header: heeded(m.Header)}).WithContext(ctx)
	start := time.Now()
	defer func() { a.ObserveCall(c.operation, c.status, time.Since(start)) }()
	c.perform(m)
	if c.message.size > 0 {
		c.refuse(c.unsaid())
	}
	return c.reply()
}

// unsaid is told in place of an answer that a message does not hold. Where something was written, that must not look like
// a refusal of it.
func (c *call) unsaid() *gateway.Problem {
	if c.op.write && !c.flag(dryRun) {
		return gateway.NewProblem(gateway.CodeOutcomeUnknown,
			"it was carried out, but the answer has %d bytes, and a message holds %d: read what there is now", c.message.size, gateway.ReplyBytesMax)
	}
	return gateway.NewProblem(commands.CodeTooLarge,
		"the answer has %d bytes, and a message holds %d: ask for less at a time, or over HTTP", c.message.size, gateway.ReplyBytesMax)
}

// heeded are the headers of a message that mean something here: they come by canonical names.
func heeded(given map[string][]string) http.Header {
	h := http.Header{}
	if len(given) == 0 {
		return h
	}
	for _, name := range messageHeaders {
		if values := given[name]; values != nil {
			h[name] = values
		}
	}
	return h
}

var messageHeaders = append([]string{headerReason}, conditional...)

// perform has the operation answer. A panic becomes an answer, too: none of it has left yet.
func (c *call) perform(m gateway.Call) {
	defer func() {
		if v := recover(); v != nil {
			p := c.panicked(v)
			c.w = &head{http.Header{}}
			c.problem(p)
		}
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.api.RequestTimeout)
	defer cancel()
	c.ctx = ctx
	if err := c.serveMessage(m); err != nil && !errors.Is(err, errAnswered) {
		c.refuse(err)
	}
}

func (c *call) serveMessage(m gateway.Call) error {
	f := c.api.forms[m.Operation]
	if f == nil {
		return gateway.NewProblem(gateway.CodeUnknownPath, "no request %.80q is known%s", m.Operation, meant(m.Operation, slices.Sorted(maps.Keys(c.api.forms))))
	}
	c.op, c.operation, c.names = f.op, f.op.id, f.path
	switch {
	case c.names != nil && c.names[0] == "namespace":
		c.namespace, c.params[0] = m.Namespace, m.Namespace
	case m.Namespace != event.System:
		return gateway.NewProblem(gateway.CodeUnknownPath, "%q is asked of namespace %q, not of %.80q", f.op.id, event.System, m.Namespace)
	}
	if f.op.write && f.op.reserved(c.namespace) {
		return c.notThere()
	}
	if err := c.checkHeaders(); err != nil {
		return err
	}
	if err := c.read(f, m.Body); err != nil {
		return err
	}
	if f.op.page != nil {
		return f.op.page(c)
	}
	return f.op.handle(c)
}

// reply is the answer as it leaves.
func (c *call) reply() gateway.Reply {
	r := gateway.Reply{Status: c.status, Header: map[string][]string{}, Body: c.message.content, Problem: c.message.problem}
	h := c.w.Header()
	for name, shown := range replied {
		if v := h[name]; v != nil {
			r.Header[shown] = v
		}
	}
	if c.message.other != "" {
		r.Header["Content-Type"] = []string{c.message.other}
	}
	return r
}

// replied are the headers of an answer that leave with a message, and how they are written there: NATS tells "ETag"
// from "Etag".
var replied = map[string]string{headerRevision: headerRevision, headerStaleness: headerStaleness, "Etag": "ETag", "Retry-After": "Retry-After"}
