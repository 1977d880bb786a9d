package client

import (
	"context"
	"encoding/json"
	"fmt"
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
	// TTL has it end when it was not registered again for so long; zero is for good, or for as long as its session.
	TTL time.Duration `json:"-"`
	// Checks must all pass; without any the instance counts as passing.
	Checks []Check `json:"checks,omitempty"`
	// Credentials are what its users need to know in secret. Nil leaves them as they are, an empty map removes them. The
	// registry gives them only where they are asked for by name, with Client.Credentials.
	Credentials Credentials `json:"credentials,omitzero"`
}

// Credentials are secrets by name. Printed with fmt they show none of them.
type Credentials map[string]string

// String implements fmt.Stringer.
func (c Credentials) String() string { return fmt.Sprintf("(%d credentials)", len(c)) }

// GoString implements fmt.GoStringer.
func (c Credentials) GoString() string { return c.String() }

// instanceFields are an Instance's without its methods.
type instanceFields Instance

// wireInstance is an Instance in JSON.
type wireInstance struct {
	instanceFields
	TTL duration `json:"ttl,omitempty"`
}

func (w wireInstance) instance() Instance {
	i := Instance(w.instanceFields)
	i.TTL = time.Duration(w.TTL)
	return i
}

// MarshalJSON implements json.Marshaler, in the form that the server takes.
func (i Instance) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireInstance{instanceFields(i), duration(i.TTL)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *Instance) UnmarshalJSON(b []byte) error {
	var w wireInstance
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*i = w.instance()
	return nil
}

// Because names the event that makes something what it is.
type Because struct {
	Revision uint64    `json:"revision"`
	Type     string    `json:"type"` // such as rollcall.service.status
	Time     time.Time `json:"time,omitzero"`
}

// InstanceState is a registered instance with what the registry knows about it. What it was registered as is its
// Instance, checks included and credentials not.
type InstanceState struct {
	Instance
	// Status is Maintenance before all, and else that of the worst of its checks; Because is the event that makes it so.
	Status  Status
	Because Because
	// Reason is why it is in maintenance.
	Reason         string
	Checks         []CheckState
	Revision       uint64 // the commit that last changed the registration
	CreateRevision uint64 // and the one that made it
	Time           time.Time
}

// wireInstanceState is an InstanceState in JSON. Its checks stand before those of the registration.
type wireInstanceState struct {
	wireInstance
	Status         Status       `json:"status"`
	Because        Because      `json:"because,omitzero"`
	Reason         string       `json:"reason,omitempty"`
	Checks         []CheckState `json:"checks"`
	Revision       uint64       `json:"revision"`
	CreateRevision uint64       `json:"create_revision,omitempty"`
	Time           time.Time    `json:"time,omitzero"`
}

// MarshalJSON implements json.Marshaler, in the form of the server's own answers.
func (s InstanceState) MarshalJSON() ([]byte, error) {
	w := wireInstanceState{
		wireInstance{instanceFields(s.Instance), duration(s.TTL)}, s.Status, s.Because, s.Reason, s.Checks, s.Revision, s.CreateRevision, s.Time,
	}
	if w.Checks == nil {
		w.Checks = []CheckState{}
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *InstanceState) UnmarshalJSON(b []byte) error {
	var w wireInstanceState
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = InstanceState{w.instance(), w.Status, w.Because, w.Reason, w.Checks, w.Revision, w.CreateRevision, w.Time}
	if len(s.Checks) == 0 {
		s.Checks = nil
	}
	for _, c := range s.Checks {
		s.Instance.Checks = append(s.Instance.Checks, c.Check)
	}
	return nil
}

// Service is a service with its instances.
type Service struct {
	Service   string          `json:"service"`
	Revision  uint64          `json:"revision"` // the state that is shown
	Settings  ServiceSettings `json:"settings,omitzero"`
	Instances []InstanceState `json:"instances"`
}

// ServiceSettings are what holds for a service as a whole, whether or not it has instances. The zero value is the default.
type ServiceSettings struct {
	// DNSTTL is for how long DNS answers may be cached, in whole seconds.
	DNSTTL time.Duration
	// OnlyPassing keeps instances that are in warning out of use; else a warning counts as passing.
	OnlyPassing bool
}

// wireServiceSettings are ServiceSettings in JSON.
type wireServiceSettings struct {
	DNSTTL      duration `json:"dns_ttl,omitempty"`
	OnlyPassing bool     `json:"only_passing,omitempty"`
}

// MarshalJSON implements json.Marshaler, in the form that the server takes.
func (s ServiceSettings) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireServiceSettings{duration(s.DNSTTL), s.OnlyPassing})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *ServiceSettings) UnmarshalJSON(b []byte) error {
	var w wireServiceSettings
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = ServiceSettings{time.Duration(w.DNSTTL), w.OnlyPassing}
	return nil
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
	Passing bool     // only those that may be used; a warning counts as passing, unless the service's settings say otherwise
	// Statuses are the ones of which they have one; none means any.
	Statuses []Status
	// Filter is a go-bexpr expression over the fields of an instance as they are in JSON, such as
	// `meta.zone == "a" and "v2" in tags`.
	Filter string
}

// Register says that an instance runs. Registering the same thing again changes nothing, but that an instance with a TTL
// lives for its whole TTL again. What was registered under the same id before is replaced, except credentials that are nil.
func (c *Client) Register(ctx context.Context, i Instance, options ...WriteOption) (Written, error) {
	r := c.newRequest("instances.put", "service", i.Service, "id", i.ID).with(options)
	what := i.Service + "/" + i.ID
	i.Service, i.ID = "", "" // the path says so
	if err := r.json(i); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "register instance", what)
}

// Deregister says that an instance is gone. One that is not there is ErrNotFound.
func (c *Client) Deregister(ctx context.Context, service, id string, options ...WriteOption) (Written, error) {
	return c.written(ctx, c.newRequest("instances.delete", "service", service, "id", id).with(options), "deregister instance", service+"/"+id)
}

// Instances reads a service. A service that is not there is ErrNotFound.
func (c *Client) Instances(ctx context.Context, service string, q Query, options ...ReadOption) (Service, error) {
	r := c.newRequest("services.get", "service", service).options(options)
	if len(q.Tags) > 0 {
		r.ask("tag", q.Tags...)
	}
	if q.Passing {
		r.ask("passing", "true")
	}
	if len(q.Statuses) > 0 {
		statuses := make([]string, len(q.Statuses))
		for i, status := range q.Statuses {
			statuses[i] = string(status)
		}
		r.ask("status", statuses...)
	}
	if q.Filter != "" {
		r.ask("filter", q.Filter)
	}
	var s Service
	if _, err := c.read(ctx, r, &s); err != nil {
		return Service{}, fmt.Errorf("find service %q: %w", service, err)
	}
	return s, nil
}

// Instance reads an instance. One that is not there is ErrNotFound.
func (c *Client) Instance(ctx context.Context, service, id string, options ...ReadOption) (InstanceState, error) {
	var i InstanceState
	if _, err := c.read(ctx, c.newRequest("instances.get", "service", service, "id", id).options(options), &i); err != nil {
		return InstanceState{}, fmt.Errorf("read instance %q: %w", service+"/"+id, err)
	}
	return i, nil
}

// CredentialsState are an instance's credentials, and the commit that set them; zero where there are none.
type CredentialsState struct {
	Credentials Credentials `json:"credentials"`
	Revision    uint64      `json:"revision,omitempty"`
}

// Credentials reads what the users of an instance need to know in secret.
func (c *Client) Credentials(ctx context.Context, service, id string, options ...ReadOption) (CredentialsState, error) {
	var s CredentialsState
	if _, err := c.read(ctx, c.newRequest("instances.credentials", "service", service, "id", id).options(options), &s); err != nil {
		return CredentialsState{}, fmt.Errorf("read credentials of instance %q: %w", service+"/"+id, err)
	}
	return s, nil
}

// ConfigureService says what holds for a service as a whole, whether or not it has instances: all of it.
func (c *Client) ConfigureService(ctx context.Context, service string, s ServiceSettings, options ...WriteOption) (Written, error) {
	r := c.newRequest("services.put", "service", service).with(options)
	if err := r.json(s); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "configure service", service)
}

// Services lists the services by name.
func (c *Client) Services(ctx context.Context, options ...ReadOption) ([]ServiceSummary, error) {
	var w struct {
		Services []ServiceSummary `json:"services"`
	}
	if _, err := c.read(ctx, c.newRequest("services.list").options(options), &w); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return w.Services, nil
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
	r := systemRequest("namespaces.put", "name", name)
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
	var w struct {
		Namespaces []NamespaceState `json:"namespaces"`
	}
	if _, err := c.read(ctx, systemRequest("namespaces.list").options(options), &w); err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	return w.Namespaces, nil
}
