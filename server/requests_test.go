package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// TestRequestsOverNATS puts over one door and gets over the other, on a real server; and its quarantine closes both.
func TestRequestsOverNATS(t *testing.T) {
	s, _ := startAlone(t, &journal{})
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	nc, err := nats.Connect("nats://" + s.Endpoints().NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(subject, body string) *nats.Msg {
		t.Helper()
		m, err := nc.Request(subject, []byte(body), time.Minute)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return m
	}
	m := ask("rollcall-api.default.kv.put", `{"key":"app/db/url","value":"postgres://…","if":[{"exists":false}]}`)
	if got := m.Header.Get("Rollcall-Status"); got != "201" {
		t.Fatalf("put: got status %s: %s", got, m.Data)
	}
	if status, body := httpGet(t, s, "/v1/default/kv/app/db/url"); status != http.StatusOK || body != "postgres://…" {
		t.Errorf("over HTTP it is %d %s", status, body)
	}
	m = ask("rollcall-api.default.txn", `{"if":[{"key":"app/db/url","exists":false}],"else":[{"get":{"key":"app/db/url"}}]}`)
	if !strings.Contains(string(m.Data), `"postgres://…"`) {
		t.Errorf("txn: got %s", m.Data)
	}
	m = ask("rollcall-api.default.events", `{"subject":"kv.>"}`)
	var page struct {
		Revision uint64
		Events   []struct{ Subject string }
		Next     uint64
	}
	if err := json.Unmarshal(m.Data, &page); err != nil || len(page.Events) != 1 || page.Events[0].Subject != "kv.app.db.url" || page.Next != 0 {
		t.Errorf("events: got %s, %v", m.Data, err)
	}
	m = ask("$SRV.INFO.rollcall", "")
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil || info.Type != micro.InfoResponseType || len(info.Endpoints) < 30 {
		t.Errorf("the service says %s, %v", m.Data, err)
	}
	if _, body := httpGet(t, s, "/metrics"); !strings.Contains(body, `rollcall_nats_request_duration_seconds_count{operation="kv.put",status="201"} 1`) {
		t.Error("the metrics do not count the request")
	}

	s.quarantined.Store(&quarantine{Reason: "a test"})
	m = ask("rollcall-api.default.kv.get", `{"key":"app/db/url"}`)
	if got := m.Header.Get(micro.ErrorHeader); !strings.HasPrefix(got, "state-diverged: ") || m.Header.Get(micro.ErrorCodeHeader) != "503" {
		t.Errorf("in quarantine: got %q and %s", got, m.Data)
	}
	s.quarantined.Store(nil)
}
