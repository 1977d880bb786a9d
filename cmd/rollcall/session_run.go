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
SIGTERM at that moment, and is killed --grace later. So does it when this command is interrupted, and then its session lives
until it has stopped.

The exit status is the command's own, or 128 and the signal's number where one killed it, 1 where the session was lost,
and 2 where there is no such command.`
}

// Run runs a command with a session.
func (c sessionRunCmd) Run(ctx context.Context, s *session) error {
	command := c.Command
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return misusef("name the command to run: rollcall session run -- COMMAND")
	}
	return leasedRun{words: command, options: c.session(), grace: c.Grace}.run(ctx, s)
}

// leasedRun runs a command with a session that lives as long as it does.
type leasedRun struct {
	words   []string // the command
	options client.SessionOptions
	grace   time.Duration // for stopping, before it is killed
	env     []string      // what it finds in its environment besides the session
	// begin is done when the session is there and before the command starts. A fault of it is the end of all.
	begin func(ctx context.Context, live *client.LiveSession) error
	// beside goes on while the command runs, until its context ends.
	beside func(ctx context.Context)
	// leave is done when the run is interrupted, before the command is told to stop. Its context ends when the command exits
	// or the session is lost.
	leave func(ctx context.Context)
}

// endTime is for ending a session when the command has exited: should that fail, it expires.
const endTime = 5 * time.Second

func (r leasedRun) run(ctx context.Context, s *session) error {
	if _, err := exec.LookPath(r.words[0]); err != nil {
		return misuse{err} // before anybody sees a session that nothing lives by
	}
	cl, request, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	live, err := r.open(context.WithoutCancel(ctx), request, cl)
	if err != nil {
		return err
	}
	err = r.runIn(ctx, s, live)
	if lostCause(err) != nil {
		return err // there is nothing left to end
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if failed := live.Close(ctx); failed != nil {
		s.warnf("%v", failed)
	}
	return err
}

// open begins the session, within the request, and has it kept alive also while a command that was interrupted stops.
func (r leasedRun) open(ctx, request context.Context, cl *client.Client) (*client.LiveSession, error) {
	ctx, cancel := context.WithCancel(ctx)
	opened := context.AfterFunc(request, cancel)
	live, err := cl.OpenSession(ctx, r.options)
	if !opened() && err == nil {
		err = request.Err()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	context.AfterFunc(live.Context(), cancel)
	return live, nil
}

// runIn runs the command until it has exited, and stops it when the session is lost.
func (r leasedRun) runIn(ctx context.Context, s *session, live *client.LiveSession) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(live.Context(), stop)()
	err := r.command(ctx, s, live)
	if lost := lostCause(context.Cause(live.Context())); lost != nil {
		return lost
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exitStatus(statusOf(exit))
	}
	return err
}

// command runs the command until it exits, by itself or because the context ended, as it does when the session is lost.
func (r leasedRun) command(ctx context.Context, s *session, live *client.LiveSession) error {
	if r.begin != nil {
		request, cancel := context.WithTimeout(ctx, s.Timeout)
		defer cancel()
		if err := r.begin(request, live); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before the command was started")
	}
	cmd := exec.Command(r.words[0], r.words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout, s.stderr
	cmd.Env = append(os.Environ(), "ROLLCALL_SESSION="+live.ID, "ROLLCALL_SERVER="+strings.Join(s.Server, ","), "ROLLCALL_NAMESPACE="+s.Namespace)
	cmd.Env = append(cmd.Env, r.env...)
	cmd.WaitDelay = r.grace // what it started may hold on to its output
	if err := cmd.Start(); err != nil {
		return err
	}
	if r.beside != nil {
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.beside(ctx)
		}()
		defer func() {
			stop()
			<-done
		}()
	}
	return r.wait(ctx, live.Context(), cmd, func(ctx context.Context) {
		if r.leave != nil {
			r.leave(ctx)
		}
	})
}

// wait waits until the command has exited. When the context ends, it is told to stop. What is to be done before is given a
// context that ends when that need not, or must not, wait any longer: the command has exited, or the session is lost.
func (r leasedRun) wait(ctx, held context.Context, cmd *exec.Cmd, before func(context.Context)) (err error) {
	waiting, enough := context.WithCancel(held)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		err = cmd.Wait()
		enough()
	}()
	select {
	case <-exited:
		return err
	case <-ctx.Done():
	}
	if waiting.Err() == nil {
		before(waiting)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // which fails only where it has exited
	patience := time.NewTimer(r.grace)
	defer patience.Stop()
	select {
	case <-exited:
	case <-patience.C:
		_ = cmd.Process.Kill()
		<-exited
	}
	return err
}

// lostCause is the loss of a session that an error is about; nil for any other.
func lostCause(err error) error {
	if lost, ok := errors.AsType[*client.LostError](err); ok {
		return lost
	}
	return nil
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
