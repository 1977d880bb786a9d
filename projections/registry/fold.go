// Package registry is the view of services and their instances.
//
// It is decisive, as package kv is: decisions read it, so its rows may not change without a step of the cluster's
// version.
package registry

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Fold applies an event to the view; events of other families change nothing.
func Fold(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.InstanceRegistered:
		register(w, b.Registration(e.Commit, e.Time))
	case event.InstanceDeregistered:
		remove(w, b.Service, b.ID)
	case event.InstanceExpired:
		remove(w, b.Service, b.ID)
	default:
		foldHealth(w, e)
	}
}

func register(w store.Writer, r event.Registration) {
	at := key(r.Service, r.ID)
	before, exists := get(w, at)
	unbind(w, at, before.Session, r.Session)
	w.Set(store.TableInstances, at, encode(r))
	if r.Session != "" {
		w.Set(store.TableInstanceHolds, holdKey(r.Session, at), []byte{1})
	}
	health := getHealth(w, at)
	var previous *event.Instance
	if exists {
		previous = &before.Instance
	}
	setHealth(w, at, before, health, r, health.Registered(previous, r.Instance, r.Revision, r.Time))
}

func remove(w store.Writer, service, id string) {
	at := key(service, id)
	before, _ := get(w, at)
	unbind(w, at, before.Session, "")
	w.Delete(store.TableInstances, at)
	setHealth(w, at, before, getHealth(w, at), event.Registration{}, event.Health{})
	if _, ok := w.Get(store.TableCredentials, at); ok {
		w.Delete(store.TableCredentials, at)
	}
}

// unbind removes what the table of holds says of the registration that is there, unless the next one is bound to the
// same session.
func unbind(w store.Writer, at []byte, before, next string) {
	if before != "" && before != next {
		w.Delete(store.TableInstanceHolds, holdKey(before, at))
	}
}

// holdKey is the session and the key of the instance's row with a NUL between: what one session holds are neighbours.
func holdKey(session string, at []byte) []byte {
	b := make([]byte, 0, len(session)+1+len(at))
	return append(append(append(b, session...), 0), at...)
}

// key is the service and the id with a NUL between, which no name may hold: instances of a service are neighbours.
func key(service, id string) []byte {
	b := make([]byte, 0, len(service)+1+len(id))
	return append(append(append(b, service...), 0), id...)
}

// row is deterministic CBOR, like an event.
type row struct {
	Instance       event.Instance `cbor:"1,keyasint"`
	Revision       event.Revision `cbor:"2,keyasint"`
	CreateRevision event.Revision `cbor:"3,keyasint"`
	Time           event.Time     `cbor:"4,keyasint"`
}

var encMode = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants: this is a build mistake, seen at the first start
	}
	return m
}()

func encode(r event.Registration) []byte {
	b, err := encMode.Marshal(row{r.Instance, r.Revision, r.CreateRevision, r.Time})
	if err != nil {
		panic(fmt.Sprintf("encode a registration: %v", err)) // plain fields always encode
	}
	return b
}

func decode(key, b []byte) event.Registration {
	var v row
	if err := cbor.Unmarshal(b, &v); err != nil {
		panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of instance %q: %w", key, err)})
	}
	return event.Registration{Instance: v.Instance, Revision: v.Revision, CreateRevision: v.CreateRevision, Time: v.Time}
}
