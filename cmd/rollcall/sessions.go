package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall/rollcall/client"
)

type sessionCmd struct {
	Run       sessionRunCmd       `cmd:"" help:"Run a command with a session that lives as long as it does."`
	Create    sessionCreateCmd    `cmd:"" help:"Begin a session."`
	List      sessionListCmd      `cmd:"" help:"List the sessions."`
	Show      sessionShowCmd      `cmd:"" help:"Show a session, and what ends with it."`
	Keepalive sessionKeepaliveCmd `cmd:"" help:"Give a session its whole TTL again."`
	End       sessionEndCmd       `cmd:"" help:"End a session, and what is bound to it."`
}

// sessionFlags say what a session is to be like.
type sessionFlags struct {
	TTL       time.Duration `name:"ttl" default:"15s" help:"For how long it lives after it was kept alive last; left out, 15s."`
	OnEnd     string        `enum:"release,delete" default:"release" help:"What becomes of its keys: release them or delete them. Its instances are always removed."`
	LockDelay time.Duration `default:"0s" placeholder:"TIME" help:"For how long after it expired nobody else may take a lock that it held."`
}

func (f sessionFlags) session() client.SessionOptions {
	return client.SessionOptions{TTL: f.TTL, OnEnd: client.OnEnd(f.OnEnd), LockDelay: f.LockDelay}
}

type sessionCreateCmd struct {
	sessionFlags
	rehearsing
}

// Help teaches by example.
func (sessionCreateCmd) Help() string {
	return `Examples:

    rollcall session create
    id=$(rollcall session create --ttl 30s --on-end delete)
    rollcall kv put app/leader me --if-absent --session "$id"

It writes the session's id. Somebody has to keep it alive, about every third of its TTL: "rollcall session keepalive", or
"rollcall session run", which makes a session, keeps it alive and ends it.`
}

// Run begins a session.
func (c sessionCreateCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	made, err := cl.CreateSession(ctx, c.session(), c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	case s.JSON:
		return s.line(struct {
			ID       string `json:"id"`
			TTL      string `json:"ttl"`
			Revision uint64 `json:"revision"`
		}{made.ID, made.TTL.String(), made.Revision})
	}
	return s.sayf("%s", made.ID)
}

type sessionListCmd struct {
	At string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (sessionListCmd) Help() string {
	return `Examples:

    rollcall session list
    rollcall session list --json | jq -r .id`
}

// Run lists sessions.
func (c sessionListCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	rows := [][]string{{"SESSION", "TTL", "ON END", "CREATED", "EXPIRES"}}
	for one, err := range cl.Sessions(ctx, options...) {
		if err != nil {
			return err
		}
		if s.JSON {
			if err := s.line(one); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{one.ID, one.TTL.String(), string(one.OnEnd), moment(one.Created), moment(one.Expires)})
	}
	if len(rows) == 1 {
		return nil
	}
	return table(s.stdout, rows)
}

// moment is a time as people read it; a hyphen for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

type sessionShowCmd struct {
	ID string `arg:"" name:"session" help:"The session's id."`
	At string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (sessionShowCmd) Help() string {
	return `Examples:

    rollcall session show 7
    rollcall session show 7 --json | jq .holds     what ends with it`
}

// Run shows a session.
func (c sessionShowCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	one, err := cl.Session(ctx, c.ID, options...)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(one)
	}
	rows := [][]string{
		{"session", one.ID},
		{"ttl", one.TTL.String()},
		{"on end", string(one.OnEnd)},
		{"lock delay", one.LockDelay.String()},
		{"created", moment(one.Created)},
		{"expires", moment(one.Expires)},
	}
	for _, h := range one.Holds {
		if h.Key != "" {
			rows = append(rows, []string{"key", plain(h.Key)})
		} else {
			rows = append(rows, []string{"instance", plain(h.Service) + "/" + plain(h.ID)})
		}
	}
	return table(s.stdout, rows)
}

type sessionKeepaliveCmd struct {
	ID string `arg:"" name:"session" help:"The session's id."`
}

// Help teaches by example.
func (sessionKeepaliveCmd) Help() string {
	return `Examples:

    rollcall session keepalive 7
    while rollcall session keepalive 7; do sleep 5; done

A session that has ended is exit status 1: whoever held something by it must stop.`
}

// Run keeps a session alive.
func (c sessionKeepaliveCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	ttl, err := cl.KeepAlive(ctx, c.ID)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(renewed{TTL: ttl.String()})
	}
	return s.sayf("session %s lives for another %v", plain(c.ID), ttl)
}

type sessionEndCmd struct {
	ID string `arg:"" name:"session" help:"The session's id."`
	rehearsing
}

// Help teaches by example.
func (sessionEndCmd) Help() string {
	return `Examples:

    rollcall session end 7 --dry-run               what would end with it
    rollcall session end 7 --reason "the deploy is over"`
}

// Run ends a session.
func (c sessionEndCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.EndSession(ctx, c.ID, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "session %s is ended, at revision %d", plain(c.ID), w.Revision)
}

type sessionRunCmd struct {
	sessionFlags
	Grace   time.Duration `default:"10s" help:"How long the command may take to stop before it is killed; left out, 10s."`
	Command []string      `arg:"" passthrough:"partial" help:"The command, with its arguments."`
}

// Help teaches by example.
func (sessionRunCmd) Help() string {
	return `Examples:

    rollcall session run -- sh -c 'rollcall kv put app/leader $(hostname) --if-absent --session $ROLLCALL_SESSION && exec lead'
    rollcall session run --ttl 5s --on-end delete -- sh register-and-serve.sh

The session is made before the command starts, kept alive every third of its TTL, and ended when the command exits. The
command finds its id in ROLLCALL_SESSION, and the servers and the namespace in ROLLCALL_SERVER and ROLLCALL_NAMESPACE.

When the session is lost, because somebody ended it or because no server has confirmed it for a whole TTL, the command gets
SIGTERM at that moment, and is killed --grace later; so does it when this command is interrupted.

The exit status is the command's own, or 128 and the signal's number where one killed it, 1 where the session was lost,
and 2 where there is no such command.`
}

// endTime is for ending a session when the command has exited: should that fail, it expires.
const endTime = 5 * time.Second

// Run runs a command with a session.
func (c sessionRunCmd) Run(ctx context.Context, s *session) error {
	command := c.Command
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return misusef("name the command to run: rollcall session run -- COMMAND")
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return misuse{err} // before anybody sees a session that nothing lives by
	}
	cl, request, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	since := time.Now()
	made, err := cl.CreateSession(request, c.session())
	if err != nil {
		return err
	}
	err = c.keepWhile(ctx, cl, made, since, s.command(command, made.ID))
	if errors.As(err, new(*client.LostError)) {
		return err // there is nothing left to end
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if _, failed := cl.EndSession(ctx, made.ID); failed != nil && !errors.Is(failed, client.ErrNotFound) {
		s.warnf("session %s will expire in %v: %v", made.ID, made.TTL, failed)
	}
	return err
}

// keepWhile keeps a session alive while a command runs, and stops the command when the session is lost.
func (c sessionRunCmd) keepWhile(ctx context.Context, cl *client.Client, one client.Session, since time.Time, command func(context.Context) *exec.Cmd) error {
	ctx, lose := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		lose(cl.Keep(ctx, one, since))
	}()
	defer func() {
		lose(nil)
		<-kept
	}()
	cmd := command(ctx)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = c.Grace
	err := cmd.Run()
	if lost := (*client.LostError)(nil); errors.As(context.Cause(ctx), &lost) {
		return lost
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exitStatus(statusOf(exit))
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil // it was interrupted, and stopped well
	}
	return err
}

// command prepares a command that is to know about a session.
func (s *session) command(words []string, id string) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout, s.stderr
		cmd.Env = append(os.Environ(), "ROLLCALL_SESSION="+id, "ROLLCALL_SERVER="+strings.Join(s.Server, ","), "ROLLCALL_NAMESPACE="+s.Namespace)
		return cmd
	}
}

func statusOf(e *exec.ExitError) int {
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return e.ExitCode()
}

// exitStatus is that of a command that ran for us. It has said itself what went wrong.
type exitStatus int

// Error implements error.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// ExitCode implements kong.ExitCoder.
func (e exitStatus) ExitCode() int { return int(e) }
