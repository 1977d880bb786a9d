package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/client"
)

type membersCmd struct {
	List    membersListCmd    `cmd:"" help:"List the servers of the cluster."`
	Groups  membersGroupsCmd  `cmd:"" help:"List the Raft groups, and who leads them."`
	Add     membersAddCmd     `cmd:"" help:"Keep a place for a server that is to join."`
	Promote membersPromoteCmd `cmd:"" help:"Have a server vote."`
	Remove  membersRemoveCmd  `cmd:"" help:"Remove a server from the cluster."`
}

type membersListCmd struct{}

// Help teaches by example.
func (membersListCmd) Help() string {
	return `Examples:

    rollcall members list
    rollcall members list --json | jq -r 'select(.alive | not) | .name'`
}

// Run lists the servers.
func (membersListCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	members, err := cl.Members(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "ROLE", "ALIVE", "REVISION", "HTTP", "RAFT", "NATS", "DNS"}}
	for _, m := range members {
		if s.JSON {
			if err := s.line(m); err != nil {
				return err
			}
			continue
		}
		alive := "no"
		if m.Alive {
			alive = "yes"
		}
		rows = append(rows, []string{m.Name, m.Role, alive, strconv.FormatUint(m.Revision, 10), dash(m.HTTP), m.Raft, dash(m.NATS), dash(m.DNS)})
	}
	if s.JSON {
		return nil
	}
	return table(s.stdout, rows)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type membersGroupsCmd struct{}

// Help teaches by example.
func (membersGroupsCmd) Help() string {
	return `Examples:

    rollcall members groups
    rollcall members groups --json`
}

// Run lists the groups.
func (membersGroupsCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	groups, err := cl.Groups(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"GROUP", "LEADER", "VOTERS", "OTHERS", "NAMESPACES"}}
	for _, g := range groups {
		if s.JSON {
			if err := s.line(g); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{strconv.FormatUint(g.ID, 10), dash(g.Leader), dash(strings.Join(g.Members, " ")), dash(strings.Join(g.NonVoters, " ")), dash(strings.Join(g.Namespaces, " "))})
	}
	if s.JSON {
		return nil
	}
	return table(s.stdout, rows)
}

type membersAddCmd struct {
	Name     string `arg:"" help:"The name that the server is to have."`
	Raft     string `arg:"" placeholder:"HOST:PORT" help:"Its Raft listener."`
	NonVoter bool   `help:"It is not to vote until it is promoted."`
}

// Help teaches by example.
func (membersAddCmd) Help() string {
	return `A server that is started with --join adds itself; this only says beforehand which one is to come.

    rollcall members add d 10.0.0.4:7601
    rollcall serve --name d --raft 10.0.0.4:7601 --join http://10.0.0.1:7600      on the new host`
}

// Run keeps a place.
func (c membersAddCmd) Run(ctx context.Context, s *session) error {
	return changeMember(ctx, s, func(ctx context.Context, cl *client.Client) (client.Written, error) {
		return cl.AddMember(ctx, c.Name, c.Raft, !c.NonVoter)
	}, "a place is kept for server %s", c.Name)
}

type membersPromoteCmd struct {
	Name string `arg:"" complete:"members" help:"The server."`
}

// Help teaches by example.
func (membersPromoteCmd) Help() string {
	return `A server that was started with --join --non-voter has everything and votes on nothing, until it is promoted.

    rollcall members promote d`
}

// Run promotes a server.
func (c membersPromoteCmd) Run(ctx context.Context, s *session) error {
	return changeMember(ctx, s, func(ctx context.Context, cl *client.Client) (client.Written, error) {
		return cl.PromoteMember(ctx, c.Name)
	}, "server %s votes once it has caught up", c.Name)
}

type membersRemoveCmd struct {
	Name string `arg:"" complete:"members" help:"The server."`
}

// Help says what it means.
func (membersRemoveCmd) Help() string {
	return `The server stops by itself. It can come back under the same name with an empty data folder, as a new replica.
A removal that would leave too few servers that vote and answer is refused.

    rollcall members remove d --reason "its host is gone"`
}

// Run removes a server.
func (c membersRemoveCmd) Run(ctx context.Context, s *session) error {
	return changeMember(ctx, s, func(ctx context.Context, cl *client.Client) (client.Written, error) {
		return cl.RemoveMember(ctx, c.Name)
	}, "server %s is removed", c.Name)
}

func changeMember(ctx context.Context, s *session, change func(context.Context, *client.Client) (client.Written, error), format, name string) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	w, err := change(ctx, cl)
	if err != nil {
		return err
	}
	return s.result(w, format, name)
}
