package client

import (
	"bytes"
	"context"
	random "crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode"
)

const (
	// retryFor is the default of Options.RetryFor, and retryForMax its bound: servers remember a change for ten minutes,
	// and no attempt may come after that.
	retryFor    = 10 * time.Second
	retryForMax = 5 * time.Minute
	// rounds is how often all servers are tried when none of them can be reached at all.
	rounds        = 4
	retryAfterMax = 2 * time.Second
	dialTime      = 5 * time.Second
	// attemptTime is how long an answer may take: a server gives one within its own time limit, or is not there any more,
	// and then another one is to be asked.
	attemptTime = 15 * time.Second
)

// ErrClosed is what calls of a client give after Close.
var ErrClosed = errors.New("the client is closed")

// answer is a success.
type answer struct {
	status      int    // of HTTP
	revision    uint64 // that it shows; zero where it does not say
	contentType string
	body        []byte
}

// do sends a request and gives the whole answer. It goes on to the next server, and after all of them starts again a
// little later, where that may help. That does nothing twice: every change has an idempotency key.
func (c *Client) do(ctx context.Context, r *request) (answer, error) {
	if r.write() && r.key == "" {
		r.key = freshKey(time.Now())
	}
	if (r.write() || r.rehearsal != nil) && r.reason == "" {
		r.reason = c.reason
	}
	if strings.ContainsFunc(r.reason, unicode.IsControl) {
		return answer{}, fmt.Errorf("reason %.40q: it must be one line without control characters", r.reason)
	}
	if strings.ContainsFunc(r.key, unicode.IsControl) {
		return answer{}, fmt.Errorf("idempotency key %.40q: it must be printable ASCII", r.key)
	}
	var a answer
	err := c.retry(ctx, r, func(s *server) (err error) {
		a, err = c.try(ctx, r, s)
		return err
	})
	if err == nil && r.rehearsal != nil {
		err = r.rehearsal.decode(a)
	}
	return a, err
}

// sortable is base32 whose digits are in the order of their bytes.
var sortable = base32.HexEncoding.WithPadding(base32.NoPadding)

// freshKey gives an idempotency key that nobody else has or can guess: the time in milliseconds and 80 random bits, as a
// ULID is made. Keys that were made at the same time are neighbours in the servers' tables, which makes applying a put an
// eighth cheaper than keys at random do (BenchmarkApply).
func freshKey(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16) // 48 bits of time, good until the year 10889
	_, _ = random.Read(b[6:])                                      // never fails
	return sortable.EncodeToString(b[:])
}

// try asks one server.
func (c *Client) try(ctx context.Context, r *request, s *server) (answer, error) {
	if s.link != nil {
		return c.askNATS(ctx, r, s)
	}
	return c.askHTTP(ctx, r, s)
}

// retry has a request tried on one server after the other.
func (c *Client) retry(ctx context.Context, r *request, try func(*server) error) error {
	p := c.all
	if r.overHTTP != "" {
		p = c.web
	}
	if len(p.servers) == 0 {
		return &overHTTPError{r.overHTTP}
	}
	began, absent := time.Now(), 0
	var last, uncertain error
	for attempt := 0; ; attempt++ {
		if round := attempt / len(p.servers); round > 0 && attempt%len(p.servers) == 0 {
			nobody := absent >= rounds*len(p.servers)
			if nobody || time.Since(began) > c.retryFor || pause(ctx, backoff(round, last)) != nil {
				return honest(last, uncertain)
			}
		}
		if c.life.Err() != nil {
			return honest(ErrClosed, uncertain)
		}
		if ctx.Err() != nil { // what is not wanted any more is not sent
			return honest(ctx.Err(), uncertain)
		}
		at := p.preferred.Load()
		err := try(p.at(at))
		if err == nil {
			return nil
		}
		if isUncertain(r, err) {
			uncertain = err
		}
		if p == c.all && len(c.web.servers) > 0 && needsHTTP(r, err) {
			p, attempt, absent = c.web, -1, 0
			continue
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
		p.preferred.CompareAndSwap(at, at+1) // another call may have moved on already
	}
}

// overHTTPError says that only HTTP can carry a request, and that no server was given that speaks it.
type overHTTPError struct{ why string }

func (e *overHTTPError) Error() string {
	return fmt.Sprintf("NATS cannot carry this, and no http:// server was given: %s", e.why)
}

// needsHTTP tells whether a request could not go over NATS, or its answer not come: an answer that is too large for
// a message comes over HTTP, unless a smaller page is as good. To ask for a change again does nothing twice.
func needsHTTP(r *request, err error) bool {
	if _, ok := errors.AsType[*overHTTPError](err); ok {
		return true
	}
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == ErrTooLarge && !r.pages && overNATS(p)
}

func (c *Client) serverNames() []string {
	names := make([]string, len(c.all.servers))
	for i, s := range c.all.servers {
		names[i] = strings.TrimSuffix(s.name, "/")
	}
	return names
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
	case errors.As(err, &p) && p.Code == ErrTooLarge && r.name == "txn" && overNATS(p):
		// It may be the answer that was too large, of what has been done.
		return bytes.Contains(r.body, []byte(`"get"`))
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
