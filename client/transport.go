package client

import (
	"bytes"
	"context"
	random "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	headerReason   = "Rollcall-Reason"
	headerKey      = "Idempotency-Key"
	headerRevision = "Rollcall-Revision"
)

const (
	// retryFor is the default of Options.RetryFor, and retryForMax its bound: servers remember a change for ten minutes,
	// and no attempt may come after that.
	retryFor    = 10 * time.Second
	retryForMax = 5 * time.Minute
	// rounds is how often all servers are tried when none of them can be reached at all.
	rounds = 4
	// answerBytesMax bounds an answer that is read as a whole. The largest is a page of listMax values.
	answerBytesMax = 512 << 20
	retryAfterMax  = 2 * time.Second
)

// request is one request before it is known which server gets it.
type request struct {
	method string
	path   string // behind the base URL, escaped
	query  url.Values
	header http.Header
	body   []byte // nil for none
	// renewal says that it changes nothing, though its method would: it needs neither a name nor a reason.
	renewal bool
	// rehearsal is where the answer of a dry run goes; nil for none.
	rehearsal *Rehearsal
}

// answer is a success.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// path is the escaped path of something in the client's namespace.
func (c *Client) path(escaped ...string) string {
	return "v1/" + escapeSegment(c.namespace) + "/" + strings.Join(escaped, "/")
}

func newRequest(method, path string) *request {
	return &request{method: method, path: path, query: url.Values{}, header: http.Header{}}
}

// write tells whether a request changes something.
func (r *request) write() bool {
	return r.method != http.MethodGet && r.method != http.MethodHead && !r.renewal && r.rehearsal == nil
}

// json sets the body.
func (r *request) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	r.body = b
	r.header.Set("Content-Type", "application/json")
	return nil
}

// http makes the request for one server. The path is set both ways, escaped and not, because net/url sends RawPath
// as it stands only while it is an encoding of Path.
func (r *request) http(ctx context.Context, base *url.URL) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	u := *base
	u.RawPath = base.EscapedPath() + r.path
	path, err := url.PathUnescape(u.RawPath)
	if err != nil {
		return nil, fmt.Errorf("escape path %q: %w", r.path, err)
	}
	u.Path = path
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, base.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.URL, req.Header = &u, r.header.Clone()
	if key := req.Header[headerKey]; key != nil {
		// net/http makes a request again by itself when it finds this header by its usual spelling. That would do no
		// harm, but hide that there was an attempt without an answer.
		delete(req.Header, headerKey)
		req.Header[strings.ToLower(headerKey)] = key
	}
	return req, nil
}

// do sends a request and gives the whole answer. It goes on to the next server, and after all of them starts again a
// little later, where that may help. That does nothing twice: every change has an idempotency key.
func (c *Client) do(ctx context.Context, r *request) (answer, error) {
	if r.write() && r.header.Get(headerKey) == "" {
		r.header.Set(headerKey, random.Text())
	}
	if (r.write() || r.rehearsal != nil) && c.reason != "" && r.header.Get(headerReason) == "" {
		r.header.Set(headerReason, c.reason)
	}
	if reason := r.header.Get(headerReason); strings.ContainsFunc(reason, unicode.IsControl) {
		return answer{}, fmt.Errorf("reason %.40q: it must be one line without control characters", reason)
	}
	var a answer
	err := c.retry(ctx, r, func(at int) (err error) {
		a, err = c.try(ctx, r, at)
		return err
	})
	if err == nil && r.rehearsal != nil {
		err = r.rehearsal.decode(a)
	}
	return a, err
}

// retry has a request tried on one server after the other.
func (c *Client) retry(ctx context.Context, r *request, try func(at int) error) error {
	began, absent := time.Now(), 0
	var last, uncertain error
	for attempt := 0; ; attempt++ {
		if round := attempt / len(c.servers); round > 0 && attempt%len(c.servers) == 0 {
			nobody := absent >= rounds*len(c.servers)
			if nobody || time.Since(began) > c.retryFor || pause(ctx, backoff(round, last)) != nil {
				return honest(last, uncertain)
			}
		}
		at := c.preferred.Load()
		err := try(int(at) % len(c.servers))
		if err == nil {
			return nil
		}
		if isUncertain(r, err) {
			uncertain = err
		}
		if ctx.Err() != nil || !mayRetry(err) {
			return honest(err, uncertain)
		}
		last = err
		if _, ok := errors.AsType[*UnreachableError](err); ok {
			absent++
		} else {
			absent = 0
		}
		c.preferred.CompareAndSwap(at, at+1) // another call may have moved on already
	}
}

func (c *Client) try(ctx context.Context, r *request, at int) (answer, error) {
	response, err := c.send(ctx, r, at)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	limit := int64(answerBytesMax)
	if response.StatusCode >= 300 {
		limit = problemBytesMax
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return answer{}, &brokenError{r.write(), err}
	case response.StatusCode >= 300:
		return answer{}, newProblem(response, c.servers[at].String(), body)
	case int64(len(body)) > limit:
		return answer{}, fmt.Errorf("read answer of %s: it is longer than %d bytes", c.servers[at], limit)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// send sends a request to one server; the caller reads and closes the answer.
func (c *Client) send(ctx context.Context, r *request, at int) (*http.Response, error) {
	req, err := r.http(ctx, c.servers[at])
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(req)
	if err == nil {
		return response, nil
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which may be long: a condition may stand in it
	}
	if neverLeft(err) {
		return nil, &UnreachableError{Servers: c.serverNames(), Err: err}
	}
	return nil, &brokenError{r.write(), err}
}

func (c *Client) serverNames() []string {
	names := make([]string, len(c.servers))
	for i, s := range c.servers {
		names[i] = strings.TrimSuffix(s.String(), "/")
	}
	return names
}

// neverLeft tells whether a request failed before a byte of it could have reached a server.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// mayRetry tells whether another attempt may fare better: a server could not be reached, did not answer, or said that
// it cannot now.
func mayRetry(err error) bool {
	var unreachable *UnreachableError
	var broken *brokenError
	var p *Problem
	switch {
	case errors.As(err, &unreachable), errors.As(err, &broken):
		return true
	case errors.As(err, &p):
		return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout || p.Status == http.StatusBadGateway
	}
	return false
}

// isUncertain tells whether a change may have been made, or may yet be made, though an attempt at it failed.
func isUncertain(r *request, err error) bool {
	var broken *brokenError
	var p *Problem
	switch {
	case !r.write():
		return false
	case errors.As(err, &broken):
		return true
	case errors.As(err, &p):
		// A 503 of Rollcall itself says that nothing was written. What has no code is somebody else's.
		return p.Code == ErrOutcomeUnknown || p.Code == "" && p.Status >= http.StatusInternalServerError
	}
	return false
}

// honest is the error of a call whose last attempt ended so: an earlier one of uncertain outcome is not forgotten.
func honest(err, uncertain error) error {
	if uncertain == nil || errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	return &uncertainError{err}
}

// backoff is how long to wait before round n, which counts from 1: it doubles from 50 ms up to 5 s, and half of it is
// chance, so that many clients do not come back at once. A server that asked for more time gets it, within bounds.
func backoff(n int, err error) time.Duration {
	d := min(50*time.Millisecond<<min(n-1, 10), 5*time.Second)
	d = d/2 + rand.N(d/2+1)
	if p, ok := errors.AsType[*Problem](err); ok {
		d = max(d, min(p.RetryAfter, retryAfterMax))
	}
	return d
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a answer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// headRevision is the revision that an answer shows; zero when it does not say.
func headRevision(h http.Header) uint64 {
	n, err := strconv.ParseUint(h.Get(headerRevision), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// etagRevision is the revision in an ETag; zero when there is none.
func etagRevision(h http.Header) uint64 {
	n, err := strconv.ParseUint(strings.Trim(h.Get("ETag"), `"`), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
