package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"time"
)

// watchFunc is how a cache hears of what happens: it yields the events of a subject from a revision on, as Watch does, and
// yields bookmarks between them.
type watchFunc func(ctx context.Context, subject string, from uint64) iter.Seq2[Event, error]

// watchMarked is Watch with bookmarks.
func (c *Client) watchMarked(ctx context.Context, subject string, from uint64) iter.Seq2[Event, error] {
	return c.WatchWith(ctx, WatchOptions{Subject: subject, From: from, Bookmarks: true})
}

// CacheStatus says how a cache stands.
type CacheStatus struct {
	// Revision is the state that the cache shows.
	Revision uint64
	// Heard is when a server last said anything about it, by this machine's clock: where nothing happens, that is every five
	// seconds or so.
	Heard time.Time
	// Err is what keeps the cache from going on; nil while nothing does. It tries again by itself.
	Err error
	// Resyncs counts how often it had to read everything again, after what it had followed was no longer to be had.
	Resyncs int
}

// progress is what a cache knows of itself.
type progress struct {
	mu sync.Mutex
	s  CacheStatus
}

func (p *progress) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Heard, p.s.Err = time.Now(), nil
}

func (p *progress) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Err = err
}

func (p *progress) resynced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Resyncs++
}

func (p *progress) status(revision uint64) CacheStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	s.Revision = revision
	return s
}

// errRestored says that what a cache follows is another history than the one that it has read.
var errRestored = errors.New("the events are of another cluster: it was restored from a snapshot")

// ErrCacheClosed is what waiting for a cache gives that is closed, or whose context has ended.
var ErrCacheClosed = errors.New("the cache is closed")

// unknownEventError is an event that this version of the client cannot apply.
type unknownEventError struct{ kind string }

func (e unknownEventError) Error() string {
	return fmt.Sprintf("this client does not know events of type %q: everything is read again instead", e.kind)
}

// beginsAnew tells whether what a cache has followed cannot be followed further from where it stands.
func beginsAnew(err error) bool {
	var order *OrderError
	var source *SourceError
	var unknown unknownEventError
	var p *Problem
	switch {
	case errors.As(err, &order), errors.As(err, &source), errors.As(err, &unknown), errors.Is(err, errRestored):
		return true
	case errors.As(err, &p):
		return p.Status >= http.StatusBadRequest && p.Status < http.StatusInternalServerError
	}
	return false
}

// follower has a cache follow a subject for as long as the context lasts, whatever happens.
type follower struct {
	watch    watchFunc
	subject  string
	next     func() uint64 // the revision to go on with
	take     func(context.Context, Event) error
	resync   func(context.Context) error // reads everything again
	progress *progress
}

func (f follower) run(ctx context.Context) {
	anew := false
	for failures := 1; ctx.Err() == nil; failures++ {
		var err error
		if anew {
			if err = f.resync(ctx); err == nil {
				anew = false
				f.progress.resynced()
			}
		}
		if !anew {
			var some bool
			if some, err = f.follow(ctx); some {
				failures = 1
			}
			anew = beginsAnew(err)
		}
		if ctx.Err() != nil {
			return
		}
		f.progress.failed(err)
		if pause(ctx, backoff(failures, err)) != nil {
			return
		}
	}
}

// follow takes what comes until something breaks; some says that anything came.
func (f follower) follow(ctx context.Context) (some bool, err error) {
	for e, err := range f.watch(ctx, f.subject, f.next()) {
		if err != nil {
			return some, err
		}
		if err := f.take(ctx, e); err != nil {
			return some, err
		}
		some = true
		f.progress.heard()
	}
	return some, errors.New("the stream of events ended") // which it does only with the context
}

// askAfter is how long a cache waits for the stream to bring what it could also ask for.
const askAfter = 20 * time.Millisecond

// askTime bounds one question that a cache asks by itself.
const askTime = 5 * time.Second

// awaitRevision returns when a cache shows a revision. It waits for the stream first, which mostly is about to bring it, and
// asks after that. shown gives what is shown, and a channel that is closed when something else is.
func awaitRevision(ctx, life context.Context, revision uint64, shown func() (uint64, <-chan struct{}), ask func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(life, func() { cancel(ErrCacheClosed) })()
	var last error
	timer := time.NewTimer(askAfter)
	defer timer.Stop()
	for asked := 0; ; {
		at, changed := shown()
		if at >= revision {
			return nil
		}
		select {
		case <-changed:
			continue
		case <-ctx.Done():
			err := fmt.Errorf("wait for revision %d, while the cache shows %d: %w", revision, at, context.Cause(ctx))
			if last != nil {
				err = fmt.Errorf("%w (%w)", err, last)
			}
			return err
		case <-timer.C:
		}
		if err := ask(ctx); err != nil && ctx.Err() == nil {
			last = err
		}
		asked++
		timer.Reset(backoff(asked, last))
	}
}

// head is the last revision that there is, as the servers agree on it.
func (c *Client) head(ctx context.Context) (uint64, error) {
	page, err := c.ListPage(ctx, "\x00", "", 1) // the prefix of no key: what counts is the revision
	return page.Revision, err
}

// sourceAt is the cluster that has a revision, in the form of an event's source; empty where no event has it.
func (c *Client) sourceAt(ctx context.Context, revision uint64) (string, error) {
	for e, err := range c.Events(ctx, Range{From: revision, To: revision}) {
		if err != nil {
			return "", err
		}
		return sourceOf(e)
	}
	return "", nil
}

func sourceOf(e Event) (string, error) {
	var w struct {
		Source string `json:"source"`
	}
	if err := json.Unmarshal(e.Raw, &w); err != nil {
		return "", fmt.Errorf("read the source of event %d: %w", e.Revision, err)
	}
	return w.Source, nil
}
