package notify

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// linesMax bounds the connections on which feeders publish. Each takes about as much memory as a client's.
const linesMax = 64

// lines are the connections on which feeders publish.
//
// The NATS server handles what comes on a connection one after the other, and a message of a namespace with ten thousand
// subscribers takes it as long as ten thousand of others. So each feeder has a line of its own for as long as there are
// enough, and then shares the one that the fewest have.
type lines struct {
	broker *broker
	log    *slog.Logger

	mu  sync.Mutex
	all []*line
}

// line is a connection. What one feeder publishes, bookmarks too, goes over one line: subscribers get it in that order.
type line struct {
	*nats.Conn
	users int
	// dials counts how often it was connected. What was published before the last time may have been lost on its way.
	dials atomic.Uint64
}

// newLines makes the first one, so that there always is one to share.
func newLines(b *broker, log *slog.Logger) (*lines, error) {
	l := &lines{broker: b, log: log}
	if _, err := l.add(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *lines) add() (*line, error) {
	one := &line{}
	conn, err := l.broker.connect(ledgerUser, fmt.Sprintf("feed-%d", len(l.all)+1), nats.InProcessServer(dialer{l.broker, &one.dials}))
	if err != nil {
		return nil, err
	}
	one.Conn = conn
	l.all = append(l.all, one)
	return one, nil
}

// take gives a feeder its line.
func (l *lines) take() *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := l.all[0]
	for _, one := range l.all {
		if one.users < best.users {
			best = one
		}
	}
	if best.users > 0 && len(l.all) < linesMax {
		if one, err := l.add(); err == nil {
			best = one
		} else {
			l.log.Warn("two namespaces share a connection to the NATS server: there can be no other", "error", err)
		}
	}
	best.users++
	return best
}

// give takes a line back.
func (l *lines) give(one *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.users--
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		one.Close()
	}
}
