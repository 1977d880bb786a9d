package event

import "slices"

// Health is what is known of how an instance is, besides its registration. Its methods are the rules by which events
// change it, for every view that shows it. They change nothing in place.
type Health struct {
	// Checks are in the order of the registration's.
	Checks []CheckState
	// Maintenance is that of the instance; see Node for that of its node.
	Maintenance MaintenanceState
}

// CheckState is how one check is, and which event says so.
type CheckState struct {
	ID     string
	Status Status
	Because
}

// MaintenanceState says whether something is kept out of use, and which event said so last; zero where none ever did.
type MaintenanceState struct {
	Enabled bool
	Reason  string
	Because
}

// Because names the event that something is as it is by.
type Because struct {
	Revision Revision // the commit of the event
	Kind     Kind
	Time     Time
}

// Verdict is an instance's status, and the event that makes it so.
type Verdict struct {
	Status Status
	Because
}

// Registered is the health after a registration: a check that asks the same of the same as one that was there keeps
// its status, any other begins anew. before is nil where the instance is new.
func (h Health) Registered(before *Instance, now Instance, commit Revision, at Time) Health {
	var states []CheckState
	for _, c := range now.Checks {
		s := CheckState{ID: c.ID, Status: c.Start(), Because: Because{commit, KindInstanceRegistered, at}}
		if before != nil {
			if old, ok := before.Check(c.ID); ok && old.SameTarget(c) {
				if known, ok := h.Check(c.ID); ok {
					s = known
				}
			}
		}
		states = append(states, s)
	}
	return Health{Checks: states, Maintenance: h.Maintenance}
}

// Changed is the health after a check's status changed.
func (h Health) Changed(check string, to Status, commit Revision, at Time) Health {
	h.Checks = slices.Clone(h.Checks)
	for i := range h.Checks {
		if h.Checks[i].ID == check {
			h.Checks[i].Status, h.Checks[i].Because = to, Because{commit, KindInstanceStatus, at}
		}
	}
	return h
}

// Check gives the state of one check.
func (h Health) Check(id string) (CheckState, bool) {
	for _, c := range h.Checks {
		if c.ID == id {
			return c, true
		}
	}
	return CheckState{}, false
}

// Zero tells whether there is nothing to know but the registration.
func (h Health) Zero() bool { return len(h.Checks) == 0 && h.Maintenance == MaintenanceState{} }

// Verdict is the status of an instance with this health, whose node is as given, and the event that makes it so:
// maintenance before checks, and of the checks the worst, since the first of those that are as bad. What passes does so
// by the last event that let it.
func (h Health) Verdict(r Registration, node MaintenanceState) Verdict {
	if h.Maintenance.Enabled {
		return Verdict{Maintenance, h.Maintenance.Because}
	}
	if node.Enabled {
		return Verdict{Maintenance, node.Because}
	}
	v := Verdict{Status: Passing}
	for _, c := range h.Checks {
		worse, equal := c.Status > v.Status, c.Status == v.Status
		switch {
		case v.Revision == 0 || worse:
			v = Verdict{c.Status, c.Because}
		case equal && v.Status == Passing && c.Revision > v.Revision:
			v.Because = c.Because
		case equal && v.Status != Passing && c.Revision < v.Revision:
			v.Because = c.Because
		}
	}
	if v.Status != Passing {
		return v
	}
	if r.Revision > v.Revision { // it may have left out, or begun anew, a check that did not pass
		v.Because = Because{r.Revision, KindInstanceRegistered, r.Time}
	}
	for _, ended := range []MaintenanceState{h.Maintenance, node} {
		if ended.Revision > v.Revision {
			v.Because = ended.Because
		}
	}
	return v
}

// Due is what becomes of an instance, or of one check of it, when time passes and nobody says anything: a TTL check is
// critical, and an instance is gone that was to be registered again, or of which a check was critical for too long.
type Due struct {
	Service, ID string
	Check       string // empty for the instance itself
	After       Time   // for how long nobody may have said anything
	// Revision is what has made it so: the event that set the check's status, or the registration.
	Revision Revision
	Status   Status // of the check; zero for the instance itself
}

// Due gives everything that is due for an instance: for each check at most one thing.
func (h Health) Due(r Registration) (all []Due) {
	if r.TTL != 0 {
		all = append(all, Due{Service: r.Service, ID: r.ID, After: r.TTL, Revision: r.Revision})
	}
	for n, s := range h.Checks {
		c, after := r.Checks[n], Time(0)
		if s.Status == Critical {
			after = c.DeregisterAfter
		} else {
			after = c.TTL
		}
		if after != 0 {
			all = append(all, Due{r.Service, r.ID, c.ID, after, s.Revision, s.Status})
		}
	}
	return all
}

// Check gives a check of the instance.
func (i Instance) Check(id string) (Check, bool) {
	for _, c := range i.Checks {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}

// InstanceStatus says that a check of an instance changed its status. What the check had to say is kept outside the
// ledger.
type InstanceStatus struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
	Check   string `cbor:"3,keyasint"`
	Status  Status `cbor:"4,keyasint"`
	Was     Status `cbor:"5,keyasint"`
	// Previous is the revision that made the check what it was.
	Previous Revision `cbor:"6,keyasint"`
	// Server is the one that looked; empty where the instance reported by itself.
	Server string `cbor:"7,keyasint,omitempty"`
	// Epoch is that of the timekeeper who found that a TTL check was not heard from in time; zero otherwise.
	Epoch Revision `cbor:"8,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceStatus) Kind() Kind { return KindInstanceStatus }

// Type implements Body.
func (InstanceStatus) Type() string { return "rollcall.service.status" }

// Subject implements Body.
func (e InstanceStatus) Subject() string { return InstanceSubject(e.Service, e.ID) }

// InstanceMaintenance says that an instance is kept out of use from here on, or no longer.
type InstanceMaintenance struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
	Enabled bool   `cbor:"3,keyasint,omitempty"`
	Reason  string `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceMaintenance) Kind() Kind { return KindInstanceMaintenance }

// Type implements Body.
func (InstanceMaintenance) Type() string { return "rollcall.service.maintenance" }

// Subject implements Body.
func (e InstanceMaintenance) Subject() string { return InstanceSubject(e.Service, e.ID) }

// State is what the event leaves behind.
func (e InstanceMaintenance) State(commit Revision, at Time) MaintenanceState {
	return MaintenanceState{e.Enabled, e.Reason, Because{commit, e.Kind(), at}}
}

// InstanceCredentials holds what whoever uses an instance needs to know in secret: the whole new set. It is the one event
// whose content no door shows; they show the names.
type InstanceCredentials struct {
	Service     string            `cbor:"1,keyasint"`
	ID          string            `cbor:"2,keyasint"`
	Credentials map[string]string `cbor:"3,keyasint,omitempty"`
	// Previous is the revision of the set that this one replaces; zero when there was none.
	Previous Revision `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (InstanceCredentials) Kind() Kind { return KindInstanceCredentials }

// Type implements Body.
func (InstanceCredentials) Type() string { return "rollcall.service.credentials" }

// Subject implements Body.
func (e InstanceCredentials) Subject() string { return InstanceSubject(e.Service, e.ID) }

// ServiceSettings are what holds for a service as a whole, whether or not it has instances. The zero value is the default.
type ServiceSettings struct {
	DNSTTL Time // for how long a DNS answer may be cached, in nanoseconds: whole seconds
	// OnlyPassing keeps an instance that is in warning out of use; else warning counts as passing.
	OnlyPassing bool
}

// Usable tells whether an instance of the service with that status may be used.
func (s ServiceSettings) Usable(status Status) bool {
	return status == Passing || status == Warning && !s.OnlyPassing
}

// ServiceConfigured says what holds for a service from here on.
type ServiceConfigured struct {
	Service  string   `cbor:"1,keyasint"`
	DNSTTL   Time     `cbor:"2,keyasint,omitempty"`
	Previous Revision `cbor:"3,keyasint,omitempty"`
	// OnlyPassing keeps an instance that is in warning out of use.
	OnlyPassing bool `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (ServiceConfigured) Kind() Kind { return KindServiceConfigured }

// Type implements Body.
func (ServiceConfigured) Type() string { return "rollcall.service.configure" }

// Subject implements Body.
func (e ServiceConfigured) Subject() string { return "service." + EscapeSegment(e.Service) }

// Settings are what the event says.
func (e ServiceConfigured) Settings() ServiceSettings {
	return ServiceSettings{e.DNSTTL, e.OnlyPassing}
}
