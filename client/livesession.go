package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrSessionClosed is why the context of a session ended that its holder has closed.
var ErrSessionClosed = errors.New("the session was closed")

// LiveSession is a session that is kept alive in the background. Make one with OpenSession.
type LiveSession struct {
	Session
	client  *Client
	ctx     context.Context
	end     context.CancelCauseFunc
	keeping context.CancelFunc
	done    chan struct{} // closed when nobody keeps it alive any more

	mu       sync.Mutex
	deadline time.Time // when it may have expired
	timer    *time.Timer
}

// leaseMargin is how much earlier a session counts as lost than it may have expired: a twentieth of its TTL, and a second at
// most, for timers that come late and clocks that run fast.
func leaseMargin(ttl time.Duration) time.Duration { return min(ttl/20, time.Second) }

// OpenSession begins a session and keeps it alive in the background until Close is called, the context ends or the session
// is lost. When the context ends, nobody keeps it alive any more, and it expires; Close ends it at once.
//
// What holds by the session must not be relied on when Context has ended. That is so before a server may give it to
// somebody else: by this process's own monotonic clock, and counted from before the last confirmed keepalive was sent. What no
// clock can rule out is a process that stands still (stopped, starved, or its machine suspended, whose clock may stand still
// too) between looking at the context and acting: what must not happen twice has to be fenced, by a condition of the write
// (KeySession in a transaction) or by a number that only grows (Session.Revision) which the other side checks.
func (c *Client) OpenSession(ctx context.Context, o SessionOptions, options ...WriteOption) (*LiveSession, error) {
	since := time.Now()
	made, err := c.CreateSession(ctx, o, options...)
	if err != nil {
		return nil, err
	}
	l := &LiveSession{Session: made, client: c, done: make(chan struct{})}
	l.ctx, l.end = context.WithCancelCause(ctx)
	var keeping context.Context
	keeping, l.keeping = context.WithCancel(l.ctx)
	l.mu.Lock()
	l.timer = time.AfterFunc(time.Hour, l.expire) // which kept sets right
	l.mu.Unlock()
	l.kept(since)
	go func() {
		defer close(l.done)
		if err := c.keep(keeping, made, since, l.kept); keeping.Err() == nil {
			l.end(err)
		}
		l.timer.Stop()
	}()
	return l, nil
}

// Context ends when the session is lost, with a LostError as its cause, when it is closed, with ErrSessionClosed, and with
// the context that it was opened with.
func (l *LiveSession) Context() context.Context { return l.ctx }

// Err is nil while the session surely lives, at this very moment and not only when a timer last had its turn, and the cause
// for which Context ends otherwise.
func (l *LiveSession) Err() error {
	if l.ctx.Err() == nil && time.Until(l.until()) <= 0 {
		l.expire()
	}
	return context.Cause(l.ctx)
}

// Close ends the session, and with it what it holds. Where that fails, it expires by itself; one that has ended is no fault.
func (l *LiveSession) Close(ctx context.Context) error {
	l.abandon(ErrSessionClosed)
	if lost, ok := errors.AsType[*LostError](context.Cause(l.ctx)); ok && errors.Is(lost, ErrNotFound) {
		return nil
	}
	if _, err := l.client.EndSession(ctx, l.ID); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("session %q will expire in %v: %w", l.ID, l.TTL, err)
	}
	return nil
}

// abandon has nobody keep the session alive any more.
func (l *LiveSession) abandon(why error) {
	l.end(why)
	<-l.done
}

func (l *LiveSession) until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline
}

// kept notes that the session has its whole TTL since a moment.
func (l *LiveSession) kept(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = since.Add(l.TTL - leaseMargin(l.TTL))
	l.timer.Reset(time.Until(l.deadline))
}

// expire ends the context, unless the session was kept alive meanwhile.
func (l *LiveSession) expire() {
	if time.Until(l.until()) > 0 {
		return
	}
	l.end(&LostError{Session: l.ID, Err: errNotConfirmed})
}
