package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// example is a part of a command's help that a shell takes.
type example struct{ command, text string }

// examples reads the help of a command: what is indented by four spaces is an example, and what is indented further
// goes on with it. Behind three spaces it says in words what it does.
func examples(n *kong.Node) (all []example) {
	remark := regexp.MustCompile(`\s{3,}\S.*$`)
	for line := range strings.Lines(n.Detail) {
		text, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		switch {
		case !ok:
		case strings.HasPrefix(text, " ") && len(all) > 0:
			all[len(all)-1].text += "\n" + text
		default:
			all = append(all, example{n.Path(), remark.ReplaceAllString(text, "")})
		}
	}
	return slices.DeleteFunc(all, func(e example) bool { return !strings.Contains(e.text, "rollcall ") })
}

// leaves are the commands that do something.
func leaves(t *testing.T) []*kong.Node {
	t.Helper()
	var g grammar
	return newParser(&g, io.Discard, io.Discard).Model.Leaves(true)
}

// TestHelpHasExamples: every command teaches by one at least.
func TestHelpHasExamples(t *testing.T) {
	for _, n := range leaves(t) {
		name := regexp.MustCompile(`\brollcall (-n \S+ )?` + n.Path() + `\b`)
		if !slices.ContainsFunc(examples(n), func(e example) bool { return name.MatchString(e.text) }) {
			t.Errorf("the help of %q has no example of it", n.FullPath())
		}
	}
}

// parseOnly is what the examples find as rollcall where they are not run. It notes what it made of the line.
func parseOnly() {
	var g grammar
	_, err := newParser(&g, io.Discard, os.Stderr).Parse(os.Args[1:])
	note, openErr := os.OpenFile(os.Getenv("NOTES"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if openErr != nil {
		panic(openErr)
	}
	if _, err := fmt.Fprintf(note, "%v\n", err); err != nil {
		panic(err)
	}
	os.Exit(1) // which ends loops
}

// TestExamplesAreCommandLines has a shell take every example apart, with a rollcall that parses and does nothing.
func TestExamplesAreCommandLines(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	parse, err := exec.LookPath("rollcall-parse")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range leaves(t) {
		for _, e := range examples(n) {
			t.Run(e.text, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				// Nothing else is on the path: examples speak to other hosts, too.
				stub := fmt.Sprintf("#!%s\nexec %s \"$@\"\n", bash, parse)
				if err := os.WriteFile(filepath.Join(dir, "rollcall"), []byte(stub), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.MkdirAll(filepath.Join(dir, ".config/fish/completions"), 0o700); err != nil {
					t.Fatal(err)
				}
				notes := filepath.Join(dir, "notes")
				cmd := exec.CommandContext(t.Context(), bash, "-c", e.text)
				cmd.Dir, cmd.Env = dir, []string{"PATH=" + dir, "HOME=" + dir, "NOTES=" + notes}
				out, _ := cmd.CombinedOutput() // what a shell makes of a path with nothing on it is not of interest
				noted, err := os.ReadFile(notes)
				if err != nil {
					t.Fatalf("%s: rollcall was not run: %v\n%s", e.command, err, out)
				}
				for line := range strings.Lines(string(noted)) {
					if line != "<nil>\n" {
						t.Errorf("%s: %s", e.command, line)
					}
				}
			})
		}
	}
}

// stage makes what the examples find: session 7, app/limit as of revision 41, and a ledger of more than 90 events.
func stage(t *testing.T, url, dir string) {
	t.Helper()
	rollcall := func(args ...string) {
		t.Helper()
		runWith(t, url, "", args...)
	}
	pad := func(from, to int) {
		t.Helper()
		var puts []string
		for i := from; i <= to; i++ {
			puts = append(puts, fmt.Sprintf(`{"put": {"key": "count/%d", "value": ""}}`, i))
		}
		runWith(t, url, `{"then": [`+strings.Join(puts, ",")+`]}`, "kv", "txn", "-")
	}
	pad(2, 6)
	rollcall("session", "create")
	rollcall("kv", "put", "app/greeting", "hello")
	rollcall("kv", "put", "app/logo", "PNG")
	rollcall("kv", "put", "app/tmp-1", "x")
	rollcall("kv", "put", "app/hosts/", "--ttl", "1m")
	rollcall("kv", "put", "app/hosts/web-1", "up", "--ttl", "30s")
	rollcall("kv", "put", "jobs/1", "x")
	rollcall("service", "register", "web", "--id", "web-1", "--address", "10.0.0.7", "--port", "8080", "--tag", "blue")
	pad(15, 40)
	rollcall("kv", "put", "app/limit", "10")
	pad(42, 95)
	rollcall("service", "register", "api", "--id", "api-1", "--address", "10.0.0.7", "--ttl-check", "15s")
	rollcall("service", "register", "db", "--id", "db-1", "--address", "10.0.0.12", "--credential", "password=secret")
	rollcall("node", "put", "host-1", "--address", "192.0.2.1")
	rollcall("namespace", "create", "staging", "--ttl", "1h")
	rollcall("members", "add", "d", "10.0.0.4:7601", "--non-voter")
	for name, text := range map[string]string{
		"logo.png": "PNG", "job.json": "{}", "password.txt": "secret\n",
		"serve.sh":      `[ "$ROLLCALL_INSTANCE" = web-6 ]`,
		"services.json": `{"services": [{"service": "web", "instances": [{"id": "web-1", "address": "10.0.0.7"}]}]}`,
		"move.json":     `{"if": [{"key": "app/limit", "exists": true}], "then": [{"get": {"key": "app/limit"}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func runWith(t *testing.T, url, stdin string, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	if status := run(t.Context(), append([]string{"--server", url}, args...), strings.NewReader(stdin), io.Discard, &stderr); status != 0 {
		t.Fatalf("%q: exit status %d: %s", args, status, &stderr)
	}
}

// TestExamplesDoWhatTheySay runs the examples of the commands that speak to a server.
func TestExamplesDoWhatTheySay(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	families := []string{"kv ", "service ", "node ", "session ", "namespace ", "members ", "log"}
	// These are not run, each for its reason.
	skip := []string{
		"jq", "curl", // not everywhere
		"while ", "service watch", "exec lead", "register-and-serve", // never end, or are somebody's program
		"kv import", "kv export", "kv diff", "kv edit", // have scripts of their own
		"2026-01-31",      // depends on the clock
		"serve --name",    // a server
		"members remove ", // is refused by the only voter's server
	}
	for _, n := range leaves(t) {
		if !slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(n.Path()+" ", f) }) {
			continue
		}
		for _, e := range examples(n) {
			if slices.ContainsFunc(skip, func(s string) bool { return strings.Contains(e.text, s) }) {
				continue
			}
			t.Run(e.text, func(t *testing.T) {
				t.Parallel()
				url, stop := newServer()
				defer stop()
				dir := t.TempDir()
				stage(t, url, dir)
				cmd := exec.CommandContext(t.Context(), "sh", "-c", "id=7\n"+e.text)
				cmd.Env = append(os.Environ(), "ROLLCALL_SERVER="+url, "GORACE=atexit_sleep_ms=0")
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
					t.Errorf("%s: exit status %d:\n%s", e.command, exit.ExitCode(), out)
				} else if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
