package main

import (
	"context"
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
