package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rollcall/rollcall/server"
)

// serveCmd starts a server. Each flag may also stand in the environment and, under the flag's name, in the
// configuration file: the flag wins over the environment, and that over the file.
type serveCmd struct {
	Config string `env:"ROLLCALL_CONFIG" type:"existingfile" placeholder:"FILE" help:"Configuration file (TOML), with the names of these flags as keys."`

	Name string `env:"ROLLCALL_NAME" placeholder:"NAME" help:"The server's name; by default the host's."`
	Data string `env:"ROLLCALL_DATA" placeholder:"DIR" help:"Data folder; by default ./rollcall-data."`

	HTTP       string `name:"http" env:"ROLLCALL_HTTP" placeholder:"HOST:PORT" help:"HTTP listener; by default 127.0.0.1:7600. Port 0 takes a free one."`
	Raft       string `env:"ROLLCALL_RAFT" placeholder:"HOST:PORT" help:"Listener for the other servers; by default 127.0.0.1:7601."`
	NATS       string `name:"nats" env:"ROLLCALL_NATS" placeholder:"HOST:PORT" help:"NATS listener; by default 127.0.0.1:4222."`
	DNS        string `name:"dns" env:"ROLLCALL_DNS" placeholder:"HOST:PORT" help:"DNS listener, UDP and TCP; by default 127.0.0.1:7653."`
	DNSDomain  string `name:"dns-domain" env:"ROLLCALL_DNS_DOMAIN" placeholder:"DOMAIN" help:"Domain that DNS answers for; by default rollcall.internal."`
	DNSForward string `name:"dns-forward" env:"ROLLCALL_DNS_FORWARD" placeholder:"HOST:PORT[,HOST:PORT]" help:"DNS servers that are asked for all other names, one after the other; without any, those are refused."`

	Bootstrap     string `env:"ROLLCALL_BOOTSTRAP" placeholder:"NAME=HOST:PORT,…" help:"The servers that a new cluster begins with, this one among them, with their Raft addresses."`
	Join          string `env:"ROLLCALL_JOIN" placeholder:"URL[,URL]" help:"Join the running cluster of these servers (HTTP)."`
	NonVoter      *bool  `name:"non-voter" env:"ROLLCALL_NON_VOTER" help:"A server that joins is not to vote until it is promoted."`
	RaftAdvertise string `name:"raft-advertise" env:"ROLLCALL_RAFT_ADVERTISE" placeholder:"HOST:PORT" help:"Where the other servers reach the Raft listener; by default where it listens."`

	Groups         *uint64         `env:"ROLLCALL_GROUPS" placeholder:"N" help:"Raft groups of a new cluster; by default 4."`
	WindowBytes    server.Size     `env:"ROLLCALL_WINDOW_BYTES" placeholder:"SIZE" help:"What the NATS stream of a namespace keeps; by default 64MiB."`
	WindowAge      server.Duration `env:"ROLLCALL_WINDOW_AGE" placeholder:"TIME" help:"And for how long; by default 24h."`
	RequestTimeout server.Duration `env:"ROLLCALL_REQUEST_TIMEOUT" placeholder:"TIME" help:"How long a request may wait; by default 5s."`
	RaftTick       server.Duration `env:"ROLLCALL_RAFT_TICK" placeholder:"TIME" help:"Raft's unit of time; by default 40ms. A dead leader is missed after 10 to 20 of them."`
	BookmarkEvery  server.Duration `env:"ROLLCALL_BOOKMARK_EVERY" placeholder:"TIME" help:"How often quiet subscribers learn the revision; by default 5s."`
	ScrubRate      *server.Size    `env:"ROLLCALL_SCRUB_RATE" placeholder:"SIZE" help:"How much of what is stored is read and checked again in a second, at most; by default 4MiB. 0: nothing is."`
	ScrubEvery     server.Duration `env:"ROLLCALL_SCRUB_EVERY" placeholder:"TIME" help:"Rest before each round through everything that is stored; by default 10m."`
	RetentionRate  *server.Size    `env:"ROLLCALL_RETENTION_RATE" placeholder:"SIZE" help:"How much of the stored rows is read in a second, at most, to delete old versions that namespaces no longer keep; by default 4MiB. 0: none are deleted."`
	RetentionEvery server.Duration `env:"ROLLCALL_RETENTION_EVERY" placeholder:"TIME" help:"How often it is looked whether namespaces may let old states go; by default 1m."`
	CommandChecks  *bool           `name:"enable-command-checks" env:"ROLLCALL_ENABLE_COMMAND_CHECKS" help:"Run the programs that checks of instances name, with the rights of this server: who may register an instance may then run anything here."`
	Insecure       *bool           `env:"ROLLCALL_INSECURE" help:"Allow listeners beyond loopback, though there is no TLS and there are no tokens."`

	LogLevel  slog.Level `name:"log-level" env:"ROLLCALL_LOG_LEVEL" default:"WARN" help:"What to log: debug, info, warn or error."`
	LogFormat string     `name:"log-format" env:"ROLLCALL_LOG_FORMAT" enum:"auto,text,json" default:"auto" help:"Form of the log on standard error: text, json, or auto (text on a terminal)."`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return `Everything is in this one process: the ledgers, HTTP, NATS and DNS, all on loopback unless told otherwise.

    rollcall serve
    rollcall serve --data /var/lib/rollcall --name a
    rollcall serve --name a --raft 127.0.0.1:7601 --bootstrap a=127.0.0.1:7601,b=127.0.0.1:7611,c=127.0.0.1:7621
    rollcall serve --name d --raft 127.0.0.1:7631 --join http://127.0.0.1:7600
    rollcall serve --http 127.0.0.1:0 --raft 127.0.0.1:0 --nats 127.0.0.1:0 --dns 127.0.0.1:0 --data "$(mktemp -d)"

Where it listens also stands in endpoints.json in the data folder, once it is ready.`
}

// Run serves until a signal comes.
func (c serveCmd) Run(ctx context.Context, s *session) error {
	config, err := c.config(s.stderr)
	if err != nil {
		return misuse{err}
	}
	if err := config.Check(); err != nil {
		return misuse{err}
	}
	if os.Getenv("GOGC") == "" {
		// Most of a server's garbage is short-lived requests beside a large window of events that stays: collecting
		// half as often gave a fifth more puts a second (16,200 to 19,700 at 256 in flight, wrk on two cores).
		debug.SetGCPercent(200)
	}
	srv, err := server.Start(ctx, config)
	if err != nil && ctx.Err() != nil {
		return nil // it was asked to stop before it was ready
	}
	if err != nil {
		return err
	}
	if err := greet(s.stdout, srv); err != nil {
		return joinClose(err, srv)
	}
	select {
	case <-ctx.Done():
		return srv.Close()
	case err := <-srv.Failed():
		return joinClose(err, srv)
	}
}

func joinClose(err error, srv *server.Server) error {
	if closing := srv.Close(); closing != nil {
		return fmt.Errorf("%w; and while stopping: %w", err, closing)
	}
	return err
}

// config puts the file, the environment and the flags together.
func (c serveCmd) config(stderr io.Writer) (server.Config, error) {
	var config server.Config
	if c.Config != "" {
		if err := server.ReadConfig(c.Config, &config); err != nil {
			return config, err
		}
	}
	over(&config.Name, c.Name)
	over(&config.Data, c.Data)
	over(&config.HTTP, c.HTTP)
	over(&config.Raft, c.Raft)
	over(&config.NATS, c.NATS)
	over(&config.DNS, c.DNS)
	over(&config.DNSDomain, c.DNSDomain)
	over(&config.DNSForward, c.DNSForward)
	over(&config.Bootstrap, c.Bootstrap)
	over(&config.Join, c.Join)
	over(&config.RaftAdvertise, c.RaftAdvertise)
	if c.NonVoter != nil {
		config.NonVoter = *c.NonVoter
	}
	if c.Groups != nil {
		if *c.Groups == 0 {
			return config, errors.New("groups 0: a cluster has at least one")
		}
		config.Groups = *c.Groups
	}
	over(&config.WindowBytes, c.WindowBytes)
	over(&config.WindowAge, c.WindowAge)
	over(&config.RequestTimeout, c.RequestTimeout)
	over(&config.Tick, c.RaftTick)
	over(&config.BookmarkEvery, c.BookmarkEvery)
	over(&config.ScrubRate, c.ScrubRate)
	over(&config.ScrubEvery, c.ScrubEvery)
	over(&config.RetentionRate, c.RetentionRate)
	over(&config.RetentionEvery, c.RetentionEvery)
	if c.CommandChecks != nil {
		config.EnableCommandChecks = *c.CommandChecks
	}
	if c.Insecure != nil {
		config.Insecure = *c.Insecure
	}
	config.Version = thisBuild().Version
	config.Logger = c.logger(stderr)
	return config, nil
}

// over sets a field to a value that was given; the zero value was not.
func over[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}

func (c serveCmd) logger(stderr io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "text" || c.LogFormat == "auto" && isTerminal(stderr) {
		return slog.New(slog.NewTextHandler(stderr, options))
	}
	return slog.New(slog.NewJSONHandler(stderr, options))
}

// greet says where the server listens, and what to try.
func greet(w io.Writer, srv *server.Server) error {
	e := srv.Endpoints()
	domain := strings.TrimSuffix(srv.DNSDomain(), ".")
	dnsHost, dnsPort, _ := strings.Cut(e.DNS, ":")
	if i := strings.LastIndexByte(e.DNS, ':'); i >= 0 {
		dnsHost, dnsPort = strings.Trim(e.DNS[:i], "[]"), e.DNS[i+1:]
	}
	_, err := fmt.Fprintf(w, `Rollcall server %q of cluster %s is ready.

  HTTP  http://%s
  NATS  nats://%s
  DNS   %s (UDP and TCP), domain %s
  Raft  %s

Three things to try:

  curl -X PUT http://%s/v1/default/kv/greeting -d hello
  dig @%s -p %s _revision.%s TXT +short
  nats sub -s nats://%s 'rollcall.>'

`, srv.Name(), srv.Cluster(), e.HTTP, e.NATS, e.DNS, domain, e.Raft, e.HTTP, dnsHost, dnsPort, domain, e.NATS)
	return err
}

// verifyCmd checks a data folder while no server runs on it.
type verifyCmd struct {
	Data string `env:"ROLLCALL_DATA" default:"rollcall-data" placeholder:"DIR" help:"Data folder of a server that does not run; by default ./rollcall-data."`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return `Every ledger is read from its first event: the bytes are canonical, revisions have no gap, time never goes back,
the Merkle hashes are those of the events, and every row is what the events fold into. The first difference is named.

    rollcall verify --data /var/lib/rollcall`
}

// Run verifies.
func (c verifyCmd) Run(ctx context.Context, s *session) error {
	if _, err := os.Stat(c.Data); err != nil {
		return misuse{err}
	}
	began := time.Now()
	ledgers, clean, err := server.Verify(ctx, c.Data)
	if err != nil {
		return err
	}
	for _, l := range ledgers {
		if s.JSON {
			err = s.line(l)
		} else {
			err = s.sayf("%s  %d events, %d rows, root %s", l.Namespace, l.Events, l.Rows, l.Root)
		}
		if err != nil {
			return err
		}
	}
	if !clean {
		s.warnf("the server of %s was not stopped but killed: what it had acknowledged last may stand in Raft's log alone, which is "+
			"not read here; start and stop it to have that checked too", c.Data)
	}
	if !s.JSON {
		return s.sayf("No difference, in %s.", time.Since(began).Round(time.Millisecond))
	}
	return nil
}
