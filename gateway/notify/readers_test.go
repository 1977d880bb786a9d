package notify

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

// A consumer that begins beyond what this server has yet, because another server had more, waits for that and gets exactly
// that, though events before it arrive meanwhile.
func TestConsumerFromTheFuture(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 9)
	s := startServer(t, l)
	nc := guest(t, s)
	const first = 16
	inbox := nc.NewInbox()
	pushed := subscribe(t, nc, inbox)
	m, err := nc.Request("$JS.API.CONSUMER.CREATE."+Stream(event.Default)+".future", fmt.Appendf(nil,
		`{"stream_name":%q,"config":{"name":"future","deliver_subject":%q,"deliver_policy":"by_start_sequence","opt_start_seq":%d,"ack_policy":"none"}}`,
		Stream(event.Default), inbox, first), patience)
	if err != nil {
		t.Fatal(err)
	}
	var answer server.JSApiConsumerCreateResponse
	if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error != nil {
		t.Fatalf("got %s (%v)", m.Data, err)
	}
	c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream(event.Default), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	l.put(event.Default, "a", 10)
	for want := uint64(first); want <= 20; want++ {
		got, err := messages.Next(jetstream.NextContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if meta, err := got.Metadata(); err != nil || meta.Sequence.Stream != want {
			t.Errorf("the ordered consumer got %v (%v), want %d", meta, err, want)
		}
		if got := receive(t, pushed).Header.Get(HeaderRevision); got != fmt.Sprint(want) {
			t.Errorf("the raw consumer got %s, want %d", got, want)
		}
	}
}

// Events leave the window by their age while the server runs, and the numbers go on.
func TestWindowByAgeWhileRunning(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l, func(c *Config) { c.WindowAge = 5 * WindowAgeMin }) // what comes behind them is to be read within it
	l.put(event.Default, "a", 20)
	reaches(t, s, event.Default, 21)
	str, err := stream(t, guest(t, s)).Stream(t.Context(), Stream(event.Default))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are too old", func() bool {
		info, err := str.Info(t.Context())
		return err == nil && info.State.Msgs == 0 && info.State.FirstSeq == 22
	})
	known := len(l.all(event.Default))
	l.put(event.Default, "b", 1)
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default)[known:])
	if n := stats(s, event.Default).Resyncs; n != 0 {
		t.Errorf("got %d resyncs, want none", n)
	}
}

// awkwardKeys are keys with everything that a key may have.
func awkwardKeys() (keys []string) {
	for c := byte(1); c < 0x80; c++ {
		keys = append(keys, "x/"+string(rune(c))+"y")
	}
	return append(
		keys, ".", "a.b", "*", ">", "a/*/>", "%", "%25", "%2E", "a//b", "/", "//", "/a", "a b", " ", "\t\r\n", "ü/日本/🙂", "\u00a0", "\u2028",
		strings.Repeat("k", 1024), strings.Repeat("*", 1024), strings.Repeat("ü/", 100), strings.Repeat("a/", 127)+"a", "$JS/API", "_INBOX/x",
	)
}

// TestEveryKeyArrives: each key's event arrives on its own subject, plainly and through a consumer, and the subject tells the key.
func TestEveryKeyArrives(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	nc := guest(t, s)
	for _, key := range awkwardKeys() {
		subject := "rollcall.default." + event.KeySubject(key)
		got := subscribe(t, nc, subject)
		head := len(l.all(event.Default))
		l.put(event.Default, "beside", 1)
		l.put(event.Default, key, 1)
		l.put(event.Default, key+"/below", 1)
		m := receive(t, got)
		checkKey(t, key, m.Subject, m.Header)
		if m.Header.Get(HeaderRevision) != fmt.Sprint(head+2) {
			t.Errorf("key %q: got revision %s first, want %d", key, m.Header.Get(HeaderRevision), head+2)
		}
		reaches(t, s, event.Default, event.Revision(head+3))
		c, err := stream(t, nc).OrderedConsumer(t.Context(), Stream(event.Default), jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(head),
		})
		if err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
		read, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
		checkKey(t, key, read.Subject(), read.Headers())
		if len(got) > 0 {
			t.Errorf("key %q: got %s too", key, (<-got).Subject)
		}
	}
}

func checkKey(t testing.TB, key, subject string, header nats.Header) {
	t.Helper()
	got, err := event.ParseKeySubject(strings.TrimPrefix(subject, "rollcall.default."))
	if err != nil || got != key {
		t.Errorf("subject %q names key %q (%v), want %q", subject, got, err, key)
	}
	if header.Get(HeaderKey) != EscapeHeader(key) {
		t.Errorf("key %q: got header %q", key, header.Get(HeaderKey))
	}
}

// Whatever the key, its subject is one that NATS routes on as it is, and names that key alone.
func TestSubjectsOfAnyKey(t *testing.T) {
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		subject := "rollcall.default." + event.KeySubject(key)
		if !server.IsValidLiteralSubject(subject) || !server.IsValidPublishSubject(subject) || strings.ContainsAny(subject, " \t\r\n") {
			t.Fatalf("key %q has subject %q, which NATS would not take", key, subject)
		}
		back, err := event.ParseKeySubject(event.KeySubject(key))
		if err != nil || back != key {
			t.Fatalf("subject of %q names %q (%v)", key, back, err)
		}
		if other, ok := seen[subject]; ok && other != key {
			t.Fatalf("keys %q and %q have one subject", key, other)
		}
		seen[subject] = key
	})
}

// Ten thousand plain subscriptions on 500 connections, half of them on subjects that another one has too: each gets what
// it asked for, in order.
func TestTenThousandSubscriptions(t *testing.T) {
	if testing.Short() {
		t.Skip("500 connections")
	}
	const connections, each, keys, rounds = 500, 20, 5_000, 3
	l := newLedgers(t)
	s := startServer(t, l)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	inboxes := make([]chan *nats.Msg, connections)
	for i := range inboxes {
		nc := guest(t, s)
		inboxes[i] = make(chan *nats.Msg, each*rounds+1)
		for j := range each {
			if _, err := nc.ChanSubscribe(fmt.Sprintf("rollcall.default.kv.k.%d", (i*each+j)%keys), inboxes[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes for each subscription, its client's share included", (after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/(connections*each))
	for range rounds {
		for k := range keys {
			l.put(event.Default, fmt.Sprintf("k/%d", k), 1)
		}
	}
	for i, inbox := range inboxes {
		var last uint64
		for n := range each * rounds {
			m := receive(t, inbox)
			var r uint64
			if _, err := fmt.Sscan(m.Header.Get(HeaderRevision), &r); err != nil || r <= last {
				t.Fatalf("connection %d: revision %q behind %d", i, m.Header.Get(HeaderRevision), last)
			}
			last = r
			if want := fmt.Sprintf("rollcall.default.kv.k.%d", (i*each+n%each)%keys); m.Subject != want {
				t.Fatalf("connection %d: got %s, want %s", i, m.Subject, want)
			}
		}
		if len(inbox) > 0 {
			t.Errorf("connection %d: got %s too", i, (<-inbox).Subject)
		}
	}
}

// A namespace that comes and goes while others write and read: a subscriber gets every event of every life once, in order,
// and nothing of how the namespace was emptied; the stream is that of the last life alone.
func TestLivesUnderLoad(t *testing.T) {
	l := newLedgers(t)
	l.create("staging")
	s := startServer(t, l)
	nc := guest(t, s)
	got := subscribe(t, nc, "rollcall.staging.>")
	known, begins := 1, 0 // its opening was told to nobody
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // the load
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				l.put(event.Default, "a", 10)
			}
			pause(t.Context(), time.Millisecond)
		}
	}()
	for life := range 5 {
		reaches(t, s, "staging", event.Revision(begins+1)) // a namespace that ends before it is followed is told to nobody
		l.put("staging", "b", 50)
		l.remove("staging")
		checkLive(t, got, "staging", l.all("staging")[known:])
		closed := event.Revision(len(l.all("staging")))
		for range 10 { // it is emptied
			l.add("staging", event.KeyDeleted{Key: "b", Previous: closed - 1})
		}
		l.add(event.System, event.NamespaceDeleted{Namespace: "staging", Group: 1, Closed: closed})
		known = len(l.all("staging"))
		begins = known
		eventually(t, "the feeder is gone", func() bool {
			return !slices.ContainsFunc(s.list(), func(f *feeder) bool { return f.namespace == "staging" })
		})
		l.mu.Lock()
		delete(l.ended, "staging")
		l.mu.Unlock()
		l.add("staging", event.NamespaceOpened{Namespace: "staging", Cluster: "test", Closed: closed})
		l.add(event.System, event.NamespaceCreated{Namespace: "staging", Group: 1, Previous: event.Revision(life + 2)})
	}
	l.put("staging", "c", 5)
	checkLive(t, got, "staging", l.all("staging")[known:])
	checkOrdered(t, nc, "staging", 1, l.all("staging")[begins:])
	close(stop)
	<-stopped
	if len(got) > 0 {
		t.Errorf("got %d events more", len(got))
	}
}

// Everything that the JetStream of this version of the NATS server takes and that is not for reading is refused before it
// is looked at.
func TestGuestsMayReadOnly(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	for _, subject := range []string{
		"STREAM.CREATE.x", "STREAM.UPDATE." + name, "STREAM.DELETE." + name, "STREAM.PURGE." + name, "STREAM.SNAPSHOT." + name,
		"STREAM.RESTORE." + name, "STREAM.MSG.DELETE." + name, "STREAM.PEER.REMOVE." + name, "STREAM.PEER.EVACUATE." + name,
		"STREAM.CANCEL_MOVE." + name, "STREAM.LEADER.STEPDOWN." + name, "CONSUMER.PAUSE." + name + ".c", "CONSUMER.RESET." + name + ".c",
		"CONSUMER.UNPIN." + name + ".c", "CONSUMER.LEADER.STEPDOWN." + name + ".c", "CONSUMER.PEER.REMOVE." + name + ".c",
		"CONSUMER.PEER.EVACUATE." + name + ".c", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "SERVER.EVACUATE", "META.RESCUE",
		"ACCOUNT.PURGE." + ledgerAccount, "ACCOUNT.STREAM.MOVE." + ledgerAccount + "." + name, "ACCOUNT.STREAM.CANCEL_MOVE." + ledgerAccount + "." + name,
	} {
		refused := make(chan error, 1)
		nc, err := nats.Connect("nats://"+a.server.Addr().String(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case refused <- err:
			default:
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$JS.API."+subject, nc.NewInbox(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				t.Errorf("%s: %v", subject, err)
			}
		case <-time.After(patience):
			t.Errorf("%s was not refused", subject)
		}
		nc.Close()
	}
	a.check()
}

// No name or setting of a consumer gets anything said outside of an inbox, or a stream changed.
func TestGuestsWithStrangeConsumers(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	for i, config := range []string{
		`"name":"a.b"`, `"name":"*"`, `"name":">"`, `"name":"../x"`, `"name":"\u0000"`, `"name":"ü"`, `"name":"` + strings.Repeat("n", 300) + `"`,
		`"name":"c","sample_freq":"100","ack_policy":"explicit"`, `"name":"c","num_replicas":3`, `"name":"c","mem_storage":true`,
		`"name":"c","inactive_threshold":86400000000000`, `"name":"c","pause_until":"2100-01-01T00:00:00Z"`,
		`"name":"c","priority_groups":["rollcall.other.kv.forged"],"priority_policy":"pinned_client","ack_policy":"explicit"`,
		`"name":"c","deliver_subject":"_INBOX.x","deliver_group":"rollcall.other.kv.forged"`, `"name":"c","metadata":{"_nats.req.level":"99"}`,
		`"name":"c","mirror":{"name":"` + name + `"}`, `"name":"c","republish":{"dest":"rollcall.other.kv.forged"}`,
	} {
		body := []byte(`{"stream_name":"` + name + `","config":{` + config + `}}`)
		for _, subject := range []string{"$JS.API.CONSUMER.CREATE." + name, fmt.Sprintf("$JS.API.CONSUMER.CREATE.%s.c%d", name, i), "$JS.API.CONSUMER.DURABLE.CREATE." + name + ".c"} {
			inbox := a.attacker.NewInbox()
			if err := a.attacker.PublishRequest(subject, inbox, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.check()
	info, err := stream(t, a.attacker).Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for c := range info.ListConsumers(t.Context()).Info() {
		if c.Config.InactiveThreshold > consumerInactiveTime {
			t.Errorf("consumer %s stays for %s", c.Name, c.Config.InactiveThreshold)
		}
	}
}

// A reader that takes nothing is cut off by what waits for it, which is bounded; it is counted, and so is how far consumers are.
func TestSlowReadersAreCounted(t *testing.T) {
	if testing.Short() {
		t.Skip("the NATS server gives a reader ten seconds")
	}
	l := newLedgers(t)
	s := startServer(t, l, func(c *Config) { c.WindowBytes = WindowBytesMin })
	mute := dialMute(t, s)
	defer mute.Close()
	nc := guest(t, s)
	if _, err := stream(t, nc).CreateConsumer(t.Context(), Stream(event.Default), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	live := subscribe(t, nc, "rollcall.default.>")
	value := []byte(strings.Repeat("x", 512<<10))
	before, most := heap(), int64(0)
	for i := range 200 { // 100 MB; more than pendingBytesMax
		head := l.add(event.Default, event.KeySet{Key: "big", Value: value})
		if m := receive(t, live); m.Header.Get(HeaderRevision) != fmt.Sprint(uint64(head)) {
			t.Fatalf("the other reader got revision %s, want %d", m.Header.Get(HeaderRevision), head)
		}
		if i%20 == 19 {
			most = max(most, heap()-before)
		}
	}
	const others = 32 << 20 // the window, and the other reader
	if most > pendingBytesMax+others {
		t.Errorf("%d bytes more lived than before, want %d at most for the slow reader and %d beside", most, pendingBytesMax, others)
	}
	t.Logf("%d MiB more lived than before at most", most>>20)
	eventually(t, "the slow reader is cut off", func() bool { return s.Stats().SlowClients == 1 })
	got := stats(s, event.Default)
	if got.Consumers != 1 || got.Pending == 0 {
		t.Errorf("got %d consumers and %d events before the slowest, want one with some", got.Consumers, got.Pending)
	}
	eventually(t, "bytes wait for nobody", func() bool { return s.Stats().PendingBytes == 0 })
}
