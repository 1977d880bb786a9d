package namespaces

import (
	"encoding/binary"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// More rows of TableSystem. In a namespace's own ledger: its settings, its level where that is not normal, and the oldest
// revision that can be read. In _system's: the settings that were asked for, by namespace.
var (
	settingsKey = []byte("settings")
	levelKey    = []byte("level")
	floorKey    = []byte("floor")
)

func wishKey(namespace string) []byte { return []byte("settings/" + namespace) }

func foldSettings(w store.Writer, e event.Event) {
	switch b := e.Body.(type) {
	case event.NamespaceConfigured:
		s, key := b.Settings(), settingsKey
		if s.Configured == 0 {
			s.Configured, key = e.Commit, wishKey(b.Namespace)
		}
		w.Set(store.TableSystem, key, encodeSettings(s))
	case event.NamespaceUsage:
		if b.Level == event.LevelNormal {
			w.Delete(store.TableSystem, levelKey)
		} else {
			w.Set(store.TableSystem, levelKey, binary.AppendUvarint(nil, uint64(b.Level)))
		}
	case event.NamespaceTrimmed:
		w.Set(store.TableSystem, floorKey, binary.AppendUvarint(nil, uint64(b.KeptFrom)))
	}
}

// A row of settings is five uvarints: keys, bytes, age, revisions, and the revision of _system's ledger; and a sixth, the
// TTL, where there is one.
func encodeSettings(s event.Settings) []byte {
	var b []byte
	for _, n := range []uint64{s.Keys, s.Bytes, uint64(s.Age), s.Revisions, uint64(s.Configured)} {
		b = binary.AppendUvarint(b, n)
	}
	if s.TTL > 0 {
		b = binary.AppendUvarint(b, uint64(s.TTL))
	}
	return b
}

func getSettings(r store.Reader, key []byte) (event.Settings, bool) {
	row, ok := r.Get(store.TableSystem, key)
	if !ok {
		return event.Settings{}, false
	}
	var n [5]uint64
	rest := numbers(n[:], string(key), row)
	s := event.Settings{Keys: n[0], Bytes: n[1], Age: event.Time(n[2]), Revisions: n[3], Configured: event.Revision(n[4])}
	if len(rest) > 0 {
		var ttl [1]uint64
		numbers(ttl[:], string(key), rest)
		s.TTL = event.Time(ttl[0])
	}
	return s, true
}

// Settings are what a ledger's namespace keeps to; zero where nothing was ever said.
func Settings(r store.Reader) event.Settings {
	s, _ := getSettings(r, settingsKey)
	return s
}

// Wish is what a namespace was asked to keep to; only _system's ledger knows.
func Wish(r store.Reader, namespace string) (event.Settings, bool) {
	return getSettings(r, wishKey(namespace))
}

// Level is how close a ledger's namespace is to its quotas, as was said last.
func Level(r store.Reader) event.Level {
	row, ok := r.Get(store.TableSystem, levelKey)
	if !ok {
		return event.LevelNormal
	}
	n, _ := binary.Uvarint(row)
	return event.Level(n)
}

// RestoredRow is the row of what restores have done.
func RestoredRow() (store.Table, []byte) { return store.TableSystem, restoredKey }

// Floor is the oldest revision of a ledger that can be read; zero where that is all.
func Floor(r store.Reader) event.Revision {
	row, ok := r.Get(store.TableSystem, floorKey)
	if !ok {
		return 0
	}
	n, _ := binary.Uvarint(row)
	return event.Revision(n)
}
