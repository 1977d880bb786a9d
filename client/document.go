package client

import (
	"context"
	"fmt"
)

// Format is how a document is written. A server may know more than are named here.
type Format string

// The formats of documents.
const (
	JSON       Format = "json"
	YAML       Format = "yaml"
	TOML       Format = "toml"
	Env        Format = "env"
	Properties Format = "properties"
)

// Document is a subtree in one piece.
type Document struct {
	// Revision is the state that it shows.
	Revision uint64
	Content  []byte
	// ContentType says what the content is.
	ContentType string
}

// Document reads what stands at a prefix and below it as one document; "app" and "app/" are the same prefix, and the
// empty one is every key. Where nothing is there it is ErrNotFound, and ErrDocumentConflict where two keys cannot stand
// in one document.
func (c *Client) Document(ctx context.Context, prefix string, format Format, options ...ReadOption) (Document, error) {
	r := c.newRequest("kv.list").options(options)
	r.ask("prefix", prefix)
	r.ask("format", string(format))
	a, err := c.do(ctx, r)
	if err != nil {
		return Document{}, fmt.Errorf("read document %q: %w", prefix, err)
	}
	return Document{Revision: a.revision, Content: a.body, ContentType: a.contentType}, nil
}

// DocumentWritten is the answer to a document.
type DocumentWritten struct {
	// Revision is the commit; where nothing had to change, the last revision.
	Revision uint64 `json:"revision"`
	// Put and Deleted are how many keys were written and deleted; Unchanged are those of the document that were as it
	// says already.
	Put       uint64 `json:"put"`
	Deleted   uint64 `json:"deleted"`
	Unchanged uint64 `json:"unchanged"`
}

// Replace deletes the keys at the prefix that a document lacks; without it they stay. It is for documents.
func Replace() WriteOption { return func(r *request) { r.ask("mode", "replace") } }

// PutDocument gives the keys at a prefix the values of a document, in one commit that writes only what differs. With
// IfRevision it goes ahead only while none of these keys has changed since that revision. What is no document is
// ErrInvalidDocument, and the Problem has its line and column.
func (c *Client) PutDocument(ctx context.Context, prefix string, format Format, content []byte, options ...WriteOption) (DocumentWritten, error) {
	var w DocumentWritten
	_, err := c.read(ctx, c.documentRequest(prefix, format, content, options), &w)
	if err != nil {
		return DocumentWritten{}, fmt.Errorf("write document %q: %w", prefix, err)
	}
	return w, nil
}

// RehearseDocument says what PutDocument would write.
func (c *Client) RehearseDocument(ctx context.Context, prefix string, format Format, content []byte, options ...WriteOption) (Rehearsal, error) {
	var out Rehearsal
	_, err := c.PutDocument(ctx, prefix, format, content, append(options, DryRun(&out))...)
	return out, err
}

func (c *Client) documentRequest(prefix string, format Format, content []byte, options []WriteOption) *request {
	r := c.newRequest("kv.put-tree").with(options)
	r.ask("prefix", prefix)
	r.ask("format", string(format))
	r.setValue(content)
	return r
}
