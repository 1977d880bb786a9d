package registry

import (
	"iter"
	"strings"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Get gives the registration of one instance.
func Get(r store.Reader, service, id string) (event.Registration, bool) {
	at := key(service, id)
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

// Row names the row of an instance.
func Row(service, id string) (store.Table, []byte) { return store.TableInstances, key(service, id) }

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
