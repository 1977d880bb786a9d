package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rollcall/rollcall/log/event"
)

// arena is a server with two namespaces, a guest who tries things, and what another guest and the ledger's account
// would see if they succeeded.
type arena struct {
	*testing.T
	ledgers  *ledgers
	server   *Server
	attacker *nats.Conn
	live     chan *nats.Msg // what a plain subscriber to everything sees
	inside   chan *nats.Msg // what is published in the ledger's account, where the streams listen
}

func newArena(t *testing.T, change ...func(*Config)) arena {
	t.Helper()
	l := newLedgers(t)
	l.create("other")
	l.put(event.Default, "a", 5)
	s := startServer(t, l, change...)
	ledger, err := s.broker.connect(ledgerUser, "observer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ledger.Close)
	return arena{
		T: t, ledgers: l, server: s, attacker: guest(t, s),
		live: subscribe(t, guest(t, s), "rollcall.>"), inside: subscribe(t, ledger, "rollcall.>"),
	}
}

// check sees to it that both ledgers go on as if nothing had happened, and that nobody heard anything else.
func (a arena) check() {
	a.Helper()
	// A request is through the guard, and JetStream has answered it, before a later one of the same client is.
	if _, err := stream(a, a.attacker).AccountInfo(a.Context()); err != nil {
		a.Fatalf("the attacker's connection no longer works: %v", err)
	}
	for _, namespace := range []string{event.Default, "other"} {
		known := len(a.ledgers.all(namespace))
		a.ledgers.put(namespace, "next", 3)
		news := a.ledgers.all(namespace)[known:]
		checkLive(a, a.live, namespace, news)
		checkLive(a, a.inside, namespace, news)
		checkOrdered(a, guest(a, a.server), namespace, 1, a.ledgers.all(namespace))
		reaches(a, a.server, namespace, news[2].Revision)
		if n := stats(a.server, namespace).Resyncs; n != 0 {
			a.Errorf("got %d resyncs of %s, want none", n, namespace)
		}
	}
}

// forged are subjects that a guest must not be able to have anything said on.
var forged = []string{"rollcall.other.kv.forged", "rollcall.default.kv.a", "rollcall-bookmark.default", "$JS.API.STREAM.DELETE.rollcall_default", "_fill.default.kv.x"}

func TestGuestsMayNotPublish(t *testing.T) {
	a := newArena(t)
	for _, subject := range append(forged, "_INBOX.somebody", "$SYS.REQ.USER.INFO", "anything",
		"_inner.guard-answer.rollcall.other.kv.forged", "_nowhere.x", "$JS.EVENT.ADVISORY.x") {
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
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				t.Errorf("publish to %s: %v", subject, err)
			}
		case <-time.After(patience):
			t.Errorf("publish to %s was not refused", subject)
		}
		nc.Close()
	}
	a.check()
}

func TestGuestsMayNotSubscribe(t *testing.T) {
	a := newArena(t)
	for _, subject := range []string{">", "*", "$JS.>", "rollcall-api.>", "$SRV.>", "_inner.>", "_fill.>", "$SYS.>"} {
		sub, err := guest(t, a.server, nats.PermissionErrOnSubscribe(true)).SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(patience); err == nil || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("subscribe to %s: got %v, want a permissions violation", subject, err)
		}
	}
}

func TestGuestsMayNotChangeStreams(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	config, err := json.Marshal(map[string]any{"name": "mine", "subjects": []string{"rollcall-api.>"}, "storage": "memory"})
	if err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string]string{
		"$JS.API.STREAM.CREATE.mine":            string(config),
		"$JS.API.STREAM.UPDATE." + name:         `{"name":"` + name + `","subjects":["x"]}`,
		"$JS.API.STREAM.DELETE." + name:         "",
		"$JS.API.STREAM.PURGE." + name:          "",
		"$JS.API.STREAM.MSG.DELETE." + name:     `{"seq":1}`,
		"$JS.API.STREAM.SNAPSHOT." + name:       `{"deliver_subject":"rollcall.other.kv.forged"}`,
		"$JS.API.STREAM.RESTORE.mine":           string(config),
		"$JS.API.CONSUMER.PAUSE." + name + ".c": `{"pause_until":"2100-01-01T00:00:00Z"}`,
		"$JS.API.META.LEADER.STEPDOWN":          "",
		"$JS.API.ACCOUNT.PURGE.LEDGER":          "",
	} {
		inbox := a.attacker.NewInbox()
		answers := subscribe(t, a.attacker, inbox)
		if err := a.attacker.PublishRequest(subject, inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream(t, a.attacker).AccountInfo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(answers) > 0 {
			t.Errorf("%s was answered: %s", subject, (<-answers).Data)
		}
	}
	a.check()
}

func TestGuestsMayNotMisdirectAnswers(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	if _, err := a.attacker.Request("$JS.API.CONSUMER.CREATE."+name+".mine",
		[]byte(`{"stream_name":"`+name+`","config":{"name":"mine","ack_policy":"explicit"}}`), patience); err != nil {
		t.Fatal(err)
	}
	inbox := a.attacker.NewInbox()
	pulled := subscribe(t, a.attacker, inbox)
	if err := a.attacker.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+name+".mine", inbox, []byte(`1`)); err != nil {
		t.Fatal(err)
	}
	ack := receive(t, pulled).Reply
	requests := map[string]string{
		"$JS.API.INFO":                                "",
		"$JS.API.STREAM.INFO." + name:                 "",
		"$JS.API.STREAM.MSG.GET." + name:              `{"seq":1}`,
		"$JS.API.DIRECT.GET." + name:                  `{"seq":1}`,
		"$JS.API.CONSUMER.MSG.NEXT." + name + ".mine": `1`,
		"$JS.API.CONSUMER.CREATE." + name + ".other":  `{"stream_name":"` + name + `","config":{"name":"other"}}`,
		"$JS.API.NONSENSE":                            "",
		ack:                                           "+NXT",
	}
	for subject, body := range requests {
		for _, reply := range append(forged, "_INBOX", "_INBOX.>", "_INBOX.*", "_INBOX..x") {
			m := &nats.Msg{Subject: subject, Reply: reply, Data: []byte(body)}
			if err := a.attacker.PublishMsg(m); err != nil {
				t.Fatalf("%s with reply %s: %v", subject, reply, err)
			}
			// Tracing has the server report on a message to a subject that the message names.
			m.Header = nats.Header{"Nats-Trace-Dest": {reply}}
			m.Reply = ""
			if err := a.attacker.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.check()
}

func TestGuestsMayNotMisdirectConsumers(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	for _, target := range append(forged, "_INBOX", "anything") {
		for i, config := range []string{
			`"config":{"name":"%[2]s","deliver_subject":"%[1]s"}`,
			`"config":{"name":"%[2]s","Deliver_Subject":"%[1]s"}`,
			`"config":{"name":"%[2]s","deliver_subject":"_INBOX.x","deliver_subject":"%[1]s"}`,
			`"config":{"name":"%[2]s"},"CONFIG":{"deliver_subject":"%[1]s"}`,
		} {
			consumer := fmt.Sprintf("push-%d", i)
			body := fmt.Sprintf(`{"stream_name":"`+name+`",`+config+`}`, target, consumer)
			m, err := a.attacker.Request("$JS.API.CONSUMER.CREATE."+name+"."+consumer, []byte(body), patience)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			var answer server.JSApiConsumerCreateResponse
			if err := json.Unmarshal(m.Data, &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error == nil || answer.Error.Code != 403 {
				t.Errorf("%s was answered: %s", body, m.Data)
			}
		}
	}
	a.check()
}

func TestGuestsMayNotMoveConsumers(t *testing.T) {
	a := newArena(t)
	name := Stream(event.Default)
	inbox := a.attacker.NewInbox()
	subscribe(t, a.attacker, inbox)
	for _, target := range []string{inbox, forged[0]} {
		m, err := a.attacker.Request("$JS.API.CONSUMER.CREATE."+name+".mine",
			[]byte(`{"stream_name":"`+name+`","config":{"name":"mine","deliver_subject":"`+target+`"}}`), patience)
		if err != nil {
			t.Fatal(err)
		}
		if refused := strings.Contains(string(m.Data), `"code":403`); refused != (target != inbox) {
			t.Errorf("deliver to %s was answered: %s", target, m.Data)
		}
	}
	a.check()
}

func TestGuestsConsumersAreBounded(t *testing.T) {
	a := newArena(t)
	info, err := stream(t, a.attacker).Stream(t.Context(), Stream(event.Default))
	if err != nil {
		t.Fatal(err)
	}
	c := info.CachedInfo().Config
	if got, want := []any{c.MaxConsumers, c.ConsumerLimits.InactiveThreshold}, []any{consumersMax, consumerInactiveTime}; !cmp.Equal(got, want) {
		t.Errorf("got bounds %v, want %v", got, want)
	}
	m, err := a.attacker.Request("$JS.API.CONSUMER.CREATE."+Stream(event.Default)+".big", make([]byte, requestBytesMax+1), patience)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(m.Data), "at most 65536") {
		t.Errorf("a large request was answered: %s", m.Data)
	}
}

func TestGuestsWithCredentials(t *testing.T) {
	a := newArena(t)
	for _, user := range []string{ledgerUser, guardUser, "sys"} {
		nc, err := nats.Connect("nats://"+a.server.Addr().String(), nats.UserInfo(user, ""))
		if err == nil {
			nc.Close()
			t.Errorf("user %s got in without the password", user)
		}
	}
}

func TestConsumerRequestsAreWrittenAnew(t *testing.T) {
	got, err := checkConsumer([]byte(`{"STREAM_NAME":"s","config":{"Deliver_Subject":"rollcall.x","name":"c","deliver_subject":"_INBOX.x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(got, []byte("rollcall.x")) || !bytes.Contains(got, []byte(`"stream_name":"s"`)) {
		t.Errorf("passed on %s", got)
	}
	for name, body := range map[string]string{
		"unknown field": `{"stream_name":"s","surprise":1}`,
		"more text":     `{"stream_name":"s"}{"stream_name":"s"}`,
		"no object":     `[]`,
		"nothing":       ``,
		"for a mirror":  `{"stream_name":"s","config":{"direct":true}}`,
	} {
		if got, err := checkConsumer([]byte(body)); err == nil {
			t.Errorf("%s: passed on %s", name, got)
		}
	}
}
