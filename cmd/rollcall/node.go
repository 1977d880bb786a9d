package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/rollcall/rollcall/client"
)

type nodeCmd struct {
	List        nodeListCmd        `cmd:"" help:"List the nodes."`
	Put         nodePutCmd         `cmd:"" help:"Say what is known of a node."`
	Show        nodeShowCmd        `cmd:"" help:"Show a node, and the instances on it."`
	Delete      nodeDeleteCmd      `cmd:"" help:"Forget a node."`
	Maintenance nodeMaintenanceCmd `cmd:"" help:"Take a node out of use, or put it back."`
}

type nodeListCmd struct {
	At string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (nodeListCmd) Help() string {
	return `Examples:

    rollcall node list
    rollcall node list --json | jq -r 'select(.maintenance) | .node'`
}

// Run lists nodes.
func (c nodeListCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	nodes, err := cl.Nodes(ctx, options...)
	if err != nil {
		return err
	}
	return rows(s, nodes, func(n client.NodeState) []string {
		return []string{plain(n.Name), dash(n.Address), useOf(n), dash(metaWords(n.Meta)), nodeWhy(n)}
	})
}

// useOf says whether a node is kept out of use.
func useOf(n client.NodeState) string {
	if n.Maintenance {
		return string(client.Maintenance)
	}
	return "in use"
}

// nodeWhy says which event keeps a node out of use.
func nodeWhy(n client.NodeState) string {
	if !n.Maintenance || n.Because == nil {
		return ""
	}
	text := fmt.Sprintf("#%d %s", n.Because.Revision, plain(kindOf(n.Because.Type)))
	if n.Reason != "" {
		text += ": " + plain(n.Reason)
	}
	return text
}

type nodePutCmd struct {
	Name    string            `arg:"" complete:"nodes" help:"The node."`
	Address string            `required:"" help:"Its IP address or host name."`
	Meta    map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"A fact about it; give it once for each."`
	rehearsing
}

// Help teaches by example.
func (nodePutCmd) Help() string {
	return `Examples:

    rollcall node put host-1 --address 192.0.2.1
    rollcall node put host-2 --address 192.0.2.2 --meta rack=7 --meta zone=a

What is given is all that is known of the node from then on. DNS answers for it. Instances may say that they run on a node
that is not known.`
}

// Run says what is known of a node.
func (c nodePutCmd) Run(ctx context.Context, s *session) error {
	return changeNode(ctx, s, c.rehearsing, func(ctx context.Context, cl *client.Client, options ...client.WriteOption) (client.Written, error) {
		return cl.PutNode(ctx, client.Node{Name: c.Name, Address: c.Address, Meta: c.Meta}, options...)
	}, "node "+plain(c.Name)+" is known")
}

type nodeShowCmd struct {
	Name string `arg:"" complete:"nodes" help:"The node."`
	At   string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (nodeShowCmd) Help() string {
	return `Examples:

    rollcall node show host-1
    rollcall node show host-1 --json | jq .instances     what runs on it`
}

// Run shows a node.
func (c nodeShowCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	n, err := cl.Node(ctx, c.Name, options...)
	switch {
	case err != nil:
		return err
	case s.JSON:
		return s.line(n)
	}
	rows := [][]string{{"node", plain(n.Name)}, {"address", dash(n.Address)}, {"status", useOf(n)}}
	if b := n.Because; b != nil {
		rows = append(rows, []string{"because", fmt.Sprintf("#%d %s, %s", b.Revision, plain(kindOf(b.Type)), moment(b.Time))})
	}
	if n.Reason != "" {
		rows = append(rows, []string{"reason", plain(n.Reason)})
	}
	if len(n.Meta) > 0 {
		rows = append(rows, []string{"meta", metaWords(n.Meta)})
	}
	if n.Revision > 0 {
		rows = append(rows, []string{"revision", strconv.FormatUint(n.Revision, 10)})
	}
	for _, i := range n.Instances {
		rows = append(rows, []string{"instance", plain(i.Service) + "/" + plain(i.ID)})
	}
	return table(s.stdout, rows)
}

type nodeDeleteCmd struct {
	Name string `arg:"" complete:"nodes" help:"The node."`
	rehearsing
}

// Help teaches by example.
func (nodeDeleteCmd) Help() string {
	return `Examples:

    rollcall node delete host-1 --reason "sold"

Its maintenance is forgotten, too. The instances that say they run on it stay.`
}

// Run forgets a node.
func (c nodeDeleteCmd) Run(ctx context.Context, s *session) error {
	return changeNode(ctx, s, c.rehearsing, func(ctx context.Context, cl *client.Client, options ...client.WriteOption) (client.Written, error) {
		return cl.DeleteNode(ctx, c.Name, options...)
	}, "node "+plain(c.Name)+" is forgotten")
}

type nodeMaintenanceCmd struct {
	Name  string `arg:"" complete:"nodes" help:"The node; it need not be known."`
	State string `arg:"" enum:"on,off" help:"on takes it out of use, off puts it back."`
	rehearsing
}

// Help teaches by example.
func (nodeMaintenanceCmd) Help() string {
	return `Examples:

    rollcall node maintenance host-1 on --reason "new disk"
    rollcall node maintenance host-1 off

Every instance that says it runs on the node, now or later, is in maintenance meanwhile: DNS does not show it. The --reason is
shown with them for as long as it lasts, and kept on the event.`
}

// Run takes a node out of use, or puts it back.
func (c nodeMaintenanceCmd) Run(ctx context.Context, s *session) error {
	return changeNode(ctx, s, c.rehearsing, func(ctx context.Context, cl *client.Client, options ...client.WriteOption) (client.Written, error) {
		return cl.SetNodeMaintenance(ctx, c.Name, c.State == "on", s.Reason, options...)
	}, "maintenance of node "+plain(c.Name)+" is "+c.State)
}

// changeNode makes a change, or rehearses it, and says what came of it.
func changeNode(
	ctx context.Context, s *session, r rehearsing,
	change func(context.Context, *client.Client, ...client.WriteOption) (client.Written, error), done string,
) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := change(ctx, cl, r.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case r.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s, at revision %d", done, w.Revision)
}
