package commands

import "github.com/rollcall/rollcall/log/event"

func decideRegister(s State, c RegisterInstance) (Decision, *Rejection) {
	if r := checkSession(s, c.Instance.Session); r != nil {
		return Decision{}, r
	}
	current, exists := s.Instance(c.Instance.Service, c.Instance.ID)
	body, changed := register(c, current, exists)
	if !changed {
		return nothing(current.Revision, Result{}), nil
	}
	return one(body, Result{Created: !exists}), nil
}

func register(c RegisterInstance, current event.Registration, exists bool) (body event.InstanceRegistered, changed bool) {
	if exists && current.Equal(c.Instance) {
		return body, false
	}
	return event.InstanceRegistered{
		Instance: c.Instance, CreateRevision: current.CreateRevision, Previous: current.Revision,
	}, true
}

func decideDeregister(s State, c DeregisterInstance) (Decision, *Rejection) {
	current, exists := s.Instance(c.Service, c.ID)
	if !exists {
		return Decision{}, reject(CodeNotFound, "service %q has no instance %q", c.Service, c.ID)
	}
	return one(event.InstanceDeregistered{Service: c.Service, ID: c.ID, Previous: current.Revision}, Result{Deleted: 1}), nil
}
