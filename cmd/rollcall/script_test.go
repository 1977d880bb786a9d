package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rollcall": main, "rollcall-parse": parseOnly})
}

// TestScripts runs the command line as a process of its own against a server of this one. The server's clock stands
// still, so that what it says never changes.
func TestScripts(t *testing.T) {
	track, err := filepath.Abs("../../testdata/track")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/cli",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			url, stop := newServer()
			env.Defer(stop)
			env.Setenv("ROLLCALL_SERVER", url)
			env.Setenv("TRACK", track)
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or each process waits a second at its end under -race
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "await": await, "server": useServer},
	})
}

// newServer starts an HTTP server over a backend in memory.
func newServer() (url string, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	handler := api.New(api.Config{Backend: gatewaytest.New("test"), Logger: slog.New(slog.DiscardHandler), Streams: ctx})
	server := httptest.NewServer(handler)
	return server.URL, func() {
		cancel() // ends the streams, which Close waits for
		server.CloseClientConnections()
		server.Close()
	}
}

// status runs a command and checks its exit status: "status 2 rollcall kv put".
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("got exit status %d, want %d", got, want)
	}
}

// await waits, as long as a busy machine may take, until a file matches a pattern: "await out 'put .*greeting'".
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file pattern")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var text []byte
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		text, err = os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && pattern.Match(text) {
			return
		}
	}
	ts.Fatalf("%s never matched %s; it holds:\n%s", args[0], args[1], text)
}

// useServer has the commands that follow speak to the server whose endpoints.json this is.
func useServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: server endpoints.json [nats]")
	}
	var endpoints struct {
		HTTP string `json:"http"`
		NATS string `json:"nats"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &endpoints))
	url := "http://" + endpoints.HTTP
	if len(args) == 2 {
		url = "nats://" + endpoints.NATS
	}
	ts.Setenv("ROLLCALL_SERVER", url)
}

// TestAnyDocumentThroughTheDoor is the round trip over HTTP, with the keys and content types that a server keeps.
func TestAnyDocumentThroughTheDoor(t *testing.T) {
	url, stop := newServer()
	defer stop()
	rollcall := func(t *rapid.T, stdin string, args ...string) string {
		var out, err bytes.Buffer
		if status := run(context.Background(), append([]string{"--server", url}, args...), strings.NewReader(stdin), &out, &err); status != 0 {
			t.Fatalf("%q with %s: status %d: %s", args, stdin, status, err.String())
		}
		return out.String()
	}
	rapid.Check(t, func(t *rapid.T) {
		want := values(3).Draw(t, "document")
		document, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		rollcall(t, string(document), "kv", "import", "-", "--prefix", "a/b", "--replace")
		format := rapid.SampledFrom([]string{"json", "yaml"}).Draw(t, "format")
		exported := rollcall(t, "", "kv", "export", "a/b", "--format", format)
		if again := rollcall(t, exported, "kv", "import", "-", "--prefix", "a/b", "--replace", "--format", format); !strings.HasPrefix(again, "nothing to change") {
			t.Fatalf("importing what was exported as %s: %s", format, again)
		}
		var got any
		if err := json.Unmarshal([]byte(rollcall(t, "", "kv", "export", "a/b")), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("it came back otherwise (-got +want):\n%s", diff)
		}
	})
}

// values are what JSON documents hold.
func values(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 3
		if depth > 0 {
			kinds = 5
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Float64Range(-1e12, 1e12).Draw(t, "number")
		case 3:
			return rapid.String().Draw(t, "text")
		case 4:
			return rapid.SliceOfN(values(depth-1), 0, 3).Draw(t, "array")
		}
		return rapid.MapOfN(rapid.String(), values(depth-1), 0, 4).Draw(t, "object")
	})
}
