package commands

import (
	"maps"

	"github.com/rollcall/rollcall/log/event"
)

func decideRegister(s State, c RegisterInstance) (Decision, *Rejection) {
	if r := checkSession(s, c.Instance.Session); r != nil {
		return Decision{}, r
	}
	events, r := register(s, c)
	if len(events) == 0 {
		return nothing(r.Revision, r), nil
	}
	return Decision{Events: events, Answer: Answer{Results: []Result{r}}}, nil
}

// register gives the events of a registration; none where it says what is known, and then its result has the revision
// that says so.
func register(s State, c RegisterInstance) (events []event.Body, r Result) {
	current, exists := s.Instance(c.Instance.Service, c.Instance.ID)
	if !exists || !current.Equal(c.Instance) {
		events = append(events, event.InstanceRegistered{
			Instance: c.Instance, CreateRevision: current.CreateRevision, Previous: current.Revision,
		})
	}
	if c.Credentials != nil {
		known, at := s.Credentials(c.Instance.Service, c.Instance.ID)
		if !maps.Equal(known, c.Credentials.Values) {
			events = append(events, event.InstanceCredentials{
				Service: c.Instance.Service, ID: c.Instance.ID, Credentials: c.Credentials.Values, Previous: at,
			})
		}
	}
	if len(events) == 0 {
		return nil, Result{Revision: current.Revision}
	}
	return events, Result{Created: !exists}
}

func decideDeregister(s State, c DeregisterInstance) (Decision, *Rejection) {
	current, exists := s.Instance(c.Service, c.ID)
	if !exists {
		return Decision{}, reject(CodeNotFound, "service %q has no instance %q", c.Service, c.ID)
	}
	return one(event.InstanceDeregistered{Service: c.Service, ID: c.ID, Previous: current.Revision}, Result{Deleted: 1}), nil
}
