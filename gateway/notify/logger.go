package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// clientMark is in the text of what concerns one client connection.
const clientMark = " - cid:"

// serverLog takes the NATS server's log. It implements the server's Logger.
//
// The server's notices are of interest to whoever debugs it. What it calls an error is mostly a client's mistake,
// and anybody who can connect can make as many of those as they like.
type serverLog struct {
	logger *slog.Logger

	mu    sync.Mutex
	first error // what stopped the server; it reports that by its log only
}

func (l *serverLog) Noticef(format string, v ...any) { l.logger.Debug(natsText(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.logger.Debug(natsText(format, v)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.logger.Debug(natsText(format, v)) }

func (l *serverLog) Errorf(format string, v ...any) {
	level, text := slog.LevelWarn, natsText(format, v)
	if strings.Contains(text, clientMark) {
		level = slog.LevelDebug
	}
	l.logger.Log(context.Background(), level, text)
}

func (l *serverLog) Warnf(format string, v ...any) {
	// The users of this process have random passwords, made at the start and never written: hashing them
	// would protect nothing.
	if strings.HasPrefix(format, "Plaintext passwords") {
		return
	}
	l.logger.Warn(natsText(format, v))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := natsText(format, v)
	l.logger.Error(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = errors.New(text)
	}
}

// fatal is why the server stopped, if it did.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func natsText(format string, v []any) string {
	return "nats: " + strings.TrimSpace(fmt.Sprintf(format, v...))
}
