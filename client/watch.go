package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Watch yields the events of a subject from a revision on, or from now where from is zero, and goes on as they happen.
// The subject is the part behind "rollcall.{namespace}." and takes NATS wildcards; empty is everything. Now is a moment
// between the call and the first bookmark: what was acknowledged to anybody before the call is not in it, and all that is
// behind that moment is.
//
// A revision that is further on than the next one, as all servers agree on it, is refused (a Problem with the code
// invalid-revision): whoever has seen the one before it has seen it in another cluster, or before this one was restored from a
// snapshot. So a state that was read at a revision is followed from the next one, on any server, also one that lags; and where
// history has gone back in between, that is told, and not waited for.
//
// There is no gap and no repeat, over as many connections as it takes: when one breaks or falls silent, Watch goes on
// behind what it has seen, on the next server, over NATS or HTTP as its address says. It ends when the context does, with
// the context's error, or with an error that another attempt would not mend. When no server can be reached at the start,
// that is such an error too.
//
// The reader may take its time. Over NATS, at most 4096 events and 8 MiB wait for it; what is behind them is let go, and
// read from the ledger when the reader gets there, in answers of at most 4 MiB; while it reads one, no more than that is beside what
// waits. Over HTTP it is the connection that waits. Events that arrive over NATS
// are shared by the watches of a client: their Data and Raw must not be changed.
func (c *Client) Watch(ctx context.Context, subject string, from uint64) iter.Seq2[Event, error] {
	return c.WatchWith(ctx, WatchOptions{Subject: subject, From: from})
}

// WatchOptions say what to watch. The zero value is everything from now on.
type WatchOptions struct {
	// Subject and From are those of Watch.
	Subject string
	From    uint64
	// Bookmarks has the watch yield events for which IsBookmark holds, too: their Revision is up to where all events of the
	// subject have been yielded. There is one when the past has been caught up with, and then every five seconds or so,
	// also where nothing happens.
	Bookmarks bool
	// Slow is called, between two events, each time the reader has been so slow that what waited for it was let go. Nothing
	// is missed, but it comes from the server's disk instead. It may be nil.
	Slow func(Slow)
}

// Slow says that the reader of a watch does not keep up.
type Slow struct {
	// Position is the revision up to where it has come.
	Position uint64
	// Times counts how often that happened in this watch.
	Times int
}

// bookmarkType is the type of events that are bookmarks, which are in no ledger.
const bookmarkType = "bookmark"

// IsBookmark tells a bookmark of WatchOptions.Bookmarks from an event of the ledger. It has a Revision, and a
// Source where the server says one, and nothing else.
func (e Event) IsBookmark() bool { return e.Type == bookmarkType }

// EndsCommit tells whether an event is the last one of its commit: its revision is the commit's.
//
// The events of a commit come one behind the other. A watch of everything has seen a whole commit when this holds. A
// watch of a subject may never see a commit's last event; it has seen what it will see of commit C when this holds of an
// event of C, or with the first event or bookmark behind it: an event whose Commit is greater, or a bookmark whose Revision
// is at least C. So with WatchOptions.Bookmarks it takes five seconds or so at most to know.
func (e Event) EndsCommit() bool { return e.Revision == e.Commit && !e.IsBookmark() }

// WatchWith is Watch with more to choose.
func (c *Client) WatchWith(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.life, cancel)()
		w := watcher{client: c, WatchOptions: o, yield: func(e Event) bool { return yield(e, nil) }}
		for failures := 1; ; failures++ {
			err := w.follow(inner)
			if !w.done && w.mayGoOn(err) {
				if w.alive { // it worked for a while: start over with short waits
					w.alive, failures = false, 1
				}
				if pause(inner, backoff(failures, err)) == nil {
					continue
				}
			}
			switch {
			case w.done:
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
			case c.life.Err() != nil:
				yield(Event{}, fmt.Errorf("watch: %w", ErrClosed))
			case err == nil:
				yield(Event{}, errors.New("watch: the stream ended before it said where it stands"))
			default:
				yield(Event{}, fmt.Errorf("watch: %w", err))
			}
			return
		}
	}
}

// watcher is a walk along the ledger that survives its connections.
type watcher struct {
	WatchOptions
	client *Client
	yield  func(Event) bool
	// position is what everything up to has been seen, once known is set: by the first answer at the latest.
	position uint64
	known    bool
	source   string // of the events: the cluster and the namespace
	slow     int
	alive    bool // this connection has brought something
	done     bool // the reader wants no more
}

// mayGoOn tells whether the next connection may do better.
func (w *watcher) mayGoOn(err error) bool {
	var broken *brokenError
	var unreachable *UnreachableError
	var p *Problem
	switch {
	case err == nil, errors.As(err, &broken), errors.As(err, &unreachable):
		return w.known // servers come and go; but without a position, going on could leave a gap
	case errors.As(err, &p):
		return w.known && p.Status >= 500
	}
	return false
}

// stream is one connection that events come over.
type stream interface {
	// run hands on what comes until the stream ends, the reader wants no more, or the context ends.
	run(ctx context.Context) error
	close()
}

// follow reads one connection until it ends.
func (w *watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var s stream
	err := w.client.retry(ctx, w.request(), func(to *server) (err error) {
		if to.link != nil {
			s, err = w.overNATS(ctx, to)
		} else {
			s, err = w.overHTTP(ctx, to)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer s.close()
	at := w.client.all.preferred.Load()
	err = s.run(ctx)
	if !w.done {
		// Prefer another server next time: this one stops, or is cut off.
		w.client.all.preferred.CompareAndSwap(at, at+1)
	}
	return err
}

// begin fixes where the walk stands before its first event, so that what happens until then is not lost with the
// connection.
func (w *watcher) begin(head uint64) {
	if w.known {
		return
	}
	if w.From > 0 {
		w.position, w.known = w.From-1, true
	} else if head > 0 {
		w.position, w.known = head, true
	}
}

// event hands on an event that is behind the position.
func (w *watcher) event(e Event) error {
	w.alive = true
	if e.Revision <= w.position && w.known {
		return &OrderError{After: w.position, Got: e.Revision}
	}
	if err := w.belongs(e.Source); err != nil {
		return err
	}
	w.position, w.known = e.Revision, true
	w.done = !w.yield(e)
	return nil
}

// belongs refuses what is of another history than what was seen so far. A source that is not said is none.
func (w *watcher) belongs(source string) error {
	switch {
	case source == "" || source == w.source:
	case w.source == "":
		w.source = source
	default:
		return &SourceError{After: w.position, Was: w.source, Is: source}
	}
	return nil
}

// reach takes note that everything up to a revision has been seen, whether or not the subject let any of it through.
func (w *watcher) reach(revision uint64) {
	w.alive = true
	if revision == 0 || revision < w.position && w.known {
		return // it does not say, or is of a server that lags behind another one
	}
	if revision > w.position || !w.known {
		w.position, w.known = revision, true
	}
	if w.Bookmarks {
		w.done = !w.yield(Event{Type: bookmarkType, Revision: revision, Source: w.source})
	}
}

// SourceError says that a watch, which had come as far as After, would have gone on with the events of another cluster, or
// of this one restored from a snapshot: what was seen last may never have happened there. Read the state there anew and
// watch from its revision.
type SourceError struct {
	After   uint64
	Was, Is string // CloudEvents sources: rollcall/{cluster}/{namespace}
}

// Error implements error.
func (e *SourceError) Error() string {
	return fmt.Sprintf("the events up to revision %d are of %s, and those behind it of %s, another cluster or a restored one: read its state anew and watch from there", e.After, e.Was, e.Is)
}

// checkSubject refuses a filter that NATS would take for something else than the ledger does.
func checkSubject(filter string) error {
	segments := strings.Split(filter, ".")
	for i, s := range segments {
		wild := s == "*" || s == ">" && i == len(segments)-1
		bad := func(r rune) bool { return r == '*' || r == '>' || unicode.IsSpace(r) || unicode.IsControl(r) }
		if s == "" || !wild && strings.ContainsFunc(s, bad) || !utf8.ValidString(s) {
			return &Problem{Status: 400, Code: "invalid-filter", Detail: fmt.Sprintf("subject %q, segment %d (%q): a subject is segments joined by dots, where a segment may be * and the last may be >; anything else is percent-encoded", filter, i+1, s)}
		}
	}
	return nil
}

// idleTimer is a timer for silence.
func (c *Client) idleTimer() *time.Timer {
	t := time.NewTimer(c.idle)
	t.Stop()
	return t
}
