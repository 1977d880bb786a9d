package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/rollcall/rollcall/dns"
	"github.com/rollcall/rollcall/gateway/notify"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// Config is everything that can be set about a server. The zero value of a field means its default; the command
// line, the environment and a file set the same fields.
type Config struct {
	Name string `toml:"name"` // the server's name in its cluster; default: the host's name
	Data string `toml:"data"` // data folder; default: ./rollcall-data

	HTTP string `toml:"http"` // HOST:PORT of the HTTP door; port 0 takes a free one
	Raft string `toml:"raft"` // HOST:PORT for the other servers
	NATS string `toml:"nats"` // HOST:PORT for subscribers
	DNS  string `toml:"dns"`  // HOST:PORT, UDP and TCP

	// RaftAdvertise is where the other servers reach the Raft listener, where that is not what it listens on.
	RaftAdvertise string `toml:"raft-advertise"`
	// Bootstrap are the servers that a new cluster begins with, this one among them: "a=HOST:PORT,b=HOST:PORT".
	Bootstrap string `toml:"bootstrap"`
	// Join are HTTP addresses of servers of a running cluster, which this one joins: "http://HOST:PORT,…".
	Join string `toml:"join"`
	// NonVoter has a server that joins stay without a vote until it is promoted.
	NonVoter bool `toml:"non-voter"`

	DNSDomain string `toml:"dns-domain"` // the domain that DNS answers for; default: rollcall.internal.
	// DNSForward are the DNS servers that are asked for other names, one after the other: "HOST:PORT,HOST:PORT". Without
	// any, other names are refused.
	DNSForward string `toml:"dns-forward"`
	Groups     uint64 `toml:"groups"` // Raft groups of a new cluster; default 4

	WindowBytes Size     `toml:"window-bytes"` // what a NATS stream keeps of each namespace; default 64 MiB
	WindowAge   Duration `toml:"window-age"`   // and for how long; default 24h

	RequestTimeout Duration `toml:"request-timeout"` // how long a request may wait; default 5s
	Tick           Duration `toml:"raft-tick"`       // Raft's unit of time; default 40ms
	Insecure       bool     `toml:"insecure"`        // allow listeners beyond loopback without TLS and tokens

	// EnableCommandChecks has this server run the programs that checks name, with its own rights: who may register an
	// instance may then run anything here.
	EnableCommandChecks bool `toml:"enable-command-checks"`

	// BookmarkEvery is how often quiet subscribers learn how far the ledger has gone; default 5s.
	BookmarkEvery Duration `toml:"bookmark-every"`

	// ScrubRate is how many bytes a second are read again at most, of what this server stores, to find damage before
	// somebody is answered with it. Nil means the default, 4 MiB; zero means that nothing is.
	ScrubRate *Size `toml:"scrub-rate"`
	// ScrubEvery is the rest before each round through everything that is stored; default 10m.
	ScrubEvery Duration `toml:"scrub-every"`

	// RetentionRate is how many bytes a second are read at most, of the rows that this server stores, to delete the old
	// versions that their namespace no longer keeps. Nil means the default, 4 MiB; zero means that none are deleted.
	RetentionRate *Size `toml:"retention-rate"`
	// RetentionEvery is how often it is looked whether namespaces may let old states go; default 1m.
	RetentionEvery Duration `toml:"retention-every"`
	// retentionGrace is for how long a state is kept whatever a namespace asks for.
	retentionGrace time.Duration

	Logger *slog.Logger `toml:"-"`
	// Version is what the binary says of itself.
	Version string `toml:"-"`
}

// The defaults of Config.
const (
	DefaultHTTP           = "127.0.0.1:7600"
	DefaultRaft           = "127.0.0.1:7601"
	DefaultNATS           = "127.0.0.1:4222"
	DefaultDNS            = "127.0.0.1:7653"
	DefaultDNSDomain      = "rollcall.internal."
	DefaultData           = "rollcall-data"
	DefaultGroups         = 4
	DefaultWindowBytes    = 64 << 20
	DefaultWindowAge      = 24 * time.Hour
	DefaultRequestTimeout = 5 * time.Second
	DefaultTick           = 40 * time.Millisecond
	scrubEveryMin         = 100 * time.Millisecond
	DefaultBookmarkEvery  = 5 * time.Second
	DefaultScrubRate      = log.DefaultScrubBytes
	DefaultScrubEvery     = log.DefaultScrubEvery
	DefaultRetentionRate  = log.DefaultTrimBytes
	DefaultRetentionEvery = log.DefaultTrimEvery
	retentionEveryMin     = 100 * time.Millisecond
)

const groupsMax = 64

// ReadConfig reads a configuration file (TOML) over c. A key that it does not know is an error.
func ReadConfig(path string, c *Config) error {
	meta, err := toml.DecodeFile(path, c)
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("read configuration %s: unknown key %q", path, unknown[0].String())
	}
	return nil
}

// setDefaults fills in what is not set.
func (c *Config) setDefaults(hostname string) {
	for _, f := range []struct {
		field *string
		value string
	}{
		{&c.Name, hostname},
		{&c.Data, DefaultData},
		{&c.HTTP, DefaultHTTP},
		{&c.Raft, DefaultRaft},
		{&c.NATS, DefaultNATS},
		{&c.DNS, DefaultDNS},
		{&c.DNSDomain, DefaultDNSDomain},
	} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *Duration
		value time.Duration
	}{
		{&c.WindowAge, DefaultWindowAge},
		{&c.RequestTimeout, DefaultRequestTimeout},
		{&c.Tick, DefaultTick},
		{&c.BookmarkEvery, DefaultBookmarkEvery},
		{&c.ScrubEvery, DefaultScrubEvery},
		{&c.RetentionEvery, DefaultRetentionEvery},
	} {
		if *f.field == 0 {
			*f.field = Duration(f.value)
		}
	}
	if c.WindowBytes == 0 {
		c.WindowBytes = DefaultWindowBytes
	}
	if c.ScrubRate == nil {
		rate := Size(DefaultScrubRate)
		c.ScrubRate = &rate
	}
	if c.RetentionRate == nil {
		rate := Size(DefaultRetentionRate)
		c.RetentionRate = &rate
	}
	if c.retentionGrace == 0 {
		c.retentionGrace = retentionGrace
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if !strings.HasSuffix(c.DNSDomain, ".") {
		c.DNSDomain += "."
	}
	c.DNSDomain = strings.ToLower(c.DNSDomain)
}

// Check fills in the defaults, and names everything that is wrong with the configuration.
func (c *Config) Check() error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host's name: %w", err)
	}
	c.setDefaults(hostname)
	var errs []error
	if !event.IsMemberName(c.Name) {
		errs = append(errs, fmt.Errorf("name %q: 1 to 63 letters, digits, hyphens, dots and underscores", c.Name))
	}
	for _, l := range []struct{ flag, address string }{
		{"http", c.HTTP}, {"raft", c.Raft}, {"nats", c.NATS}, {"dns", c.DNS},
	} {
		errs = append(errs, c.validateListener(l.flag, l.address))
	}
	if c.RaftAdvertise != "" {
		if host, port, err := net.SplitHostPort(c.RaftAdvertise); err != nil || host == "" || port == "" || port == "0" {
			errs = append(errs, fmt.Errorf("raft-advertise %q: HOST:PORT under which the other servers reach this one", c.RaftAdvertise))
		}
	}
	_, err = c.founders()
	errs = append(errs, err)
	if c.Bootstrap != "" && c.Join != "" {
		errs = append(errs, errors.New("bootstrap makes a new cluster and join enters one that runs: say one of the two"))
	}
	for url := range strings.SplitSeq(c.Join, ",") {
		if c.Join != "" && !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			errs = append(errs, fmt.Errorf("join %q: the HTTP address of a server, such as http://127.0.0.1:7600", url))
		}
	}
	if err := (dns.Config{View: names.New(), Domain: c.DNSDomain, Address: c.DNS, Forward: c.forwards()}).Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Groups > groupsMax {
		errs = append(errs, fmt.Errorf("groups %d: 1 to %d", c.Groups, groupsMax))
	}
	if c.Tick < Duration(time.Millisecond) || c.Tick > Duration(time.Second) {
		errs = append(errs, fmt.Errorf("raft-tick %s: 1ms to 1s", time.Duration(c.Tick)))
	}
	for _, d := range []struct {
		flag  string
		value Duration
	}{{"request-timeout", c.RequestTimeout}, {"window-age", c.WindowAge}, {"bookmark-every", c.BookmarkEvery}, {"scrub-every", c.ScrubEvery}, {"retention-every", c.RetentionEvery}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s %s: a length of time above zero", d.flag, time.Duration(d.value)))
		}
	}
	if c.ScrubEvery > 0 && c.ScrubEvery < Duration(scrubEveryMin) {
		errs = append(errs, fmt.Errorf("scrub-every %s: at least %s", time.Duration(c.ScrubEvery), scrubEveryMin))
	}
	if c.RetentionEvery > 0 && c.RetentionEvery < Duration(retentionEveryMin) {
		errs = append(errs, fmt.Errorf("retention-every %s: at least %s", time.Duration(c.RetentionEvery), retentionEveryMin))
	}
	if c.WindowBytes < notify.WindowBytesMin {
		errs = append(errs, fmt.Errorf("window-bytes %d: at least %d, so that the largest event fits", c.WindowBytes, notify.WindowBytesMin))
	}
	return errors.Join(errs...)
}

// forwards reads DNSForward.
func (c *Config) forwards() []string {
	if c.DNSForward == "" {
		return nil
	}
	return strings.Split(c.DNSForward, ",")
}

// scrubBytes is ScrubRate as package log has it: there zero is the default, and less than zero means never.
func (c *Config) scrubBytes() int { return rate(*c.ScrubRate) }

// trimBytes is RetentionRate likewise.
func (c *Config) trimBytes() int { return rate(*c.RetentionRate) }

func rate(s Size) int {
	if s == 0 {
		return -1
	}
	return int(s)
}

// advertised is the address under which the other servers reach this one.
func (c *Config) advertised() string {
	if c.RaftAdvertise != "" {
		return c.RaftAdvertise
	}
	all, err := c.founders()
	if err == nil {
		for _, f := range all {
			if f.Name == c.Name {
				return f.Raft
			}
		}
	}
	return c.Raft
}

// founders reads Bootstrap, in the order of names.
func (c *Config) founders() ([]founder, error) {
	if c.Bootstrap == "" {
		return nil, nil
	}
	var all []founder
	for part := range strings.SplitSeq(c.Bootstrap, ",") {
		name, address, ok := strings.Cut(part, "=")
		host, port, err := net.SplitHostPort(address)
		if !ok || !event.IsMemberName(name) || err != nil || host == "" || port == "" || port == "0" {
			return nil, fmt.Errorf("bootstrap %q: NAME=HOST:PORT for each server, with their Raft addresses, such as a=10.0.0.1:7601,b=10.0.0.2:7601", part)
		}
		all = append(all, founder{Name: name, Raft: address})
	}
	slices.SortFunc(all, func(a, b founder) int { return strings.Compare(a.Name, b.Name) })
	for i := range all {
		all[i].Replica = uint64(i + 1)
		for _, f := range all[:i] {
			if f.Name == all[i].Name || f.Raft == all[i].Raft {
				return nil, fmt.Errorf("bootstrap: %s=%s and %s=%s are the same server twice", f.Name, f.Raft, all[i].Name, all[i].Raft)
			}
		}
	}
	if !slices.ContainsFunc(all, func(f founder) bool { return f.Name == c.Name }) {
		return nil, fmt.Errorf("bootstrap %q: this server, %q, is not among them", c.Bootstrap, c.Name)
	}
	return all, nil
}

func (c *Config) validateListener(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q: HOST:PORT, such as 127.0.0.1:7600", flag, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q: the port is a number from 0 to 65535", flag, address)
	}
	if !c.Insecure && !isLoopback(host) {
		return fmt.Errorf("%s %q listens beyond this host, where anybody could read and change everything: there is no TLS and "+
			"there are no tokens yet; use a loopback address, or say --insecure where the network itself is trusted", flag, address)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Duration is a length of time that is written as text, such as "30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no length of time, such as 30s or 24h", text)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written as a number with an optional unit: "64MiB", "1GiB", "65536".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	number, shift := string(text), 0
	for _, unit := range []struct {
		suffix string
		shift  int
	}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}} {
		if n, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, shift = n, unit.shift
			break
		}
	}
	v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || v < 0 || v > 1<<40>>shift {
		return fmt.Errorf("%q is no number of bytes, such as 65536, 64MiB or 1GiB", text)
	}
	*s = Size(v << shift)
	return nil
}
