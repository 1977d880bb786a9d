package notify

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// The headers of an event's message, and of a bookmark (which has the first one only).
const (
	HeaderRevision = "Rollcall-Revision" // decimal; in a stream the same as the sequence
	HeaderCommit   = "Rollcall-Commit"   // decimal
	HeaderType     = "Rollcall-Type"     // the CloudEvents type
	HeaderKey      = "Rollcall-Key"      // the key, of key events only; see EscapeHeader
)

// headerExpected has JetStream refuse a message unless it becomes the very next one.
const headerExpected = nats.ExpectedLastSeqHdr

// The subjects of this package. Each of the private ones (with an underscore) exists in the ledger's account only.
const (
	subjectPrefix  = "rollcall."          // rollcall.{namespace}.{path}: an event
	bookmarkPrefix = "rollcall-bookmark." // rollcall-bookmark.{namespace}: how far the namespace is
	doorPrefix     = "rollcall-api."      // rollcall-api.{namespace}.{operation}: a request
	fillPrefix     = "_fill."             // _fill.{namespace}.{path}: an event for the stream alone
	privatePrefix  = "_inner."            // answers to this process
)

// subjectBytesMax is above all that names allow, and far below what a NATS connection survives (its control line).
const subjectBytesMax = 8 << 10

// pathOf is an event's subject. One that no name makes so long goes by its first part alone: a connection would not
// survive it, and the stream may not lack an event.
func pathOf(e event.Event) string {
	path := e.Body.Subject()
	if len(path) > subjectBytesMax {
		kind, _, _ := strings.Cut(path, ".")
		return kind + ".%"
	}
	return path
}

// Subject is the NATS subject of an event. Its length is at most about 3 KiB, for a key of 1 KiB.
func Subject(namespace string, e event.Event) string {
	return subjectPrefix + namespace + "." + pathOf(e)
}

// Stream is the name of a namespace's JetStream stream.
func Stream(namespace string) string { return "rollcall_" + namespace }

// Bookmark is the subject on which a namespace's revision is announced.
func Bookmark(namespace string) string { return bookmarkPrefix + namespace }

// EscapeHeader makes a header value of a key: bytes that are not printable ASCII, "%", and a space at either end
// (which readers of headers cut off) are percent-encoded with upper-case hex digits.
func EscapeHeader(key string) string {
	plain := true
	for i := range len(key) {
		plain = plain && !mustEscape(key, i)
	}
	if plain {
		return key
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		if c := key[i]; mustEscape(key, i) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func mustEscape(key string, i int) bool {
	c := key[i]
	return c < ' ' || c > '~' || c == '%' || c == ' ' && (i == 0 || i == len(key)-1)
}

// writer makes the messages of one namespace. It reuses its message: what it gives is valid until the next call.
type writer struct {
	cluster, namespace string
	message            nats.Msg
	buf                []byte
}

func newWriter(cluster, namespace string) *writer {
	return &writer{cluster: cluster, namespace: namespace, message: nats.Msg{Header: nats.Header{}}}
}

// write presents an event. With live it goes to subscribers and the stream, otherwise to the stream alone.
func (w *writer) write(e event.Event, live bool) *nats.Msg {
	prefix := fillPrefix
	if live {
		prefix = subjectPrefix
	}
	m := &w.message
	m.Subject = prefix + w.namespace + "." + pathOf(e)
	w.buf = gateway.AppendCloudEvent(w.buf[:0], w.cluster, w.namespace, e)
	m.Data = w.buf
	w.set(HeaderRevision, strconv.FormatUint(uint64(e.Revision), 10))
	w.set(HeaderCommit, strconv.FormatUint(uint64(e.Commit), 10))
	w.set(HeaderType, e.Body.Type())
	w.set(headerExpected, strconv.FormatUint(uint64(e.Revision)-1, 10))
	if key, ok := eventKey(e); ok {
		w.set(HeaderKey, EscapeHeader(key))
	} else {
		delete(m.Header, HeaderKey)
	}
	return m
}

// set writes into the header's existing slice: a million events need not make a million.
func (w *writer) set(name, value string) {
	if v := w.message.Header[name]; len(v) == 1 {
		v[0] = value
		return
	}
	w.message.Header[name] = []string{value}
}

func eventKey(e event.Event) (string, bool) {
	switch b := e.Body.(type) {
	case event.KeySet:
		return b.Key, true
	case event.KeyDeleted:
		return b.Key, true
	case event.KeyExpired:
		return b.Key, true
	case event.KeyReleased:
		return b.Key, true
	}
	return "", false
}
