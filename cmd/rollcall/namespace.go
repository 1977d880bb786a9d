package main

import (
	"context"
	"time"

	"github.com/rollcall/rollcall/client"
)

type namespaceCmd struct {
	Create    namespaceCreateCmd    `cmd:"" help:"Make a namespace."`
	List      namespaceListCmd      `cmd:"" help:"List the namespaces."`
	Show      namespaceShowCmd      `cmd:"" help:"Show what a namespace holds, and what it is to keep to."`
	Configure namespaceConfigureCmd `cmd:"" help:"Set quotas, how much of the past can be read, and a TTL."`
	Renew     namespaceRenewCmd     `cmd:"" help:"Give a namespace its whole TTL again."`
	Delete    namespaceDeleteCmd    `cmd:"" help:"Delete a namespace with everything in it."`
}

type namespaceCreateCmd struct {
	Name  string `arg:"" help:"1 to 63 lower-case letters, digits and hyphens."`
	Group uint64 `help:"Raft group to place it on; left out, the one with the fewest namespaces."`
	From  string `placeholder:"NAMESPACE" complete:"namespaces" help:"Begin with the keys of another namespace, but for those that end with a lease."`
	TTL   string `placeholder:"DURATION" help:"Have it disappear when nobody renews it for so long, such as 1h."`
	rehearsing
}

// Help teaches by example.
func (namespaceCreateCmd) Help() string {
	return `A namespace is an environment: it has its own keys, services and ledger. Making one that exists changes nothing.

    rollcall namespace create staging
    rollcall -n staging kv put app/greeting hello
    rollcall namespace create try-1 --from default --ttl 1h      a copy of its configuration, for as long as it is renewed`
}

// Run makes a namespace.
func (c namespaceCreateCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	settings := client.NamespaceSettings{Group: c.Group, From: c.From}
	if settings.TTL, err = lifetime(c.TTL); err != nil {
		return err
	}
	var plan client.Rehearsal
	w, err := cl.ConfigureNamespace(ctx, c.Name, settings, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	if !w.Created {
		return s.result(w, "namespace %s is there already", c.Name)
	}
	return s.result(w, "namespace %s is made", c.Name)
}

// lifetime reads a TTL; nil where none is given.
func lifetime(given string) (*time.Duration, error) {
	var ttl time.Duration
	switch given {
	case "":
		return nil, nil //nolint:nilnil // nothing was said, and nothing is wrong
	case "none":
		return &ttl, nil
	}
	ttl, err := time.ParseDuration(given)
	if err != nil || ttl < 0 {
		return nil, misusef("--ttl %s: a length of time such as 30s or 1h, or none", given)
	}
	return &ttl, nil
}

type namespaceRenewCmd struct {
	Name string `arg:"" complete:"namespaces" help:"The namespace."`
}

// Help teaches by example.
func (namespaceRenewCmd) Help() string {
	return `A namespace with a TTL disappears, with everything in it, when nobody has renewed it for so long. Renewing it is no
event. One that is gone already is not made anew: that is refused.

    rollcall namespace renew staging`
}

// Run renews a namespace.
func (c namespaceRenewCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	ttl, err := cl.RenewNamespace(ctx, c.Name)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(map[string]string{"ttl": ttl.String()})
	}
	return s.sayf("namespace %s stays for %s from now on", plain(c.Name), ttl)
}

type namespaceDeleteCmd struct {
	Name string `arg:"" complete:"namespaces" help:"The namespace."`
	rehearsing
}

// Help teaches by example.
func (namespaceDeleteCmd) Help() string {
	return `Everything in it goes in one commit: keys, services, sessions. Who did it, when and why stays in the ledger of _system.
If a namespace of that name is made again, it begins empty, and its revisions go on where they were.

    rollcall namespace delete staging --reason "the release is out"`
}

// Run deletes a namespace.
func (c namespaceDeleteCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.DeleteNamespace(ctx, c.Name, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "namespace %s is deleted", plain(c.Name))
}

type namespaceListCmd struct{}

// Help teaches by example.
func (namespaceListCmd) Help() string {
	return `Examples:

    rollcall namespace list
    rollcall namespace list --json                 with their groups and revisions`
}

// Run lists the namespaces.
func (namespaceListCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	namespaces, err := cl.Namespaces(ctx)
	if err != nil {
		return err
	}
	for _, n := range namespaces {
		if s.JSON {
			err = s.line(n)
		} else {
			err = s.sayf("%s", n.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
