package gateway

import (
	"maps"
	"slices"

	"github.com/rollcall/rollcall/log/event"
)

// InstanceData is the data of rollcall.service.register, and of rollcall.service.deregister with service, id and
// the previous revision only.
type InstanceData struct {
	Service        string            `json:"service"`
	ID             string            `json:"id"`
	Node           string            `json:"node,omitempty"`
	Address        string            `json:"address,omitempty"`
	Port           *uint16           `json:"port,omitempty"`
	Protocol       string            `json:"protocol,omitempty"`
	Version        string            `json:"version,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	Meta           map[string]string `json:"meta,omitempty"`
	Weight         *uint16           `json:"weight,omitempty"`
	Priority       *uint16           `json:"priority,omitempty"`
	Session        string            `json:"session,omitempty"`
	TTL            string            `json:"ttl,omitempty"`
	Checks         []Check           `json:"checks,omitempty"`
	CreateRevision uint64            `json:"create_revision,omitempty"`
	Previous       uint64            `json:"previous,omitempty"`
	// Check is the one whose being critical for too long removed the instance.
	Check string `json:"check,omitempty"`
}

// StatusData is the data of rollcall.service.status.
type StatusData struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	Check   string `json:"check"`
	Status  string `json:"status"`
	Was     string `json:"was"`
	// Previous is the revision that made the check what it was.
	Previous uint64 `json:"previous"`
	// Server is the one that looked; left out where the instance reported by itself.
	Server string `json:"server,omitempty"`
	// Epoch is that of the timekeeper who found that nothing was heard in time.
	Epoch uint64 `json:"epoch,omitempty"`
}

// MaintenanceData is the data of rollcall.service.maintenance, with service and id, and of rollcall.node.maintenance, with
// the node.
type MaintenanceData struct {
	Service string `json:"service,omitempty"`
	ID      string `json:"id,omitempty"`
	Node    string `json:"node,omitempty"`
	Enabled bool   `json:"enabled"`
	Reason  string `json:"reason,omitempty"`
}

// CredentialsData is the data of rollcall.service.credentials: which there are, and never what they are.
type CredentialsData struct {
	Service  string   `json:"service"`
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Previous uint64   `json:"previous,omitempty"`
}

// ServiceData is the data of rollcall.service.configure.
type ServiceData struct {
	Service string `json:"service"`
	DNSTTL  string `json:"dns_ttl"`
	// OnlyPassing keeps instances that are in warning out of use.
	OnlyPassing bool   `json:"only_passing"`
	Previous    uint64 `json:"previous,omitempty"`
}

// NodeData is the data of rollcall.node.put, and of rollcall.node.delete with the node and the previous revision only.
type NodeData struct {
	Node           string            `json:"node"`
	Address        string            `json:"address,omitempty"`
	Meta           map[string]string `json:"meta,omitempty"`
	CreateRevision uint64            `json:"create_revision,omitempty"`
	Previous       uint64            `json:"previous,omitempty"`
}

// TypeOf is the type of the events of a kind that can make an instance what it is.
func TypeOf(k event.Kind) string {
	switch k {
	case event.KindInstanceRegistered:
		return event.InstanceRegistered{}.Type()
	case event.KindInstanceStatus:
		return event.InstanceStatus{}.Type()
	case event.KindInstanceMaintenance:
		return event.InstanceMaintenance{}.Type()
	case event.KindNodeMaintenance:
		return event.NodeMaintenance{}.Type()
	case event.KindNodeDeleted:
		return event.NodeDeleted{}.Type()
	}
	return ""
}

// serviceData is the data of events about services, their instances and nodes; nil for others.
func serviceData(e event.Event) any {
	switch b := e.Body.(type) {
	case event.InstanceRegistered:
		i := b.Instance
		return InstanceData{
			Service: i.Service, ID: i.ID, Node: i.Node, Address: i.Address, Port: &i.Port, Protocol: i.Protocol,
			Version: i.Version, Tags: i.Tags, Meta: i.Meta, Weight: &i.Weight, Priority: &i.Priority, Session: i.Session,
			TTL: FormatTTL(i.TTL), Checks: newChecks(i.Checks), CreateRevision: uint64(b.Registration(e.Commit, e.Time).CreateRevision), Previous: uint64(b.Previous),
		}
	case event.InstanceDeregistered:
		return InstanceData{Service: b.Service, ID: b.ID, Previous: uint64(b.Previous), Session: b.Session}
	case event.InstanceExpired:
		return InstanceData{Service: b.Service, ID: b.ID, Previous: uint64(b.Previous), Session: b.Session, Check: b.Check}
	case event.InstanceStatus:
		return StatusData{
			Service: b.Service, ID: b.ID, Check: b.Check, Status: b.Status.String(), Was: b.Was.String(), Previous: uint64(b.Previous),
			Server: b.Server, Epoch: uint64(b.Epoch),
		}
	case event.InstanceMaintenance:
		return MaintenanceData{Service: b.Service, ID: b.ID, Enabled: b.Enabled, Reason: b.Reason}
	case event.InstanceCredentials:
		return CredentialsData{
			Service: b.Service, ID: b.ID, Names: append([]string{}, slices.Sorted(maps.Keys(b.Credentials))...),
			Previous: uint64(b.Previous),
		}
	case event.ServiceConfigured:
		return ServiceData{Service: b.Service, DNSTTL: FormatDuration(b.DNSTTL), OnlyPassing: b.OnlyPassing, Previous: uint64(b.Previous)}
	case event.NodeSet:
		created := b.CreateRevision
		if created == 0 {
			created = e.Commit
		}
		return NodeData{Node: b.Node, Address: b.Address, Meta: b.Meta, CreateRevision: uint64(created), Previous: uint64(b.Previous)}
	case event.NodeDeleted:
		return NodeData{Node: b.Node, Previous: uint64(b.Previous)}
	case event.NodeMaintenance:
		return MaintenanceData{Node: b.Node, Enabled: b.Enabled, Reason: b.Reason}
	}
	return nil
}
