package client

import (
	"context"
	"fmt"
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
	// Expires is when it disappears if nobody renews it; zero where it has no TTL, or nobody can tell.
	Expires time.Time `json:"expires,omitzero"`
	// KeptFrom is the oldest revision whose state is kept; zero where that is all.
	KeptFrom uint64 `json:"kept_from,omitempty"`
}

// NamespaceSettings are what a namespace is to keep to. A field that is nil stays as it is, and zero takes a bound away.
type NamespaceSettings struct {
	Keys, Bytes *uint64
	Age         *time.Duration
	Revisions   *uint64
	// TTL is for how long it stays when nobody renews it; asking for it again renews it.
	TTL *time.Duration
	// Group is where to place it, and From the namespace whose configuration it is to begin with; both are for one that is
	// to be made, and must be so of one that exists.
	Group uint64
	From  string
}

// ConfigureNamespace has a namespace keep to settings from now on, and makes it where it is missing.
//
// While one of that name is being deleted, or filled, it is refused: Problem says for how long.
func (c *Client) ConfigureNamespace(ctx context.Context, name string, s NamespaceSettings, options ...WriteOption) (Written, error) {
	r := systemRequest("namespaces.put", "name", name).with(options)
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
	if s.TTL != nil {
		body["ttl"] = s.TTL.String()
	}
	if s.Group != 0 {
		body["group"] = s.Group
	}
	if s.From != "" {
		body["from"] = s.From
	}
	if err := r.json(body); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "configure namespace", name)
}

// RenewNamespace gives a namespace its whole TTL again, and says how long that is. It is no change, and trying it again is
// harmless. One without a TTL is ErrNoLease, and one that is gone ErrUnknownNamespace: it is not made anew.
func (c *Client) RenewNamespace(ctx context.Context, name string) (ttl time.Duration, err error) {
	r := systemRequest("namespaces.put", "name", name)
	r.ask("refresh", "true")
	if ttl, err = c.renew(ctx, r); err != nil {
		return 0, fmt.Errorf("renew namespace %q: %w", name, err)
	}
	return ttl, nil
}

// DeleteNamespace deletes a namespace with everything in it. One that does not exist is ErrUnknownNamespace.
func (c *Client) DeleteNamespace(ctx context.Context, name string, options ...WriteOption) (Written, error) {
	return c.written(ctx, systemRequest("namespaces.delete", "name", name).with(options), "delete namespace", name)
}

// NamespaceDetail reads a namespace. One that does not exist is ErrUnknownNamespace.
func (c *Client) NamespaceDetail(ctx context.Context, name string) (NamespaceDetail, error) {
	var d NamespaceDetail
	if _, err := c.read(ctx, systemRequest("namespaces.get", "name", name), &d); err != nil {
		return d, fmt.Errorf("read namespace %q: %w", name, err)
	}
	return d, nil
}
