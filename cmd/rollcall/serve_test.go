package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// TestServeConfig puts file, environment and flags together: the flag wins over the environment, that over the file.
func TestServeConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rollcall.toml")
	text := "name = \"file\"\nhttp = \"127.0.0.1:1\"\nnats = \"127.0.0.1:1\"\ninsecure = true\nscrub-rate = \"1MiB\"\nscrub-every = \"1h\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROLLCALL_CONFIG", file)
	t.Setenv("ROLLCALL_HTTP", "127.0.0.1:2")
	t.Setenv("ROLLCALL_NATS", "127.0.0.1:2")
	t.Setenv("ROLLCALL_SCRUB_EVERY", "2h")
	t.Setenv("ROLLCALL_SCRUB_RATE", "2MiB")
	var c serveCmd
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--nats", "127.0.0.1:3", "--insecure=false", "--scrub-rate", "0"}); err != nil {
		t.Fatal(err)
	}
	config, err := c.config(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "file" || config.HTTP != "127.0.0.1:2" || config.NATS != "127.0.0.1:3" || config.Insecure ||
		config.ScrubRate == nil || *config.ScrubRate != 0 || time.Duration(config.ScrubEvery) != 2*time.Hour {
		t.Errorf("got %+v", config)
	}
}
