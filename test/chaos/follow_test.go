package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	miekg "github.com/miekg/dns"

	rollcall "github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/test/check"
)

// follower gathers what one subscriber is given, by one server through all the server's lives, or by one after the other.
type follower struct {
	pick   func() *server // whom it asks when it connects
	habits habits
	name   string // of the namespace; empty for "default"

	mu      sync.Mutex
	got     check.Subscription
	reached uint64 // everything up to here that it asked for was had
	fresh   int    // how many events this connection has brought
	counts  counts
}

// habits are how a subscriber reads.
type habits struct {
	burst  int  // it reads so many events at once, and then rests; 0 reads as they come
	hangUp int  // it ends its connection after so many events; 0 never does
	away   bool // and is away then until the server's stream has nothing any more of what it has not got
	skips  bool // it goes on one revision too late when a connection breaks: a subscriber that is wrong on purpose
}

// counts are what happened to a subscriber that a run must show.
type counts struct {
	resumed  int // connections that were not the first
	filled   int // times that a stream began, or had gone on, behind what was wanted next, and the ledger was asked
	overrun  int // times that it was too slow, and the connection was given up
	refilled int // events that came from the ledger
	broke    int // connections, and attempts to have one, that ended
	gone     int // of those, because there is no such namespace
}

// rest is how long a slow reader reads nothing.
const rest = 300 * time.Millisecond

// errGone is that a door knows no such namespace, or that it has ended.
var errGone = errors.New("there is no such namespace")

// errHungUp is why a subscriber ended its connection.
var errHungUp = errors.New("this subscriber hangs up now and then")

// followers are all that follow a cluster.
type followers struct {
	streams  []*follower
	patience time.Duration // with those that have not reached the ledger's end
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// The subjects that subscribers ask for who do not ask for everything: one that is busy, one that is quiet, and one of which
// each commit of two keys has one.
const (
	busySubject  = "kv.*.a"
	quietSubject = "kv.lime.>"
	otherSubject = "service.beat.>"
)

// follow has each server followed through each of its doors, and the cluster by readers who are slow, who come and go, and who
// take any server; and it watches what servers show when they do not ask the others.
func follow(c *cluster, r *record) *followers {
	ctx, stop := context.WithCancel(context.Background())
	all := &followers{stop: stop, patience: 2 * time.Minute}
	add := func(name string, pick func() *server, filter string, h habits, do func(*follower, context.Context) error) {
		all.add(ctx, &follower{pick: pick, habits: h, got: check.Subscription{Name: name, Filter: filter, From: 1}}, do)
	}
	for _, s := range c.servers {
		one := func() *server { return s }
		add("stream of "+s.name, one, "", habits{}, (*follower).stream)
		add("JetStream of "+s.name, one, "", habits{}, (*follower).jetstream)
		add("NATS of "+s.name, one, "", habits{}, (*follower).plain)
		all.wg.Go(func() { watch(ctx, r, s, "stale reads of ", staleHead) })
		all.wg.Go(func() { watch(ctx, r, s, "DNS of ", dnsHead) })
	}
	at := func(n int) func() *server { return func() *server { return c.servers[n%len(c.servers)] } }
	add("stream of "+busySubject, at(0), busySubject, habits{hangUp: 20}, (*follower).stream)
	add("stream of "+quietSubject, at(1), quietSubject, habits{}, (*follower).stream)
	add("slow stream", at(2), "", habits{burst: 50}, (*follower).stream)
	add("JetStream of "+busySubject, at(0), busySubject, habits{hangUp: 40}, (*follower).jetstream)
	add("slow JetStream", at(0), "", habits{burst: 50}, (*follower).jetstream)
	add("JetStream, away for long", at(1), "", habits{hangUp: 30, away: true}, (*follower).jetstream)
	add("JetStream of "+otherSubject+", away for long", at(1), otherSubject, habits{hangUp: 5, away: true}, (*follower).jetstream)
	add("NATS of "+busySubject+" anywhere", turns(c), busySubject, habits{hangUp: 30}, (*follower).plain)
	add("NATS of "+quietSubject, at(0), quietSubject, habits{}, (*follower).plain)
	add("slow NATS", at(2), "", habits{burst: 50}, (*follower).plain)
	for _, scheme := range []string{"http", "nats"} {
		add("library over "+scheme, nil, "", habits{}, library(c, scheme))
		add("library over "+scheme+" on "+busySubject, nil, busySubject, habits{burst: 50}, library(c, scheme))
	}
	return all
}

// add has one more follow until ctx ends.
func (f *followers) add(ctx context.Context, one *follower, do func(*follower, context.Context) error) {
	f.streams = append(f.streams, one)
	f.wg.Go(func() {
		again(ctx, func(ctx context.Context) error {
			err := do(one, ctx)
			one.breaks(err)
			return err
		})
	})
}

// breaks takes note that a connection ended.
func (f *follower) breaks(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.broke++
	if errors.Is(why, errGone) || errors.Is(why, jetstream.ErrStreamNotFound) || errors.Is(why, rollcall.ErrUnknownNamespace) {
		f.counts.gone++
	}
	if f.habits.skips && len(f.got.Events) > 0 {
		f.reached++
	}
}

// turns gives one server after the other.
func turns(c *cluster) func() *server {
	n := -1
	return func() *server {
		n++
		return c.servers[n%len(c.servers)]
	}
}

// again repeats what breaks off.
func again(ctx context.Context, do func(context.Context) error) {
	for ctx.Err() == nil {
		_ = do(ctx) // servers are killed all the time; what matters is what was delivered
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// end waits until every follower has all of the ledger that it asked for, stops them, and gives what they got.
func (f *followers) end(ledger []check.Delivery) (got []check.Subscription, err error) {
	behind := func(one *follower) bool { return !one.atEnd(ledger) }
	err = eventually("every follower at the end of the ledger", f.patience, func() bool { return !slices.ContainsFunc(f.streams, behind) })
	if err != nil {
		for _, one := range f.streams {
			if behind(one) {
				err = fmt.Errorf("%w: %q is at %d", err, one.got.Name, one.next()-1)
			}
		}
	}
	f.stop()
	f.wg.Wait()
	for _, one := range f.streams {
		got = append(got, one.got)
	}
	return got, err
}

// atEnd tells whether a follower has all of a ledger that it asked for, and knows it where it is told.
func (f *follower) atEnd(ledger []check.Delivery) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(ledger) == 0 {
		return true
	}
	if f.got.Marked && f.got.Reached() < ledger[len(ledger)-1].Revision {
		return false
	}
	for _, e := range slices.Backward(ledger) {
		if check.Matches(f.got.Filter, e.Subject) {
			return f.reached >= e.Revision
		}
	}
	return true
}

// next is the revision that the subscriber asks for when it comes again.
func (f *follower) next() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.reached+1, f.got.From)
}

// namespace is what it follows.
func (f *follower) namespace() string {
	if f.name == "" {
		return "default"
	}
	return f.name
}

// end takes note that it was told that the namespace has ended.
func (f *follower) end(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got.Ends = append(f.got.Ends, check.Bookmark{Revision: revision, Had: len(f.got.Events)})
	f.reached = max(f.reached, revision)
}

// ended tells whether the event that it had last on this connection is a namespace's end, and takes note of that.
func (f *follower) ended() bool {
	f.mu.Lock()
	n := len(f.got.Events)
	over := f.fresh > 0 && f.got.Events[n-1].Ends
	f.mu.Unlock()
	if over {
		f.end(f.next() - 1)
	}
	return over
}

// between tells whether an event is how a namespace was emptied. The ledger holds that, and who reads it anew leaves it out; live
// it is not given to anybody.
func between(d check.Delivery) bool {
	return d.Change.Gone && strings.Contains(d.Bytes, `"reason":"the namespace was deleted"`)
}

// begin notes that a connection begins, and gives the revision that is wanted next.
func (f *follower) begin(marked bool) uint64 {
	from := f.next()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got.Connections) > 0 {
		f.counts.resumed++
	}
	f.fresh, f.got.Marked = 0, marked
	f.got.Connections = append(f.got.Connections, check.Connection{From: from, Had: len(f.got.Events)})
	return from
}

func (f *follower) deliver(b []byte) error {
	d, _, err := delivery(b)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got.Events = append(f.got.Events, d)
	f.reached = max(f.reached, d.Revision)
	f.fresh++
	return nil
}

// bookmark takes note that everything up to a revision was had.
func (f *follower) bookmark(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got.Complete = append(f.got.Complete, check.Bookmark{Revision: revision, Had: len(f.got.Events)})
	f.reached = max(f.reached, revision)
}

// looked takes note that there is nothing up to a revision that was not had.
func (f *follower) looked(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached = max(f.reached, revision)
}

// count changes the counts.
func (f *follower) count(change func(*counts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.counts)
}

// breathe is called behind each event: a slow reader rests, and one that hangs up does.
func (f *follower) breathe(ctx context.Context) error {
	f.mu.Lock()
	fresh := f.fresh
	f.mu.Unlock()
	if n := f.habits.hangUp; n > 0 && fresh >= n {
		return errHungUp
	}
	if n := f.habits.burst; n > 0 && fresh%n == 0 {
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
	return ctx.Err()
}

// counted adds up what happened to the followers.
func (f *followers) counted() (sum counts) {
	for _, one := range f.streams {
		one.mu.Lock()
		sum.resumed += one.counts.resumed
		sum.filled += one.counts.filled
		sum.overrun += one.counts.overrun
		sum.refilled += one.counts.refilled
		one.mu.Unlock()
	}
	return sum
}

// watch samples how far a server is, through a door that asks nobody else.
func watch(ctx context.Context, r *record, s *server, name string, head func(*server) (uint64, error)) {
	again(ctx, func(context.Context) error {
		_, _, life := s.process()
		revision, err := head(s)
		if _, _, now := s.process(); err == nil && now == life {
			r.sample(check.Sample{Server: name + s.name, Life: life, Revision: revision})
		}
		return err
	})
}

func staleHead(s *server) (uint64, error) {
	answer, err := (&http.Client{Timeout: time.Second}).Get("http://" + s.http + "/v1/default/kv?limit=1&consistency=stale")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("a stale read: %s", answer.Status)
	}
	return strconv.ParseUint(answer.Header.Get("Rollcall-Revision"), 10, 64)
}

func dnsHead(s *server) (uint64, error) {
	question := new(miekg.Msg)
	question.SetQuestion("_revision.rollcall.internal.", miekg.TypeTXT)
	reply, _, err := (&miekg.Client{Timeout: time.Second}).Exchange(question, s.dns)
	if err != nil {
		return 0, err
	}
	if len(reply.Answer) == 1 {
		if txt, ok := reply.Answer[0].(*miekg.TXT); ok && len(txt.Txt) == 1 {
			return strconv.ParseUint(strings.TrimPrefix(txt.Txt[0], "revision="), 10, 64)
		}
	}
	return 0, fmt.Errorf("no revision in %v", reply.Answer)
}
