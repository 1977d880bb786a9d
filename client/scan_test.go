package client_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// serverEvents are events as servers write them.
func serverEvents() [][]byte {
	var all [][]byte
	for i, body := range []event.Body{
		event.KeySet{Key: "app/db", Value: []byte(`{"a":[1,"}\\"]}`), ContentType: "application/json", Version: 3, Previous: 2},
		event.KeySet{Key: "bytes", Value: []byte{0xff, 0}},
		event.KeyDeleted{Key: "a b/ä.*"},
		event.SessionEnded{ID: "7"},
		event.NamespaceOpened{Namespace: "default", Cluster: "c"},
	} {
		e := event.Event{Revision: event.Revision(i + 1), Commit: event.Revision(i + 1), Time: 1767322245123456789, Body: body}
		if i%2 == 0 {
			e.Actor, e.Reason = "ada", `because "it" is so`
		}
		all = append(all, gateway.AppendCloudEvent(nil, "cluster", "default", e))
	}
	return all
}

// What servers write is read without reflection, but for texts that have escapes.
func TestScanEvents(t *testing.T) {
	plain := 0
	for _, raw := range serverEvents() {
		got, ok := client.ScanEvent(raw)
		want, err := client.DecodeEvent(raw)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			plain++
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("%s (-scanned +decoded):\n%s", raw, diff)
			}
		}
	}
	if plain < 2 {
		t.Errorf("%d events were plain", plain)
	}
}

// FuzzScanEvent holds the reader of plain events to encoding/json: what it takes is an event, and the same one.
func FuzzScanEvent(f *testing.F) {
	for _, raw := range serverEvents() {
		f.Add(raw)
	}
	for _, s := range []string{
		"", "{", "{}", "null", `{"type":null}`, `{"type":"a","type":"b"}`, `{"Type":"a"}`, `{"revision":1}`, `{"revision":"01"}`, `{"revision":"+1"}`,
		`{"revision":"18446744073709551616"}`, `{"revision":" 1"}`, `{"data":null,"subject":"s"}`, `{"data":1 ,"time":"2026-01-02T03:04:05Z"}`,
		`{"data":true}`, `{"time":"2026-01-02"}`, "{\"actor\":\"\xff\"}", `{"data":[{"a":"]"},"\""], "subject" : "x" }`, ` {"id":"a"} `, `{"x":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, ok := client.ScanEvent(raw)
		if !ok {
			return
		}
		want, err := client.DecodeEvent(raw)
		if err != nil {
			t.Fatalf("%q is taken, and is none: %v", raw, err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%q (-scanned +decoded):\n%s", raw, diff)
		}
	})
}

func BenchmarkReadEvent(b *testing.B) {
	raw := serverEvents()[0]
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			client.ScanEvent(raw)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.DecodeEvent(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
