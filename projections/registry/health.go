package registry

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// What is known of an instance besides its registration has rows of its own, under the same key: its health, which
// changes more often, and its credentials, which few may read. An instance without checks that was never in maintenance
// has no row of health. What is due of an instance, for a timekeeper to find, is derived from both, and kept as rows
// because most instances have nothing due.

func foldHealth(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.InstanceStatus:
		changeHealth(w, b.Service, b.ID, func(h event.Health) event.Health { return h.Changed(b.Check, b.Status, e.Commit, e.Time) })
	case event.InstanceMaintenance:
		changeHealth(w, b.Service, b.ID, func(h event.Health) event.Health {
			h.Maintenance = b.State(e.Commit, e.Time)
			return h
		})
	case event.InstanceCredentials:
		if at := key(b.Service, b.ID); len(b.Credentials) == 0 {
			w.Delete(store.TableCredentials, at)
		} else {
			w.Set(store.TableCredentials, at, marshal(credentialsRow{b.Credentials, e.Commit}))
		}
	case event.ServiceConfigured:
		if b.Settings() == (event.ServiceSettings{}) {
			w.Delete(store.TableServices, []byte(b.Service))
		} else {
			w.Set(store.TableServices, []byte(b.Service), marshal(serviceRow{b.DNSTTL, b.OnlyPassing, e.Commit}))
		}
	case event.NodeSet:
		n, _ := Node(w, b.Node)
		n.Address, n.Meta, n.Revision, n.Time = b.Address, b.Meta, e.Commit, e.Time
		n.CreateRevision = b.CreateRevision
		if n.CreateRevision == 0 {
			n.CreateRevision = e.Commit
		}
		setNode(w, n)
	case event.NodeMaintenance:
		n, _ := Node(w, b.Node)
		n.Name, n.Maintenance = b.Node, b.State(e.Commit, e.Time)
		setNode(w, n)
	case event.NodeDeleted:
		if n, _ := Node(w, b.Node); n.Maintenance.Enabled {
			// It is what put the instances on it back, and they say so.
			setNode(w, event.Node{Name: b.Node, Maintenance: event.MaintenanceState{Because: event.Because{Revision: e.Commit, Kind: event.KindNodeDeleted, Time: e.Time}}})
		} else {
			w.Delete(store.TableNodes, []byte(b.Node))
		}
	}
}

// changeHealth changes what is known of an instance that is registered.
func changeHealth(w store.Writer, service, id string, change func(event.Health) event.Health) {
	at := key(service, id)
	if r, ok := get(w, at); ok {
		before := getHealth(w, at)
		setHealth(w, at, r, before, r, change(before))
	}
}

// setHealth puts one health in the place of another, each with the registration that it belongs to, and what is due with
// it.
func setHealth(w store.Writer, at []byte, old event.Registration, before event.Health, r event.Registration, after event.Health) {
	switch {
	case !after.Zero():
		w.Set(store.TableHealth, at, encodeHealth(after))
	case !before.Zero():
		w.Delete(store.TableHealth, at)
	}
	due := map[string]bool{}
	for _, d := range after.Due(r) {
		due[d.Check] = true
		row := binary.AppendUvarint(nil, uint64(d.After))
		row = binary.AppendUvarint(row, uint64(d.Revision))
		w.Set(store.TableDue, dueKey(d.Service, d.ID, d.Check), append(row, byte(d.Status)))
	}
	for _, d := range before.Due(old) {
		if !due[d.Check] {
			w.Delete(store.TableDue, dueKey(d.Service, d.ID, d.Check))
		}
	}
}

// dueKey is the key of the instance's row and the check with a NUL between; the instance itself has the empty check.
func dueKey(service, id, check string) []byte {
	return append(append(key(service, id), 0), check...)
}

// Due gives what is due of a check, or with none of the instance itself.
func Due(r store.Reader, service, id, check string) (event.Due, bool) {
	k := dueKey(service, id, check)
	row, ok := r.Get(store.TableDue, k)
	if !ok {
		return event.Due{}, false
	}
	return decodeDue(k, row), true
}

// AllDue yields what is due of an instance, or with no service of all, in the order of service, id and check.
func AllDue(r store.Reader, service, id string) iter.Seq[event.Due] {
	var prefix []byte
	if service != "" {
		prefix = dueKey(service, id, "")
	}
	return func(yield func(event.Due) bool) {
		for k, row := range r.Scan(store.TableDue, prefix, nil) {
			if !yield(decodeDue(k, row)) {
				return
			}
		}
	}
}

func decodeDue(k, row []byte) event.Due {
	names := strings.SplitN(string(k), "\x00", 3)
	after, n := binary.Uvarint(row)
	revision, m := binary.Uvarint(row[max(n, 0):])
	if len(names) != 3 || n <= 0 || m <= 0 || len(row) != n+m+1 {
		fault("what is due of instance %q", k, nil)
	}
	return event.Due{
		Service: names[0], ID: names[1], Check: names[2], After: event.Time(after), Revision: event.Revision(revision),
		Status: event.Status(row[n+m]),
	}
}

// healthRow is deterministic CBOR.
type healthRow struct {
	Checks      []checkRow      `cbor:"1,keyasint,omitempty"`
	Maintenance *maintenanceRow `cbor:"2,keyasint,omitempty"`
}

type checkRow struct {
	ID     string       `cbor:"1,keyasint"`
	Status event.Status `cbor:"2,keyasint"`
	becauseRow
}

type maintenanceRow struct {
	Enabled bool   `cbor:"1,keyasint,omitempty"`
	Reason  string `cbor:"2,keyasint,omitempty"`
	becauseRow
}

type becauseRow struct {
	Revision event.Revision `cbor:"3,keyasint"`
	Kind     event.Kind     `cbor:"4,keyasint"`
	Time     event.Time     `cbor:"5,keyasint"`
}

func encodeHealth(h event.Health) []byte {
	var row healthRow
	for _, c := range h.Checks {
		row.Checks = append(row.Checks, checkRow{c.ID, c.Status, becauseRow(c.Because)})
	}
	row.Maintenance = newMaintenanceRow(h.Maintenance)
	return marshal(row)
}

func newMaintenanceRow(m event.MaintenanceState) *maintenanceRow {
	if m == (event.MaintenanceState{}) {
		return nil
	}
	return &maintenanceRow{m.Enabled, m.Reason, becauseRow(m.Because)}
}

func (r *maintenanceRow) state() event.MaintenanceState {
	if r == nil {
		return event.MaintenanceState{}
	}
	return event.MaintenanceState{Enabled: r.Enabled, Reason: r.Reason, Because: event.Because(r.becauseRow)}
}

// Health gives what is known of an instance besides its registration.
func Health(r store.Reader, service, id string) event.Health { return getHealth(r, key(service, id)) }

func getHealth(r store.Reader, at []byte) event.Health {
	b, ok := r.Get(store.TableHealth, at)
	if !ok {
		return event.Health{}
	}
	return decodeHealth(at, b)
}

func decodeHealth(at, b []byte) event.Health {
	var row healthRow
	unmarshal("the health of instance %q", at, b, &row)
	h := event.Health{Maintenance: row.Maintenance.state()}
	for _, c := range row.Checks {
		h.Checks = append(h.Checks, event.CheckState{ID: c.ID, Status: c.Status, Because: event.Because(c.becauseRow)})
	}
	return h
}

// WithHealth yields the instances of a service, or with none all of them, with what is known of each, in the order of
// service and id. It walks both tables side by side.
func WithHealth(r store.Reader, service string) iter.Seq2[event.Registration, event.Health] {
	var prefix []byte
	if service != "" {
		prefix = key(service, "")
	}
	return func(yield func(event.Registration, event.Health) bool) {
		next, stop := iter.Pull2(r.Scan(store.TableHealth, prefix, nil))
		defer stop()
		at, row, more := next()
		for k, b := range r.Scan(store.TableInstances, prefix, nil) {
			for more && string(at) < string(k) {
				at, row, more = next()
			}
			var h event.Health
			if more && string(at) == string(k) {
				h = decodeHealth(at, row)
			}
			if !yield(decode(k, b), h) {
				return
			}
		}
	}
}

type credentialsRow struct {
	Values   map[string]string `cbor:"1,keyasint"`
	Revision event.Revision    `cbor:"2,keyasint"`
}

// Credentials gives those of an instance, and the revision that set them; zero where there are none.
func Credentials(r store.Reader, service, id string) (map[string]string, event.Revision) {
	at := key(service, id)
	b, ok := r.Get(store.TableCredentials, at)
	if !ok {
		return nil, 0
	}
	var row credentialsRow
	unmarshal("the credentials of instance %q", at, b, &row)
	return row.Values, row.Revision
}

type serviceRow struct {
	DNSTTL      event.Time     `cbor:"1,keyasint,omitempty"`
	OnlyPassing bool           `cbor:"2,keyasint,omitempty"`
	Revision    event.Revision `cbor:"3,keyasint"`
}

// Settings are what holds for a service, and the revision that said so; zero where that is the default.
func Settings(r store.Reader, service string) (event.ServiceSettings, event.Revision) {
	b, ok := r.Get(store.TableServices, []byte(service))
	if !ok {
		return event.ServiceSettings{}, 0
	}
	return decodeSettings([]byte(service), b)
}

// AllSettings yields the settings of the services that have any, by name.
func AllSettings(r store.Reader) iter.Seq2[string, event.ServiceSettings] {
	return func(yield func(string, event.ServiceSettings) bool) {
		for name, b := range r.Scan(store.TableServices, nil, nil) {
			settings, _ := decodeSettings(name, b)
			if !yield(string(name), settings) {
				return
			}
		}
	}
}

func decodeSettings(name, b []byte) (event.ServiceSettings, event.Revision) {
	var row serviceRow
	unmarshal("the settings of service %q", name, b, &row)
	return event.ServiceSettings{DNSTTL: row.DNSTTL, OnlyPassing: row.OnlyPassing}, row.Revision
}

type nodeRow struct {
	Address        string            `cbor:"1,keyasint,omitempty"`
	Meta           map[string]string `cbor:"2,keyasint,omitempty"`
	Revision       event.Revision    `cbor:"3,keyasint,omitempty"`
	CreateRevision event.Revision    `cbor:"4,keyasint,omitempty"`
	Time           event.Time        `cbor:"5,keyasint,omitempty"`
	Maintenance    *maintenanceRow   `cbor:"6,keyasint,omitempty"`
}

func setNode(w store.Writer, n event.Node) {
	w.Set(store.TableNodes, []byte(n.Name), marshal(nodeRow{
		n.Address, n.Meta, n.Revision, n.CreateRevision, n.Time, newMaintenanceRow(n.Maintenance),
	}))
}

// Node gives what is known of a node. Where that is its maintenance only, or when that ended, its revision is zero.
func Node(r store.Reader, name string) (event.Node, bool) {
	b, ok := r.Get(store.TableNodes, []byte(name))
	if !ok {
		return event.Node{Name: name}, false
	}
	return decodeNode([]byte(name), b), true
}

// Nodes yields the nodes of which anything is known, by name.
func Nodes(r store.Reader) iter.Seq[event.Node] {
	return func(yield func(event.Node) bool) {
		for name, b := range r.Scan(store.TableNodes, nil, nil) {
			if !yield(decodeNode(name, b)) {
				return
			}
		}
	}
}

func decodeNode(name, b []byte) event.Node {
	var row nodeRow
	unmarshal("node %q", name, b, &row)
	return event.Node{
		Name: string(name), Address: row.Address, Meta: maps.Clone(row.Meta), Maintenance: row.Maintenance.state(),
		Revision: row.Revision, CreateRevision: row.CreateRevision, Time: row.Time,
	}
}

func marshal(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // plain fields always encode
	}
	return b
}

func unmarshal(what string, at, b []byte, v any) {
	if err := cbor.Unmarshal(b, v); err != nil {
		fault(what, at, err)
	}
}

func fault(what string, at []byte, err error) {
	panic(&store.Fault{Op: "decode a row", Err: fmt.Errorf("the row of "+what+" cannot be read: %w", at, err)})
}
