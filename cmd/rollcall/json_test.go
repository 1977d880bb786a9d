package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestEveryCommandSpeaksJSON runs each command that speaks to a server with --json, in an order in which each has
// something to say, and reads what it says.
func TestEveryCommandSpeaksJSON(t *testing.T) {
	url, stop := newServer()
	defer stop()
	document := `{"a": 1}`
	lines := [][]string{
		{"kv", "put", "app/a", "x"},
		{"kv", "put", "app/b", "x", "--dry-run"},
		{"kv", "put", "dir/", "--ttl", "1m"},
		{"kv", "get", "app/a"},
		{"kv", "list"},
		{"kv", "list", "--keys"},
		{"kv", "append", "dir/", "x"},
		{"kv", "refresh", "dir/"},
		{"kv", "history", "app/a"},
		{"kv", "import", "-", "--prefix", "doc"},
		{"kv", "export", "doc"},
		{"kv", "txn", "-"},
		{"kv", "delete", "app/a"},
		{"kv", "delete", "dir", "--recursive"},
		{"session", "create"},
		{"session", "list"},
		{"session", "show", "SESSION"},
		{"session", "keepalive", "SESSION"},
		{"session", "end", "SESSION"},
		{"service", "register", "web", "--id", "w1", "--address", "10.0.0.1"},
		{"service", "list"},
		{"service", "list", "web"},
		{"service", "resolve", "web"},
		{"service", "register", "web", "--id", "w2", "--address", "10.0.0.2", "--ttl-check", "15s", "--credential", "user=u"},
		{"service", "report", "web", "passing", "--id", "w2"},
		{"service", "maintenance", "web", "on", "--id", "w1"},
		{"service", "credentials", "web", "--id", "w2"},
		{"service", "credentials", "web", "user", "--id", "w2"},
		{"service", "configure", "web", "--dns-ttl", "30s"},
		{"service", "show", "web"},
		{"service", "show", "web", "w2"},
		{"service", "deregister", "web", "--id", "w1"},
		{"node", "put", "host-1", "--address", "192.0.2.1"},
		{"node", "maintenance", "host-1", "on"},
		{"node", "list"},
		{"node", "show", "host-1"},
		{"node", "delete", "host-1"},
		{"namespace", "create", "staging"},
		{"namespace", "configure", "staging", "--quota-keys", "10"},
		{"namespace", "show", "staging"},
		{"namespace", "list"},
		{"namespace", "create", "track", "--from", "staging", "--ttl", "1h"},
		{"namespace", "renew", "track"},
		{"namespace", "delete", "track", "--dry-run"},
		{"namespace", "delete", "track"},
		{"members", "add", "a", "10.0.0.1:7601"},
		{"members", "add", "b", "10.0.0.2:7601", "--non-voter"},
		{"members", "add", "c", "10.0.0.3:7601", "--non-voter"},
		{"members", "list"},
		{"members", "groups"},
		{"members", "promote", "b"},
		{"members", "remove", "c"},
		{"log"},
		{"version"},
	}
	// These make files, run for as long as something else does, or speak to a shell; their own tests look at them.
	elsewhere := []string{"serve", "verify", "snapshot save", "snapshot inspect", "snapshot restore", "session run", "watch", "service watch", "completion", "kv diff", "kv edit"}
	session := ""
	tried := map[string]bool{}
	for _, args := range lines {
		stdin := document
		if args[1%len(args)] == "txn" {
			stdin = `{"then": [{"get": {"key": "app/a"}}]}`
		}
		args = slices.Clone(args)
		for i, a := range args {
			if a == "SESSION" {
				args[i] = session
			}
		}
		tried[strings.Join(args[:min(2, len(args))], " ")] = true
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), append(args, "--json", "--server", url), strings.NewReader(stdin), &stdout, &stderr); status != 0 {
			t.Fatalf("%q: exit status %d: %s", args, status, &stderr)
		}
		n := 0
		for d := json.NewDecoder(&stdout); ; n++ {
			var v any
			if err := d.Decode(&v); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			if args[0] == "session" && args[1] == "create" {
				session, _ = v.(map[string]any)["id"].(string)
			}
		}
		if n == 0 {
			t.Errorf("%q says nothing", args)
		}
	}
	for _, n := range leaves(t) {
		if !tried[n.Path()] && !slices.Contains(elsewhere, n.Path()) {
			t.Errorf("%q is not tried with --json", n.Path())
		}
	}
}
