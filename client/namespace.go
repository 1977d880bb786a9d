package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Quotas bound what a namespace may hold; zero is no bound.
type Quotas struct {
	Keys  uint64 `json:"keys,omitempty"`
	Bytes uint64 `json:"bytes,omitempty"` // of keys and values together
}

// Retention says how much of the past can be read; with both, what either keeps.
type Retention struct {
	Age       string `json:"age,omitempty"` // such as 720h
	Revisions uint64 `json:"revisions,omitempty"`
}

// NamespaceDetail is a namespace with what it was asked to keep to, and what it holds.
type NamespaceDetail struct {
	NamespaceState
	Quotas     Quotas    `json:"quotas,omitzero"`
	Retention  Retention `json:"retention,omitzero"`
	Configured uint64    `json:"configured,omitempty"` // the revision of _system's ledger that last did
	Usage      struct {
		Keys  uint64 `json:"keys"`
		Bytes uint64 `json:"bytes"`
		Level string `json:"level"` // normal, or warning where it is close to a quota
	} `json:"usage"`
	// KeptFrom is the oldest revision whose state is kept; zero where that is all.
	KeptFrom uint64 `json:"kept_from,omitempty"`
}

// NamespaceSettings are what a namespace is to keep to. A field that is nil stays as it is, and zero takes a bound away.
type NamespaceSettings struct {
	Keys, Bytes *uint64
	Age         *time.Duration
	Revisions   *uint64
}

// ConfigureNamespace has a namespace keep to settings from now on, and makes it where it is missing.
func (c *Client) ConfigureNamespace(ctx context.Context, name string, s NamespaceSettings) (Written, error) {
	r := newRequest(http.MethodPut, "v1/_system/namespaces/"+escapeSegment(name))
	quotas, retention := map[string]any{}, map[string]any{}
	for _, f := range []struct {
		into map[string]any
		name string
		from *uint64
	}{{quotas, "keys", s.Keys}, {quotas, "bytes", s.Bytes}, {retention, "revisions", s.Revisions}} {
		if f.from != nil {
			f.into[f.name] = *f.from
		}
	}
	if s.Age != nil {
		retention["age"] = s.Age.String()
	}
	body := map[string]any{}
	if len(quotas) > 0 {
		body["quotas"] = quotas
	}
	if len(retention) > 0 {
		body["retention"] = retention
	}
	if err := r.json(body); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "configure namespace", name)
}

// NamespaceDetail reads a namespace. One that does not exist is ErrUnknownNamespace.
func (c *Client) NamespaceDetail(ctx context.Context, name string) (NamespaceDetail, error) {
	var d NamespaceDetail
	if _, err := c.read(ctx, systemRequest(http.MethodGet, "namespaces/"+escapeSegment(name)), &d); err != nil {
		return d, fmt.Errorf("read namespace %q: %w", name, err)
	}
	return d, nil
}
