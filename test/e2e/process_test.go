// Package e2e tests the real binary from outside, with the clients that anybody has: plain HTTP, a stock NATS client
// and a stock DNS client.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/rollcall/rollcall/client" // see touch
	_ "github.com/rollcall/rollcall/server"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if err := touch("../../cmd/rollcall"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "rollcall-e2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "rollcall")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../../cmd/rollcall")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build rollcall: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// touch reads a folder's sources, so that go test knows that these tests depend on them: it caches results by the
// packages that a test imports and the files that it opens, and does not look into the build above.
func touch(folder string) error {
	sources, err := filepath.Glob(filepath.Join(folder, "*.go"))
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil {
			return err
		}
	}
	return err
}

// process is a running server.
type process struct {
	t      *testing.T
	data   string
	cmd    *exec.Cmd
	output *output
	exited chan error
	HTTP   string `json:"http"`
	Raft   string `json:"raft"`
	NATS   string `json:"nats"`
	DNS    string `json:"dns"`
}

// output gathers what a process writes, for the report of a test that failed.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// patience is with a busy machine, on which what takes moments may take as long.
const patience = 2 * time.Minute

// start runs a server on free ports and waits until it is ready.
func start(t *testing.T, data string, flags ...string) *process {
	t.Helper()
	p := launch(t, data, flags...)
	p.awaitReady()
	return p
}

// awaitReady returns when the server says where it listens.
func (p *process) awaitReady() {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		b, err := os.ReadFile(filepath.Join(p.data, "endpoints.json"))
		if err == nil {
			if err := json.Unmarshal(b, p); err != nil {
				p.t.Fatal(err)
			}
			return
		}
		select {
		case err := <-p.exited:
			p.t.Fatalf("the server ended before it was ready: %v\n%s", err, p.output)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server was not ready within %v\n%s", patience, p.output)
		}
	}
}

// launch runs a server on free ports.
func launch(t *testing.T, data string, flags ...string) *process {
	t.Helper()
	// What an earlier process left there would be taken for the new one's.
	if err := os.Remove(filepath.Join(data, "endpoints.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p := &process{t: t, data: data, output: &output{}, exited: make(chan error, 1)}
	args := []string{"serve", "--data", data, "--raft-tick", "10ms", "--request-timeout", "1m"}
	for _, l := range []string{"http", "raft", "nats", "dns"} {
		args = append(args, "--"+l, "127.0.0.1:0")
	}
	p.cmd = exec.Command(binary, append(args, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", p.output)
		}
	})
	return p
}

// kill ends the server at once, as a crash of the process does.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.exited; err == nil {
		p.t.Error("the server ended by itself before it was killed")
	}
}

// stop asks the server to end, and checks that it does so cleanly.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			p.t.Errorf("the server ended with %v\n%s", err, p.output)
		}
	case <-time.After(patience):
		p.t.Fatalf("the server did not end within %s of SIGTERM\n%s", patience, p.output)
	}
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// do makes a request. Headers are given as "Name: value".
func (p *process) do(method, path, body string, headers ...string) response {
	p.t.Helper()
	r, err := p.try(method, path, body, headers...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *process) try(method, path, body string, headers ...string) (response, error) {
	request, err := http.NewRequest(method, "http://"+p.HTTP+path, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, answer.Header, string(b)}, err
}

// want checks a status, and gives the body as JSON.
func (r response) want(t *testing.T, status int) map[string]any {
	t.Helper()
	if r.status != status {
		t.Fatalf("got status %d, want %d: %s", r.status, status, r.body)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		return nil // a raw value is no JSON
	}
	return v
}

// command runs the command line, and gives what it printed and its exit status.
func command(t *testing.T, args ...string) (stdout string, status int) {
	t.Helper()
	c := exec.Command(binary, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if errs.Len() > 0 {
		t.Logf("rollcall %s: %s", strings.Join(args, " "), errs.String())
	}
	return out.String(), c.ProcessState.ExitCode()
}
