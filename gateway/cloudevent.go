package gateway

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rollcall/rollcall/log/event"
)

// CloudEvent is an event in the form that leaves the server, on every door: CloudEvents 1.0 in JSON.
//
// Revision and Commit are decimal strings because CloudEvents integers hold 32 bits.
type CloudEvent struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`     // "{namespace}/{revision}"
	Source          string `json:"source"` // "rollcall/{cluster}/{namespace}"
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	Time            string `json:"time"` // RFC 3339 with nanoseconds
	DataContentType string `json:"datacontenttype"`
	Revision        string `json:"revision"`
	Commit          string `json:"commit"`
	Actor           string `json:"actor,omitempty"`
	Reason          string `json:"reason,omitempty"`
	// Data is the new state, where the event leaves one behind; see the types in this file.
	Data any `json:"data"`
}

// KeyData is the data of rollcall.kv.put, and of rollcall.kv.delete, expire and release with the key, the previous revision
// and the lease that ended only.
type KeyData struct {
	Key string `json:"key"`
	Text
	ContentType    string `json:"content_type,omitempty"`
	Flags          uint64 `json:"flags,omitempty"`
	CreateRevision uint64 `json:"create_revision,omitempty"`
	Version        uint64 `json:"version,omitempty"`
	// Session is what the key is bound to; of a key that is gone or was released, the one whose end did that.
	Session string `json:"session,omitempty"`
	// TTL is for how long the key stays when nobody renews it.
	TTL string `json:"ttl,omitempty"`
	// Directory is the one that expired, and the key with it.
	Directory string `json:"directory,omitempty"`
	// Previous is the revision of the entry that this one replaced; left out when there was none.
	Previous uint64 `json:"previous,omitempty"`
}

// SessionData is the data of the rollcall.session.* events; when it ends it has the id only.
type SessionData struct {
	ID        string `json:"id"`
	TTL       string `json:"ttl,omitempty"`
	OnEnd     string `json:"on_end,omitempty"` // release or delete
	LockDelay string `json:"lock_delay,omitempty"`
	// Epoch is that of the timekeeper who found the session expired.
	Epoch uint64 `json:"epoch,omitempty"`
}

// TimekeeperData is the data of rollcall.namespace.timekeeper: the event's revision is the epoch.
type TimekeeperData struct {
	Namespace string `json:"namespace"`
	Server    string `json:"server"`
	Previous  uint64 `json:"previous,omitempty"`
}

// FormatTTL gives a TTL; the empty string for none.
func FormatTTL(d event.Time) string {
	if d == 0 {
		return ""
	}
	return FormatDuration(d)
}

// FormatOnEnd gives the word for what becomes of a session's keys.
func FormatOnEnd(o event.OnEnd) string {
	if o == event.Delete {
		return "delete"
	}
	return "release"
}

// NamespaceData is the data of the rollcall.namespace.* events.
type NamespaceData struct {
	Namespace string `json:"namespace"`
	Group     uint64 `json:"group,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Placed    uint64 `json:"placed,omitempty"`
	Groups    uint64 `json:"groups,omitempty"`
	// Skipped is how many revisions the ledger leaves out before its first event, in a cluster that was restored.
	Skipped uint64 `json:"skipped,omitempty"`
	// From is the namespace that it takes its configuration from, as of FromRevision.
	From         string `json:"from,omitempty"`
	FromRevision uint64 `json:"from_revision,omitempty"`
	// Closed is the commit of the namespace's own ledger that closed it, and Previous the one of _system's that deleted the
	// namespace of that name before.
	Closed   uint64 `json:"closed,omitempty"`
	Previous uint64 `json:"previous,omitempty"`
	// Expired says that it was deleted because nobody renewed it; TTL for how long nobody had, and Epoch which timekeeper
	// found it.
	Expired bool   `json:"expired,omitempty"`
	TTL     string `json:"ttl,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
}

// RestoredData is the data of rollcall.namespace.restored.
type RestoredData struct {
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	// From is the last revision that came with the snapshot; the revisions from skipped_from to skipped_to exist in
	// no ledger of this cluster.
	From        uint64 `json:"from"`
	SkippedFrom uint64 `json:"skipped_from"`
	SkippedTo   uint64 `json:"skipped_to"`
	FromCluster string `json:"from_cluster"`
	Taken       string `json:"taken"`    // when the snapshot was
	Snapshot    string `json:"snapshot"` // SHA-256 of its file, in hex
}

// MemberData is the data of the rollcall.member.* events.
type MemberData struct {
	Name    string `json:"name"`
	Replica uint64 `json:"replica"`
	Raft    string `json:"raft,omitempty"`
	Voter   bool   `json:"voter,omitempty"`
	Version uint32 `json:"version,omitempty"`
}

// VersionData is the data of rollcall.cluster.version.
type VersionData struct {
	Version  uint32 `json:"version"`
	Previous uint32 `json:"previous"`
}

// Text is a value in JSON: as text where it can be read as such, in base64 otherwise.
type Text struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// NewText presents a value. Bytes that are not UTF-8, or hold control characters other than tab and line ends,
// appear in base64.
func NewText(value []byte) Text {
	if isText(value) {
		s := string(value)
		return Text{Value: &s}
	}
	return Text{ValueBase64: value}
}

// Bytes is the value itself.
func (t Text) Bytes() []byte {
	if t.Value != nil {
		return []byte(*t.Value)
	}
	return t.ValueBase64
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

// FormatTime gives a time in the one form that is used outside: RFC 3339 in UTC with nanoseconds.
func FormatTime(t event.Time) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }

// NewCloudEvent presents an event of a namespace.
func NewCloudEvent(cluster, namespace string, e event.Event) CloudEvent {
	revision := strconv.FormatUint(uint64(e.Revision), 10)
	return CloudEvent{
		SpecVersion: "1.0", ID: namespace + "/" + revision, Source: "rollcall/" + cluster + "/" + namespace,
		Type: e.Body.Type(), Subject: e.Body.Subject(), Time: FormatTime(e.Time),
		DataContentType: "application/json", Revision: revision, Commit: strconv.FormatUint(uint64(e.Commit), 10),
		Actor: e.Actor, Reason: e.Reason, Data: data(e),
	}
}

func data(e event.Event) any {
	switch b := e.Body.(type) {
	case event.KeySet:
		entry := b.Entry(e.Commit, e.Time)
		return KeyData{
			Key: b.Key, Text: NewText(b.Value), ContentType: b.ContentType, Flags: b.Flags,
			CreateRevision: uint64(entry.CreateRevision), Version: b.Version, Previous: uint64(b.Previous),
			Session: b.Session, TTL: FormatTTL(b.TTL),
		}
	case event.KeyDeleted:
		return KeyData{Key: b.Key, Previous: uint64(b.Previous), Session: b.Session}
	case event.KeyExpired:
		return KeyData{Key: b.Key, Previous: uint64(b.Previous), Session: b.Session, Directory: b.Directory}
	case event.KeyReleased:
		return KeyData{Key: b.Key, Previous: uint64(b.Previous), Session: b.Session}
	case event.SessionCreated:
		return SessionData{ID: b.ID, TTL: FormatTTL(b.TTL), OnEnd: FormatOnEnd(b.OnEnd), LockDelay: FormatTTL(b.LockDelay)}
	case event.SessionEnded:
		return SessionData{ID: b.ID}
	case event.SessionExpired:
		return SessionData{ID: b.ID, Epoch: uint64(b.Epoch)}
	case event.TimekeeperClaimed:
		return TimekeeperData{Namespace: b.Namespace, Server: b.Server, Previous: uint64(b.Previous)}
	case event.NamespaceOpened, event.NamespaceCreated, event.NamespaceClosed, event.NamespaceExpired, event.NamespaceDeleted, event.NamespaceFilled:
		return namespaceData(b)
	case event.NamespaceRestored:
		return RestoredData{
			Namespace: b.Namespace, Cluster: b.Cluster, From: uint64(b.From), SkippedFrom: uint64(b.From) + 1,
			SkippedTo: uint64(b.From + b.Skipped), FromCluster: b.FromCluster, Taken: FormatTime(b.Taken),
			Snapshot: hex.EncodeToString(b.Snapshot),
		}
	case event.NamespaceConfigured:
		return configuredData(b)
	case event.NamespaceUsage:
		return UsageData{Namespace: b.Namespace, Keys: b.Keys, Bytes: b.Bytes, Quotas: Quotas{Keys: b.KeysMax, Bytes: b.BytesMax}, Level: b.Level.String()}
	case event.NamespaceTrimmed:
		return TrimData{Namespace: b.Namespace, KeptFrom: uint64(b.KeptFrom), Previous: uint64(b.Previous)}
	case event.MemberAdded:
		return MemberData{Name: b.Name, Replica: b.Replica, Raft: b.Address, Voter: b.Voter, Version: b.Version}
	case event.MemberPromoted:
		return MemberData{Name: b.Name, Replica: b.Replica, Voter: true}
	case event.MemberRemoved:
		return MemberData{Name: b.Name, Replica: b.Replica}
	case event.MemberVersion:
		return MemberData{Name: b.Name, Replica: b.Replica, Version: b.Version}
	case event.ClusterVersion:
		return VersionData{Version: b.Version, Previous: b.Previous}
	}
	if d := serviceData(e); d != nil {
		return d
	}
	panic(fmt.Sprintf("event %T has no outside form", e.Body))
}

// namespaceData presents what began or ended a namespace.
func namespaceData(body event.Body) any {
	switch b := body.(type) {
	case event.NamespaceOpened:
		return NamespaceData{
			Namespace: b.Namespace, Cluster: b.Cluster, Placed: uint64(b.Placed), Groups: b.Groups, Skipped: uint64(b.Skipped),
			From: b.From, FromRevision: uint64(b.FromRevision), Closed: uint64(b.Closed),
		}
	case event.NamespaceCreated:
		return NamespaceData{Namespace: b.Namespace, Group: b.Group, From: b.From, FromRevision: uint64(b.FromRevision), Previous: uint64(b.Previous)}
	case event.NamespaceClosed:
		return NamespaceData{Namespace: b.Namespace, Placed: uint64(b.Placed)}
	case event.NamespaceExpired:
		return NamespaceData{Namespace: b.Namespace, Placed: uint64(b.Placed), Expired: true, TTL: FormatTTL(b.TTL), Epoch: uint64(b.Epoch)}
	case event.NamespaceDeleted:
		return NamespaceData{Namespace: b.Namespace, Group: b.Group, Placed: uint64(b.Placed), Closed: uint64(b.Closed), Expired: b.Expired}
	case event.NamespaceFilled:
		return NamespaceData{Namespace: b.Namespace, From: b.From, FromRevision: uint64(b.FromRevision)}
	}
	panic(fmt.Sprintf("event %T has no outside form", body))
}
