package registry

import (
	"iter"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Get gives the registration of one instance.
func Get(r store.Reader, service, id string) (event.Registration, bool) {
	return get(r, key(service, id))
}

func get(r store.Reader, at []byte) (event.Registration, bool) {
	b, ok := r.Get(store.TableInstances, at)
	if !ok {
		return event.Registration{}, false
	}
	return decode(at, b), true
}

// Instances yields the instances of a service in the order of their ids.
func Instances(r store.Reader, service string) iter.Seq[event.Registration] {
	return scan(r, key(service, ""))
}

// All yields every instance, in the order of service and id.
func All(r store.Reader) iter.Seq[event.Registration] { return scan(r, nil) }

func scan(r store.Reader, prefix []byte) iter.Seq[event.Registration] {
	return func(yield func(event.Registration) bool) {
		for k, b := range r.Scan(store.TableInstances, prefix, nil) {
			if !yield(decode(k, b)) {
				return
			}
		}
	}
}

// InstanceRows names the rows that events about an instance change, ServiceRows those about a service as a whole, and
// NodeRows those about a node.
func InstanceRows(service, id string) []store.RowName {
	at := key(service, id)
	return []store.RowName{{Table: store.TableInstances, Key: at}, {Table: store.TableHealth, Key: at}, {Table: store.TableCredentials, Key: at}}
}

// ServiceRows is described at InstanceRows.
func ServiceRows(service string) []store.RowName {
	return []store.RowName{{Table: store.TableServices, Key: []byte(service)}}
}

// NodeRows is described at InstanceRows.
func NodeRows(node string) []store.RowName {
	return []store.RowName{{Table: store.TableNodes, Key: []byte(node)}}
}

// Held yields the instances that are bound to a session, in the order of service and id.
func Held(r store.Reader, session string) iter.Seq[event.Registration] {
	return func(yield func(event.Registration) bool) {
		prefix := holdKey(session, nil)
		for hold := range r.Scan(store.TableInstanceHolds, prefix, nil) {
			service, id, _ := strings.Cut(string(hold[len(prefix):]), "\x00")
			if i, ok := Get(r, service, id); ok && !yield(i) {
				return
			}
		}
	}
}
