package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
)

// OnEnd is what becomes of the keys that are bound to a session when it ends. Instances are always removed.
type OnEnd string

// What may become of them.
const (
	ReleaseKeys OnEnd = "release" // they stay, bound to nothing; this is the default
	DeleteKeys  OnEnd = "delete"
)

// SessionOptions say what a session is to be like.
type SessionOptions struct {
	// TTL is for how long it lives after it was kept alive last.
	TTL time.Duration
	// OnEnd is what becomes of its keys; empty means ReleaseKeys.
	OnEnd OnEnd
	// LockDelay is for how long after the session expired nobody else may take a lock that it held.
	LockDelay time.Duration
}

// Session is a lease that keys and instances are bound to, and end with.
type Session struct {
	ID        string
	TTL       time.Duration
	OnEnd     OnEnd
	LockDelay time.Duration
	// Created is when it began; zero in the answer to its creation.
	Created time.Time
	// Expires is when it ends if nobody keeps it alive; zero where the server could not say.
	Expires time.Time
	// Revision is the commit that created it.
	Revision uint64
	// Holds is what is bound to it, the first 1000 things; only Session tells.
	Holds []Hold
}

// Hold is something that is bound to a session: a key, or an instance of a service.
type Hold struct {
	Key     string `json:"key,omitempty"`
	Service string `json:"service,omitempty"`
	ID      string `json:"id,omitempty"`
}

// wireSession is a Session in JSON.
type wireSession struct {
	ID        string    `json:"id"`
	TTL       duration  `json:"ttl"`
	OnEnd     OnEnd     `json:"on_end,omitempty"`
	LockDelay duration  `json:"lock_delay"`
	Created   time.Time `json:"created,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
	Revision  uint64    `json:"revision,omitempty"`
	Holds     []Hold    `json:"holds,omitzero"`
}

// MarshalJSON implements json.Marshaler, in the form of the server's own answers.
func (s Session) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireSession{
		ID: s.ID, TTL: duration(s.TTL), OnEnd: s.OnEnd, LockDelay: duration(s.LockDelay), Created: s.Created,
		Expires: s.Expires, Revision: s.Revision, Holds: s.Holds,
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Session) UnmarshalJSON(b []byte) error {
	var w wireSession
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = Session{
		ID: w.ID, TTL: time.Duration(w.TTL), OnEnd: w.OnEnd, LockDelay: time.Duration(w.LockDelay), Created: w.Created,
		Expires: w.Expires, Revision: w.Revision, Holds: w.Holds,
	}
	return nil
}

// CreateSession begins a session. Somebody has to keep it alive: see KeepAlive, and Keep, which does so for as long as
// its context lasts.
func (c *Client) CreateSession(ctx context.Context, o SessionOptions, options ...WriteOption) (Session, error) {
	r := c.newRequest("sessions.create").with(options)
	body := struct {
		TTL       duration `json:"ttl"`
		OnEnd     OnEnd    `json:"on_end,omitempty"`
		LockDelay duration `json:"lock_delay,omitempty"`
	}{duration(o.TTL), o.OnEnd, duration(o.LockDelay)}
	if err := r.json(body); err != nil {
		return Session{}, fmt.Errorf("create session: %w", err)
	}
	s := Session{TTL: o.TTL, OnEnd: o.OnEnd, LockDelay: o.LockDelay}
	if s.OnEnd == "" {
		s.OnEnd = ReleaseKeys
	}
	var w wireSession
	if _, err := c.read(ctx, r, &w); err != nil {
		return Session{}, fmt.Errorf("create session: %w", err)
	}
	s.ID, s.Revision = w.ID, w.Revision
	return s, nil
}

// KeepAlive gives a session its whole TTL again, and says how long that is: it does not expire earlier than so long
// after the call began. It is no change, so trying it again is harmless. A session that has ended is ErrNotFound.
func (c *Client) KeepAlive(ctx context.Context, id string) (ttl time.Duration, err error) {
	r := c.newRequest("sessions.keepalive", "id", id)
	if ttl, err = c.renew(ctx, r); err != nil {
		return 0, fmt.Errorf("keep session %q alive: %w", id, err)
	}
	return ttl, nil
}

// Session reads a session, and what it holds. One that has ended is ErrNotFound.
func (c *Client) Session(ctx context.Context, id string, options ...ReadOption) (Session, error) {
	var s Session
	if _, err := c.read(ctx, c.newRequest("sessions.get", "id", id).options(options), &s); err != nil {
		return Session{}, fmt.Errorf("read session %q: %w", id, err)
	}
	return s, nil
}

// Sessions yields the sessions, all as of one revision. An error ends the list.
func (c *Client) Sessions(ctx context.Context, options ...ReadOption) iter.Seq2[Session, error] {
	return paged(options, func(after string, options []ReadOption) ([]Session, uint64, string, error) {
		var page struct {
			Revision uint64    `json:"revision"`
			Sessions []Session `json:"sessions"`
			Next     string    `json:"next"`
		}
		r := c.newRequest("sessions.list").options(options)
		if after != "" {
			r.ask("after", after)
		}
		if err := c.readPage(ctx, r, &page, 0); err != nil {
			return nil, 0, "", fmt.Errorf("list sessions: %w", err)
		}
		return page.Sessions, page.Revision, page.Next, nil
	})
}

// EndSession ends a session, and what is bound to it, in one commit. One that has ended already is ErrNotFound.
func (c *Client) EndSession(ctx context.Context, id string, options ...WriteOption) (Written, error) {
	return c.written(ctx, c.newRequest("sessions.end", "id", id).with(options), "end session", id)
}

// LostError says that a session has ended, or that nobody could be reached to say that it has not: whoever held
// something by it must stop.
type LostError struct {
	Session string
	Err     error // why
}

// Error implements error.
func (e *LostError) Error() string { return fmt.Sprintf("session %q is lost: %v", e.Session, e.Err) }

// Unwrap gives the cause.
func (e *LostError) Unwrap() error { return e.Err }

// keepParts is how often a session is kept alive in its TTL: two attempts may fail.
const keepParts = 3

// Keep keeps a session alive until the context ends, and then gives the context's error. Where the session ends
// before, or no server has confirmed it for as long as it lives, that is a LostError; it comes at the earliest moment
// at which the session may have expired, and not later. since is when it was kept alive last, or just before it was
// created.
func (c *Client) Keep(ctx context.Context, s Session, since time.Time) error {
	return c.keep(ctx, s, since, func(time.Time) {})
}

// keep also tells, of each confirmation, since when the session has its whole TTL.
func (c *Client) keep(ctx context.Context, s Session, since time.Time, kept func(since time.Time)) error {
	for {
		if pause(ctx, time.Until(since.Add(s.TTL/keepParts))) != nil {
			return ctx.Err()
		}
		next, err := c.keepOnce(ctx, s, since)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return &LostError{Session: s.ID, Err: err}
		}
		since = next
		kept(since)
	}
}

// keepOnce goes on trying until the session may have expired.
func (c *Client) keepOnce(ctx context.Context, s Session, since time.Time) (began time.Time, err error) {
	ctx, cancel := context.WithDeadline(ctx, since.Add(s.TTL))
	defer cancel()
	last := errNotConfirmed
	for attempt := 1; ; attempt++ {
		began = time.Now()
		at := c.all.preferred.Load()
		err := c.keepWithin(ctx, s.ID, max(s.TTL/(2*keepParts), keepAttemptMin))
		switch {
		case err == nil:
			return began, nil
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnknownNamespace):
			return began, err
		case !errors.Is(err, context.DeadlineExceeded): // which would not say why nobody answered
			last = fmt.Errorf("%w: %w", errNotConfirmed, err)
		}
		c.all.preferred.CompareAndSwap(at, at+1)
		if pause(ctx, min(backoff(attempt, err), s.TTL/10)) != nil {
			return began, last
		}
	}
}

// keepWithin bounds an attempt: a server that accepts and then is silent must not eat the time of the others.
func (c *Client) keepWithin(ctx context.Context, id string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := c.KeepAlive(ctx, id)
	return err
}

// keepAttemptMin is the least that an attempt to keep a session alive may take.
const keepAttemptMin = 500 * time.Millisecond

var errNotConfirmed = errors.New("no server confirmed it for as long as it lives")

// Refresh gives a key or a directory its whole TTL again, and says how long that is. It is no change: the revision
// stays, and trying it again is harmless. A key without a TTL of its own is ErrNoLease.
func (c *Client) Refresh(ctx context.Context, key string) (ttl time.Duration, err error) {
	r := c.newRequest("kv.put", "key", key)
	r.ask("refresh", "true")
	if ttl, err = c.renew(ctx, r); err != nil {
		return 0, fmt.Errorf("refresh key %q: %w", key, err)
	}
	return ttl, nil
}

func (c *Client) renew(ctx context.Context, r *request) (time.Duration, error) {
	r.renewal = true
	var w struct {
		TTL duration `json:"ttl"`
	}
	_, err := c.read(ctx, r, &w)
	return time.Duration(w.TTL), err
}

// duration is a time.Duration in JSON, such as "1m30s".
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	*d = duration(parsed)
	return err
}

// TTL has a key end so long after it was written or refreshed last. Without it a put makes a key permanent. It is for
// puts and appends.
func TTL(d time.Duration) WriteOption {
	return func(r *request) { r.ask("ttl", d.String()) }
}

// InSession binds a key to a session: it ends with it. It is for puts and appends.
func InSession(id string) WriteOption {
	return func(r *request) { r.ask("session", id) }
}

// Rehearsal is what a change would do. Nothing of it has happened.
type Rehearsal struct {
	// Seen is the revision that was looked at.
	Seen uint64
	// Revision is the commit that it would get, if nothing else came before.
	Revision uint64
	// Events are those that it would write; Total counts them where the server does not give all.
	Events []Event
	Total  uint64
	// Succeeded and Failed say, of a transaction, which branch would run and which conditions do not hold.
	Succeeded bool
	Failed    []int
	// Raw is the server's whole answer.
	Raw json.RawMessage
}

// DryRun has a change rehearsed: nothing is written, and what would be goes into out. What would be refused is refused.
// Of what the call itself gives, only the revision means anything.
func DryRun(out *Rehearsal) WriteOption {
	return func(r *request) {
		r.ask("dry-run", "true")
		r.rehearsal = out
	}
}

func (o *Rehearsal) decode(a answer) error {
	var w struct {
		Revision  uint64            `json:"revision"`
		Events    []json.RawMessage `json:"events"`
		Total     uint64            `json:"total"`
		Succeeded bool              `json:"succeeded"`
		Failed    []int             `json:"failed"`
	}
	if err := a.decode(&w); err != nil {
		return err
	}
	*o = Rehearsal{Seen: a.revision, Revision: w.Revision, Total: w.Total, Succeeded: w.Succeeded, Failed: w.Failed, Raw: a.body}
	for _, raw := range w.Events {
		e, err := parseEvent(raw)
		if err != nil {
			return err
		}
		o.Events = append(o.Events, e)
	}
	return nil
}

// Appended is the answer to an append.
type Appended struct {
	// Key is the one that was made; empty in a dry run, whose events name it.
	Key string `json:"key"`
	// Revision is the commit that made it.
	Revision uint64 `json:"revision"`
}

// Append makes a key below a directory that comes behind all that were made so before: the name is the revision, in 20
// digits. The directory ends in a slash.
func (c *Client) Append(ctx context.Context, directory string, value []byte, options ...WriteOption) (Appended, error) {
	r := c.newRequest("kv.append", "key", directory).with(options)
	r.setValue(value)
	var made Appended
	if _, err := c.read(ctx, r, &made); err != nil {
		return Appended{}, fmt.Errorf("append to %q: %w", directory, err)
	}
	return made, nil
}

// PutDirectory gives a directory, whose name ends in a slash, a TTL: when that has passed without another PutDirectory
// or Refresh, it and everything below it ends, in one commit.
func (c *Client) PutDirectory(ctx context.Context, directory string, ttl time.Duration, options ...WriteOption) (Written, error) {
	r := c.newRequest("kv.put", "key", directory).with(options)
	TTL(ttl)(r)
	return c.written(ctx, r, "put directory", directory)
}
