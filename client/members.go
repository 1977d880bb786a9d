package client

import (
	"context"
	"fmt"
)

// Member is a server of the cluster.
type Member struct {
	Name     string `json:"name"`
	Replica  uint64 `json:"replica"`
	HTTP     string `json:"http,omitempty"`
	Raft     string `json:"raft"`
	NATS     string `json:"nats,omitempty"`
	DNS      string `json:"dns,omitempty"`
	Role     string `json:"role"` // voter or non-voter
	Alive    bool   `json:"alive"`
	Revision uint64 `json:"revision"`
}

// Group is a Raft group.
type Group struct {
	ID         uint64   `json:"id"`
	Leader     string   `json:"leader"`
	Members    []string `json:"members"`
	NonVoters  []string `json:"non_voters,omitempty"`
	Namespaces []string `json:"namespaces"`
}

// Members lists the servers of the cluster by name.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var w struct {
		Members []Member `json:"members"`
	}
	if _, err := c.read(ctx, systemRequest("members.list"), &w); err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	return w.Members, nil
}

// Groups lists the Raft groups by number.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var w struct {
		Groups []Group `json:"groups"`
	}
	if _, err := c.read(ctx, systemRequest("groups.list"), &w); err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return w.Groups, nil
}

// AddMember keeps a place for a server that is to be started with --join: its name, and HOST:PORT of its Raft listener.
func (c *Client) AddMember(ctx context.Context, name, raft string, voter bool) (Written, error) {
	r := systemRequest("members.put", "name", name)
	if err := r.json(map[string]any{"raft": raft, "voter": voter}); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "add member", name)
}

// PromoteMember has a server vote once it has caught up.
func (c *Client) PromoteMember(ctx context.Context, name string) (Written, error) {
	return c.written(ctx, systemRequest("members.promote", "name", name), "promote member", name)
}

// RemoveMember removes a server from the cluster. It is refused where too few that vote would be left.
func (c *Client) RemoveMember(ctx context.Context, name string) (Written, error) {
	return c.written(ctx, systemRequest("members.remove", "name", name), "remove member", name)
}
