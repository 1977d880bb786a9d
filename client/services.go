package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Instance is one running copy of a service.
type Instance struct {
	Service  string            `json:"service,omitempty"`
	ID       string            `json:"id,omitempty"`
	Node     string            `json:"node,omitempty"` // the host that it says it runs on
	Address  string            `json:"address"`        // an IP address or a host name
	Port     uint16            `json:"port,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
	Version  string            `json:"version,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	// Weight is the share among equals and Priority the rank, lowest first, as in RFC 2782; nil means 1.
	Weight   *uint16 `json:"weight,omitempty"`
	Priority *uint16 `json:"priority,omitempty"`
	// Session is the session that it ends with; empty for none.
	Session string `json:"session,omitempty"`
}

// InstanceState is a registered instance with what the registry knows about it.
type InstanceState struct {
	Instance
	Status         string    `json:"status"` // passing, warning, critical or maintenance
	Revision       uint64    `json:"revision"`
	CreateRevision uint64    `json:"create_revision,omitempty"`
	Time           time.Time `json:"time,omitzero"`
}

// Service is a service with its instances.
type Service struct {
	Service   string          `json:"service"`
	Revision  uint64          `json:"revision"` // the state that is shown
	Instances []InstanceState `json:"instances"`
}

// ServiceSummary is a service in a list of them.
type ServiceSummary struct {
	Service   string   `json:"service"`
	Instances int      `json:"instances"`
	Passing   int      `json:"passing"`
	Tags      []string `json:"tags"`
}

// Query says which instances of a service are asked for.
type Query struct {
	Tags    []string // only those that have all of these
	Passing bool     // only those that may be used; a warning counts as passing
}

// Register says that an instance runs. Registering the same thing again changes nothing.
func (c *Client) Register(ctx context.Context, i Instance, options ...WriteOption) (Written, error) {
	r := c.instanceRequest(http.MethodPut, i.Service, i.ID, options)
	if err := r.json(i); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "register instance", i.Service+"/"+i.ID)
}

// Deregister says that an instance is gone. One that is not there is ErrNotFound.
func (c *Client) Deregister(ctx context.Context, service, id string, options ...WriteOption) (Written, error) {
	return c.written(ctx, c.instanceRequest(http.MethodDelete, service, id, options), "deregister instance", service+"/"+id)
}

// Instances reads a service. A service that is not there is ErrNotFound.
func (c *Client) Instances(ctx context.Context, service string, q Query, options ...ReadOption) (Service, error) {
	r := newRequest(http.MethodGet, c.path("services", escapeSegment(service))).options(options)
	if len(q.Tags) > 0 {
		r.query["tag"] = q.Tags
	}
	if q.Passing {
		r.query.Set("passing", "true")
	}
	var s Service
	if _, err := c.read(ctx, r, &s); err != nil {
		return Service{}, fmt.Errorf("find service %q: %w", service, err)
	}
	return s, nil
}

// Services lists the services by name.
func (c *Client) Services(ctx context.Context, options ...ReadOption) ([]ServiceSummary, error) {
	var w struct {
		Services []ServiceSummary `json:"services"`
	}
	if _, err := c.read(ctx, newRequest(http.MethodGet, c.path("services")).options(options), &w); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return w.Services, nil
}

func (c *Client) instanceRequest(method, service, id string, options []WriteOption) *request {
	r := newRequest(method, c.path("services", escapeSegment(service), "instances", escapeSegment(id)))
	for _, o := range options {
		o(r)
	}
	return r
}

// NamespaceState is a namespace.
type NamespaceState struct {
	Name     string    `json:"name"`
	Group    uint64    `json:"group,omitempty"` // the Raft group that hosts it
	Revision uint64    `json:"revision,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	// TTL is for how long it stays when nobody renews it, such as 30s; empty for good.
	TTL string `json:"ttl,omitempty"`
	// From is the namespace whose configuration it began with, as of FromRevision; empty for none.
	From         string `json:"from,omitempty"`
	FromRevision uint64 `json:"from_revision,omitempty"`
}

// CreateNamespace makes a namespace, on a group of the server's choice where group is zero. One that exists is left
// as it is.
func (c *Client) CreateNamespace(ctx context.Context, name string, group uint64) (Written, error) {
	r := newRequest(http.MethodPut, "v1/_system/namespaces/"+escapeSegment(name))
	body := map[string]uint64{}
	if group != 0 {
		body["group"] = group
	}
	if err := r.json(body); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "create namespace", name)
}

// Namespaces lists the namespaces by name.
func (c *Client) Namespaces(ctx context.Context, options ...ReadOption) ([]NamespaceState, error) {
	r := &request{method: http.MethodGet, path: "v1/_system/namespaces", query: url.Values{}, header: http.Header{}}
	var w struct {
		Namespaces []NamespaceState `json:"namespaces"`
	}
	if _, err := c.read(ctx, r.options(options), &w); err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	return w.Namespaces, nil
}
