package event

// Settings are what a namespace is asked to keep to. A zero is no bound.
type Settings struct {
	Keys  uint64 // the quota of keys
	Bytes uint64 // the quota of bytes of keys and values
	// The states of the last Revisions revisions are kept, and those of the last Age; with both, what either keeps. With
	// neither, all are.
	Age       Time
	Revisions uint64
	// TTL is for how long the namespace stays after it was last renewed, in nanoseconds; zero for good.
	TTL Time
	// Configured is the revision of _system's ledger that says so; zero where nothing was ever said.
	Configured Revision
}

// Same tells whether two settings ask for the same, whenever they were made.
func (s Settings) Same(o Settings) bool {
	s.Configured, o.Configured = 0, 0
	return s == o
}

// Usage is how much a namespace holds: its keys, and the bytes of keys and values together.
type Usage struct{ Keys, Bytes uint64 }

// NamespaceConfigured says what a namespace is asked to keep to from now on: in _system's ledger what was asked, and in
// the namespace's own, which its decisions see, what holds there.
type NamespaceConfigured struct {
	Namespace string `cbor:"1,keyasint"`
	Keys      uint64 `cbor:"2,keyasint,omitempty"`
	Bytes     uint64 `cbor:"3,keyasint,omitempty"`
	Age       Time   `cbor:"4,keyasint,omitempty"`
	Revisions uint64 `cbor:"5,keyasint,omitempty"`
	// Configured is, in the namespace's own ledger, the revision of _system's that asked for it; zero in _system's.
	Configured Revision `cbor:"6,keyasint,omitempty"`
	TTL        Time     `cbor:"7,keyasint,omitempty"`
}

// Settings are what the event says.
func (e NamespaceConfigured) Settings() Settings {
	return Settings{Keys: e.Keys, Bytes: e.Bytes, Age: e.Age, Revisions: e.Revisions, TTL: e.TTL, Configured: e.Configured}
}

// Kind implements Body.
func (NamespaceConfigured) Kind() Kind { return KindNamespaceConfigured }

// Type implements Body.
func (NamespaceConfigured) Type() string { return "rollcall.namespace.configure" }

// Subject implements Body.
func (e NamespaceConfigured) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// Level is how close a namespace is to its quotas. Events hold the numbers: append only.
type Level uint8

// The levels.
const (
	LevelNormal  Level = 0
	LevelWarning Level = 1
)

// String is the level as it is shown.
func (l Level) String() string {
	if l == LevelWarning {
		return "warning"
	}
	return "normal"
}

// NamespaceUsage says that a namespace has come close to one of its quotas, or is no longer: its usage after the commit
// that the event stands in, and the quotas.
type NamespaceUsage struct {
	Namespace string `cbor:"1,keyasint"`
	Keys      uint64 `cbor:"2,keyasint"`
	Bytes     uint64 `cbor:"3,keyasint"`
	KeysMax   uint64 `cbor:"4,keyasint,omitempty"` // zero: there is no quota
	BytesMax  uint64 `cbor:"5,keyasint,omitempty"`
	Level     Level  `cbor:"6,keyasint,omitempty"`
}

// Kind implements Body.
func (NamespaceUsage) Kind() Kind { return KindNamespaceUsage }

// Type implements Body.
func (NamespaceUsage) Type() string { return "rollcall.namespace.usage" }

// Subject implements Body.
func (e NamespaceUsage) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }

// NamespaceTrimmed says that states before a revision are no longer kept. The events are.
type NamespaceTrimmed struct {
	Namespace string   `cbor:"1,keyasint"`
	KeptFrom  Revision `cbor:"2,keyasint"` // the oldest revision that can be read from now on
	Previous  Revision `cbor:"3,keyasint,omitempty"`
}

// Kind implements Body.
func (NamespaceTrimmed) Kind() Kind { return KindNamespaceTrimmed }

// Type implements Body.
func (NamespaceTrimmed) Type() string { return "rollcall.namespace.trim" }

// Subject implements Body.
func (e NamespaceTrimmed) Subject() string { return "namespace." + EscapeSegment(e.Namespace) }
