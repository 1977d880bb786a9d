package gateway_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// encoded is what AppendCloudEvent must give.
func encoded(t interface{ Fatal(args ...any) }, cluster, namespace string, e event.Event) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(gateway.NewCloudEvent(cluster, namespace, e)); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func TestAppendCloudEventWritesWhatTheEncoderWould(t *testing.T) {
	bytesOf := rapid.OneOf(
		rapid.Map(rapid.StringOf(rapid.RuneFrom([]rune("ab \"\\\n\r\t\b\f\x00\x1f\x7f<>&'é\u2028\u2029\ufffd😀"))), func(s string) []byte { return []byte(s) }),
		rapid.SliceOf(rapid.Byte()),
	)
	text := rapid.Map(bytesOf, func(b []byte) string { return string(b) })
	number := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64())
	rapid.Check(t, func(t *rapid.T) {
		key := text.Draw(t, "key")
		body := rapid.SampledFrom([]event.Body{
			event.KeySet{
				Key: key, Value: bytesOf.Draw(t, "value"), ContentType: text.Draw(t, "content type"), Flags: number.Draw(t, "flags"),
				CreateRevision: event.Revision(number.Draw(t, "created")), Version: number.Draw(t, "version"),
				Previous: event.Revision(number.Draw(t, "previous")), Session: text.Draw(t, "session"),
				TTL: event.Time(rapid.Int64Min(0).Draw(t, "ttl")),
			},
			event.KeyDeleted{Key: key, Previous: event.Revision(number.Draw(t, "before"))},
			event.SessionCreated{ID: key, TTL: event.Time(number.Draw(t, "session's ttl") >> 1)},
		}).Draw(t, "body")
		e := event.Event{
			Revision: event.Revision(number.Draw(t, "revision")), Commit: event.Revision(number.Draw(t, "commit")),
			Time: event.Time(rapid.Int64().Draw(t, "time")), Actor: text.Draw(t, "actor"), Reason: text.Draw(t, "reason"), Body: body,
		}
		want := encoded(t, "c", "default", e)
		if got := gateway.AppendCloudEvent([]byte("before"), "c", "default", e); string(got) != "before"+string(want) {
			t.Fatalf("got\n%s\nwant\n%s", got[len("before"):], want)
		}
	})
}

func BenchmarkAppendCloudEvent(b *testing.B) {
	e := event.Event{
		Revision: 1234567, Commit: 1234567, Time: 1_790_000_000_123_456_789,
		Body: event.KeySet{Key: "app/database/pool/size", Value: bytes.Repeat([]byte("v"), 256), Version: 3, CreateRevision: 17, Previous: 1234},
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = gateway.AppendCloudEvent(buf[:0], "0123456789abcdef", "default", e)
	}
}
