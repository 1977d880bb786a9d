package event

import "strings"

// Entry is a key with its value and what is known about it: the row that the key/value view keeps.
type Entry struct {
	Key         string
	Value       []byte
	ContentType string // as given with the value; empty when none was given
	Flags       uint64 // opaque to Rollcall, as in Consul
	// Revision is the commit that last wrote the key; it is the key's ETag.
	Revision Revision
	// CreateRevision is the commit that made the key; it starts anew when a deleted key is made again.
	CreateRevision Revision
	// Version counts the writes since CreateRevision, from 1.
	Version uint64
	Time    Time
	// Session is what the key is bound to, and ends with; empty for nothing.
	Session string
	// TTL is for how long the key stays after it was last written or refreshed, in nanoseconds; zero for good. A key that
	// ends in a slash is a directory: everything below it goes with it.
	TTL Time
}

// IsDirectory tells whether a key names a directory: it has no value, and a TTL for all that is below it.
func IsDirectory(key string) bool { return strings.HasSuffix(key, "/") }

// KeySet says that a key has a value. It holds the whole new state, so that a fold only copies.
type KeySet struct {
	Key         string `cbor:"1,keyasint"`
	Value       []byte `cbor:"2,keyasint"`
	ContentType string `cbor:"3,keyasint,omitempty"`
	Flags       uint64 `cbor:"4,keyasint,omitempty"`
	// CreateRevision is zero where the key is made by this very commit (whose number is not known until the
	// whole command has been decided).
	CreateRevision Revision `cbor:"5,keyasint,omitempty"`
	Version        uint64   `cbor:"6,keyasint"`
	// Previous is the revision of the entry that this one replaces; zero when there was none.
	Previous Revision `cbor:"7,keyasint,omitempty"`
	Session  string   `cbor:"8,keyasint,omitempty"`
	TTL      Time     `cbor:"9,keyasint,omitempty"`
}

// Kind implements Body.
func (KeySet) Kind() Kind { return KindKeySet }

// Type implements Body.
func (KeySet) Type() string { return "rollcall.kv.put" }

// Subject implements Body.
func (e KeySet) Subject() string { return KeySubject(e.Key) }

// Entry is the state that the event leaves behind, as of the commit it belongs to.
func (e KeySet) Entry(commit Revision, at Time) Entry {
	created := e.CreateRevision
	if created == 0 {
		created = commit
	}
	return Entry{
		Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags,
		Revision: commit, CreateRevision: created, Version: e.Version, Time: at, Session: e.Session, TTL: e.TTL,
	}
}

// KeyDeleted says that a key is gone.
type KeyDeleted struct {
	Key string `cbor:"1,keyasint"`
	// Previous is the revision of the entry that was deleted.
	Previous Revision `cbor:"2,keyasint"`
	// Session is the one that the key was bound to, where its end deleted the key.
	Session string `cbor:"3,keyasint,omitempty"`
}

// Kind implements Body.
func (KeyDeleted) Kind() Kind { return KindKeyDeleted }

// Type implements Body.
func (KeyDeleted) Type() string { return "rollcall.kv.delete" }

// Subject implements Body.
func (e KeyDeleted) Subject() string { return KeySubject(e.Key) }

// KeyExpired says that a key is gone because nobody renewed a lease: its own, that of its session, or that of a
// directory which it is in.
type KeyExpired struct {
	Key      string   `cbor:"1,keyasint"`
	Previous Revision `cbor:"2,keyasint"`
	// Session or Directory is what expired; neither where it was the key itself.
	Session   string `cbor:"3,keyasint,omitempty"`
	Directory string `cbor:"4,keyasint,omitempty"`
}

// Kind implements Body.
func (KeyExpired) Kind() Kind { return KindKeyExpired }

// Type implements Body.
func (KeyExpired) Type() string { return "rollcall.kv.expire" }

// Subject implements Body.
func (e KeyExpired) Subject() string { return KeySubject(e.Key) }

// KeyReleased says that a key is bound to its session no longer, because that ended. Its value stays as it was.
type KeyReleased struct {
	Key      string   `cbor:"1,keyasint"`
	Previous Revision `cbor:"2,keyasint"`
	Session  string   `cbor:"3,keyasint"` // the one that ended
}

// Kind implements Body.
func (KeyReleased) Kind() Kind { return KindKeyReleased }

// Type implements Body.
func (KeyReleased) Type() string { return "rollcall.kv.release" }

// Subject implements Body.
func (e KeyReleased) Subject() string { return KeySubject(e.Key) }

// Entry is the state that the event leaves behind of the entry before it.
func (e KeyReleased) Entry(before Entry, commit Revision, at Time) Entry {
	before.Session, before.Revision, before.Time = "", commit, at
	before.Version++
	return before
}
