package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/kv"
)

// A page ends after listBytesMax of keys and values, even where its limit is not reached: next says so. Entries are
// read so many at a time that not much more than that is ever in memory.
const (
	listBytesMax = 8 << 20
	listChunk    = 32
)

func listOperations() []operation {
	prefix := parameter{name: "prefix", kind: text, description: "Only keys that start with it; empty is every key"}
	required := prefix
	required.required = true
	rendered := documentFormat
	rendered.description = "Not a page, but one document of everything at and below the prefix, which then means what it does for kv.put-tree; not with keys, separator, limit and after"
	return []operation{{
		id: "kv.list", method: http.MethodGet, path: "/v1/{namespace}/kv", group: "kv",
		summary: "List keys in order",
		about: "One page. To see one state over several pages, give the first page's `revision` as `at` and its `next` as `after`. A page also ends after 8 MiB.\n\n" +
			"With `format` the answer is a document instead, as kv.put-tree takes it, with the revision that it shows as ETag. It has at most 10000 keys and 8 MiB.",
		query: []parameter{
			prefix,
			{name: "keys", kind: flag, description: "Only the keys: `entries` are strings"},
			{name: "separator", kind: text, description: "Keys that hold it behind the prefix appear once, as their subtree, which ends in it"},
			{name: "limit", kind: number, description: "At most so many entries: 1 to 10000, which is the default"},
			{name: "after", kind: text, description: "Begin behind this key or subtree"},
			rendered,
		},
		headers: []header{{"If-None-Match", "With format: revisions of the document that the reader has already"}},
		answers: []answer{
			{status: 200, about: "A page, which may be empty; with format, the document", as: append(asJSON[list](), renderedAs()...)},
			{status: 304, about: "With format: the reader has it already", headers: []string{"ETag"}},
		},
		refusals: []commands.Code{
			gateway.CodeConflicting,
			gateway.CodeDocumentConflict, gateway.CodeNotRepresentable, gateway.CodeInvalidETag, commands.CodeTooLarge, commands.CodeNotFound,
		},
		handle: listKeys,
	}, {
		id: "kv.delete-prefix", method: http.MethodDelete, path: "/v1/{namespace}/kv", group: "kv", write: true,
		summary:  "Delete all keys that start with a prefix, in one commit",
		query:    []parameter{required},
		answers:  []answer{{status: 200, about: "They are gone", headers: []string{"ETag"}, as: asJSON[deleted]()}},
		refusals: []commands.Code{commands.CodeNotFound, commands.CodeTooLarge, gateway.CodeMissingParameter},
		handle:   deletePrefix,
	}}
}

// list is one page.
type list struct {
	Revision event.Revision `json:"revision" doc:"The state that the page shows"`
	Entries  []listed       `json:"entries"`
	Next     string         `json:"next,omitempty" doc:"What to give as after for the next page; missing at the end"`
}

// listed is one element of a page: an entry, a subtree, or, with keys=true, only a key.
type listed struct {
	entry   *entry
	subtree *subtree
	key     string
}

// subtree stands for all keys that start with it.
type subtree struct {
	Key     string `json:"key" doc:"It ends in the separator"`
	Subtree bool   `json:"subtree" enum:"true"`
}

// MarshalJSON implements json.Marshaler.
func (l listed) MarshalJSON() ([]byte, error) {
	switch {
	case l.entry != nil:
		return marshal(l.entry)
	case l.subtree != nil:
		return marshal(l.subtree)
	}
	return marshal(l.key)
}

// marshal is json.Marshal without the escapes that are for HTML only.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// Schema implements huma.SchemaProvider.
func (listed) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		r.Schema(reflect.TypeFor[entry](), true, ""),
		r.Schema(reflect.TypeFor[subtree](), true, ""),
		{Type: huma.TypeString, Description: "With keys=true"},
	}}
}

func newListed(item kv.Item, keysOnly bool) listed {
	switch {
	case keysOnly:
		return listed{key: item.Key}
	case item.Entry == nil:
		return listed{subtree: &subtree{item.Key, true}}
	}
	e := newEntry(*item.Entry)
	return listed{entry: &e}
}

// deleted is the answer to a delete of a prefix.
type deleted struct {
	Revision event.Revision `json:"revision" doc:"The commit"`
	Deleted  uint64         `json:"deleted" doc:"How many keys it removed"`
}

func listKeys(c *call) error {
	if c.query["format"] != nil {
		return getTree(c)
	}
	limit := c.number("limit", event.ListEntriesMax)
	if limit == 0 || limit > event.ListEntriesMax {
		return gateway.NewProblem(gateway.CodeInvalidParameter, "\"limit\" is %d; it takes 1 to %d", limit, event.ListEntriesMax)
	}
	query := kv.Query{Prefix: c.query.Get("prefix"), After: c.query.Get("after"), Separator: c.query.Get("separator")}
	page := list{Entries: []listed{}}
	err := c.view(c.namespace, func(v gateway.View) error {
		page.Revision = v.Head()
		page.read(v, query, int(limit), c.flag("keys"), c.message != nil)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

// jsonBytes is what an item takes in JSON at most: a text at most doubles, but for the control characters of a key.
func jsonBytes(item kv.Item, keysOnly bool) int {
	n := 6*len(item.Key) + 64
	if item.Entry != nil && !keysOnly {
		n += 2*(len(item.Entry.Value)+len(item.Entry.ContentType)) + 512
	}
	return n
}

// read fills a page, one that a message holds where it is for one.
func (l *list) read(v gateway.View, query kv.Query, limit int, keysOnly, message bool) {
	size, left := 0, gateway.ReplyBytesMax-len(`{"revision":,"entries":[],"next":""}`)-20-6*event.KeyBytesMax
	for {
		query.Limit = min(listChunk, limit-len(l.Entries))
		items, next := v.List(query)
		for _, item := range items {
			if left -= jsonBytes(item, keysOnly); message && left < 0 {
				return
			}
			l.Next = item.Key
			l.Entries = append(l.Entries, newListed(item, keysOnly))
			size += len(item.Key)
			if item.Entry != nil && !keysOnly {
				size += len(item.Entry.Value)
			}
		}
		if next == "" || len(l.Entries) >= limit || size >= listBytesMax {
			l.Next = next
			return
		}
		query.After = next
	}
}

func deletePrefix(c *call) error {
	answer, err := c.submit(c.namespace, commands.DeletePrefix{Prefix: c.query.Get("prefix")})
	if err != nil {
		return err
	}
	c.committed(answer.Revision)
	return c.json(http.StatusOK, deleted{answer.Revision, answer.Results[0].Deleted})
}
