package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	rollcall "github.com/rollcall/rollcall/client"
)

// How a subscriber follows through each door, with what every language has: docs/nats.md and docs/recipes.md say the same.

// stream follows a server's events over HTTP until that breaks. Who asks for a subject resumes as browsers do.
func (f *follower) stream(ctx context.Context) error {
	from := f.next()
	query := url.Values{"from": {strconv.FormatUint(from, 10)}}
	if f.got.Filter != "" {
		query.Set("subject", f.got.Filter)
	}
	s := f.pick()
	ctx, silent := context.WithCancel(ctx)
	defer silent()
	silence := time.AfterFunc(s.doors.silence(), silent) // a bookmark comes now and then, where nothing else does
	defer silence.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.doors.http+"/v1/"+f.namespace()+"/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	if f.got.Filter != "" && from > 1 {
		r.Header.Set("Last-Event-ID", strconv.FormatUint(from-1, 10))
	}
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	answer, err := (&http.Client{Transport: connections}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := opened(answer); err != nil {
		return err
	}
	f.begin(true)
	// A server that is paused keeps the connection open: that is no fault of its own, and it goes on.
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	kind, last, ended := "", uint64(0), uint64(0)
	for ; lines.Scan(); silence.Reset(s.doors.silence()) {
		silence.Stop() // the time that this reader takes is its own
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		event, isEvent := strings.CutPrefix(lines.Text(), "event: ")
		id, isID := strings.CutPrefix(lines.Text(), "id: ")
		switch {
		case ended > 0 && lines.Text() != "":
			s.t.Errorf("behind the end at %d came %q", ended, lines.Text())
		case isEvent:
			kind = event
		case isData && kind == "bookmark":
			err = f.mark([]byte(data))
		case isID && kind == "end":
			last, err = strconv.ParseUint(id, 10, 64)
		case isData && kind == "end":
			f.end(last)
			ended = last
		case isData:
			if err = f.deliver([]byte(data)); err == nil {
				err = f.breathe(ctx)
			}
		case lines.Text() == "":
			kind = ""
		}
		if err != nil {
			return err
		}
	}
	if ended > 0 {
		return errGone
	}
	return lines.Err()
}

// opened tells whether a server answers with what was asked for.
func opened(answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return errGone
	}
	return fmt.Errorf("events: %s", answer.Status)
}

func (f *follower) mark(b []byte) error {
	var mark struct{ Revision uint64 }
	if err := json.Unmarshal(b, &mark); err != nil {
		return err
	}
	f.bookmark(mark.Revision)
	return nil
}

// fill takes from a server's ledger, as that server has it, what there is of a subject from what is wanted next up to a
// revision; 0 is the end.
func (f *follower) fill(ctx context.Context, s *server, to uint64) error {
	query := url.Values{"from": {strconv.FormatUint(f.next(), 10)}, "consistency": {"stale"}}
	if f.got.Filter != "" {
		query.Set("subject", f.got.Filter)
	}
	if to > 0 {
		query.Set("to", strconv.FormatUint(to, 10))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.doors.http+"/v1/"+f.namespace()+"/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := opened(answer); err != nil {
		return err
	}
	head, err := strconv.ParseUint(answer.Header.Get("Rollcall-Revision"), 10, 64)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		d, _, err := delivery(lines.Bytes())
		if err == nil && between(d) {
			f.looked(d.Revision)
			continue
		}
		if err := f.deliver(lines.Bytes()); err != nil {
			return err
		}
		f.count(func(c *counts) { c.refilled++ })
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	if to > 0 {
		head = min(head, to)
	}
	f.looked(head)
	return nil
}

// dial connects to a server's NATS, once. What is dropped is counted where it matters, and not printed.
func dial(s *server, options ...nats.Option) (*nats.Conn, error) {
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	ping, unanswered := time.Second, 4
	if s.doors.idle > 0 {
		ping, unanswered = s.doors.idle/3, 2 // the third finds that two had no answer
	}
	return nats.Connect("nats://"+s.doors.nats, append(options, quiet, nats.NoReconnect(), nats.Timeout(time.Second), nats.PingInterval(ping), nats.MaxPingsOutstanding(unanswered))...)
}

// subject is what a filter is called in NATS.
func (f *follower) subject() string {
	filter := f.got.Filter
	if filter == "" {
		filter = ">"
	}
	return "rollcall." + f.namespace() + "." + filter
}

func (f *follower) bookmarks() string { return "rollcall-bookmark." + f.namespace() }

// plain follows with a plain subscription until that breaks. First it subscribes, to events and bookmarks together, so that
// their order is kept; then it takes from the same server's ledger what came before; what comes live and is in that already
// is left out. Where the subscriber was too slow, messages were thrown away, and it begins again.
func (f *follower) plain(ctx context.Context) error {
	s := f.pick()
	gone := make(chan struct{})
	nc, err := dial(s, nats.ClosedHandler(func(*nats.Conn) { close(gone) }))
	if err != nil {
		return err
	}
	defer nc.Close()
	size := 64 << 10
	if f.habits.burst > 0 {
		size = 8 // less than what comes while it rests
	}
	messages := make(chan *nats.Msg, size)
	events, err := nc.ChanSubscribe(f.subject(), messages)
	if err != nil {
		return err
	}
	if _, err := nc.ChanSubscribe(f.bookmarks(), messages); err != nil {
		return err
	}
	if err := nc.FlushTimeout(2 * time.Second); err != nil {
		return err
	}
	f.begin(true)
	if err := f.fill(ctx, s, 0); err != nil {
		return err
	}
	for current, over := false, false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return nats.ErrConnectionClosed
		case m := <-messages:
			// Counted before anything that comes behind it is put into the channel.
			if n, err := events.Dropped(); err != nil || n > 0 {
				f.count(func(c *counts) { c.overrun++ })
				return nats.ErrSlowConsumer
			}
			if over {
				return f.behind(s, m)
			}
			if over, err = f.over(m); err != nil {
				return err
			}
			if over {
				continue
			}
			if current, err = f.take(ctx, s, m, current); err != nil {
				return err
			}
		}
	}
}

// take handles an event or a bookmark of a plain subscription. A server that is behind what the subscriber has says so until it
// is current; after that its bookmarks never fall.
func (f *follower) take(ctx context.Context, s *server, m *nats.Msg, current bool) (bool, error) {
	revision, err := strconv.ParseUint(m.Header.Get("Rollcall-Revision"), 10, 64)
	if err != nil {
		return current, err
	}
	behind := revision < f.next()
	if m.Subject == f.bookmarks() {
		if current = current || !behind || revision+1 == f.next(); current {
			f.bookmark(revision)
		}
		return current, nil
	}
	if behind {
		return current, nil
	}
	if err := f.named(s, m.Subject, m.Data); err != nil {
		return current, err
	}
	if err := f.deliver(m.Data); err != nil {
		return current, err
	}
	return current, f.breathe(ctx)
}

// over tells whether a message is the last bookmark of a namespace.
func (f *follower) over(m *nats.Msg) (bool, error) {
	if m.Subject != f.bookmarks() {
		return false, nil
	}
	var mark struct {
		Revision uint64
		Ended    bool
	}
	if err := json.Unmarshal(m.Data, &mark); err != nil || !mark.Ended {
		return false, err
	}
	if mark.Revision+1 < f.next() {
		return false, errGone // of a life that this subscriber has left behind, on a server that was behind
	}
	f.end(mark.Revision)
	return true, nil
}

// behind holds a server to its last word: what comes behind it is the beginning of another life. The subscriber begins
// anew with that, because one that was over soon may not have been told to it.
func (f *follower) behind(s *server, m *nats.Msg) error {
	if m.Subject != f.bookmarks() {
		if d, _, err := delivery(m.Data); err != nil || d.Change.Gone || !d.Begins && f.got.Filter == "" {
			s.t.Errorf("NATS of %s: behind the last bookmark came %s (%v)", s.name, m.Data, err)
		}
	}
	return errGone
}

// named holds a message to its subject.
func (f *follower) named(s *server, subject string, b []byte) error {
	d, _, err := delivery(b)
	if err == nil && subject != "rollcall."+f.namespace()+"."+d.Subject {
		err = fmt.Errorf("revision %d of %s came as %s", d.Revision, s.name, subject)
		s.t.Error(err)
	}
	return err
}

// jetstream follows a server's stream with a stock ordered consumer until that breaks. What the stream has no more comes from
// the ledger: before the first message, and wherever the stream's beginning has overtaken a slow reader.
func (f *follower) jetstream(ctx context.Context) error {
	s := f.pick()
	nc, err := dial(s)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "rollcall_"+f.namespace())
	if err != nil {
		return err
	}
	made := stream.CachedInfo().Created
	f.begin(false)
	if err := f.overtaken(ctx, s, stream, 0); err != nil {
		return err
	}
	config := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next()}
	if f.name != "" {
		config.MaxResetAttempts = 1 // and to be told that there is none any more takes for ever
	}
	if f.got.Filter != "" {
		config.FilterSubjects = []string{f.subject()}
	}
	consumer, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		return err
	}
	var options []jetstream.PullMessagesOpt
	if f.name != "" { // whose stream goes and comes again: to hear of that takes half a minute otherwise
		options = append(options, jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(time.Second))
	}
	messages, err := consumer.Messages(options...)
	if err != nil {
		return err
	}
	defer messages.Stop()
	for ctx.Err() == nil && nc.IsConnected() && err == nil {
		if err = f.message(ctx, s, stream, messages); errors.Is(err, nats.ErrTimeout) {
			err = same(ctx, stream, made) // it goes with its namespace, and nobody tells its consumers
		}
	}
	if errors.Is(err, errHungUp) && f.habits.away {
		return f.stayAway(ctx, stream)
	}
	return err
}

// same tells whether a stream is the one that was made at a time: not another one of the same name.
func same(ctx context.Context, stream jetstream.Stream, made time.Time) error {
	info, err := stream.Info(ctx)
	if err == nil && !info.Created.Equal(made) {
		err = jetstream.ErrStreamNotFound
	}
	return err
}

// message takes the next message of a stream.
func (f *follower) message(ctx context.Context, s *server, stream jetstream.Stream, messages jetstream.MessagesContext) error {
	m, err := messages.Next(jetstream.NextMaxWait(time.Second))
	if err != nil {
		return err
	}
	at, err := m.Metadata()
	if err != nil {
		return err
	}
	sequence := at.Sequence.Stream
	if revision := m.Headers().Get("Rollcall-Revision"); revision != strconv.FormatUint(sequence, 10) {
		s.t.Errorf("JetStream of %s: sequence %d holds revision %s", s.name, sequence, revision)
	}
	// Whatever is between, the subject did not let through: unless it was gone before it could be sent.
	if sequence > f.next() {
		if err := f.overtaken(ctx, s, stream, sequence); err != nil {
			return err
		}
	}
	if err := f.named(s, m.Subject(), m.Data()); err != nil {
		return err
	}
	if err := f.deliver(m.Data()); err != nil {
		return err
	}
	if f.ended() {
		return errGone
	}
	return f.breathe(ctx)
}

// overtaken fills from the ledger what a stream has no more, up to its beginning, and to before a message that has come.
func (f *follower) overtaken(ctx context.Context, s *server, stream jetstream.Stream, before uint64) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	begins := info.State.FirstSeq
	if begins <= f.next() {
		return nil
	}
	f.count(func(c *counts) { c.filled++ })
	if before > 0 {
		begins = min(begins, before)
	}
	return f.fill(ctx, s, begins-1)
}

// stayAway returns when a stream has nothing any more of what the subscriber wants next.
func (f *follower) stayAway(ctx context.Context, stream jetstream.Stream) error {
	for every := time.NewTicker(100 * time.Millisecond); ; {
		info, err := stream.Info(ctx)
		if err != nil || info.State.FirstSeq > f.next() || info.Config.MaxAge > time.Minute {
			every.Stop()
			return err
		}
		select {
		case <-ctx.Done():
		case <-every.C:
		}
	}
}

// library follows with the client library, which is given all servers and resumes by itself.
func library(c *cluster, scheme string) func(*follower, context.Context) error {
	var urls []string
	for _, s := range c.servers {
		address := s.doors.http
		if scheme == "nats" {
			address = s.doors.nats
		}
		urls = append(urls, scheme+"://"+address)
	}
	idle := 3 * time.Second
	if own := c.servers[0].doors.idle; own > 0 {
		idle = own
	}
	return func(f *follower, ctx context.Context) error {
		c, err := rollcall.New(rollcall.Options{Servers: urls, Namespace: f.namespace(), StreamIdle: idle})
		if err != nil {
			return err
		}
		defer c.Close()
		for e, err := range c.Watch(ctx, f.got.Filter, f.begin(false)) {
			if err != nil {
				if errors.Is(err, rollcall.ErrUnknownNamespace) {
					f.ended()
				}
				return err
			}
			if d, _, err := delivery(e.Raw); err == nil && scheme == "nats" && between(d) {
				f.looked(d.Revision) // over NATS the past is read as it stands in the ledger
				continue
			}
			if err := f.deliver(e.Raw); err != nil {
				return err
			}
			if err := f.breathe(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}
