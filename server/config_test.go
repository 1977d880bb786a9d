package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/server"
)

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rollcall.toml")
	text := `
name = "a"
data = "/var/lib/rollcall"
http = "127.0.0.1:1"
dns-domain = "Example.ORG"
dns-forward = "192.0.2.1:53,192.0.2.2:53"
groups = 2
window-bytes = "8MiB"
window-age = "1h30m"
scrub-rate = "1MiB"
scrub-every = "1h"
insecure = true
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c server.Config
	if err := server.ReadConfig(path, &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if c.Name != "a" || c.HTTP != "127.0.0.1:1" || c.DNSDomain != "example.org." || c.DNSForward != "192.0.2.1:53,192.0.2.2:53" || c.Groups != 2 || c.WindowBytes != 8<<20 ||
		time.Duration(c.WindowAge) != 90*time.Minute || !c.Insecure || c.NATS != server.DefaultNATS ||
		*c.ScrubRate != 1<<20 || time.Duration(c.ScrubEvery) != time.Hour {
		t.Errorf("got %+v", c)
	}
	for name, bad := range map[string]string{
		"unknown key":    "htpp = \"127.0.0.1:1\"",
		"wrong type":     "groups = \"two\"",
		"no TOML":        "name = ",
		"no duration":    "window-age = \"soon\"",
		"negative size":  "scrub-rate = \"-1\"",
		"no size":        "window-bytes = \"64MB\"",
		"too large size": "window-bytes = \"99999999999GiB\"",
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := server.ReadConfig(path, &server.Config{}); err == nil {
			t.Errorf("%s was taken: %s", name, bad)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	cases := []struct {
		name string
		c    server.Config
		want string // part of the refusal; empty where it is taken
	}{
		{"defaults", server.Config{}, ""},
		{"free ports", server.Config{HTTP: "127.0.0.1:0", DNS: "[::1]:0", NATS: "localhost:0"}, ""},
		{"beyond loopback", server.Config{HTTP: "0.0.0.0:7600"}, "--insecure"},
		{"every address", server.Config{NATS: ":4222"}, "--insecure"},
		{"a host's name", server.Config{Raft: "db.example.com:1"}, "--insecure"},
		{"beyond loopback, insecure", server.Config{HTTP: "0.0.0.0:7600", Insecure: true}, ""},
		{"no port", server.Config{DNS: "127.0.0.1"}, "HOST:PORT"},
		{"domain that is none", server.Config{DNSDomain: "a..b"}, "is no label"},
		{"forwarding to nobody", server.Config{DNSForward: "192.0.2.1:53,"}, "HOST:PORT"},
		{"forwarding to itself", server.Config{DNSForward: "127.0.0.1:7653"}, "is this server"},
		{"port that is none", server.Config{DNS: "127.0.0.1:dns"}, "0 to 65535"},
		{"port out of range", server.Config{DNS: "127.0.0.1:65536"}, "0 to 65535"},
		{"name", server.Config{Name: "no spaces"}, "name"},
		{"groups", server.Config{Groups: 65}, "groups"},
		{"tick", server.Config{Tick: server.Duration(time.Hour)}, "raft-tick"},
		{"timeout", server.Config{RequestTimeout: -1}, "request-timeout"},
		{"scrubbing", server.Config{ScrubEvery: -1}, "scrub-every"},
		{"scrubbing all the time", server.Config{ScrubEvery: server.Duration(time.Nanosecond)}, "scrub-every"},
		{"window", server.Config{WindowBytes: 1}, "window-bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.c.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
