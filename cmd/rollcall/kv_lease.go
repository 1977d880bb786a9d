package main

import (
	"context"
	"strings"

	"github.com/rollcall/rollcall/client"
)

type kvAppendCmd struct {
	Directory string `arg:"" complete:"keys" help:"The directory."`
	Value     string `arg:"" complete:"values" help:"The value; - is standard input and @FILE is a file, as they are."`
	keyFlags
	rehearsing
}

// Help teaches by example.
func (kvAppendCmd) Help() string {
	return `Examples:

    rollcall kv append jobs/ "resize photo 17"
    rollcall kv append jobs/ @job.json --content-type application/json --ttl 1h
    rollcall kv list jobs/ --keys | head -1        the oldest

It writes the key that it made: the directory, and the revision that made it in 20 digits. So the keys of a directory stand
in the order in which they were made, whoever made them.`
}

// Run makes an in-order key.
func (c kvAppendCmd) Run(ctx context.Context, s *session) error {
	value, err := s.valueOf(c.Value)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	directory := c.Directory
	if !strings.HasSuffix(directory, "/") {
		directory += "/" // only a directory can be meant
	}
	var plan client.Rehearsal
	made, err := cl.Append(ctx, directory, value, c.rehearse(c.options(), &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	case s.JSON:
		return s.line(made)
	}
	return s.sayf("%s", plain(made.Key))
}

type kvRefreshCmd struct {
	Key string `arg:"" complete:"keys" help:"The key, or a directory, with its slash."`
}

// Help teaches by example.
func (kvRefreshCmd) Help() string {
	return `Examples:

    rollcall kv refresh app/hosts/web-1
    rollcall kv refresh app/hosts/                 the directory, and so all below it

It is no event: the revision stays, and nobody is told. Refresh a key about every third of its TTL. A key that is gone, and
one without a TTL of its own, is exit status 1.`
}

// Run renews a TTL.
func (c kvRefreshCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	ttl, err := cl.Refresh(ctx, c.Key)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(renewed{TTL: ttl.String()})
	}
	return s.sayf("%s lives for another %v", plain(c.Key), ttl)
}

// renewed is a renewal in JSON, in the shape of the server's own answer.
type renewed struct {
	TTL string `json:"ttl"`
}
