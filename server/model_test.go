package server_test

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// model is the key/value store, the registry and the sessions of one namespace as one would explain them: maps, and a copy
// of them for each commit. It shares no code with the decisions and the folds but the types in which they are asked.
type model struct {
	now    modelState
	events uint64                // that the command under way makes
	past   map[uint64]modelState // by commit
}

type modelState struct {
	head      uint64
	epoch     uint64
	floor     uint64 // the oldest revision that is kept
	keys      map[string]modelKey
	sessions  map[string]modelSession
	instances map[[2]string]modelInstance
}

type modelKey struct {
	value, contentType     string
	flags                  uint64
	created, written       uint64 // 0 while the command that does it is under way
	version                uint64
	session                string
	ttl                    event.Time
	hasCreated, hasWritten bool
}

type modelSession struct {
	ttl     event.Time
	deletes bool
}

type modelInstance struct {
	address, session string
	written          uint64
}

// modelAnswer is what a caller is told.
type modelAnswer struct {
	code    commands.Code
	branch  commands.Branch
	failed  []int
	results []modelResult
}

type modelResult struct {
	created bool
	deleted uint64
	put     uint64
	name    string
	entries []string // keys, in order
}

func newModel() *model {
	m := &model{past: map[uint64]modelState{}}
	m.now = modelState{keys: map[string]modelKey{}, sessions: map[string]modelSession{}, instances: map[[2]string]modelInstance{}}
	return m
}

func (s modelState) clone() modelState {
	s.keys, s.sessions, s.instances = maps.Clone(s.keys), maps.Clone(s.sessions), maps.Clone(s.instances)
	return s
}

// at is the state that a reader at a revision sees: that of the last commit up to it.
func (m *model) at(revision uint64) modelState {
	best := uint64(0)
	for commit := range m.past {
		if commit <= revision {
			best = max(best, commit)
		}
	}
	return m.past[best]
}

// run has a command decided.
func (m *model) run(c commands.Command) modelAnswer {
	before := m.now.clone()
	m.events = 0
	a := m.decide(c)
	if a.code != "" || m.events == 0 {
		m.now = before
		return a
	}
	m.now.head += m.events
	for name, k := range m.now.keys {
		if !k.hasWritten {
			k.written, k.hasWritten = m.now.head, true
		}
		if !k.hasCreated {
			k.created, k.hasCreated = m.now.head, true
		}
		m.now.keys[name] = k
	}
	for name, i := range m.now.instances {
		if i.written == 0 {
			i.written = m.now.head
			m.now.instances[name] = i
		}
	}
	m.past[m.now.head] = m.now.clone()
	return a
}

func (m *model) decide(c commands.Command) modelAnswer {
	refused := func(code commands.Code) modelAnswer { return modelAnswer{code: code} }
	done := func(r modelResult) modelAnswer { return modelAnswer{results: []modelResult{r}} }
	switch c := c.(type) {
	case commands.OpenNamespace:
		m.events++
		return done(modelResult{created: true})
	case commands.PutKey:
		if len(m.failing(c.If)) > 0 {
			return refused(commands.CodeConditionFailed)
		}
		created, code := m.put(c)
		if code != "" {
			return refused(code)
		}
		return done(modelResult{created: created})
	case commands.AppendKey:
		name := c.Directory + strings.Repeat("0", 20-len(strconv.FormatUint(m.now.head+1, 10))) + strconv.FormatUint(m.now.head+1, 10)
		_, code := m.put(commands.PutKey{Key: name, Value: c.Value, Session: c.Session, TTL: c.TTL})
		if code != "" {
			return refused(code)
		}
		return done(modelResult{created: true, name: name})
	case commands.DeleteKey:
		switch _, ok := m.now.keys[c.Key]; {
		case len(m.failing(c.If)) > 0:
			return refused(commands.CodeConditionFailed)
		case !ok:
			return refused(commands.CodeNotFound)
		}
		return done(modelResult{deleted: m.remove(func(k string) bool { return k == c.Key })})
	case commands.DeletePrefix:
		n := m.remove(func(k string) bool { return strings.HasPrefix(k, c.Prefix) })
		if n == 0 {
			return refused(commands.CodeNotFound)
		}
		return done(modelResult{deleted: n})
	case commands.Txn:
		return m.txn(c)
	case commands.PutTree:
		return m.tree(c)
	case commands.TrimHistory:
		if uint64(c.To) > m.now.floor {
			m.now.floor = uint64(c.To)
			m.events++
		}
		return done(modelResult{})
	case commands.RegisterInstance:
		return m.register(c.Instance)
	case commands.CreateSession:
		id := strconv.FormatUint(m.now.head+1, 10)
		m.now.sessions[id] = modelSession{ttl: c.TTL, deletes: c.OnEnd == event.Delete}
		m.events++
		return done(modelResult{created: true, name: id})
	case commands.EndSession:
		if _, ok := m.now.sessions[c.ID]; !ok {
			return refused(commands.CodeNotFound)
		}
		m.end(c.ID)
		return done(modelResult{deleted: m.events})
	case commands.ClaimTimekeeper:
		m.events++
		m.now.epoch = m.now.head + 1
		return done(modelResult{})
	case commands.Expire:
		if uint64(c.Epoch) != m.now.epoch || c.Epoch == 0 {
			return refused(commands.CodeStaleEpoch)
		}
		m.expire(c.Leases)
		return done(modelResult{deleted: m.events})
	}
	panic("the model does not know the command")
}

func (m *model) put(c commands.PutKey) (created bool, code commands.Code) {
	if _, ok := m.now.sessions[c.Session]; !ok && c.Session != "" {
		return false, commands.CodeUnknownSession
	}
	old, ok := m.now.keys[c.Key]
	m.now.keys[c.Key] = modelKey{
		value: string(c.Value), contentType: c.ContentType, flags: c.Flags, version: old.version + 1,
		created: old.created, hasCreated: ok && old.hasCreated, session: c.Session, ttl: c.TTL,
	}
	m.events++
	return !ok, ""
}

func (m *model) remove(which func(string) bool) (n uint64) {
	for key := range m.now.keys {
		if which(key) {
			delete(m.now.keys, key)
			m.events++
			n++
		}
	}
	return n
}

func (m *model) register(i event.Instance) modelAnswer {
	if _, ok := m.now.sessions[i.Session]; !ok && i.Session != "" {
		return modelAnswer{code: commands.CodeUnknownSession}
	}
	at := [2]string{i.Service, i.ID}
	old, ok := m.now.instances[at]
	if ok && old.address == i.Address && old.session == i.Session {
		return modelAnswer{results: []modelResult{{}}}
	}
	m.now.instances[at] = modelInstance{address: i.Address, session: i.Session}
	m.events++
	return modelAnswer{results: []modelResult{{created: !ok}}}
}

// tree writes a document of a format in which a key may be a value and have others below it. It leaves alone what has the
// value already, keeps leases and all else that is known of a key, and knows no directories.
func (m *model) tree(c commands.PutTree) modelAnswer {
	in := func(key string) bool {
		return !event.IsDirectory(key) && (strings.HasPrefix(key, c.Prefix) || key+"/" == c.Prefix)
	}
	if c.Since != 0 && !maps.Equal(m.at(uint64(c.Since)).writtenIn(in), m.now.writtenIn(in)) {
		return modelAnswer{code: commands.CodeConditionFailed}
	}
	var r modelResult
	wanted := map[string]bool{}
	for _, e := range c.Entries {
		wanted[e.Key] = true
		k, ok := m.now.keys[e.Key]
		if ok && k.value == string(e.Value) {
			continue
		}
		k.value, k.version, k.written, k.hasWritten = string(e.Value), k.version+1, 0, false
		m.now.keys[e.Key] = k
		m.events++
		r.put++
	}
	if c.Replace {
		r.deleted = m.remove(func(key string) bool { return in(key) && !wanted[key] })
	}
	return modelAnswer{results: []modelResult{r}}
}

func (s modelState) writtenIn(in func(string) bool) map[string]uint64 {
	all := map[string]uint64{}
	for key, k := range s.keys {
		if in(key) {
			all[key] = k.written
		}
	}
	return all
}

// usage is how many keys there are, and how many bytes they and their values have.
func (s modelState) usage() (keys, bytes uint64) {
	for key, k := range s.keys {
		keys++
		bytes += uint64(len(key) + len(k.value))
	}
	return keys, bytes
}

// end ends a session.
func (m *model) end(id string) {
	s := m.now.sessions[id]
	delete(m.now.sessions, id)
	m.events++
	for name, k := range m.now.keys {
		if k.session != id {
			continue
		}
		m.events++
		if s.deletes {
			delete(m.now.keys, name)
			continue
		}
		k.session, k.version, k.written, k.hasWritten = "", k.version+1, 0, false
		m.now.keys[name] = k
	}
	for at, i := range m.now.instances {
		if i.session == id {
			delete(m.now.instances, at)
			m.events++
		}
	}
}

// expire ends leases. That a key is released by its session does not save it from the end of a directory beside.
func (m *model) expire(leases []commands.Lease) {
	before := m.now.clone()
	for _, l := range leases {
		if l.Session != "" {
			if _, ok := m.now.sessions[l.Session]; ok {
				m.end(l.Session)
			}
			continue
		}
		k, ok := before.keys[l.Key]
		if !ok || k.ttl == 0 || k.written != uint64(l.Revision) {
			continue
		}
		m.remove(func(key string) bool {
			return key == l.Key || event.IsDirectory(l.Key) && strings.HasPrefix(key, l.Key)
		})
	}
}

func (m *model) txn(c commands.Txn) modelAnswer {
	a := modelAnswer{branch: commands.BranchThen, failed: m.failing(c.If)}
	operations := c.Then
	if len(a.failed) > 0 {
		a.branch, operations = commands.BranchElse, c.Else
	}
	for _, op := range operations {
		var r modelResult
		switch {
		case op.Put != nil:
			created, code := m.put(*op.Put)
			if code != "" {
				return modelAnswer{code: code}
			}
			r.created = created
		case op.Delete != nil:
			r.deleted = m.remove(func(k string) bool {
				return k == op.Delete.Key && !op.Delete.IsPrefix || op.Delete.IsPrefix && strings.HasPrefix(k, op.Delete.Prefix)
			})
		case op.Get != nil:
			for k := range m.now.keys {
				if k == op.Get.Key && !op.Get.IsPrefix || op.Get.IsPrefix && strings.HasPrefix(k, op.Get.Prefix) {
					r.entries = append(r.entries, k)
				}
			}
			slices.Sort(r.entries)
		case op.Register != nil:
			one := m.register(op.Register.Instance)
			if one.code != "" {
				return one
			}
			r = one.results[0]
		}
		a.results = append(a.results, r)
	}
	return a
}

// failing gives the conditions that do not hold.
func (m *model) failing(conditions []commands.Condition) (failed []int) {
	for i, c := range conditions {
		k, ok := m.now.keys[c.Key]
		var compared int
		switch c.Field {
		case commands.FieldRevision:
			compared = cmp.Compare(k.written, c.Number)
		case commands.FieldCreateRevision:
			compared = cmp.Compare(k.created, c.Number)
		case commands.FieldVersion:
			compared = cmp.Compare(k.version, c.Number)
		case commands.FieldExists:
			compared = cmp.Compare(truth(ok), c.Number)
		case commands.FieldSession:
			compared = cmp.Compare(k.session, string(c.Value))
		case commands.FieldValue:
			compared = bytes.Compare([]byte(k.value), c.Value)
			if !ok && c.Op != commands.NotEqual {
				failed = append(failed, i)
				continue
			}
			if !ok {
				compared = 1
			}
		case commands.FieldEmpty:
			empty := true
			for key := range m.now.keys {
				empty = empty && !strings.HasPrefix(key, c.Key)
			}
			compared = cmp.Compare(truth(empty), c.Number)
		}
		holds := map[commands.Op]bool{
			commands.Equal: compared == 0, commands.NotEqual: compared != 0, commands.Less: compared < 0, commands.Greater: compared > 0,
		}
		if !holds[c.Op] {
			failed = append(failed, i)
		}
	}
	return failed
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// list is what a list of keys shows: the keys, and the subtrees that stand for several.
func (s modelState) list(prefix, separator string) (items []string) {
	for key := range s.keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if head, _, more := strings.Cut(key[len(prefix):], separator); separator != "" && more {
			key = prefix + head + separator
			if slices.Contains(items, key) {
				continue
			}
		}
		items = append(items, key)
	}
	slices.Sort(items)
	return items
}
