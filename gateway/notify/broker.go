package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The bounds of the NATS server. Those on connections and subscriptions keep one client from taking what the
// others need.
const (
	PayloadBytesMax     = 4 << 20  // a message; the largest event needs about 1 MiB, a transaction over NATS 3 MiB
	ControlLineBytesMax = 16 << 10 // a protocol line; a key of 1 KiB makes a subject of up to 3 KiB
	ConnectionsMax      = 16_384   // clients together
	SubscriptionsMax    = 4_096    // of one connection

	// pendingBytesMax is what may wait for one connection. A reader that reads as fast as it can needs as much as the window
	// holds: a stock consumer that catches up is sent what there is at once (500 messages, or 32 MiB under flow control), which
	// is faster than any socket. With half of it, readers that catch up with large values were cut off again and again. The
	// connections of this process have the same bound, and the door's takes large requests of many clients.
	pendingBytesMax = 64 << 20

	innerMax = linesMax + 8 // this process's own connections, which the NATS server counts like clients
)

// The two accounts. An account is NATS's unit of isolation: a message published in one is not seen in another.
//
// The streams live in the ledger's account, where only this process connects, so whatever a client does, a
// message that it causes cannot enter a stream. Clients live in the guests' account, which has no JetStream and
// sees the ledger's account through exactly two windows: the subjects of fromLedger flow out of it, and requests
// flow into it through the guard. Requests to Rollcall itself stay in the guests' account: the door takes them there
// and answers to the guests' inboxes, as a user who may publish nowhere else.
//
// The obvious way, clients as restricted users of the account that holds the streams, is not safe: a JetStream
// request may name any subject for its answer (as reply, or as a push consumer's deliver_subject), and the NATS
// server publishes there without asking what its sender may publish.
const (
	ledgerAccount = "LEDGER"
	guestsAccount = "GUESTS"

	ledgerUser = "ledger" // may do everything in the ledger's account
	guardUser  = "guard"  // may do everything in the guests' account
	doorUser   = "door"   // takes the guests' requests and answers them, and can say nothing but answers
	guestUser  = "guest"  // whoever connects without credentials
)

// inboxPrefix is where clients await answers. Only below it may an answer to a client be sent.
const inboxPrefix = "_INBOX."

// fromLedger is what flows from the ledger's account to the guests'.
var fromLedger = []string{subjectPrefix + ">", bookmarkPrefix + ">", inboxPrefix + ">"}

// nowhere is a subject of the ledger's account that nobody ever subscribes to.
const nowhere = "_nowhere.>"

// guestPublish is what a client may send: what reading takes, and the requests of the command service. The
// guard has the last word on the $JS subjects.
var guestPublish = []string{
	"$JS.API.INFO",
	"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.*",
	"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DURABLE.CREATE.*.*", "$JS.API.CONSUMER.INFO.*.*",
	"$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.NAMES.*", "$JS.API.CONSUMER.DELETE.*.*",
	"$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.API.DIRECT.GET.>",
	"$JS.ACK.>", "$JS.FC.>",
	doorPrefix + ">", "$SRV.>",
}

// doorSubjects is what the door listens to.
var doorSubjects = []string{doorPrefix + ">", "$SRV.>"}

// broker is the embedded NATS server.
type broker struct {
	server   *server.Server
	password string       // of the users of this process; new at every start, never leaves it
	own      atomic.Int64 // this process's connections in the guests' account
	log      *serverLog
}

// startBroker runs the NATS server with its accounts and without a listener: see listen.
func startBroker(c Config) (*broker, error) {
	b := &broker{password: rand.Text(), log: &serverLog{logger: c.Logger}}
	options, err := b.options(c)
	if err != nil {
		return nil, err
	}
	if b.server, err = server.NewServer(options); err != nil {
		return nil, fmt.Errorf("make NATS server: %w", err)
	}
	b.server.SetLoggerV2(b.log, c.Logger.Enabled(context.Background(), slog.LevelDebug), false, false)
	ledger, err := b.linkAccounts()
	if err != nil {
		return nil, err
	}
	b.server.Start()
	if err := b.log.fatal(); err != nil {
		b.close()
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	if err := ledger.EnableJetStream(nil, nil); err != nil {
		b.close()
		return nil, fmt.Errorf("enable JetStream: %w", err)
	}
	return b, nil
}

func (b *broker) options(c Config) (*server.Options, error) {
	host, portText, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: want HOST:PORT: %w", c.Listen, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: want a port from 0 to 65535", c.Listen)
	}
	ledger, guests := server.NewAccount(ledgerAccount), server.NewAccount(guestsAccount)
	o := &server.Options{
		ServerName: c.ServerName, Host: host, Port: int(port), DontListen: true, NoSigs: true,
		MaxPayload: PayloadBytesMax, MaxPending: pendingBytesMax, MaxControlLine: ControlLineBytesMax, MaxConn: ConnectionsMax + innerMax, MaxSubs: SubscriptionsMax,
		// A slow client is cut off by its own pending limit; it must not slow down the feed of the others.
		NoFastProducerStall: true,
		JetStream:           true, StoreDir: c.StoreDir, DisableJetStreamBanner: true,
		// Each stream bounds itself and all are in memory: a sum over namespaces would only refuse the last one.
		JetStreamMaxMemory: math.MaxInt64 / 2, JetStreamMaxStore: 1,
		Accounts: []*server.Account{ledger, guests},
		Users: []*server.User{
			{Username: ledgerUser, Password: b.password, Account: ledger},
			{Username: guardUser, Password: b.password, Account: guests},
			{Username: doorUser, Password: b.password, Account: guests, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{inboxPrefix + ">"}},
				Subscribe: &server.SubjectPermission{Allow: doorSubjects},
			}},
			{Username: guestUser, Account: guests, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: guestPublish},
				Subscribe: &server.SubjectPermission{Allow: fromLedger},
			}},
		},
		NoAuthUser: guestUser,
	}
	if port == 0 {
		o.Port = server.RANDOM_PORT
	}
	return o, nil
}

// linkAccounts lets the ledger's subjects flow to the guests, and gives the ledger's account.
func (b *broker) linkAccounts() (*server.Account, error) {
	ledger, err := b.server.LookupAccount(ledgerAccount)
	if err != nil {
		return nil, fmt.Errorf("look up account %s: %w", ledgerAccount, err)
	}
	guests, err := b.server.LookupAccount(guestsAccount)
	if err != nil {
		return nil, fmt.Errorf("look up account %s: %w", guestsAccount, err)
	}
	for _, subject := range fromLedger {
		if err := ledger.AddStreamExport(subject, []*server.Account{guests}); err != nil {
			return nil, fmt.Errorf("export %s: %w", subject, err)
		}
		if err := guests.AddStreamImport(ledger, subject, ""); err != nil {
			return nil, fmt.Errorf("import %s: %w", subject, err)
		}
	}
	// JetStream answers in every account that has no JetStream that it has none, and it does so before the
	// guard could look at the reply subject. It leaves an account alone that imports its requests from elsewhere:
	// these lead nowhere, so that the guard, which is a plain subscriber, is the only one to answer.
	if err := ledger.AddServiceExport(nowhere, []*server.Account{guests}); err != nil {
		return nil, fmt.Errorf("export %s: %w", nowhere, err)
	}
	if err := guests.AddServiceImport(ledger, "$JS.API.>", nowhere); err != nil {
		return nil, fmt.Errorf("import %s: %w", nowhere, err)
	}
	return ledger, nil
}

// connect makes a connection inside the process. Its own inboxes are not below inboxPrefix, so that no guest can
// see or answer them.
func (b *broker) connect(user, name string, more ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(b.server), nats.UserInfo(user, b.password), nats.Name("rollcall " + name),
		nats.CustomInboxPrefix(privatePrefix + name), nats.MaxReconnects(-1), nats.ReconnectWait(retryDelayMin),
		// What cannot be sent must be seen to fail: a feeder starts over from what the stream holds.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.logger.Warn("inner NATS connection reports an error", "connection", name, "error", err)
		}),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the NATS server: %w", name, err)
	}
	if user != ledgerUser {
		b.own.Add(1)
	}
	return nc, nil
}

// dialer connects inside the process and counts how often.
type dialer struct {
	broker *broker
	dials  *atomic.Uint64
}

// InProcessConn implements nats.InProcessConnProvider.
func (d dialer) InProcessConn() (net.Conn, error) {
	d.dials.Add(1)
	return d.broker.server.InProcessConn()
}

// cutOff ends the connections of all clients, which then look where to go on. It reports how many there were.
func (b *broker) cutOff() (int, error) {
	const atOnce = 1024
	var ids []uint64
	for {
		some, err := b.server.Connz(&server.ConnzOptions{Username: true, User: guestUser, Account: guestsAccount, Limit: atOnce, Offset: len(ids)})
		if err != nil {
			return 0, fmt.Errorf("list the clients: %w", err)
		}
		for _, c := range some.Conns {
			ids = append(ids, c.Cid)
		}
		if len(some.Conns) < atOnce {
			break
		}
	}
	for _, id := range ids {
		_ = b.server.DisconnectClientByID(id) // it has left by itself
	}
	return len(ids), nil
}

// listen lets clients in. It is called once. (AcceptLoop is what Start itself calls without DontListen: it opens
// the listener, accepts in a goroutine that Shutdown ends, and returns.)
func (b *broker) listen() error {
	done := make(chan struct{})
	b.server.AcceptLoop(done)
	<-done
	if err := b.log.fatal(); err != nil {
		return fmt.Errorf("listen for NATS clients: %w", err)
	}
	if b.server.Addr() == nil {
		return errors.New("listen for NATS clients: the server is stopping")
	}
	return nil
}

// clients counts the connections of clients: all in their account but this process's own.
func (b *broker) clients() int {
	guests, err := b.server.LookupAccount(guestsAccount)
	if err != nil {
		return 0
	}
	return max(0, guests.NumLocalConnections()-int(b.own.Load()))
}

// pending is how many bytes wait for the slowest connection of a client.
func (b *broker) pending() int {
	all, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByPending, Username: true, Account: guestsAccount, Limit: 1})
	if err != nil || len(all.Conns) == 0 {
		return 0
	}
	return all.Conns[0].Pending
}

func (b *broker) close() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
