package main

import (
	"bufio"
	"context"
	"errors"

	"github.com/rollcall/rollcall/client"
)

type watchCmd struct {
	Subject string `arg:"" optional:"" help:"What to watch, such as kv.app.> or service.web.*; left out, everything."`
	From    uint64 `placeholder:"REVISION" help:"Begin with this revision; left out, with what happens from now on."`
}

// Help teaches by example.
func (watchCmd) Help() string {
	return `Examples:

    rollcall watch
    rollcall watch "kv.app.>"                      the keys below app/
    rollcall watch "service.web.*" --json          the instances of web, as CloudEvents
    rollcall watch --from 1                        everything that ever happened, then what happens

A subject is made of segments joined by dots: kv and a key's segments, or service, its name and an instance's id. "*"
stands for one segment, a last ">" for all that follow. In a segment, dot, space, *, > and % are percent-encoded.

It goes on over lost connections, without gap or repeat, until it is interrupted.`
}

// Run shows changes until the context ends.
func (c watchCmd) Run(ctx context.Context, s *session) error {
	cl, err := s.client()
	if err != nil {
		return err
	}
	show := newStory(s, cl)
	for e, err := range cl.Watch(ctx, c.Subject, c.From) {
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // that is how a watch ends
			}
			return err
		}
		if err := show.event(ctx, s.stdout, e); err != nil {
			return err
		}
	}
	return nil
}

type logCmd struct {
	Subject string `arg:"" optional:"" help:"What to show, such as kv.app.> or service.web.*; left out, everything."`
	From    uint64 `placeholder:"REVISION" help:"The first revision; left out, the beginning."`
	To      uint64 `placeholder:"REVISION" help:"The last revision; left out, the present."`
	Limit   int    `placeholder:"N" help:"At most so many events."`
}

// Help teaches by example.
func (logCmd) Help() string {
	return `Examples:

    rollcall log
    rollcall log "kv.app.>"                        the keys below app/
    rollcall log "service.web.*" --from 41 --to 90
    rollcall log --json --limit 10                 as CloudEvents

Subjects are explained at "rollcall watch --help".`
}

// Run shows a part of the ledger.
func (c logCmd) Run(ctx context.Context, s *session) error {
	if c.Limit < 0 {
		return misusef("--limit %d: it must be more than nothing", c.Limit)
	}
	if c.To > 0 && c.From > c.To {
		return misusef("--from %d --to %d: the first revision is behind the last", c.From, c.To)
	}
	cl, err := s.client()
	if err != nil {
		return err
	}
	show := newStory(s, cl)
	return s.flushed(func(out *bufio.Writer) error {
		for e, err := range cl.Events(ctx, client.Range{From: c.From, To: c.To, Subject: c.Subject, Limit: c.Limit}) {
			if err != nil {
				return err
			}
			if err := show.event(ctx, out, e); err != nil {
				return err
			}
		}
		return nil
	})
}
