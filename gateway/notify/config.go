package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rollcall/rollcall/gateway"
)

// Defaults of Config, and its bounds.
const (
	WindowBytesDefault      = 64 << 20
	WindowBytesMin          = PayloadBytesMax // a smaller window could not hold the largest event
	WindowAgeDefault        = 24 * time.Hour
	WindowAgeMin            = time.Second
	BookmarkIntervalDefault = 5 * time.Second
	AuditIntervalDefault    = 30 * time.Second
	RebuildWaitDefault      = time.Minute
	DrainTimeDefault        = 5 * time.Second
	LastReadDefault         = 5 * time.Second
	PendingBytesDefault     = 512 << 20
	PendingBytesMin         = pendingBytesMax // so that one client alone is never cut off for the sake of others
)

// Config says what Start should run. A zero field means the documented default.
type Config struct {
	// Listen is the HOST:PORT for clients; port 0 picks a free one. Required.
	Listen string
	// StoreDir is a folder for JetStream's own use. Its "jetstream" part is wiped at every start, since the
	// streams are filled from the ledgers. Required.
	StoreDir string
	// WindowBytes bounds each namespace's stream, counting subjects, headers and bodies (64 MiB).
	WindowBytes int64
	// WindowAge is how long an event stays in its stream (24 h).
	WindowAge time.Duration
	// ServerName is the name that clients see in the server's INFO; NATS makes one up when it is empty.
	ServerName string
	// Backend gives the ledgers. Required.
	Backend gateway.Backend
	// Logger takes the log of this package and of the NATS server (discarded when nil).
	Logger *slog.Logger
	// BookmarkInterval is how often each namespace's revision is announced (5 s).
	BookmarkInterval time.Duration
	// AuditInterval is how long a quiet stream goes unchecked (30 s).
	AuditInterval time.Duration
	// Do answers a request of a client; without it, none is taken. It is called concurrently, and returns soon after its
	// context ends.
	Do func(context.Context, gateway.Call) gateway.Reply
	// Operations are the names of the requests that Do knows, for those who look what there is.
	Operations []string
	// Version is that of the program. The service says so where it is a semantic version, and 0.0.0 otherwise.
	Version string
	// DrainTime is how long Close waits for requests that are under way (5 s).
	DrainTime time.Duration
	// LastRead is how long the stream of a namespace that was deleted stays for consumers who have not been sent all of it (5 s),
	// and a fifth of it where there is another namespace of that name.
	LastRead time.Duration
	// PendingBytes bounds what waits for all clients together (512 MiB). It is looked at once a second, and every 100 ms while a
	// fourth of it waits; beyond it, those are cut off for which most waits, until half of it is left.
	PendingBytes int64
	// RebuildWait is how long Start waits for all windows before it lets clients in without the missing ones
	// (1 min).
	RebuildWait time.Duration
}

func (c *Config) setDefaults() {
	if c.WindowBytes == 0 {
		c.WindowBytes = WindowBytesDefault
	}
	if c.WindowAge == 0 {
		c.WindowAge = WindowAgeDefault
	}
	if c.BookmarkInterval == 0 {
		c.BookmarkInterval = BookmarkIntervalDefault
	}
	if c.AuditInterval == 0 {
		c.AuditInterval = AuditIntervalDefault
	}
	if c.LastRead == 0 {
		c.LastRead = LastReadDefault
	}
	if c.DrainTime == 0 {
		c.DrainTime = DrainTimeDefault
	}
	if c.PendingBytes == 0 {
		c.PendingBytes = PendingBytesDefault
	}
	if c.RebuildWait == 0 {
		c.RebuildWait = RebuildWaitDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate gives all faults of a configuration, joined.
func (c Config) Validate() error {
	var faults []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = append(faults, fmt.Errorf("listen address %q: want HOST:PORT: %w", c.Listen, err))
	}
	if c.StoreDir == "" {
		faults = append(faults, errors.New("no store folder given"))
	}
	if c.Backend == nil {
		faults = append(faults, errors.New("no backend given"))
	}
	if c.WindowBytes != 0 && c.WindowBytes < WindowBytesMin {
		faults = append(faults, fmt.Errorf("window of %d bytes: want at least %d", c.WindowBytes, WindowBytesMin))
	}
	if c.WindowAge != 0 && c.WindowAge < WindowAgeMin {
		faults = append(faults, fmt.Errorf("window age %s: want at least %s", c.WindowAge, WindowAgeMin))
	}
	if c.PendingBytes != 0 && c.PendingBytes < PendingBytesMin {
		faults = append(faults, fmt.Errorf("%d bytes that may wait for clients: want at least %d", c.PendingBytes, PendingBytesMin))
	}
	for name, d := range map[string]time.Duration{
		"bookmark interval": c.BookmarkInterval, "audit interval": c.AuditInterval, "rebuild wait": c.RebuildWait, "drain time": c.DrainTime,
	} {
		if d < 0 {
			faults = append(faults, fmt.Errorf("%s %s: want none below zero", name, d))
		}
	}
	return errors.Join(faults...)
}
