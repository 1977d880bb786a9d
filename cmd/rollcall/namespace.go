package main

import (
	"context"
)

type namespaceCmd struct {
	Create    namespaceCreateCmd    `cmd:"" help:"Make a namespace."`
	List      namespaceListCmd      `cmd:"" help:"List the namespaces."`
	Show      namespaceShowCmd      `cmd:"" help:"Show what a namespace holds, and what it is to keep to."`
	Configure namespaceConfigureCmd `cmd:"" help:"Set quotas, and how much of the past can be read."`
}

type namespaceCreateCmd struct {
	Name  string `arg:"" help:"1 to 63 lower-case letters, digits and hyphens."`
	Group uint64 `help:"Raft group to place it on; left out, the one with the fewest namespaces."`
}

// Help teaches by example.
func (namespaceCreateCmd) Help() string {
	return `A namespace is an environment: it has its own keys, services and ledger. Making one that exists changes nothing.

    rollcall namespace create staging
    rollcall -n staging kv put app/greeting hello`
}

// Run makes a namespace.
func (c namespaceCreateCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	w, err := cl.CreateNamespace(ctx, c.Name, c.Group)
	if err != nil {
		return err
	}
	if !w.Created {
		return s.result(w, "namespace %s is there already", c.Name)
	}
	return s.result(w, "namespace %s is made", c.Name)
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
