// Command rollcall is the server and its command line.
//
// Each family of subcommands is one file. All but serve speak to a server through package client, over HTTP or NATS; they know
// no storage and no Raft.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/rollcall/rollcall/client"
)

// grammar is the command line.
type grammar struct {
	Globals

	Serve     serveCmd     `cmd:"" help:"Start a server."`
	KV        kvCmd        `cmd:"" name:"kv" help:"Read and change keys."`
	Session   sessionCmd   `cmd:"" help:"Sessions: leases that keys and instances end with."`
	Service   serviceCmd   `cmd:"" help:"Register and find the instances of services."`
	Node      nodeCmd      `cmd:"" help:"The hosts that instances run on: say, list and show what is known, and take them out of use."`
	Watch     watchCmd     `cmd:"" help:"Show changes as they happen."`
	Log       logCmd       `cmd:"" help:"Show the ledger: what changed, when and why."`
	Namespace namespaceCmd `cmd:"" help:"Make, list, show and configure namespaces."`
	Members   membersCmd   `cmd:"" help:"The servers of the cluster: list, add, promote and remove them."`
	Snapshot  snapshotCmd  `cmd:"" help:"Save, inspect and restore snapshots of a whole cluster."`
	Verify    verifyCmd    `cmd:"" help:"Check a data folder: ledgers, hashes and views."`
	Version   versionCmd   `cmd:"" help:"Say which build this is."`

	Completion completionCmd `cmd:"" help:"Write a script that has a shell complete what you type."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Say what the last word may go on as."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program but for the process. It gives the exit status: 0 done, 1 refused or failed, 2 misuse.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var g grammar
	parser := newParser(&g, stdout, stderr)
	command, err := parser.Parse(args)
	if err != nil {
		return report(stderr, misuse{err})
	}
	command.BindTo(ctx, (*context.Context)(nil))
	s := &session{Globals: g.Globals, stdin: stdin, stdout: stdout, stderr: stderr}
	return report(stderr, command.Run(s, parser))
}

// newParser makes the parser of a command line, and the model that help and completion are made from.
func newParser(g *grammar, stdout, stderr io.Writer) *kong.Kong {
	return kong.Must(g, kong.Name("rollcall"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.Vars{"default_server": client.DefaultServer},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
}
