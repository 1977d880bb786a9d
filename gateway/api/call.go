package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// The headers that are Rollcall's own.
const (
	headerRevision  = "Rollcall-Revision"
	headerStaleness = "Rollcall-Staleness"
	headerReason    = "Rollcall-Reason"
	headerKey       = "Idempotency-Key"
)

// jsonBytesMax bounds a body that is JSON: a transaction's 2 MiB, with room for base64, escapes and names.
const jsonBytesMax = 4 << 20

// call is one request on its way. It is not used again afterwards: net/http reads the headers' values later.
type call struct {
	api       *api
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context // the request's, with its deadline
	op        *operation      // nil until the path is known
	operation string          // what is observed
	namespace string
	names     []string
	params    [paramsMax]string
	query     url.Values // checked: only known names, only values of their kind
	status    int        // zero until the answer's head is out
	message   *message   // what came in place of an HTTP request; nil for one of those

	values [8]string // backs the values of headers, so that each costs no allocation of its own
	used   int
}

// set sets a header of the answer. The name is in canonical form.
func (c *call) set(name, value string) {
	if c.used == len(c.values) {
		c.w.Header()[name] = []string{value}
		return
	}
	c.values[c.used] = value
	c.used++
	c.w.Header()[name] = c.values[c.used-1 : c.used : c.used]
}

// shows says which revision the answer shows.
func (c *call) shows(r event.Revision) { c.set(headerRevision, strconv.FormatUint(uint64(r), 10)) }

// head sends the status and the headers.
func (c *call) head(status int) {
	c.status = status
	c.w.WriteHeader(status)
}

// send sends the whole answer.
func (c *call) send(status int, contentType string, body []byte) {
	if c.message != nil {
		c.status = status
		c.message.answer(contentType, body)
		return
	}
	c.set("Content-Type", contentType)
	c.set("Content-Length", strconv.Itoa(len(body)))
	c.head(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body) // when the client is gone there is nobody to tell
	}
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// json sends an answer as JSON.
func (c *call) json(status int, v any) error {
	return c.jsonAs(status, "application/json", v)
}

func (c *call) jsonAs(status int, contentType string, v any) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= 1<<20 { // one long list must not stay in memory for good
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	if c.flag("pretty") {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(v); err != nil {
		return err
	}
	c.send(status, contentType, buf.Bytes())
	return nil
}

// committed sets what every answer to a write has, and gives the revision in decimal.
func (c *call) committed(r event.Revision) string {
	etag := etagOf(r)
	c.set("Etag", etag)
	decimal := etag[1 : len(etag)-1]
	c.set(headerRevision, decimal)
	return decimal
}

// written is the answer to a write that has nothing to tell but its revision.
func (c *call) written(status int, r event.Revision) error {
	decimal := c.committed(r)
	if c.flag("pretty") {
		return c.json(status, written{Revision: r})
	}
	body := make([]byte, 0, len(`{"revision":}`)+len(decimal)+1)
	body = append(append(append(body, `{"revision":`...), decimal...), "}\n"...)
	c.send(status, "application/json", body)
	return nil
}

// written is the answer to a write.
type written struct {
	Revision event.Revision `json:"revision" doc:"The commit; where nothing had to change, the revision of what is there"`
}

// refuse answers with a problem. A fault is logged, under an id that the client is told in its place.
func (c *call) refuse(err error) {
	p := gateway.ProblemOf(err)
	if c.op != nil && !c.op.write && p.Code == gateway.CodeOutcomeUnknown {
		p = gateway.NewProblem(gateway.CodeNoQuorum, "the time ran out before the state could be read")
	}
	if p.Code == gateway.CodeInternal {
		p.Request = rand.Text()
		c.api.Logger.ErrorContext(c.r.Context(), "a request failed", "request", p.Request, "operation", c.operation, "error", err)
	}
	c.problem(p)
}

func (c *call) problem(p *gateway.Problem) {
	if c.message != nil {
		c.message.problem = p
	}
	h := c.w.Header()
	ledger := c.namespace
	if c.op != nil && (c.op.group == "namespaces" || c.op.group == "cluster") {
		ledger = event.System
	}
	if h[headerRevision] == nil && ledger != "" {
		if head, err := c.api.Backend.Head(ledger); err == nil {
			c.shows(head)
		}
	}
	if p.Revision > 0 && h["Etag"] == nil {
		c.set("Etag", etagOf(p.Revision))
	}
	if p.RetryAfter > 0 {
		c.set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if err := c.jsonAs(p.Status, "application/problem+json", p); err != nil {
		panic(err) // plain fields always encode
	}
}

// body reads the request's body, of at most limit bytes.
func (c *call) body(limit int, what string) ([]byte, error) {
	tooLarge := func() error {
		return gateway.NewProblem(commands.CodeTooLarge, "%s is larger than %d bytes", what, limit)
	}
	if c.message != nil {
		if len(c.message.body) > limit {
			return nil, tooLarge()
		}
		return c.message.body, nil
	}
	n := c.r.ContentLength
	if n > int64(limit) {
		return nil, tooLarge()
	}
	if n >= 0 {
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r.Body, b); err != nil {
			return nil, gateway.NewProblem(gateway.CodeInvalidBody, "the body ended before its %d bytes", n)
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(c.r.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, gateway.NewProblem(gateway.CodeInvalidBody, "the body broke off after %d bytes", len(b))
	case len(b) > limit:
		return nil, tooLarge()
	}
	return b, nil
}

// submit has a command decided, with the reason that the request gives for it.
func (c *call) submit(namespace string, command commands.Command) (commands.Answer, error) {
	request := gateway.Request{Command: command}
	if given := c.r.Header[headerReason]; given != nil {
		request.Reason = strings.Join(given, ", ") // as RFC 9110 section 5.3 joins fields of one name
		if !isReason(request.Reason) {
			return commands.Answer{}, gateway.NewProblem(gateway.CodeInvalidHeader,
				"%s %.40q: at most %d bytes of UTF-8 without control characters", headerReason, request.Reason, event.ReasonBytesMax)
		}
	}
	key, given, err := c.single(headerKey)
	if err != nil {
		return commands.Answer{}, err
	}
	if r := commands.ValidateKeyOf(key); given && r != nil {
		return commands.Answer{}, r
	}
	request.Key = key
	if c.flag(dryRun) {
		return commands.Answer{}, c.rehearse(namespace, request)
	}
	return c.api.Backend.Submit(c.ctx, namespace, request)
}

// submitNext has one more command decided for a request that has had one decided. It is no repeat of that, and has no
// idempotency key.
func (c *call) submitNext(command commands.Command) (commands.Answer, error) {
	return c.api.Backend.Submit(c.ctx, c.namespace, gateway.Request{Command: command, Reason: strings.Join(c.r.Header[headerReason], ", ")})
}

// rehearsalMax is how many events a dry run shows: the deletion of a prefix may have many more.
const rehearsalMax = 1000

// dryRun is the query parameter that asks what a write would do.
const dryRun = "dry-run"

// rehearsal is the answer to a write that was not to be carried out. Its revisions are those that the events would have
// if nothing else came first; so it has no ETag.
type rehearsal struct {
	Revision  event.Revision       `json:"revision" doc:"The commit that it would be, if nothing else came first; where nothing would change, the revision of what is there"`
	Events    []gateway.CloudEvent `json:"events" doc:"What would be written, the first 1000 events of it; empty where nothing would change"`
	Total     int                  `json:"total" doc:"How many events would be written"`
	Succeeded *bool                `json:"succeeded,omitempty" doc:"Of a transaction: all conditions hold, and then would run; otherwise else would"`
	Failed    []int                `json:"failed,omitempty" doc:"Of a transaction: the indexes of the conditions that do not hold"`
}

// errAnswered says that the answer is out already.
var errAnswered = errors.New("answered")

// rehearse answers with what a command would do.
func (c *call) rehearse(namespace string, request gateway.Request) error {
	r, err := c.api.Backend.Rehearse(c.ctx, namespace, request)
	if err != nil {
		return err
	}
	shown := r.Events[:min(len(r.Events), rehearsalMax)]
	out := rehearsal{
		Revision: r.Answer.Revision, Events: make([]gateway.CloudEvent, len(shown)), Total: len(r.Events), Failed: r.Answer.Failed,
	}
	for i, e := range shown {
		out.Events[i] = gateway.NewCloudEvent(c.api.Backend.Cluster(), namespace, e)
	}
	if r.Answer.Branch != commands.NoBranch {
		succeeded := r.Answer.Branch == commands.BranchThen
		out.Succeeded = &succeeded
	}
	c.shows(r.Head)
	if err := c.json(http.StatusOK, out); err != nil {
		return err
	}
	return errAnswered
}

func isReason(s string) bool {
	return len(s) <= event.ReasonBytesMax && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

// view reads the state that the request asks for, and says which it was.
func (c *call) view(namespace string, fn func(gateway.View) error) error {
	o, err := c.reading()
	if err != nil {
		return err
	}
	return c.viewAs(c.ctx, namespace, o, fn)
}

func (c *call) viewAs(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error {
	see := func(v gateway.View) error {
		if !c.hasRoom(ctx, false) {
			return errNoRoom
		}
		c.shows(v.Head())
		if o.Stale {
			c.set(headerStaleness, strconv.FormatInt(v.Staleness.Milliseconds(), 10))
		}
		return fn(v)
	}
	err := c.api.Backend.View(ctx, namespace, o, see)
	if errors.Is(err, errNoRoom) { // who waits for room may not keep a view open, and who waits for a view need not have room
		if err := c.awaitRoom(ctx); err != nil {
			return err
		}
		err = c.api.Backend.View(ctx, namespace, o, see)
	}
	return c.notSeen(o, err)
}

// notSeen tells a reader who waited for a revision that did not come that this is no mistake of its own.
func (c *call) notSeen(o gateway.ReadOptions, err error) error {
	var behind gateway.RevisionError
	if errors.As(err, &behind) && behind.Asked == o.MinRevision && behind.Asked != o.At {
		return gateway.NewProblem(gateway.CodeRevisionNotSeen, "%v; it may come, or be on another server", behind)
	}
	return err
}
