package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// errInvalidRevision is the code of what begins in the future.
const errInvalidRevision Code = "invalid-revision"

// errSilence is a connection that is there and brings nothing.
var errSilence = errors.New("no event and no bookmark came in time")

// eventsPage is an answer to the request "events".
type eventsPage struct {
	Revision uint64            `json:"revision"` // the head, as the server saw it
	Source   string            `json:"source"`   // of the events; empty where the server does not say
	Events   []json.RawMessage `json:"events"`
	Next     uint64            `json:"next"` // where to go on; zero where everything up to Revision was looked at
}

// flow is a stream over NATS: a subscription, and requests over the same connection for what came before it.
//
// What makes it whole is the order. The subscription comes first, then the request: whatever the server published before
// it had the subscription was in its ledger when it read the answer, and so is in the answer; whatever it publishes later
// arrives. What is in both is dropped by its revision. A bookmark says that everything up to it went over this
// connection, so it counts once what came before the subscription has been read. When too much waits for the reader, the
// tap lets go of it all and keeps nothing; then it is told to keep again first, and the request follows, as at the start.
type flow struct {
	w    *watcher
	to   *server
	conn *conn
	tap  *tap
	page *eventsPage // the past that has not been handed on yet; nil where the tap takes over
	room []arrival
}

func (w *watcher) overNATS(ctx context.Context, to *server) (stream, error) {
	filter := w.Subject
	if filter == "" {
		filter = ">"
	}
	if err := checkSubject(filter); err != nil {
		return nil, err
	}
	if w.From == math.MaxUint64 {
		return nil, &Problem{Status: 400, Code: errInvalidRevision, Server: to.name, Detail: fmt.Sprintf("%d is no revision: there must be one behind each", w.From)}
	}
	conn, err := to.link.connect(ctx)
	if err != nil {
		return nil, &UnreachableError{Servers: w.client.serverNames(), Err: err}
	}
	f := &flow{w: w, to: to, conn: conn}
	if f.tap, err = conn.join(subjectSegment(w.client.namespace), filter, w.client.room); err != nil {
		return nil, err
	}
	if err := f.start(ctx); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *flow) close() { f.tap.close() }

// start fixes where the walk begins and reads the first part of the past.
func (f *flow) start(ctx context.Context) (err error) {
	if f.w.known || f.w.From > 0 {
		f.page, err = f.past(ctx)
		if err == nil {
			f.w.begin(0)
		}
		return err
	}
	// From now: the head as all servers agree on it. There is always a first event, and to ask for one is the least.
	page, err := f.ask(ctx, Range{From: 1, Limit: 1}, false)
	if err != nil {
		return err
	}
	if page.Revision == 0 {
		return fmt.Errorf("the server %s does not say where its ledger ends", f.to.name)
	}
	f.w.begin(page.Revision)
	f.page = &eventsPage{Revision: page.Revision, Source: page.Source}
	return nil
}

// past asks for what is behind the position.
//
// What this server has is enough, current or not: whatever it lacks now arrives later. Where it is behind the position, or does
// not know the namespace, there is nothing to ask for, if the others know better; if they do not, the position is none of this
// cluster.
func (f *flow) past(ctx context.Context) (*eventsPage, error) {
	want := Range{Subject: f.w.Subject, From: f.w.From}
	if f.w.known {
		want.From = f.w.position + 1
	}
	for stale := f.w.known; ; stale = false {
		page, err := f.ask(ctx, want, stale)
		switch {
		case stale && (errors.Is(err, errInvalidRevision) || errors.Is(err, ErrUnknownNamespace)):
		case err != nil:
			return nil, err
		case page.Revision < want.From-1:
			if !stale {
				return nil, &OrderError{After: want.From - 1, Got: page.Revision}
			}
		case page.Next != 0 && page.Next <= want.From:
			return nil, fmt.Errorf("the server %s answers a request for events from %d with the next at %d", f.to.name, want.From, page.Next)
		default:
			return page, nil
		}
	}
}

// ask sends a request for events over this very connection.
func (f *flow) ask(ctx context.Context, want Range, stale bool) (*eventsPage, error) {
	r := f.w.client.eventsRequest(want, "")
	if stale {
		r.ask("consistency", "stale")
	}
	a, err := f.w.client.askOn(ctx, r, f.to, f.conn)
	if err != nil {
		return nil, err
	}
	page := new(eventsPage)
	return page, a.decode(page)
}

func (f *flow) run(ctx context.Context) error {
	silence := f.w.client.idleTimer()
	defer silence.Stop()
	for !f.w.done {
		if f.page != nil {
			if err := f.fill(ctx); err != nil {
				return err
			}
			continue
		}
		arrived, lost, err := f.tap.take(f.room)
		f.room = arrived
		switch {
		case len(arrived) > 0:
			if err := f.live(ctx, arrived); err != nil {
				return err
			}
		case err != nil:
			return err
		case lost:
			if err := f.refill(ctx); err != nil {
				return err
			}
		default:
			if err := f.wait(ctx, silence); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill hands on a page of the past, and reads the next one where there is more.
func (f *flow) fill(ctx context.Context) error {
	page := f.page
	if err := f.w.belongs(page.Source); err != nil {
		return err
	}
	for _, raw := range page.Events {
		e, err := parseEvent(raw)
		if err == nil {
			err = f.w.event(e)
		}
		if err != nil || f.w.done {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	f.page = nil
	if page.Next == 0 {
		f.w.reach(page.Revision)
		return nil
	}
	f.w.position = max(f.w.position, page.Next-1)
	return f.more(ctx)
}

// refill reads again what was let go.
func (f *flow) refill(ctx context.Context) error {
	f.w.slow++
	if f.w.Slow != nil {
		f.w.Slow(Slow{Position: f.w.position, Times: f.w.slow})
	}
	return f.more(ctx)
}

// more asks for what is behind the position. What arrives from now on is kept.
func (f *flow) more(ctx context.Context) (err error) {
	f.tap.renew()
	f.page, err = f.past(ctx)
	return err
}

// live hands on what has arrived.
func (f *flow) live(ctx context.Context, arrived []arrival) error {
	for i := range arrived {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch a := f.tap.hand(arrived[i:]); {
		case a.ended:
			if err := f.gone(ctx); err != nil {
				return err
			}
		case a.event == nil:
			f.w.reach(a.bookmark)
		case a.event.Revision <= f.w.position:
			// It came with the past already, or from another server; the feed has seen to its order.
			f.w.alive = true
		default:
			if err := f.w.event(*a.event); err != nil {
				return err
			}
		}
		if f.w.done {
			return nil
		}
	}
	return nil
}

// gone asks whether a namespace is gone that this server feeds no more: by now there may be one of that name again, whose events
// come over the same subscription.
func (f *flow) gone(ctx context.Context) error {
	_, err := f.ask(ctx, Range{From: 1, Limit: 1}, false)
	return err
}

// wait waits until something arrives.
func (f *flow) wait(ctx context.Context, silence *time.Timer) error {
	silence.Reset(f.w.client.idle)
	defer silence.Stop()
	select {
	case <-f.tap.wake:
		return nil
	case <-silence.C:
		return &brokenError{err: errSilence}
	case <-ctx.Done():
		return &brokenError{err: ctx.Err()}
	}
}

// page reads a part of a replay over NATS, and says where the ledger ended.
func (r *replay) page(ctx context.Context, to *server) (*eventsPage, error) {
	a, err := r.client.askNATS(ctx, r.client.eventsRequest(r.want, ""), to)
	if err != nil {
		return nil, err
	}
	page := new(eventsPage)
	if err := a.decode(page); err != nil {
		return nil, err
	}
	if page.Next != 0 && page.Next <= max(r.want.From, 1) {
		return nil, fmt.Errorf("the server %s answers a request for events from %s with the next at %d", to.name, strconv.FormatUint(r.want.From, 10), page.Next)
	}
	return page, nil
}
