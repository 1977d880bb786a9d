package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/test/check"
)

// follower gathers what one subscriber of one server is given, through all the server's lives.
type follower struct {
	server *server
	record *record

	mu  sync.Mutex
	got check.Subscription
}

// followers are all that follow a cluster.
type followers struct {
	streams  []*follower
	patience time.Duration // with those that have not reached the ledger's end
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// follow has each server followed as a live stream, over JetStream and over DNS, and watches what it shows when it does
// not ask the others.
func follow(c *cluster, r *record) *followers {
	ctx, stop := context.WithCancel(context.Background())
	all := &followers{stop: stop, patience: 20 * time.Second}
	for _, s := range c.servers {
		sse, js := newFollower(s, r, "stream of "+s.name), newFollower(s, r, "JetStream of "+s.name)
		all.streams = append(all.streams, sse, js)
		all.wg.Go(func() { again(ctx, sse.stream) })
		all.wg.Go(func() { again(ctx, js.jetstream) })
		all.wg.Go(func() { watch(ctx, r, s, "stale reads of ", staleHead) })
		all.wg.Go(func() { watch(ctx, r, s, "DNS of ", dnsHead) })
	}
	return all
}

func newFollower(s *server, r *record, name string) *follower {
	return &follower{server: s, record: r, got: check.Subscription{Name: name, From: 1}}
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

// end waits until every follower has the ledger's end, stops them, and gives what they got.
func (f *followers) end(head uint64) (got []check.Subscription, err error) {
	err = eventually("every follower at the end of the ledger", f.patience, func() bool {
		return !slices.ContainsFunc(f.streams, func(one *follower) bool { return one.next() <= head })
	})
	f.stop()
	f.wg.Wait()
	for _, one := range f.streams {
		got = append(got, one.got)
	}
	return got, err
}

// next is the revision that the subscriber asks for when it comes again.
func (f *follower) next() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.got.Events); n > 0 {
		return f.got.Events[n-1].Revision + 1
	}
	return f.got.From
}

func (f *follower) deliver(b []byte) error {
	d, _, err := delivery(b)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got.Events = append(f.got.Events, d)
	return nil
}

// stream follows the server's events over HTTP until that breaks.
func (f *follower) stream(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.server.http+"/v1/default/events?from="+strconv.FormatUint(f.next(), 10), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	answer, err := (&http.Client{Transport: connections}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	// A server that is paused keeps the connection open: that is no fault of its own, and it goes on.
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	bookmark := false
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case lines.Text() == "event: bookmark":
			bookmark = true
		case isData && bookmark:
			err = f.bookmark([]byte(data))
		case isData:
			err = f.deliver([]byte(data))
		case lines.Text() == "":
			bookmark = false
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

func (f *follower) bookmark(b []byte) error {
	var mark struct{ Revision uint64 }
	if err := json.Unmarshal(b, &mark); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got.Complete = append(f.got.Complete, check.Bookmark{Revision: mark.Revision, Had: len(f.got.Events)})
	return nil
}

// jetstream follows the server's stream with a stock ordered consumer until that breaks.
func (f *follower) jetstream(ctx context.Context) error {
	nc, err := nats.Connect("nats://"+f.server.nats, nats.NoReconnect(), nats.Timeout(time.Second), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(4))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, "rollcall_default", jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next(),
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for ctx.Err() == nil && nc.IsConnected() {
		m, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			return err
		}
		at, err := m.Metadata()
		if err != nil {
			return err
		}
		if revision := m.Headers().Get("Rollcall-Revision"); revision != strconv.FormatUint(at.Sequence.Stream, 10) {
			f.server.t.Errorf("JetStream of %s: sequence %d holds revision %s", f.server.name, at.Sequence.Stream, revision)
		}
		if err := f.deliver(m.Data()); err != nil {
			return err
		}
	}
	return ctx.Err()
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
