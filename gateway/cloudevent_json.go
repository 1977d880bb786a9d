package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rollcall/rollcall/log/event"
)

// AppendCloudEvent adds an event's JSON to dst, without a line end.
//
// The bytes are those that encoding/json makes of NewCloudEvent. They are written by hand because every event passes
// here on its way to the subscribers, a key's event before all.
func AppendCloudEvent(dst []byte, cluster, namespace string, e event.Event) []byte {
	dst = appendEscaped(append(dst, `{"specversion":"1.0","id":"`...), namespace)
	dst = strconv.AppendUint(append(dst, '/'), uint64(e.Revision), 10)
	dst = appendEscaped(append(dst, `","source":"rollcall/`...), cluster)
	dst = appendEscaped(append(dst, '/'), namespace)
	dst = appendEscaped(append(dst, `","type":"`...), e.Body.Type())
	dst = appendEscaped(append(dst, `","subject":"`...), e.Body.Subject())
	dst = time.Unix(0, int64(e.Time)).UTC().AppendFormat(append(dst, `","time":"`...), time.RFC3339Nano)
	dst = strconv.AppendUint(append(dst, `","datacontenttype":"application/json","revision":"`...), uint64(e.Revision), 10)
	dst = strconv.AppendUint(append(dst, `","commit":"`...), uint64(e.Commit), 10)
	dst = append(dst, '"')
	dst = appendText(dst, `,"actor":"`, e.Actor)
	dst = appendText(dst, `,"reason":"`, e.Reason)
	dst = append(dst, `,"data":`...)
	if set, ok := e.Body.(event.KeySet); ok {
		dst = appendKeySet(dst, set, e.Commit)
	} else {
		dst = appendJSON(dst, data(e))
	}
	return append(dst, '}')
}

// appendKeySet adds the KeyData of a key that was put.
func appendKeySet(dst []byte, b event.KeySet, commit event.Revision) []byte {
	dst = appendEscaped(append(dst, `{"key":"`...), b.Key)
	if isText(b.Value) {
		dst = appendEscaped(append(dst, `","value":"`...), b.Value)
	} else {
		dst = base64.StdEncoding.AppendEncode(append(dst, `","value_base64":"`...), b.Value)
	}
	dst = append(dst, '"')
	dst = appendText(dst, `,"content_type":"`, b.ContentType)
	dst = appendNumber(dst, `,"flags":`, b.Flags)
	dst = appendNumber(dst, `,"create_revision":`, uint64(b.Entry(commit, 0).CreateRevision))
	dst = appendNumber(dst, `,"version":`, b.Version)
	dst = appendText(dst, `,"session":"`, b.Session)
	dst = appendText(dst, `,"ttl":"`, FormatTTL(b.TTL))
	dst = appendNumber(dst, `,"previous":`, uint64(b.Previous))
	return append(dst, '}')
}

// appendText adds a field that is left out when it is empty. The name comes with the quote that opens the text.
func appendText(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendEscaped(append(dst, name...), s), '"')
}

// appendNumber adds a field that is left out when it is zero.
func appendNumber(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), n, 10)
}

// appendEscaped adds what stands between the quotes of a JSON string.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	start := 0 // what comes before it was added
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default: // other control characters, and all beyond ASCII, some of which are escaped too
			quoted := appendJSON(nil, string(s[i:]))
			return append(dst, quoted[1:len(quoted)-1]...)
		}
	}
	return append(dst, s[start:]...)
}

// appendJSON adds any value as encoding/json writes it, with "<", ">" and "&" as they are.
func appendJSON(dst []byte, v any) []byte {
	buf := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // plain fields always encode
	}
	b := buf.Bytes()
	return b[:len(b)-1]
}
