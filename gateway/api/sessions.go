package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

const (
	sessionsPath = "/v1/{namespace}/sessions"
	sessionPath  = sessionsPath + "/{id}"
	// holdsMax is how many of the things that a session holds are shown.
	holdsMax = 1000
)

func sessionOperations() []operation {
	return []operation{{
		id: "sessions.create", method: http.MethodPost, path: sessionsPath, group: "sessions", write: true,
		summary: "Begin a session",
		about:   "A session is a lease: keys and instances that are bound to it end with it. Keep it alive more often than its TTL, three times as often for example. Its id is the revision that created it.",
		body:    jsonBody[sessionBody]("The session"),
		answers: []answer{{status: 201, about: "It has begun", headers: []string{"ETag"}, as: asJSON[sessionCreated]()}},
		refusals: []commands.Code{
			commands.CodeInvalidTTL, commands.CodeInvalidArgument, gateway.CodeInvalidJSON, gateway.CodeUnknownField,
			gateway.CodeInvalidBody, commands.CodeTooLarge,
		},
		handle: createSession,
	}, {
		id: "sessions.list", method: http.MethodGet, path: sessionsPath, group: "sessions",
		summary: "List the sessions, in the order of their ids as text",
		query: []parameter{
			{name: "limit", kind: number, description: "At most so many sessions: 1 to 1000, which is the default"},
			{name: "after", kind: text, description: "Begin behind this session"},
		},
		answers: []answer{{status: 200, about: "A page, which may be empty", as: asJSON[sessionList]()}},
		handle:  listSessions,
	}, {
		id: "sessions.get", method: http.MethodGet, path: sessionPath, group: "sessions",
		summary:  "Read a session, and what it holds",
		answers:  []answer{{status: 200, about: "The session", headers: []string{"ETag"}, as: asJSON[session]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   getSession,
	}, {
		id: "sessions.keepalive", method: http.MethodPut, path: sessionPath + "/keepalive", group: "sessions", write: true, renewal: true,
		summary:  "Give a session its whole TTL again",
		about:    "It is no event. Where the answer is 404 the session has ended, and what it held is released or deleted. An answer promises that the session lives for its whole TTL from when the request was made, unless somebody ends it; while nobody can promise that, it is `no-quorum`.",
		answers:  []answer{{status: 200, about: "It lives on", as: asJSON[renewed]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   keepSession,
	}, {
		id: "sessions.end", method: http.MethodDelete, path: sessionPath, group: "sessions", write: true,
		summary:  "End a session, and what is bound to it, in one commit",
		about:    "Where it holds more than 100000 things, or keys with more than 4 MiB of values that are released (64 MiB that are deleted), there are several commits, the end of the session in the last one.",
		answers:  []answer{{status: 200, about: "It has ended", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   endSession,
	}}
}

// sessionBody is what a client asks for.
type sessionBody struct {
	TTL       string `json:"ttl" doc:"For how long it lives after it was kept alive last, such as 15s: 1s to 720h"`
	OnEnd     string `json:"on_end,omitempty" enum:"release,delete" doc:"What becomes of the keys that are bound to it: they stay, bound to nothing, which is the default, or are deleted. Instances are always removed"`
	LockDelay string `json:"lock_delay,omitempty" doc:"For how long after it expired nobody else may take a lock that it held: 0s to 60s"`
}

// sessionCreated is the answer to the creation of a session.
type sessionCreated struct {
	ID       string         `json:"id"`
	TTL      string         `json:"ttl"`
	Revision event.Revision `json:"revision" doc:"The commit"`
}

// session is a session with what is known about it.
type session struct {
	ID        string         `json:"id"`
	TTL       string         `json:"ttl"`
	OnEnd     string         `json:"on_end" enum:"release,delete"`
	LockDelay string         `json:"lock_delay"`
	Created   string         `json:"created" format:"date-time"`
	Expires   string         `json:"expires,omitempty" format:"date-time" doc:"When it ends if nobody keeps it alive; missing where the past is read, and where the server that keeps the time cannot be asked"`
	Revision  event.Revision `json:"revision" doc:"The commit that created it"`
	Holds     []hold         `json:"holds,omitzero" doc:"What is bound to it, the first 1000 things; not in lists"`
}

// hold is something that is bound to a session: a key, or an instance of a service.
type hold struct {
	Key     string `json:"key,omitempty"`
	Service string `json:"service,omitempty"`
	ID      string `json:"id,omitempty"`
}

// sessionList is one page.
type sessionList struct {
	Revision event.Revision `json:"revision" doc:"The state that the page shows"`
	Sessions []session      `json:"sessions"`
	Next     string         `json:"next,omitempty" doc:"What to give as after for the next page; missing at the end"`
}

// renewed is the answer to a renewal.
type renewed struct {
	TTL string `json:"ttl" doc:"For how long it lives from now on"`
}

// parseTTL reads a duration of a parameter or a field; nothing is zero.
func parseTTL(name, given string) (event.Time, error) {
	ttl, wrong := duration(given)
	if wrong != "" {
		return 0, gateway.NewProblem(commands.CodeInvalidTTL, "%q is %.40q; %s", name, given, wrong)
	}
	return ttl, nil
}

// duration reads a duration; nothing is zero. wrong says what it would take instead.
func duration(given string) (d event.Time, wrong string) {
	if given == "" {
		return 0, ""
	}
	switch parsed, err := time.ParseDuration(given); {
	case err != nil:
		return 0, "it takes a duration such as 90s, 15m or 1h30m"
	case parsed == 0: // which would be no lease, where one is asked for
		return 0, "leave it out for what is to stay for good"
	default:
		return event.Time(parsed), ""
	}
}

func createSession(c *call) error {
	raw, err := c.body(jsonBytesMax, "the session")
	if err != nil {
		return err
	}
	var given sessionBody
	if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
		return err
	}
	command := commands.CreateSession{}
	switch given.OnEnd {
	case "", "release":
	case "delete":
		command.OnEnd = event.Delete
	default:
		return gateway.NewProblem(commands.CodeInvalidArgument, "on_end is %.40q; it takes release or delete", given.OnEnd)
	}
	if given.TTL == "" {
		return gateway.NewProblem(commands.CodeInvalidTTL, "a session has a ttl, such as \"15s\"")
	}
	if command.TTL, err = parseTTL("ttl", given.TTL); err != nil {
		return err
	}
	if given.LockDelay != "0s" {
		if command.LockDelay, err = parseTTL("lock_delay", given.LockDelay); err != nil {
			return err
		}
	}
	answer, err := c.submit(c.namespace, command)
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(http.StatusCreated, sessionCreated{ID: answer.Results[0].Key, TTL: gateway.FormatDuration(command.TTL), Revision: answer.Revision})
}

func newSession(s event.Session) session {
	return session{
		ID: s.ID, TTL: gateway.FormatDuration(s.TTL), OnEnd: gateway.FormatOnEnd(s.OnEnd), LockDelay: gateway.FormatDuration(s.LockDelay),
		Created: gateway.FormatTime(s.Time), Revision: s.Revision,
	}
}

func listSessions(c *call) error {
	limit := c.number("limit", gateway.LeasesMax)
	if limit == 0 || limit > gateway.LeasesMax {
		return gateway.NewProblem(gateway.CodeInvalidParameter, "\"limit\" is %d; it takes 1 to %d", limit, gateway.LeasesMax)
	}
	page := sessionList{Sessions: []session{}}
	err := c.view(c.namespace, func(v gateway.View) error {
		page.Revision = v.Head()
		for s := range v.Sessions(c.query.Get("after")) {
			if len(page.Sessions) == int(limit) {
				page.Next = page.Sessions[limit-1].ID
				break
			}
			page.Sessions = append(page.Sessions, newSession(s))
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.expiries(page.Sessions)
	return c.json(http.StatusOK, page)
}

func getSession(c *call) error {
	id := c.param("id")
	var out session
	err := c.view(c.namespace, func(v gateway.View) error {
		s, ok := v.Session(id)
		if !ok {
			return gateway.NewProblem(commands.CodeNotFound, "session %q does not exist: it ended, or never began", id)
		}
		out = newSession(s)
		out.Holds = holds(v, id)
		return nil
	})
	if err != nil {
		return err
	}
	shown := []session{out}
	c.expiries(shown)
	c.set("Etag", etagOf(out.Revision))
	return c.json(http.StatusOK, shown[0])
}

func holds(v gateway.View, id string) []hold {
	all := []hold{}
	for key := range v.KeysHeld(id) {
		if len(all) == holdsMax {
			return all
		}
		all = append(all, hold{Key: key})
	}
	for i := range v.InstancesHeld(id) {
		if len(all) == holdsMax {
			return all
		}
		all = append(all, hold{Service: i.Service, ID: i.ID})
	}
	return all
}

// expiriesPatience is how long an answer waits for what it can do without.
const expiriesPatience = 500 * time.Millisecond

// expiries says when sessions end, as far as whoever keeps the time can be asked. The past has nobody who does.
func (c *call) expiries(sessions []session) {
	if c.query["at"] != nil || len(sessions) == 0 {
		return
	}
	leases := make([]gateway.Lease, len(sessions))
	for i, s := range sessions {
		leases[i].Session = s.ID
	}
	ctx, cancel := context.WithTimeout(c.ctx, expiriesPatience)
	defer cancel()
	left, err := c.api.Backend.Left(ctx, c.namespace, leases)
	if err != nil {
		return
	}
	now := c.api.Now()
	for i, lease := range leases {
		if d, ok := left[lease]; ok {
			sessions[i].Expires = now.Add(d).UTC().Format(time.RFC3339Nano)
		}
	}
}

func keepSession(c *call) error {
	id := c.param("id")
	return c.renew(gateway.Lease{Session: id}, func() error {
		return gateway.NewProblem(commands.CodeNotFound, "session %q does not exist: it ended, or never began", id)
	})
}

// renew renews a lease; gone is the problem where there is none.
func (c *call) renew(lease gateway.Lease, gone func() error) error {
	renewal, err := c.api.Backend.Renew(c.ctx, c.namespace, lease)
	if errors.Is(err, gateway.ErrNoLease) {
		return gone()
	}
	if err != nil {
		return err
	}
	if head, err := c.api.Backend.Head(c.namespace); err == nil {
		c.shows(head)
	}
	return c.json(http.StatusOK, renewed{TTL: gateway.FormatDuration(event.Time(renewal.TTL))})
}

func endSession(c *call) error {
	end := commands.EndSession{ID: c.param("id")}
	answer, err := c.submit(c.namespace, end)
	for err == nil && answer.Results[0].More {
		// What follows is no repeat of the request, so it has no idempotency key. When it breaks off, the session is there.
		var next commands.Answer
		next, err = c.submitNext(end)
		if gone := new(commands.Rejection); errors.As(err, &gone) && gone.Code == commands.CodeNotFound {
			err = nil // this very request had ended it before, and was made again
			break
		}
		answer = next
	}
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}

// refreshKey renews the TTL of a key or a directory.
func refreshKey(c *call, key string) error {
	for _, name := range []string{"ttl", "session", "flags", "if-value", dryRun} {
		if c.query[name] != nil {
			return gateway.NewProblem(gateway.CodeConflicting, "\"refresh\" renews the TTL that the key has, and changes nothing else: %q has no place beside it", name)
		}
	}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if c.r.Header[name] != nil {
			return gateway.NewProblem(gateway.CodeConflicting, "\"refresh\" renews the TTL that the key has, under no condition: %s has no place beside it", name)
		}
	}
	if c.message != nil && len(c.message.conditions) > 0 {
		return gateway.NewProblem(gateway.CodeConflicting, "\"refresh\" renews the TTL that the key has, under no condition: \"if\" has no place beside it")
	}
	value, err := c.body(event.ValueBytesMax, "the value")
	if err != nil {
		return err
	}
	if len(value) > 0 {
		return gateway.NewProblem(gateway.CodeConflicting, "\"refresh\" renews the TTL that the key has, and takes no value: put it with a ttl instead")
	}
	return c.renew(gateway.Lease{Key: key}, func() error { return c.noLease(key) })
}

// noLease tells a key that is not there from one that stays for good, and from one that a session holds.
func (c *call) noLease(key string) error {
	problem := gateway.NewProblem(commands.CodeNotFound, "key %q does not exist", key)
	err := c.viewAs(c.ctx, c.namespace, gateway.ReadOptions{}, func(v gateway.View) error {
		e, ok := v.Key(key)
		switch {
		case ok && e.Session != "":
			problem = gateway.NewProblem(gateway.CodeNoLease, "key %q has no TTL of its own: keep session %q alive", key, e.Session)
		case ok && e.TTL == 0:
			problem = gateway.NewProblem(gateway.CodeNoLease, "key %q has no TTL: put it with a ttl to give it one", key)
		case ok: // it was written between the two looks
			problem = gateway.NewProblem(commands.CodeBusy, "key %q was written at this moment; try again", key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return problem
}

func appendOperation() operation {
	return operation{
		id: "kv.append", method: http.MethodPost, path: keyPath, group: "kv", write: true,
		summary: "Make a key that comes behind all that were made so before",
		about:   "The path is a directory and ends in a slash; the new key is named by the revision that makes it, in 20 digits. The body is the value.",
		query:   append([]parameter{flagsParameter}, leaseParameters()...),
		body:    optional(&body{about: "The value, byte for byte", mediaType: "application/octet-stream"}),
		answers: []answer{{status: 201, about: "The key was made", headers: []string{"ETag"}, as: asJSON[appended]()}},
		refusals: []commands.Code{
			commands.CodeInvalidKey, commands.CodeInvalidTTL, commands.CodeUnknownSession, commands.CodeInvalidArgument, commands.CodeTooLarge,
			gateway.CodeConflicting, gateway.CodeInvalidBody, commands.CodeConditionFailed,
		},
		handle: appendKey,
	}
}

// appended is the answer to the making of an in-order key.
type appended struct {
	Key      string         `json:"key"`
	Revision event.Revision `json:"revision" doc:"The commit"`
}

func appendKey(c *call) error {
	directory := c.param("key")
	if !strings.HasSuffix(directory, "/") {
		return gateway.NewProblem(commands.CodeInvalidKey, "%q is no directory: to make a key below it, end the path in a slash; to write this key, PUT it", directory)
	}
	ttl, session, err := c.lease()
	if err != nil {
		return err
	}
	contentType, _, err := c.single("Content-Type")
	if err != nil {
		return err
	}
	value, err := c.body(event.ValueBytesMax, "the value")
	if err != nil {
		return err
	}
	answer, err := c.submit(c.namespace, commands.AppendKey{
		Directory: directory, Value: value, ContentType: contentType, Flags: c.number("flags", 0), TTL: ttl, Session: session,
	})
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(http.StatusCreated, appended{Key: answer.Results[0].Key, Revision: answer.Revision})
}

var flagsParameter = parameter{name: "flags", kind: number, description: "A number that is kept with the value, and means nothing to Rollcall"}

// leaseParameters say when what is written ends.
func leaseParameters() []parameter {
	return []parameter{
		{name: "ttl", kind: text, description: "For how long the key stays when nobody writes or refreshes it, such as 30s: 1s to 720h; for good without it"},
		{name: "session", kind: text, description: "The id of a session that the key is bound to, and ends with"},
	}
}

// lease reads leaseParameters.
func (c *call) lease() (ttl event.Time, session string, err error) {
	if c.query["ttl"] != nil && c.query["session"] != nil {
		return 0, "", gateway.NewProblem(gateway.CodeConflicting, "\"ttl\" and \"session\": a key ends with one of them")
	}
	for _, name := range []string{"ttl", "session"} {
		if v := c.query[name]; v != nil && v[0] == "" {
			return 0, "", gateway.NewProblem(gateway.CodeInvalidParameter, "%q is empty; leave it out for what is to stay for good", name)
		}
	}
	ttl, err = parseTTL("ttl", c.query.Get("ttl"))
	return ttl, c.query.Get("session"), err
}
