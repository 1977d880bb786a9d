package log

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
)

// Dragonboat has one logger factory for the whole process, which may be set once. So it is set once, to loggers
// that write to wherever the newest Log wants its log.
var (
	raftLog     atomic.Pointer[slog.Logger]
	raftLogOnce sync.Once
)

func routeRaftLogs(to *slog.Logger) {
	raftLog.Store(to)
	raftLogOnce.Do(func() {
		logger.SetLoggerFactory(func(name string) logger.ILogger { return raftLogger(name) })
	})
}

// raftLogger lets one of Dragonboat's packages speak through slog, a level lower: its information is our debugging,
// and its warnings tell of ordinary elections and of every question that came before there was a leader.
type raftLogger string

// SetLevel implements logger.ILogger: slog's handler decides what is shown.
func (raftLogger) SetLevel(logger.LogLevel) {}

func (n raftLogger) Debugf(string, ...any) {}

func (n raftLogger) Infof(format string, args ...any) {
	raftLog.Load().Debug(fmt.Sprintf(format, args...), "raft", string(n))
}

func (n raftLogger) Warningf(format string, args ...any) {
	raftLog.Load().Debug(fmt.Sprintf(format, args...), "raft", string(n))
}

func (n raftLogger) Errorf(format string, args ...any) {
	if n == "transport" { // a server that cannot be reached, which its peers say better
		raftLog.Load().Debug(fmt.Sprintf(format, args...), "raft", string(n))
		return
	}
	raftLog.Load().Error(fmt.Sprintf(format, args...), "raft", string(n))
}

// Panicf is called where Raft cannot go on; the contract is that it does not return.
func (n raftLogger) Panicf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	raftLog.Load().Error(message, "raft", string(n))
	panic(message)
}
