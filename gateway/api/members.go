package api

import (
	"net/http"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func memberOperations() []operation {
	return []operation{{
		id: "members.list", method: http.MethodGet, path: "/v1/_system/members", group: "cluster",
		summary: "List the servers of the cluster",
		about:   "What this server knows of the others; it needs no quorum.",
		answers: []answer{{status: 200, about: "All servers, by name", as: asJSON[members]()}},
		handle:  listMembers,
	}, {
		id: "members.put", method: http.MethodPut, path: "/v1/_system/members/{name}", group: "cluster", write: true,
		summary: "Add a server to the cluster",
		about: "A server that is started with --join does this for itself. It first takes part without a vote, and votes once it has caught up. " +
			"Adding the same server again changes nothing. Without a nonce the place is kept for a server that is to come.",
		body: jsonBody[newMember]("The server"),
		answers: []answer{
			{status: 200, about: "It was there already", headers: []string{"ETag"}, as: asJSON[added]()},
			{status: 201, about: "It is new", headers: []string{"ETag"}, as: asJSON[added]()},
		},
		refusals: []commands.Code{
			commands.CodeInvalidMember, commands.CodeMemberExists, commands.CodeUnsupportedVersion, gateway.CodeInvalidJSON, gateway.CodeUnknownField,
			commands.CodeInvalidArgument, commands.CodeTooLarge, gateway.CodeInvalidBody,
		},
		handle: putMember,
	}, {
		id: "members.promote", method: http.MethodPut, path: "/v1/_system/members/{name}/promote", group: "cluster", write: true,
		summary:  "Have a server vote",
		about:    "It begins to vote once it has caught up. Promoting one that votes changes nothing.",
		answers:  []answer{{status: 200, about: "It votes, or will", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle: func(c *call) error {
			return changeMember(c, commands.PromoteMember{Name: c.param("name")})
		},
	}, {
		id: "members.remove", method: http.MethodDelete, path: "/v1/_system/members/{name}", group: "cluster", write: true,
		summary:  "Remove a server from the cluster",
		about:    "The server stops, and must be wiped before it joins again. Refused where too few that vote and answer would be left.",
		answers:  []answer{{status: 200, about: "It is removed", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeNotFound, commands.CodeQuorumAtRisk},
		handle: func(c *call) error {
			return changeMember(c, commands.RemoveMember{Name: c.param("name")})
		},
	}, {
		id: "groups.list", method: http.MethodGet, path: "/v1/_system/groups", group: "cluster",
		summary: "List the Raft groups",
		answers: []answer{{status: 200, about: "All groups, by number", as: asJSON[groups]()}},
		handle:  listGroups,
	}}
}

// member is a server of the cluster.
type member struct {
	Name     string         `json:"name"`
	Replica  uint64         `json:"replica" doc:"Its number in every Raft group; no other server ever has it"`
	HTTP     string         `json:"http,omitempty" doc:"HOST:PORT, as are raft, nats and dns; left out while it has not been heard of"`
	Raft     string         `json:"raft"`
	NATS     string         `json:"nats,omitempty"`
	DNS      string         `json:"dns,omitempty"`
	Role     string         `json:"role" enum:"voter,non-voter" doc:"voter: it votes, or will once it has caught up"`
	Alive    bool           `json:"alive" doc:"It answers the server that was asked"`
	Revision event.Revision `json:"revision" doc:"The last revision of _system's ledger that it is known to have"`
}

// members is a list of them.
type members struct {
	Members []member `json:"members"`
}

// newMember is what is to be known of a server.
type newMember struct {
	Raft  string `json:"raft" doc:"HOST:PORT of its Raft listener"`
	Nonce string `json:"nonce,omitempty" doc:"What its data folder was made with; a server makes it up"`
	Voter bool   `json:"voter,omitempty" doc:"It is to vote, once it has caught up"`
	// Version is the version of the decisions that it knows.
	Version uint32 `json:"version,omitempty" doc:"The version of the decisions that its binary knows"`
}

// added is the answer to the adding of a server: what it needs to know.
type added struct {
	Revision event.Revision `json:"revision" doc:"The commit in _system's ledger"`
	Cluster  string         `json:"cluster" doc:"The cluster's id"`
	Replica  uint64         `json:"replica" doc:"The server's number in every Raft group"`
	Groups   uint64         `json:"groups" doc:"How many Raft groups there are"`
}

// raftGroup is a Raft group.
type raftGroup struct {
	ID         uint64   `json:"id"`
	Leader     string   `json:"leader" doc:"The server that leads it; empty while there is none"`
	Members    []string `json:"members" doc:"The servers that vote"`
	NonVoters  []string `json:"non_voters,omitempty" doc:"The servers that follow without a vote"`
	Namespaces []string `json:"namespaces"`
}

// groups is a list of them.
type groups struct {
	Groups []raftGroup `json:"groups"`
}

func listMembers(c *call) error {
	found, err := c.api.Backend.Members(c.ctx)
	if err != nil {
		return err
	}
	all := members{Members: []member{}}
	for _, m := range found {
		role := "non-voter"
		if m.Voter {
			role = "voter"
		}
		all.Members = append(all.Members, member{m.Name, m.Replica, m.HTTP, m.Raft, m.NATS, m.DNS, role, m.Alive, m.Revision})
	}
	return c.systemJSON(all)
}

func listGroups(c *call) error {
	found, err := c.api.Backend.Groups(c.ctx)
	if err != nil {
		return err
	}
	all := groups{Groups: []raftGroup{}}
	for _, g := range found {
		all.Groups = append(all.Groups, raftGroup{g.ID, g.Leader, append([]string{}, g.Members...), g.NonVoters, g.Namespaces})
	}
	return c.systemJSON(all)
}

// systemJSON answers with what _system's ledger says here.
func (c *call) systemJSON(v any) error {
	head, err := c.api.Backend.Head(event.System)
	if err != nil {
		return err
	}
	c.shows(head)
	return c.json(http.StatusOK, v)
}

func putMember(c *call) error {
	raw, err := c.body(jsonBytesMax, "the body")
	if err != nil {
		return err
	}
	var given newMember
	if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
		return err
	}
	answer, err := c.submit(event.System, commands.AddMember{
		Name: c.param("name"), Address: given.Raft, Nonce: given.Nonce, Voter: given.Voter, Version: given.Version,
	})
	if err != nil {
		return err
	}
	var count uint64
	err = c.api.Backend.View(c.ctx, event.System, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
		count = v.Groups()
		return nil
	})
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(madeOr(answer), added{answer.Revision, c.api.Backend.Cluster(), answer.Results[0].Replica, count})
}

func changeMember(c *call, command commands.Command) error {
	answer, err := c.submit(event.System, command)
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}
