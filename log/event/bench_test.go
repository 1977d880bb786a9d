package event_test

import (
	"testing"

	"github.com/rollcall/rollcall/log/event"
)

func benchmarkEvent() event.Event {
	return event.Event{Revision: 123456, Commit: 123456, Time: 1764000000000000000, Actor: "ci", Body: event.KeySet{
		Key: "app/database/pool/size", Value: make([]byte, 256), ContentType: "text/plain", Version: 7, CreateRevision: 12, Previous: 123,
	}}
}

func BenchmarkAppend(b *testing.B) {
	e, buf := benchmarkEvent(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = event.Append(buf[:0], e)
	}
}

func BenchmarkDecode(b *testing.B) {
	buf := event.Append(nil, benchmarkEvent())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
