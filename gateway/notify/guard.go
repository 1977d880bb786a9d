package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// requestBytesMax bounds a JetStream request of a client. The largest that a stock client makes is a consumer
// with its filter subjects.
const requestBytesMax = 64 << 10

// guard hands the clients' JetStream requests to the ledger's account, and the answers back.
//
// It exists because the NATS server sends an answer to whatever subject its request names. The guard lets pass
// only requests whose answers go below "_INBOX.", so that no client can have the server say something under
// "rollcall.", neither by a reply subject nor by a push consumer. It keeps nothing about a request: where the
// answer belongs is written into the subject on which the guard itself awaits it.
type guard struct {
	guests *nats.Conn // in the guests' account: requests arrive, answers leave
	ledger *nats.Conn // in the ledger's account: requests leave, answers arrive
	prefix string     // answers arrive below it: prefix + the client's reply subject
	log    *slog.Logger
}

func startGuard(b *broker, log *slog.Logger) (_ *guard, err error) {
	g := &guard{log: log, prefix: privatePrefix + "guard-answer."}
	if g.guests, err = b.connect(guardUser, "guard-in"); err != nil {
		return nil, err
	}
	if g.ledger, err = b.connect(ledgerUser, "guard-out"); err != nil {
		g.guests.Close()
		return nil, err
	}
	if err := g.subscribe(); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *guard) subscribe() error {
	if _, err := g.ledger.Subscribe(g.prefix+">", g.answer); err != nil {
		return fmt.Errorf("await answers of the JetStream service: %w", err)
	}
	if err := g.ledger.Flush(); err != nil {
		return fmt.Errorf("await answers of the JetStream service: %w", err)
	}
	for _, subject := range []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>"} {
		if _, err := g.guests.Subscribe(subject, g.request); err != nil {
			return fmt.Errorf("take requests on %s: %w", subject, err)
		}
	}
	if err := g.guests.Flush(); err != nil {
		return fmt.Errorf("take JetStream requests: %w", err)
	}
	return nil
}

func (g *guard) close() {
	g.guests.Close()
	g.ledger.Close()
}

// request passes on one request. Which subjects get here at all is settled by guestPublish.
func (g *guard) request(m *nats.Msg) {
	if m.Reply != "" && !isInbox(m.Reply) {
		g.log.Debug("dropped a JetStream request: its answer would not go to an inbox", "subject", m.Subject, "reply", m.Reply)
		return
	}
	data, err := checkRequest(m.Subject, m.Data)
	if err != nil {
		g.refuse(m.Reply, err)
		return
	}
	out := &nats.Msg{Subject: m.Subject, Reply: g.replyTo(m.Subject, m.Reply), Data: data}
	// Other headers stay behind: some of them have the server do things, such as tracing to a subject.
	if level := m.Header.Get(server.JSRequiredApiLevel); level != "" {
		out.Header = nats.Header{server.JSRequiredApiLevel: {level}}
	}
	if err := g.ledger.PublishMsg(out); err != nil {
		g.log.Warn("lost a JetStream request of a client", "subject", m.Subject, "error", err)
	}
}

// replyTo is where the answer to a request goes. Streams and consumers answer in the ledger's account, from where
// inboxes are imported: their messages need no detour. The JetStream service itself answers from NATS's system
// account, and what comes from there is not imported a second time: the guard carries it over.
func (g *guard) replyTo(subject, reply string) string {
	direct := !strings.HasPrefix(subject, "$JS.API.") ||
		strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") || strings.HasPrefix(subject, "$JS.API.DIRECT.GET.")
	if reply == "" || direct {
		return reply
	}
	return g.prefix + reply
}

// answer carries one answer over. Where it goes was checked when its request passed, and nobody else can publish
// where it arrived.
func (g *guard) answer(m *nats.Msg) {
	out := &nats.Msg{Subject: strings.TrimPrefix(m.Subject, g.prefix), Header: m.Header, Data: m.Data}
	if err := g.guests.PublishMsg(out); err != nil {
		g.log.Warn("lost a JetStream answer to a client", "error", err)
	}
}

// refuse answers in the form of a JetStream error, which every JetStream client shows to its user.
func (g *guard) refuse(reply string, reason error) {
	if reply == "" {
		return
	}
	body, err := json.Marshal(server.ApiResponse{Error: &server.ApiError{Code: 403, Description: reason.Error()}})
	if err == nil {
		err = g.guests.Publish(reply, body)
	}
	if err != nil {
		g.log.Warn("lost a refusal to a client", "error", err)
	}
}

// isInbox tells whether a subject is a literal one below "_INBOX.".
func isInbox(subject string) bool {
	return strings.HasPrefix(subject, inboxPrefix) && server.IsValidPublishSubject(subject)
}

// checkRequest gives the body with which a request may be passed on.
func checkRequest(subject string, body []byte) ([]byte, error) {
	if len(body) > requestBytesMax {
		return nil, fmt.Errorf("the request has %d bytes; at most %d are taken", len(body), requestBytesMax)
	}
	if strings.HasPrefix(subject, "$JS.API.CONSUMER.CREATE.") || strings.HasPrefix(subject, "$JS.API.CONSUMER.DURABLE.CREATE.") {
		return checkConsumer(body)
	}
	return body, nil
}

// checkConsumer checks a request to create a consumer and writes it anew, so that what JetStream reads is what was
// checked, whatever the original bytes can be taken for (a field given twice, or in another case).
func checkConsumer(body []byte) ([]byte, error) {
	var r server.CreateConsumerRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("consumer request is not readable: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("consumer request is followed by more text")
	}
	switch c := r.Config; {
	case c.DeliverSubject != "" && !isInbox(c.DeliverSubject):
		return nil, fmt.Errorf("deliver_subject %q: messages are delivered below %q only", c.DeliverSubject, inboxPrefix)
	case c.Direct || c.Sourcing:
		return nil, errors.New("consumers for mirrors and sources are not offered: read the stream with an ordered consumer")
	}
	return json.Marshal(r)
}
