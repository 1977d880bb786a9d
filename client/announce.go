package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// AnnounceTTL is for how long an instance stays that was announced, when nobody hears of it any more, unless it says otherwise.
const AnnounceTTL = 15 * time.Second

// AnnounceOptions say how an instance is kept registered. The zero value just does it.
type AnnounceOptions struct {
	// Passing is the id of a TTL check of the instance that is reported as passing for as long as it is announced; empty for
	// none, or where Heartbeat is to do so.
	Passing string
	// OnChange is told each time the status changes, one call at a time. It must not wait for long, and not end the announcement,
	// which would wait for it. Nil for nobody.
	OnChange func(AnnouncementStatus)
}

// AnnouncementStatus says how an announcement stands.
type AnnouncementStatus struct {
	Registered bool
	Session    string // the session that the instance ends with
	Written           // the answer to its last registration, warnings included
	// Err is why it is not registered, or why its check could not be reported; nil while all is well.
	Err error
}

// ReplacedError says that somebody else has registered an instance under the same id, while the announcement's own session
// was lost: the other one is left alone, and the announcement is over.
type ReplacedError struct {
	Service, ID string
	Session     string // what the other one ends with; empty for none
}

// Error implements error.
func (e *ReplacedError) Error() string {
	return fmt.Sprintf("instance %q of service %q was registered by somebody else, with session %q: give each its own id", e.ID, e.Service, e.Session)
}

// Announcement is an instance that is kept registered. Make one with Client.Announce or LiveSession.Announce.
type Announcement struct {
	client   *Client
	instance Instance
	options  AnnounceOptions
	own      bool // the sessions are its own
	life     context.Context
	stop     context.CancelCauseFunc
	running  sync.WaitGroup
	done     chan struct{}
	// doubtful are sessions of its own with which a registration failed whose end could not be had either: the instance may be
	// registered with one of them, which is nobody else. Only the newest count; older ones have expired.
	doubtful []string

	mu      sync.Mutex
	session *LiveSession
	status  AnnouncementStatus
	telling sync.Mutex // held while OnChange is called
}

// Announce registers an instance, bound to a session of its own, and keeps that session alive until Close is called or the
// context ends. When the session is lost, because no server could be reached for too long or somebody ended it, the instance is
// registered again with another one, as soon as that can be done. The instance's TTL is that of the session, and zero means
// AnnounceTTL; its Session is left empty. It fails where the first registration does.
//
// Whoever deregisters the instance meanwhile does so on purpose, and it stays away for as long as the session lives. The first
// registration takes the place of whatever has the same id, as a program that was started again must. A later one does not:
// where somebody else has registered an instance under that id by then, it is left to them: see ReplacedError.
func (c *Client) Announce(ctx context.Context, i Instance, o AnnounceOptions) (*Announcement, error) {
	if i.Session != "" {
		return nil, fmt.Errorf("announce instance %q: it has session %q; use the Announce of a LiveSession", i.Service+"/"+i.ID, i.Session)
	}
	a := newAnnouncement(ctx, c, i, o)
	a.own = true
	if err := a.begin(); err != nil {
		a.stop(err)
		return nil, fmt.Errorf("announce instance %q: %w", i.Service+"/"+i.ID, err)
	}
	a.running.Go(a.run)
	go a.finish()
	return a, nil
}

// Announce registers an instance that ends with this session. When the session is lost or closed, the announcement is over.
func (l *LiveSession) Announce(ctx context.Context, i Instance, o AnnounceOptions) (*Announcement, error) {
	a := newAnnouncement(l.ctx, l.client, i, o)
	if err := a.register(ctx, l); err != nil {
		a.stop(err)
		return nil, fmt.Errorf("announce instance %q: %w", i.Service+"/"+i.ID, err)
	}
	a.running.Go(func() { <-a.life.Done() })
	go a.finish()
	return a, nil
}

func newAnnouncement(ctx context.Context, c *Client, i Instance, o AnnounceOptions) *Announcement {
	a := &Announcement{client: c, instance: i, options: o, done: make(chan struct{})}
	a.life, a.stop = context.WithCancelCause(ctx)
	return a
}

// Status says how it stands.
func (a *Announcement) Status() AnnouncementStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Done is closed when the announcement is over: it was closed, its context or its session has ended, or somebody else has
// taken its place. The status says which.
func (a *Announcement) Done() <-chan struct{} { return a.done }

// ErrAnnouncementClosed is the status of an announcement that was closed or withdrawn.
var ErrAnnouncementClosed = errors.New("the announcement was closed")

// Close deregisters the instance. Where that fails, the end of its session does it.
func (a *Announcement) Close(ctx context.Context) error {
	if !a.own {
		return a.Withdraw(ctx)
	}
	a.over(ErrAnnouncementClosed)
	return a.session.Close(ctx)
}

// Withdraw deregisters the instance and leaves its session alive, for what is to be finished by it; Close ends that too. An
// instance that somebody else has registered under the same id stays.
func (a *Announcement) Withdraw(ctx context.Context) error {
	a.over(ErrAnnouncementClosed)
	now, err := a.client.Instance(ctx, a.instance.Service, a.instance.ID)
	if err == nil && now.Session == a.session.ID {
		_, err = a.client.Deregister(ctx, a.instance.Service, a.instance.ID)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// over ends what goes on in the background, after which nothing but the caller touches the session.
func (a *Announcement) over(why error) {
	a.stop(why)
	<-a.done
}

// finish tells that it is over.
func (a *Announcement) finish() {
	a.running.Wait()
	why := context.Cause(a.life)
	if a.own && !errors.Is(why, ErrAnnouncementClosed) { // else whoever closes it decides
		a.session.abandon(why)
	}
	a.update(func(s *AnnouncementStatus) { s.Registered, s.Err = false, why })
	close(a.done)
}

func (a *Announcement) set(now AnnouncementStatus) {
	a.update(func(s *AnnouncementStatus) { *s = now })
}

func (a *Announcement) update(change func(*AnnouncementStatus)) {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.mu.Lock()
	change(&a.status)
	s := a.status
	a.mu.Unlock()
	if a.options.OnChange != nil {
		a.options.OnChange(s)
	}
}

// begin registers the instance with a session of its own.
func (a *Announcement) begin() error {
	ttl := a.instance.TTL
	if ttl == 0 {
		ttl = AnnounceTTL
	}
	// What it is opened with lasts longer than the announcement: Withdraw leaves it alive.
	l, err := a.client.OpenSession(context.WithoutCancel(a.life), SessionOptions{TTL: ttl})
	if err != nil {
		return err
	}
	if err := a.register(a.life, l); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.life), ttl)
		defer cancel()
		failed := l.Close(ctx)
		if failed != nil {
			a.doubtful = append(a.doubtful[max(0, len(a.doubtful)-doubtfulMax+1):], l.ID)
		}
		return errors.Join(err, failed)
	}
	a.doubtful = nil
	return nil
}

// doubtfulMax is how many doubtful sessions are kept in mind.
const doubtfulMax = 64

// register registers the instance with a session, and has it reported as passing while that lives.
func (a *Announcement) register(ctx context.Context, l *LiveSession) error {
	i := a.instance
	i.Session, i.TTL = l.ID, 0 // it ends with one of the two
	w, err := a.client.Register(ctx, i)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.session = l
	a.mu.Unlock()
	a.set(AnnouncementStatus{Registered: true, Session: l.ID, Written: w})
	if a.options.Passing != "" {
		a.running.Go(func() {
			reporting, stop := context.WithCancel(a.life)
			defer stop()
			defer context.AfterFunc(l.ctx, stop)()
			a.Heartbeat(reporting, a.options.Passing)
		})
	}
	return nil
}

// run registers the instance again whenever its session is lost.
func (a *Announcement) run() {
	for {
		select {
		case <-a.life.Done():
			return
		case <-a.session.ctx.Done():
		}
		before := a.session.ID
		a.set(AnnouncementStatus{Session: before, Err: context.Cause(a.session.ctx)})
		for failures := 1; ; failures++ {
			err := a.vacant(before)
			if err == nil {
				err = a.begin()
			}
			if err == nil || a.life.Err() != nil {
				break
			}
			if _, replaced := errors.AsType[*ReplacedError](err); replaced {
				a.stop(err)
				return
			}
			a.set(AnnouncementStatus{Session: before, Err: err})
			if pause(a.life, backoff(failures, err)) != nil {
				return
			}
		}
	}
}

// vacant makes sure that nobody else has registered the instance since.
func (a *Announcement) vacant(session string) error {
	now, err := a.client.Instance(a.life, a.instance.Service, a.instance.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil && now.Session != session && !slices.Contains(a.doubtful, now.Session):
		return &ReplacedError{a.instance.Service, a.instance.ID, now.Session}
	}
	return err
}

// reportParts is how often a TTL check is reported in its TTL: two attempts may fail.
const reportParts = 3

// Heartbeat reports a TTL check of the instance as passing, again and again, until the context ends; or until there is no
// such check any more, for it has been taken away on purpose. What stands in the way of one report, which is in Status, may not
// stand in that of the next.
func (a *Announcement) Heartbeat(ctx context.Context, check string) {
	ttl := AnnounceTTL
	for _, c := range a.instance.Checks {
		if c.ID == check && c.TTL > 0 {
			ttl = c.TTL
		}
	}
	tick := time.NewTicker(max(ttl/reportParts, time.Millisecond))
	defer tick.Stop()
	failing := false
	for {
		err := a.reportOnce(ctx, check, max(ttl/2, time.Second))
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed || failing {
			failing = failed
			a.update(func(s *AnnouncementStatus) { s.Err = err })
		}
		if errors.Is(err, ErrNotFound) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reportOnce bounds an attempt: a server that accepts and then is silent must not eat the time of the next one.
func (a *Announcement) reportOnce(ctx context.Context, check string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := a.client.Report(ctx, a.instance.Service, a.instance.ID, check, Passing, ""); err != nil {
		return fmt.Errorf("report check %q of instance %q: %w", check, a.instance.Service+"/"+a.instance.ID, err)
	}
	return nil
}
