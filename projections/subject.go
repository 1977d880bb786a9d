package projections

import (
	"fmt"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections/kv"
	"github.com/rollcall/rollcall/projections/registry"
)

// RowOf gives the row that events of a subject change: that of a key or of an instance. Other subjects, and filters
// with wildcards, have none: that is ok == false. A subject that is misspelt is an error.
func RowOf(subject string) (t store.Table, key []byte, ok bool, err error) {
	kind, rest, _ := strings.Cut(subject, ".")
	if strings.ContainsAny(subject, "*>") {
		return 0, nil, false, nil
	}
	switch kind {
	case "kv":
		name, err := event.ParseKeySubject(subject)
		if err != nil {
			return 0, nil, false, err
		}
		t, key = kv.Row(name)
		return t, key, true, nil
	case "service":
		service, id, two := strings.Cut(rest, ".")
		if !two || strings.Contains(id, ".") {
			return 0, nil, false, fmt.Errorf("subject %q: an instance's is service.{service}.{id}", subject)
		}
		if service, err = event.UnescapeSegment(service); err != nil {
			return 0, nil, false, err
		}
		if id, err = event.UnescapeSegment(id); err != nil {
			return 0, nil, false, err
		}
		t, key = registry.Row(service, id)
		return t, key, true, nil
	}
	return 0, nil, false, nil
}
