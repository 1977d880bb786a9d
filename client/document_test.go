package client_test

import (
	"errors"
	"testing"

	"github.com/rollcall/rollcall/client"
)

func TestDocumentsAtTheDoor(t *testing.T) {
	overDoors(t, client.Options{Reason: "trying"}, testDocumentsAtTheDoor)
}

func testDocumentsAtTheDoor(t *testing.T, c *client.Client) {
	ctx := t.Context()
	got := must(c.PutDocument(ctx, "app", client.YAML, []byte("a: 1\nb: {c: x}\n")))(t)
	if want := (client.DocumentWritten{Revision: 3, Put: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	d := must(c.Document(ctx, "app/", client.TOML))(t)
	if want := "a = 1\n\n[b]\nc = \"x\"\n"; string(d.Content) != want || d.Revision != 3 || d.ContentType != "application/toml" {
		t.Errorf("got %+v", d)
	}
	r := must(c.RehearseDocument(ctx, "app", client.JSON, []byte(`{"a":2}`), client.Replace()))(t)
	if r.Seen != 3 || r.Total != 2 || len(r.Events) != 2 || r.Events[0].Subject != "kv.app.b.c" {
		t.Errorf("got %+v", r)
	}
	must(c.Put(ctx, "app/a", []byte("3")))(t)
	if _, err := c.PutDocument(ctx, "app", client.JSON, []byte(`{"a":2}`), client.IfRevision(3)); !errors.Is(err, client.ErrConditionFailed) {
		t.Errorf("got %v, want a failed condition", err)
	}
	got = must(c.PutDocument(ctx, "app", client.JSON, []byte(`{"a":2}`), client.Replace(), client.IfRevision(4)))(t)
	if want := (client.DocumentWritten{Revision: 6, Put: 1, Deleted: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err := c.PutDocument(ctx, "app", client.Env, []byte("a=1\nb\n"))
	var p *client.Problem
	if !errors.As(err, &p) || !errors.Is(err, client.ErrInvalidDocument) || p.Line != 2 || p.Column != 2 {
		t.Errorf("got %v, want an invalid document at line 2, column 2", err)
	}
	if _, err := c.Document(ctx, "nothing", client.JSON); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want that nothing is there", err)
	}
}
