package api

import (
	"net/http"
	"reflect"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

const keyPath = "/v1/{namespace}/kv/{key...}"

var ifValue = parameter{name: "if-value", kind: text, description: "Only if the key has this very value"}

func keyOperations() []operation {
	ifMatchHeader := header{"If-Match", `Only if the key is at this revision ("12", in quotes), or only if it exists (*)`}
	conditions := []commands.Code{commands.CodeConditionFailed, gateway.CodeInvalidETag}
	return []operation{{
		id: "kv.put", method: http.MethodPut, path: keyPath, group: "kv", write: true,
		summary: "Give a key a value",
		about: "Any part of the key may be percent-encoded, slashes too. The body is the value, at most 512 KiB; its Content-Type is kept and given back. " +
			"A key that ends in a slash is a directory: it takes a `ttl` and no value, and when that has passed everything below it is gone, in one commit.",
		query: append(append([]parameter{ifValue, flagsParameter}, leaseParameters()...), parameter{
			name: "refresh", kind: flag,
			description: "Give the key its whole TTL again, which is no event and wakes nobody; without a body, and without any other parameter. The answer is `Renewed`",
		}),
		headers: []header{ifMatchHeader, {"If-None-Match", "Only *: only if the key does not exist"}},
		body:    &body{about: "The value, byte for byte", mediaType: "application/octet-stream"},
		answers: []answer{
			{status: 200, about: "The value was replaced, or the TTL renewed", headers: []string{"ETag"}, as: asJSON[written]()},
			{status: 201, about: "The key was made", headers: []string{"ETag"}, as: asJSON[written]()},
		},
		refusals: append(conditions, commands.CodeInvalidKey, commands.CodeInvalidArgument, commands.CodeTooLarge, gateway.CodeInvalidBody,
			commands.CodeInvalidTTL, commands.CodeUnknownSession, gateway.CodeConflicting, gateway.CodeNoLease, commands.CodeNotFound),
		or:     reflect.TypeFor[renewed](),
		handle: putKey,
	}, {
		id: "kv.get", method: http.MethodGet, path: keyPath, group: "kv",
		summary: "Read a key",
		about:   "The value as it was given, or, with Accept: application/json, what is known about it.",
		headers: []header{
			{"Accept", "application/json for the entry as JSON; otherwise the value"},
			{"If-None-Match", "Revisions that the reader has already"},
		},
		answers: []answer{
			{status: 200, about: "The value", headers: []string{"ETag"}, as: append(asJSON[entry](), representation{"application/octet-stream", nil})},
			{status: 304, about: "The reader has it already", headers: []string{"ETag"}},
		},
		refusals: []commands.Code{commands.CodeNotFound, gateway.CodeInvalidETag},
		handle:   getKey,
	}, {
		id: "kv.delete", method: http.MethodDelete, path: keyPath, group: "kv", write: true,
		summary:  "Delete a key",
		query:    []parameter{ifValue},
		headers:  []header{ifMatchHeader},
		answers:  []answer{{status: 200, about: "The key is gone", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: append(conditions, commands.CodeNotFound),
		handle:   deleteKey,
	}}
}

// entry is a key with its value and what is known about it.
type entry struct {
	Key string `json:"key"`
	gateway.Text
	ContentType    string         `json:"content_type,omitempty" doc:"As given with the value"`
	Revision       event.Revision `json:"revision" doc:"The commit that last wrote the key; its ETag"`
	CreateRevision event.Revision `json:"create_revision" doc:"The commit that made the key"`
	Version        uint64         `json:"version" doc:"How often the key was written since it was made"`
	Flags          uint64         `json:"flags"`
	Session        string         `json:"session,omitempty" doc:"What the key is bound to"`
	TTL            string         `json:"ttl,omitempty" doc:"For how long it stays after it was written or refreshed"`
	Time           string         `json:"time" format:"date-time"`
}

func newEntry(e event.Entry) entry {
	out := entry{
		Key: e.Key, Text: gateway.NewText(e.Value), ContentType: e.ContentType, Revision: e.Revision,
		CreateRevision: e.CreateRevision, Version: e.Version, Flags: e.Flags, Time: gateway.FormatTime(e.Time),
		Session: e.Session, TTL: gateway.FormatTTL(e.TTL),
	}
	if event.IsDirectory(e.Key) {
		out.Text = gateway.Text{} // it has no value
	}
	return out
}

func putKey(c *call) error {
	key := c.param("key")
	if c.flag("refresh") {
		return refreshKey(c, key)
	}
	ttl, session, err := c.lease()
	if err != nil {
		return err
	}
	conditions, err := c.conditions(key)
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
	if event.IsDirectory(key) && len(value) == 0 {
		contentType = "" // clients name one for an empty body, too
	}
	answer, err := c.submit(c.namespace, commands.PutKey{
		Key: key, Value: value, ContentType: contentType, Flags: c.number("flags", 0), If: conditions, TTL: ttl, Session: session,
	})
	if err != nil {
		return err
	}
	return c.written(madeOr(answer), answer.Revision)
}

// madeOr is the status of a write that may have made something.
func madeOr(a commands.Answer) int {
	if len(a.Results) > 0 && a.Results[0].Created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func deleteKey(c *call) error {
	key := c.param("key")
	conditions, err := c.conditions(key)
	if err != nil {
		return err
	}
	answer, err := c.submit(c.namespace, commands.DeleteKey{Key: key, If: conditions})
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}

func getKey(c *call) error {
	key := c.param("key")
	var e event.Entry
	err := c.view(c.namespace, func(v gateway.View) error {
		var ok bool
		if e, ok = v.Key(key); !ok {
			return gateway.NewProblem(commands.CodeNotFound, "key %q does not exist", key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.set("Etag", etagOf(e.Revision))
	c.set("Vary", "Accept")
	fresh, err := c.fresh(e.Revision)
	switch {
	case err != nil:
		return err
	case fresh:
		c.head(http.StatusNotModified)
		return nil
	case c.accepts("application/json"):
		return c.json(http.StatusOK, newEntry(e))
	}
	// The bytes and their type are a writer's, who may not be trusted by whoever opens them in a browser.
	h := c.w.Header()
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = sandbox
	c.send(http.StatusOK, typeOf(e), e.Value)
	return nil
}

var (
	noSniff = []string{"nosniff"}
	sandbox = []string{"sandbox"}
)

func typeOf(e event.Entry) string {
	switch {
	case e.ContentType != "":
		return e.ContentType
	case gateway.IsText(e.Value):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
