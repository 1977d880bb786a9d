package registry

import (
	"iter"
	"slices"
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

// Spellings gives the services with instances whose names differ from one in upper and lower case only, itself included.
func Spellings(r store.Reader, service string) (all []string) {
	for _, at := range spell(r, store.TableInstances, nil, service+"\x00") {
		all = append(all, at[:len(service)])
	}
	return all
}

// NodeSpellings gives the nodes of which anything is known likewise.
func NodeSpellings(r store.Reader, node string) (all []string) {
	for _, name := range spell(r, store.TableNodes, nil, node) {
		if _, ok := r.Get(store.TableNodes, []byte(name)); ok {
			all = append(all, name)
		}
	}
	return all
}

// spell gives the prefixes of keys that begin with one and go on as rest does, but for the letters' case. It looks for
// each letter whether anything goes on with it, which takes a few steps for each spelling that there is.
func spell(r store.Reader, t store.Table, prefix []byte, rest string) (all []string) {
	found := false
	for range r.Scan(t, prefix, nil) {
		found = true
		break
	}
	if !found {
		return nil
	}
	if rest == "" {
		return []string{string(prefix)}
	}
	upper, lower := strings.ToUpper(rest[:1]), strings.ToLower(rest[:1])
	all = spell(r, t, append(slices.Clip(prefix), upper...), rest[1:])
	if lower != upper {
		all = append(all, spell(r, t, append(slices.Clip(prefix), lower...), rest[1:])...)
	}
	return all
}
