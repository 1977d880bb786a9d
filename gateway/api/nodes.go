package api

import (
	"net/http"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

const nodePath = "/v1/{namespace}/nodes/{node}"

func nodeOperations() []operation {
	return []operation{{
		id: "nodes.list", method: http.MethodGet, path: "/v1/{namespace}/nodes", group: "nodes",
		summary: "List the nodes",
		answers: []answer{{status: 200, about: "The nodes of which anything is known, by name", as: asJSON[nodes]()}},
		handle:  listNodes,
	}, {
		id: "nodes.put", method: http.MethodPut, path: nodePath, group: "nodes", write: true,
		summary: "Say what is known of a node",
		about:   "The body is all of it. Instances may say that they run on a node that is not known; DNS answers for one that is. Saying the same again changes nothing and is no event.",
		body:    jsonBody[node]("The node"),
		answers: []answer{
			{status: 200, about: "It was known", headers: []string{"ETag"}, as: asJSON[written]()},
			{status: 201, about: "It is new", headers: []string{"ETag"}, as: asJSON[written]()},
		},
		refusals: []commands.Code{commands.CodeInvalidNode, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody, commands.CodeTooLarge},
		handle:   putNode,
	}, {
		id: "nodes.get", method: http.MethodGet, path: nodePath, group: "nodes",
		summary:  "Read a node",
		answers:  []answer{{status: 200, about: "The node, and the instances that say they run on it", as: asJSON[nodeDetail]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   getNode,
	}, {
		id: "nodes.delete", method: http.MethodDelete, path: nodePath, group: "nodes", write: true,
		summary:  "Forget a node",
		about:    "And its maintenance. The instances that say they run on it stay.",
		answers:  []answer{{status: 200, about: "It is forgotten", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle: func(c *call) error {
			answer, err := c.submit(c.namespace, commands.DeleteNode{Node: c.param("node")})
			if err != nil {
				return err
			}
			return c.written(http.StatusOK, answer.Revision)
		},
	}, {
		id: "nodes.maintenance", method: http.MethodPut, path: nodePath + "/maintenance", group: "nodes", write: true,
		summary: "Take a node out of use, or put it back",
		about:   "Every instance that says it runs on it, now or later, is in maintenance meanwhile. The node need not be known.",
		body:    jsonBody[maintenance]("Whether, and why"),
		answers: []answer{{status: 200, about: "So it is", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{
			commands.CodeInvalidNode, commands.CodeInvalidArgument, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody, commands.CodeTooLarge,
		},
		handle: func(c *call) error {
			return c.maintain(func(m maintenance) commands.Command {
				return commands.SetNodeMaintenance{Node: c.param("node"), Enabled: *m.Enabled, Reason: m.Reason}
			})
		},
	}}
}

// node is what a client says of a node.
type node struct {
	Address string            `json:"address" doc:"An IP address or a host name"`
	Meta    map[string]string `json:"meta,omitempty"`
}

// nodeState is a node.
type nodeState struct {
	Node           string            `json:"node"`
	Address        string            `json:"address,omitempty" doc:"Left out while only its maintenance is known"`
	Meta           map[string]string `json:"meta"`
	Maintenance    bool              `json:"maintenance"`
	Reason         string            `json:"reason,omitempty" doc:"Why it is in maintenance"`
	Because        *because          `json:"because,omitempty" doc:"The event that took it out of use, or put it back; left out where there was none"`
	Revision       event.Revision    `json:"revision" doc:"The commit that last changed address and meta; 0 while only its maintenance is known"`
	CreateRevision event.Revision    `json:"create_revision"`
}

// nodeDetail is a node with the instances on it.
type nodeDetail struct {
	Node           string            `json:"node"`
	Address        string            `json:"address,omitempty" doc:"Left out where it is not known"`
	Meta           map[string]string `json:"meta"`
	Maintenance    bool              `json:"maintenance"`
	Reason         string            `json:"reason,omitempty" doc:"Why it is in maintenance"`
	Because        *because          `json:"because,omitempty" doc:"The event that took it out of use, or put it back; left out where there was none"`
	Revision       event.Revision    `json:"revision" doc:"The commit that last changed address and meta; 0 where they are not known"`
	CreateRevision event.Revision    `json:"create_revision"`
	Instances      []instanceRef     `json:"instances" doc:"By service and id"`
}

// nodes is a list of them.
type nodes struct {
	Revision event.Revision `json:"revision" doc:"The state that is shown"`
	Nodes    []nodeState    `json:"nodes"`
}

func newNodeState(n event.Node) nodeState {
	out := nodeState{
		Node: n.Name, Address: n.Address, Meta: n.Meta, Maintenance: n.Maintenance.Enabled, Revision: n.Revision, CreateRevision: n.CreateRevision,
	}
	if out.Meta == nil {
		out.Meta = map[string]string{}
	}
	if m := n.Maintenance; m.Revision > 0 {
		out.Because = &because{m.Revision, gateway.TypeOf(m.Kind), gateway.FormatTime(m.Time)}
		if m.Enabled {
			out.Reason = m.Reason
		}
	}
	return out
}

// isKnown tells whether there is more to a node than that it was deleted once.
func isKnown(n event.Node) bool { return n.Revision != 0 || n.Maintenance.Enabled }

func listNodes(c *call) error {
	out := nodes{Nodes: []nodeState{}}
	err := c.view(c.namespace, func(v gateway.View) error {
		out.Revision = v.Head()
		for n := range v.Nodes() {
			if isKnown(n) {
				out.Nodes = append(out.Nodes, newNodeState(n))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, out)
}

func putNode(c *call) error {
	raw, err := c.body(jsonBytesMax, "the node")
	if err != nil {
		return err
	}
	var given node
	if err := decode(raw, &given, commands.CodeInvalidNode); err != nil {
		return err
	}
	answer, err := c.submit(c.namespace, commands.PutNode{Node: c.param("node"), Address: given.Address, Meta: given.Meta})
	if err != nil {
		return err
	}
	return c.written(madeOr(answer), answer.Revision)
}

// getNode also shows a node of which nothing is known but that instances say they run on it.
func getNode(c *call) error {
	var out nodeDetail
	err := c.view(c.namespace, func(v gateway.View) error {
		n, _ := v.Node(c.param("node"))
		s := newNodeState(n)
		out = nodeDetail{
			Node: s.Node, Address: s.Address, Meta: s.Meta, Maintenance: s.Maintenance, Reason: s.Reason, Because: s.Because,
			Revision: s.Revision, CreateRevision: s.CreateRevision, Instances: []instanceRef{},
		}
		for r := range v.Instances("") {
			if r.Node == n.Name {
				out.Instances = append(out.Instances, instanceRef{r.Service, r.ID})
			}
		}
		if !isKnown(n) && len(out.Instances) == 0 {
			return gateway.NewProblem(commands.CodeNotFound, "node %q is not known, and no instance says that it runs on it", n.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, out)
}
