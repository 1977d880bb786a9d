package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

const (
	historyDefault = 100 // events in an answer
	historyMax     = 1000
)

func historyOperation() operation {
	return operation{
		id: "history", method: http.MethodGet, path: "/v1/{namespace}/history", group: "events",
		summary: "What happened to a key or an instance",
		about: "Every event that touched it, deletes included, the newest first, each with who made it and why. `at` looks back from then: " +
			"the next page is that of `at` = `next`. It is found by an index, however long the ledger is, down to where states are kept from; further back the ledger is read. " +
			"A page may end before `limit`, where the values are large, and where much was read it may be empty and still have a `next`. For wildcards, replay `/events?subject=`.",
		query: []parameter{
			{name: "subject", kind: text, required: true, description: "kv.… for a key, service.{service}.{id} for an instance, as the events have it"},
			{name: "limit", kind: number, description: "At most so many events, from 1 to 1000; 100 unless told otherwise"},
		},
		answers:  []answer{{status: 200, about: "What happened; an empty list where nothing ever did", as: asJSON[history]()}},
		refusals: []commands.Code{gateway.CodeInvalidFilter},
		handle:   getHistory,
	}
}

// history is what happened to one thing.
type history struct {
	Revision event.Revision       `json:"revision" doc:"The state that was looked back from"`
	Subject  string               `json:"subject"`
	Events   []gateway.CloudEvent `json:"events" doc:"The newest first"`
	Next     event.Revision       `json:"next,omitempty" doc:"There are older ones: the revision to give as at"`
}

func getHistory(c *call) error {
	limit := c.number("limit", historyDefault)
	if limit == 0 || limit > historyMax {
		return gateway.NewProblem(gateway.CodeInvalidParameter, "\"limit\" is %d; it takes a whole number from 1 to %d", limit, historyMax)
	}
	o, err := c.reading()
	if err != nil {
		return err
	}
	subject := c.query.Get("subject")
	if err := c.awaitRoom(c.ctx); err != nil {
		return err
	}
	h, err := c.api.Backend.History(c.ctx, c.namespace, o, subject, int(limit))
	if errors.Is(err, gateway.ErrNoHistory) {
		return gateway.NewProblem(gateway.CodeInvalidFilter, "%v", err)
	}
	if err != nil {
		return c.notSeen(o, err)
	}
	out := history{Revision: h.Head, Subject: subject, Events: make([]gateway.CloudEvent, len(h.Events))}
	for i, e := range h.Events {
		out.Events[i] = gateway.NewCloudEvent(c.api.Backend.Cluster(), c.namespace, e)
	}
	out.Next = h.Next
	c.shows(h.Head)
	if o.Stale {
		c.set(headerStaleness, strconv.FormatInt(h.Staleness.Milliseconds(), 10))
	}
	return c.json(http.StatusOK, out)
}
