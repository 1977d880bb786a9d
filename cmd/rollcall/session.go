package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rollcall/rollcall/client"
)

const description = `A registry that remembers: configuration, services, DNS and coordination from one ledger.

Start a server, and try it from another terminal:

    rollcall serve
    rollcall kv put app/greeting hello
    rollcall service register web --id web-1 --address 10.0.0.7 --port 8080
    rollcall log`

// Globals are the flags that every command takes.
type Globals struct {
	Server    []string      `name:"server" env:"ROLLCALL_SERVER" default:"${default_server}" placeholder:"URL[,URL]" help:"Servers to speak to, http://HOST:PORT or nats://HOST:PORT, in the order of preference; without any, ${default_server}."`
	Namespace string        `short:"n" env:"ROLLCALL_NAMESPACE" default:"default" help:"Namespace that the command is about."`
	JSON      bool          `name:"json" help:"Write JSON lines, for programs."`
	Reason    string        `env:"ROLLCALL_REASON" placeholder:"TEXT" help:"Why, for the ledger; kept on every change that the command makes."`
	Timeout   time.Duration `default:"30s" help:"How long a request may take. Watching takes as long as you like."`
}

// session is what a command runs with.
type session struct {
	Globals
	stdin          io.Reader
	stdout, stderr io.Writer
}

// client connects to the servers that the flags name.
func (s *session) client() (*client.Client, error) {
	c, err := client.New(client.Options{Servers: s.Server, Namespace: s.Namespace, Reason: s.Reason})
	if err != nil {
		return nil, misuse{err}
	}
	return c, nil
}

// request connects, and gives a context that ends with the time for a request.
func (s *session) request(ctx context.Context) (*client.Client, context.Context, context.CancelFunc, error) {
	c, err := s.client()
	if err != nil {
		return nil, nil, nil, err
	}
	if s.Timeout <= 0 {
		return nil, nil, nil, misuse{fmt.Errorf("--timeout %v: it must be more than nothing", s.Timeout)}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	return c, ctx, cancel, nil
}

// sayf tells people one line.
func (s *session) sayf(format string, args ...any) error {
	_, err := fmt.Fprintf(s.stdout, format+"\n", args...)
	return err
}

// warnf tells people one line that must not get into the output.
func (s *session) warnf(format string, args ...any) {
	fmt.Fprintf(s.stderr, "rollcall: "+format+"\n", args...)
}

// line writes one line of JSON.
func (s *session) line(v any) error {
	e := json.NewEncoder(s.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// result tells what a change did: to a program as JSON, to people in words. Warnings go to the people's eyes even
// where a program reads the output.
func (s *session) result(w client.Written, format string, args ...any) error {
	for _, warning := range w.Warnings {
		s.warnf("warning: %s", warning)
	}
	if s.JSON {
		return s.line(w)
	}
	return s.sayf(format, args...)
}

// rehearsing is the flag of commands that can be tried without doing anything.
type rehearsing struct {
	DryRun bool `help:"Show the events that this would write, and write nothing."`
}

// rehearse adds what has the change rehearsed, where that is wanted.
func (r rehearsing) rehearse(options []client.WriteOption, plan *client.Rehearsal) []client.WriteOption {
	if r.DryRun {
		return append(options, client.DryRun(plan))
	}
	return options
}

// rehearsed tells what a change would do: to a program as the server's own answer.
func (s *session) rehearsed(ctx context.Context, cl *client.Client, plan client.Rehearsal) error {
	if s.JSON {
		return s.sayf("%s", bytes.TrimSpace(plan.Raw))
	}
	if plan.Total == 0 {
		return s.sayf("nothing would be written: it is so already")
	}
	story := newStory(s, cl)
	for _, e := range plan.Events {
		if err := story.event(ctx, s.stdout, e); err != nil {
			return err
		}
	}
	return s.sayf("%d events would be written; this was a rehearsal", plan.Total)
}

// flushed gives a buffer before the output, for commands that write much. What was written before an error is shown.
func (s *session) flushed(write func(*bufio.Writer) error) error {
	b := bufio.NewWriter(s.stdout)
	return errors.Join(write(b), b.Flush())
}

// onTerminal tells whether people look at the output.
func (s *session) onTerminal() bool { return isTerminal(s.stdout) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// columnMax is how wide a column of a table gets for the sake of a long cell, which then juts out.
const columnMax = 60

// table writes rows with columns of the same width, and nothing behind the last one.
func table(w io.Writer, rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if n := len([]rune(cell)); n <= columnMax {
				widths[i] = max(widths[i], n)
			}
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-len([]rune(cell)))+2))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
