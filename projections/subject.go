package projections

import (
	"fmt"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/kv"
	"github.com/rollcall/rollcall/projections/registry"
)

// RowsOf gives the rows that events of a subject change: those of a key, an instance, a service's settings or a node.
// Other subjects, and filters with wildcards, have none: that is ok == false. A subject that is misspelt is an error.
func RowsOf(subject string) (rows []store.RowName, ok bool, err error) {
	kind, rest, _ := strings.Cut(subject, ".")
	if strings.ContainsAny(subject, "*>") {
		return nil, false, nil
	}
	switch kind {
	case "kv":
		name, err := event.ParseKeySubject(subject)
		if err != nil {
			return nil, false, err
		}
		t, key := kv.Row(name)
		return []store.RowName{{Table: t, Key: key}}, true, nil
	case "service":
		service, id, two := strings.Cut(rest, ".")
		if strings.Contains(id, ".") {
			return nil, false, fmt.Errorf("subject %q: an instance's is service.{service}.{id}, and a service's own service.{service}", subject)
		}
		if service, err = event.UnescapeSegment(service); err != nil {
			return nil, false, err
		}
		if !two {
			return registry.ServiceRows(service), true, nil
		}
		if id, err = event.UnescapeSegment(id); err != nil {
			return nil, false, err
		}
		return registry.InstanceRows(service, id), true, nil
	case "node":
		if rest, err = event.UnescapeSegment(rest); err != nil {
			return nil, false, err
		}
		return registry.NodeRows(rest), true, nil
	}
	return nil, false, nil
}
