package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// awkward are keys that need care on their way through subjects and headers.
var awkward = []string{
	"plain", "app/db/url", "with space", " leading and trailing ", "dots.in.it", "a*b", "*", ">", "a>b", "100%", "%41",
	"/", "//", "a//b", "trailing/", "/leading", "tab\there", "line\nbreak", "\r\n", "\x01\x7f", "grüße/東京/🦫",
	"$JS.API/x", "_INBOX/x", "{{wildcard(1)}}", "$1", `"quoted"`, "a:b", "\u00a0", "\u2028",
	strings.Repeat("k", event.KeyBytesMax), strings.Repeat(" ", event.KeyBytesMax), strings.Repeat("é", event.KeyBytesMax/2),
	strings.Repeat("a/", event.KeySegmentsMax-1) + "a", strings.Repeat("/", event.KeySegmentsMax-1),
}

func TestAwkwardKeys(t *testing.T) {
	l := newLedgers(t)
	write := func() {
		for _, key := range awkward {
			l.add(event.Default, event.KeySet{Key: key, Value: []byte("v")}, event.KeyDeleted{Key: key})
		}
	}
	write() // filled
	s := startServer(t, l)
	live := subscribe(t, guest(t, s), "rollcall.default.kv.>")
	known := len(l.all(event.Default))
	write() // live
	checkLive(t, live, event.Default, l.all(event.Default)[known:])
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
}

func TestSubjectsAreLegal(t *testing.T) {
	for _, key := range awkward {
		subject := Subject(event.Default, event.Event{Body: event.KeySet{Key: key}})
		if !server.IsValidPublishSubject(subject) {
			t.Errorf("key %q: subject %q is not legal", key, subject)
		}
		if len(subject) > ControlLineBytesMax/4 {
			t.Errorf("key %q: subject of %d bytes", key, len(subject))
		}
	}
}

func TestEscapeHeader(t *testing.T) {
	for _, test := range []struct{ name, key, want string }{
		{"plain", "app/db url", "app/db url"},
		{"percent", "100%", "100%25"},
		{"spaces at the ends", " a b ", "%20a b%20"},
		{"one space", " ", "%20"},
		{"line end", "a\r\nb", "a%0D%0Ab"},
		{"not ASCII", "é", "%C3%A9"},
		{"empty", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := EscapeHeader(test.key); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzEscapeHeader(f *testing.F) {
	for _, key := range awkward {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		got := EscapeHeader(key)
		if got != strings.TrimSpace(got) || strings.IndexFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Errorf("%q became %q, which is not safe in a header", key, got)
		}
		if back, err := url.PathUnescape(got); err != nil || back != key {
			t.Errorf("%q became %q, which reads back as %q, %v", key, got, back, err)
		}
	})
}

func FuzzCheckConsumer(f *testing.F) {
	f.Add([]byte(`{"stream_name":"s","config":{"deliver_subject":"_INBOX.x"}}`))
	f.Add([]byte(`{"stream_name":"s","config":{"name":"c","ack_policy":"none"},"Config":{"Deliver_Subject":"rollcall.x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		passed, err := checkConsumer(body)
		if err != nil {
			return
		}
		var r server.CreateConsumerRequest
		if err := json.Unmarshal(passed, &r); err != nil {
			t.Fatalf("passed on %q, which is not readable: %v", passed, err)
		}
		if d := r.Config.DeliverSubject; d != "" && !strings.HasPrefix(d, "_INBOX.") {
			t.Errorf("passed on a delivery to %q", d)
		}
	})
}

func TestBigValue(t *testing.T) {
	l := newLedgers(t)
	s := startServer(t, l)
	live := subscribe(t, guest(t, s), "rollcall.default.>")
	known := len(l.all(event.Default))
	binary := make([]byte, event.ValueBytesMax)
	for i := range binary {
		binary[i] = byte(i)
	}
	l.add(event.Default,
		event.KeySet{Key: "binary", Value: binary},
		event.KeySet{Key: "quotes", Value: bytes.Repeat([]byte(`"`), event.ValueBytesMax)},
		event.KeySet{Key: "separators", Value: []byte(strings.Repeat("\u2028", event.ValueBytesMax/3))})
	checkLive(t, live, event.Default, l.all(event.Default)[known:])
	checkOrdered(t, guest(t, s), event.Default, 1, l.all(event.Default))
	var got struct{ Data gateway.KeyData }
	if err := json.Unmarshal(newWriter("test", event.Default).write(l.all(event.Default)[known], true).Data, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Data.Bytes(), binary) {
		t.Error("the value did not come back")
	}
}

func TestWindowStart(t *testing.T) {
	l := newLedgers(t)
	l.put(event.Default, "a", 9999) // 10,000 events
	size := estimate(l.all(event.Default)[5000])
	for _, test := range []struct {
		name   string
		bytes  int64
		oldest event.Time
		want   event.Revision
	}{
		{"everything", 1 << 30, 0, 1},
		{"a hundred events", 100 * size, 0, 9901},
		{"more than the first look takes", 3000 * size, 0, 7001},
		{"nothing fits", size - 1, 0, 10_001},
		{"young events", 1 << 30, testTime + 9_000, 9000},
		{"no event is young", 1 << 30, testTime + 20_000, 10_001},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := windowStart(context.Background(), l, event.Default, 10_000, test.bytes, test.oldest)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
