package event

import (
	"maps"
	"slices"
)

// Instance is one running copy of a service, as it registered itself.
type Instance struct {
	Service  string            `cbor:"1,keyasint"`
	ID       string            `cbor:"2,keyasint"`
	Node     string            `cbor:"3,keyasint,omitempty"` // the host that it says it runs on
	Address  string            `cbor:"4,keyasint"`           // an IP address or a host name
	Port     uint16            `cbor:"5,keyasint,omitempty"`
	Protocol string            `cbor:"6,keyasint,omitempty"`
	Version  string            `cbor:"7,keyasint,omitempty"`
	Tags     []string          `cbor:"8,keyasint,omitempty"` // sorted, without repeats
	Meta     map[string]string `cbor:"9,keyasint,omitempty"`
	Weight   uint16            `cbor:"10,keyasint,omitempty"` // relative share among equals, as in RFC 2782
	Priority uint16            `cbor:"11,keyasint,omitempty"` // lower is asked first, as in RFC 2782
	Session  string            `cbor:"12,keyasint,omitempty"` // the instance is gone when it ends
	Checks   []Check           `cbor:"13,keyasint,omitempty"` // all must pass
	TTL      Time              `cbor:"14,keyasint,omitempty"` // the instance is gone when nobody registers it again for so long
}

// Equal tells whether two registrations say the same.
func (i Instance) Equal(o Instance) bool {
	return i.Service == o.Service && i.ID == o.ID && i.Node == o.Node && i.Address == o.Address &&
		i.Port == o.Port && i.Protocol == o.Protocol && i.Version == o.Version &&
		i.Weight == o.Weight && i.Priority == o.Priority && i.Session == o.Session && i.TTL == o.TTL &&
		slices.Equal(i.Tags, o.Tags) && maps.Equal(i.Meta, o.Meta) && slices.EqualFunc(i.Checks, o.Checks, Check.Equal)
}

// Registration is an instance with what is known about it: the row that the registry view keeps.
type Registration struct {
	Instance
	// Revision is the commit that last changed the registration, CreateRevision the one that made it.
	Revision       Revision
	CreateRevision Revision
	Time           Time
}

// InstanceRegistered says that an instance runs, and where. It holds the whole new state.
type InstanceRegistered struct {
	Instance Instance `cbor:"1,keyasint"`
	// CreateRevision is zero where the instance is made by this very commit.
	CreateRevision Revision `cbor:"2,keyasint,omitempty"`
	// Previous is the revision of the registration that this one replaces; zero when there was none.
	Previous Revision `cbor:"3,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceRegistered) Kind() Kind { return KindInstanceRegistered }

// Type implements Body.
func (InstanceRegistered) Type() string { return "rollcall.service.register" }

// Subject implements Body.
func (e InstanceRegistered) Subject() string {
	return InstanceSubject(e.Instance.Service, e.Instance.ID)
}

// Registration is the state that the event leaves behind, as of the commit it belongs to.
func (e InstanceRegistered) Registration(commit Revision, at Time) Registration {
	created := e.CreateRevision
	if created == 0 {
		created = commit
	}
	return Registration{Instance: e.Instance, Revision: commit, CreateRevision: created, Time: at}
}

// InstanceDeregistered says that an instance is gone.
type InstanceDeregistered struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
	// Previous is the revision of the registration that was removed.
	Previous Revision `cbor:"3,keyasint"`
	// Session is the one that the instance was bound to, where its end removed the instance.
	Session string `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceDeregistered) Kind() Kind { return KindInstanceDeregistered }

// Type implements Body.
func (InstanceDeregistered) Type() string { return "rollcall.service.deregister" }

// Subject implements Body.
func (e InstanceDeregistered) Subject() string { return InstanceSubject(e.Service, e.ID) }

// InstanceExpired says that an instance is gone because nobody kept its session alive, because a check of it was critical
// for as long as it was allowed to be, or, with neither, because nobody registered it again within its own TTL.
type InstanceExpired struct {
	Service  string   `cbor:"1,keyasint"`
	ID       string   `cbor:"2,keyasint"`
	Previous Revision `cbor:"3,keyasint"`
	Session  string   `cbor:"4,keyasint"`
	Check    string   `cbor:"5,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceExpired) Kind() Kind { return KindInstanceExpired }

// Type implements Body.
func (InstanceExpired) Type() string { return "rollcall.service.expire" }

// Subject implements Body.
func (e InstanceExpired) Subject() string { return InstanceSubject(e.Service, e.ID) }
