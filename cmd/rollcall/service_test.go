package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/client"
)

// TestInstanceIsTold: what servers have seen of an instance is told to people, line by line, and a terminal obeys none of it.
func TestInstanceIsTold(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	i := client.InstanceState{
		Instance: client.Instance{Service: "web", ID: "web-1", Address: "10.0.0.7", Port: 80, TTL: time.Minute, Meta: map[string]string{"b": "2", "a": "1"}},
		Status:   client.Critical, Because: client.Because{Revision: 9, Type: "rollcall.service.status", Time: at}, Revision: 2, Time: at,
		Checks: []client.CheckState{
			{
				Check:  client.Check{ID: "http", HTTP: &client.HTTPCheck{URL: "http://10.0.0.7/health"}, Interval: 10 * time.Second},
				Status: client.Critical, Since: at, Revision: 9, Output: "503 Service Unavailable\n\x1b[2Jdown\n", Server: "a", Looked: at, Fault: "no route to host",
			},
			{Check: client.Check{ID: "other", Alias: &client.AliasCheck{Service: "db"}, Interval: time.Second}, Status: client.Passing, Since: at, Revision: 2},
			{Check: client.Check{ID: "rpc", GRPC: &client.GRPCCheck{Address: "10.0.0.7:81"}}, Status: client.Passing, Since: at, Revision: 2},
			{Check: client.Check{ID: "run", Command: &client.CommandCheck{Args: []string{"df", "-h"}}}, Status: client.Passing, Since: at, Revision: 2},
		},
	}
	var out bytes.Buffer
	if err := (&session{stdout: &out}).tellInstance(i); err != nil {
		t.Fatal(err)
	}
	const want = `instance     web-1 of web
status       critical
because      #9 service.status, 2026-01-02 03:04:05
address      10.0.0.7:80
meta         a=1 b=2
ttl          1m0s
registered   #2, 2026-01-02 03:04:05
check http   critical since 2026-01-02 03:04:05, #9
  asks       http://10.0.0.7/health every 10s
  seen by    a, 2026-01-02 03:04:05
  output     503 Service Unavailable
             "\x1b[2Jdown"
  fault      no route to host
check other  passing since 2026-01-02 03:04:05, #2
  asks       service db every 1s
check rpc    passing since 2026-01-02 03:04:05, #2
  asks       grpc 10.0.0.7:81
check run    passing since 2026-01-02 03:04:05, #2
  asks       command df -h
`
	if diff := cmp.Diff(out.String(), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	if got := why(i); got != "#9 service.status: http" {
		t.Errorf("why: got %s", got)
	}
}

// TestHealthWords: what the scripts cannot bring about.
func TestHealthWords(t *testing.T) {
	for data, want := range map[string]string{
		`{"service": "web", "id": "web-1", "check": "http", "was": "passing", "status": "critical", "server": "a"}`: "status      web/web-1: check http passing → critical, seen by server a",
		`{"service": "web", "id": "web-1", "check": "\u001b[2J", "was": "passing", "status": "critical"}`:           `status      web/web-1: check "\x1b[2J" passing → critical`,
		`[]`: "",
	} {
		if got := healthWords(client.Event{Type: "rollcall.service.status", Data: json.RawMessage(data)}); got != want {
			t.Errorf("%s: got %q, want %q", data, got, want)
		}
	}
}
