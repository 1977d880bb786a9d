package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/document"
	"github.com/rollcall/rollcall/log/event"
)

// A document is made whole in memory, so it is bounded: by the keys and values that go in, and by what comes out.
const documentBytesMax = document.RenderBytesMax

var (
	documentPrefix = parameter{name: "prefix", kind: text, required: true, description: "Where the document stands: at this key, and below it. " +
		"`app` and `app/` are the same, and do not mean `apple`; empty is every key"}
	documentFormat = parameter{name: "format", kind: text, values: document.Formats(), description: "How the document is written; left out, what Content-Type says"}
)

// aboutDocuments is the contract of the mapping.
const aboutDocuments = "The names of an object's members become segments of the key: `url` in `db` is `db/url` below the prefix. In a name `%` is " +
	"written `%25`, `/` `%2F` and NUL `%00`; the empty name is `%`. A string is stored as its text, with content type text/plain; " +
	"numbers, true, false, null, arrays as a whole and `{}` as their JSON text, with application/json. A document that is not an object " +
	"is the prefix itself. Keys that end in a slash have no value, and are left alone.\n\n" +
	"json and yaml hold everything but bytes that are no text; yaml is read by the core schema of YAML 1.2, without aliases, tags and merge keys. " +
	"toml lacks null and numbers of more than 64 bits; its dates are kept as text of a type of their own. env is `NAME=value`: `/` is `__`, and every " +
	"part of a key must be letters, digits and single underscores. properties is Java's: `/` is a dot. In env and properties a key may " +
	"have a value and keys below it; a value that looks like JSON is JSON, unless it stands in double quotes (env) or begins with an escape (properties)."

// treeOperation is the one that takes a document; kv.list gives one.
func treeOperation() operation {
	return operation{
		id: "kv.put-tree", method: http.MethodPut, path: "/v1/{namespace}/kv", group: "kv", write: true,
		summary: "Give a subtree the values of a document, in one commit that writes only what differs",
		about: aboutDocuments + "\n\nWhere the document has an object and a value is stored, or the other way round, the document wins. Text whose content " +
			"type is another kind of text keeps it. At most 10000 values and 2 MiB of keys and values.",
		query: []parameter{
			documentPrefix, documentFormat,
			{name: "mode", kind: text, values: []string{"merge", "replace"}, description: "merge (the default) leaves what the document does not speak of; replace deletes it"},
		},
		headers: []header{
			{"If-Match", `Only if nothing at or below the prefix has changed since this revision ("12", in quotes), such as the ETag of a document that was read`},
			{"Content-Type", "The format, where `format` is left out"},
		},
		body:    &body{about: "The document", mediaType: document.JSON.MediaType(), others: otherMediaTypes()},
		answers: []answer{{status: 200, about: "The keys are as the document says", headers: []string{"ETag"}, as: asJSON[treeWritten]()}},
		refusals: []commands.Code{
			gateway.CodeConflicting,
			gateway.CodeInvalidDocument, gateway.CodeMissingParameter, gateway.CodeInvalidETag, gateway.CodeInvalidBody,
			commands.CodeConditionFailed, commands.CodeInvalidKey, commands.CodeInvalidArgument, commands.CodeTooLarge,
		},
		handle: putTree,
	}
}

// treeWritten is the answer to a document.
type treeWritten struct {
	Revision  event.Revision `json:"revision" doc:"The commit; where nothing had to change, the last revision"`
	Put       uint64         `json:"put" doc:"How many keys were written"`
	Deleted   uint64         `json:"deleted" doc:"How many keys were deleted"`
	Unchanged uint64         `json:"unchanged" doc:"How many keys of the document were as it says already"`
}

func putTree(c *call) error {
	format, err := c.format()
	if err != nil {
		return err
	}
	tree := commands.PutTree{Prefix: document.NewPlace(c.query.Get("prefix")).Below, Replace: c.query.Get("mode") == "replace", Flat: !format.Nests()}
	match, ok, err := c.single("If-Match")
	if err != nil {
		return err
	}
	if ok {
		if tree.Since, err = parseETag("If-Match", match); err != nil {
			return err
		}
	}
	content, err := c.body(document.BytesMax, "the document")
	if err != nil {
		return err
	}
	leaves, err := document.Parse(format, c.query.Get("prefix"), content)
	if err != nil {
		return documentProblem(err, c.query.Get("prefix"))
	}
	if tree.Replace && len(leaves) == 0 && format != document.JSON && format != document.YAML {
		// There an empty file is a document, too, and is more often a mistake: of an editor, or of a pipe.
		return gateway.NewProblem(gateway.CodeInvalidDocument, "the document is empty, and to replace by it would delete everything: to delete all of it, delete the prefix, or send {} as JSON")
	}
	for _, l := range leaves {
		tree.Entries = append(tree.Entries, commands.TreeEntry(l))
	}
	if r := commands.Validate(tree); r != nil { // before the bytes of what may be much too large go anywhere
		return r
	}
	answer, err := c.submit(c.namespace, tree)
	if err != nil {
		return err
	}
	result := answer.Results[0]
	c.committed(answer.Revision)
	return c.json(http.StatusOK, treeWritten{answer.Revision, result.Put, result.Deleted, uint64(len(leaves)) - result.Put})
}

// format is that of a document that is sent. The parameter goes before the content type, which many clients make up;
// but one that names another format is a mistake.
func (c *call) format() (document.Format, error) {
	contentType, _, err := c.single("Content-Type")
	if err != nil {
		return "", err
	}
	given, known := document.FormatOf(contentType)
	format := document.Format(c.query.Get("format"))
	switch {
	case format == "" && known:
		return given, nil
	case format == "":
		return "", gateway.NewProblem(gateway.CodeMissingParameter, "\"format\" is missing, and Content-Type %.80q says nothing: %s", contentType, documentFormat.expected())
	case known && given != format:
		return "", gateway.NewProblem(gateway.CodeConflicting, "\"format\" is %q, and Content-Type is %.80q: leave one of them out", format, contentType)
	}
	return format, nil
}

// getTree renders a subtree.
func getTree(c *call) error {
	for _, name := range []string{"keys", "separator", "limit", "after"} {
		if c.query[name] != nil {
			return gateway.NewProblem(gateway.CodeConflicting, "%q is for lists, and \"format\" asks for a document, which is whole: leave one of them out", name)
		}
	}
	format := document.Format(c.query.Get("format"))
	prefix := c.query.Get("prefix")
	var leaves []document.Leaf
	var shown event.Revision
	err := c.view(c.namespace, func(v gateway.View) (err error) {
		shown = v.Head()
		leaves, err = readTree(v, document.NewPlace(prefix))
		return err
	})
	if err != nil {
		return err
	}
	if len(leaves) == 0 && prefix != "" {
		return gateway.NewProblem(commands.CodeNotFound, "there is no key %q and none below it at revision %d", document.NewPlace(prefix).Base, shown)
	}
	c.set("Etag", etagOf(shown))
	if seen, err := c.fresh(shown); err != nil {
		return err
	} else if seen {
		c.head(http.StatusNotModified)
		return nil
	}
	content, err := document.Render(format, prefix, leaves)
	if err != nil {
		delete(c.w.Header(), "Etag")
		return documentProblem(err, c.query.Get("prefix"))
	}
	if len(content) > documentBytesMax {
		delete(c.w.Header(), "Etag")
		return documentTooLarge(prefix)
	}
	c.send(http.StatusOK, format.MediaType(), content)
	return nil
}

// readTree reads the keys at a place.
func readTree(v gateway.View, place document.Place) ([]document.Leaf, error) {
	var leaves []document.Leaf
	if e, ok := v.Key(place.Base); ok && place.Base != "" {
		leaves = append(leaves, document.Leaf{Key: e.Key, Value: e.Value, ContentType: e.ContentType})
	}
	size, directories := 0, 0
	for e := range v.Keys(place.Below) {
		if e.Key[len(e.Key)-1] == '/' {
			if directories++; directories > event.TreeEntriesMax {
				return nil, documentTooLarge(place.Below)
			}
			continue
		}
		size += len(e.Key) + len(e.Value)
		if len(leaves) == event.TreeEntriesMax || size > documentBytesMax {
			return nil, documentTooLarge(place.Below)
		}
		leaves = append(leaves, document.Leaf{Key: e.Key, Value: e.Value, ContentType: e.ContentType})
	}
	return leaves, nil
}

func documentTooLarge(prefix string) error {
	return gateway.NewProblem(commands.CodeTooLarge, "the document at %.200q has more than %d values or %d bytes: ask for longer prefixes, or list the keys page by page", prefix, event.TreeEntriesMax, documentBytesMax)
}

// documentProblem says what is wrong with a document, or with keys that cannot be one.
func documentProblem(err error, prefix string) error {
	if errors.Is(err, document.ErrTooLarge) {
		return documentTooLarge(prefix)
	}
	if syntax, ok := errors.AsType[*document.SyntaxError](err); ok {
		p := gateway.NewProblem(gateway.CodeInvalidDocument, "%s; nothing was written", syntax)
		p.Line, p.Column = syntax.Line, syntax.Column
		return p
	}
	if conflict, ok := errors.AsType[*document.ConflictError](err); ok {
		return gateway.NewProblem(gateway.CodeDocumentConflict, "%s", conflict)
	}
	if unfit, ok := errors.AsType[*document.UnfitError](err); ok {
		return gateway.NewProblem(gateway.CodeNotRepresentable, "%s", unfit)
	}
	return err
}

// otherMediaTypes are those of documents that are no JSON.
func otherMediaTypes() []string {
	var all []string
	for _, f := range document.Formats()[1:] {
		mediaType, _, _ := strings.Cut(document.Format(f).MediaType(), ";")
		all = append(all, mediaType)
	}
	return all
}

// renderedAs are the forms of a document besides JSON.
func renderedAs() []representation {
	var all []representation
	for _, mediaType := range otherMediaTypes() {
		all = append(all, representation{mediaType, nil})
	}
	return all
}
