package client

import (
	"context"
	"fmt"
)

// Node is a host that instances say they run on.
type Node struct {
	Name    string            `json:"node"`
	Address string            `json:"address,omitempty"` // an IP address or a host name; empty while only its maintenance is known
	Meta    map[string]string `json:"meta,omitempty"`
}

// NodeState is a node with what the registry knows about it.
type NodeState struct {
	Node
	Maintenance bool `json:"maintenance"`
	// Reason is why it is in maintenance.
	Reason string `json:"reason,omitempty"`
	// Because is the event that took it out of use, or put it back; nil where there was none.
	Because *Because `json:"because,omitempty"`
	// Revision is the commit that last changed address and meta, and CreateRevision made them; zero where they are not
	// known.
	Revision       uint64 `json:"revision"`
	CreateRevision uint64 `json:"create_revision"`
	// Instances are those that say they run on it; only Node tells.
	Instances []InstanceRef `json:"instances,omitempty"`
}

// PutNode says what is known of a node: all of it. Saying the same thing again changes nothing.
func (c *Client) PutNode(ctx context.Context, n Node, options ...WriteOption) (Written, error) {
	r := c.newRequest("nodes.put", "node", n.Name).with(options)
	body := struct {
		Address string            `json:"address"`
		Meta    map[string]string `json:"meta,omitempty"`
	}{n.Address, n.Meta}
	if err := r.json(body); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "put node", n.Name)
}

// Node reads a node, and which instances run on it. One that is not known, and that no instance names, is ErrNotFound.
func (c *Client) Node(ctx context.Context, name string, options ...ReadOption) (NodeState, error) {
	var n NodeState
	if _, err := c.read(ctx, c.newRequest("nodes.get", "node", name).options(options), &n); err != nil {
		return NodeState{}, fmt.Errorf("read node %q: %w", name, err)
	}
	return n, nil
}

// Nodes lists the nodes that are known, by name.
func (c *Client) Nodes(ctx context.Context, options ...ReadOption) ([]NodeState, error) {
	var w struct {
		Nodes []NodeState `json:"nodes"`
	}
	if _, err := c.read(ctx, c.newRequest("nodes.list").options(options), &w); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return w.Nodes, nil
}

// DeleteNode forgets a node, and its maintenance. The instances on it stay. One that is not known is ErrNotFound.
func (c *Client) DeleteNode(ctx context.Context, name string, options ...WriteOption) (Written, error) {
	return c.written(ctx, c.newRequest("nodes.delete", "node", name).with(options), "delete node", name)
}

// SetNodeMaintenance takes a node out of use, with every instance that says it runs on it, now or later, and says why; or
// puts it back. The node need not be known.
func (c *Client) SetNodeMaintenance(ctx context.Context, name string, enabled bool, reason string, options ...WriteOption) (Written, error) {
	r := c.newRequest("nodes.maintenance", "node", name).with(options)
	if err := r.json(newMaintenance(enabled, reason)); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "set maintenance of node", name)
}
