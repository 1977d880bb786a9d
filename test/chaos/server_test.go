package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall/rollcall/test/address"
)

// server is one server of a cluster, over all its lives.
type server struct {
	t                     *testing.T
	name, data, socket    string
	http, raft, nats, dns string // HOST:PORT, the same in every life
	doors                 doors  // where followers reach it
	flags                 []string
	control               *http.Client
	output                *output

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	life   int           // how often it was started
}

// output gathers what a server says, for the report of a test that failed.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// tail is the last of it.
func (o *output) tail() string {
	const most = 6 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.b.Bytes()
	return string(b[max(0, len(b)-most):])
}

// has tells whether a server has said something.
func (o *output) has(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Contains(o.b.Bytes(), []byte(what))
}

// always are the directives that every server has: Raft's log is compacted often.
const always = "value snapshot-entries 150\nvalue compaction-overhead 20\n"

func newServer(t *testing.T, name, folder string) *server {
	t.Helper()
	s := &server{t: t, name: name, data: filepath.Join(folder, name), socket: filepath.Join(folder, name+".sock"), output: &output{}}
	for _, door := range []*string{&s.http, &s.raft, &s.nats, &s.dns} {
		*door = address.Free(t)
	}
	s.doors = doors{http: s.http, nats: s.nats}
	s.control = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		},
	}}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() || *verbose {
			t.Logf("server %s said at last:\n%s", s.name, s.output.tail())
		}
	})
	return s
}

// start starts the process, with directives for its faults. It does not wait.
func (s *server) start(directives ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(filepath.Join(s.data, "endpoints.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{
		"serve", "--name", s.name, "--data", s.data, "--http", s.http, "--raft", s.raft, "--nats", s.nats, "--dns", s.dns,
		"--raft-tick", *tick, "--request-timeout", "3s", "--bookmark-every", "500ms",
	}, s.flags...)...)
	cmd.Env = append(os.Environ(), "ROLLCALL_FAULTS="+always+strings.Join(directives, "\n"), "ROLLCALL_FAULTS_SOCKET="+s.socket)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // who killed it knows why
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	s.life++
}

// process gives what runs, and which life it is.
func (s *server) process() (cmd *exec.Cmd, exited chan struct{}, life int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd, s.exited, s.life
}

// ended tells whether the process has ended.
func (s *server) ended() bool {
	_, exited, _ := s.process()
	select {
	case <-exited:
		return true
	default:
		return exited == nil
	}
}

// killed tells whether the process has ended because of SIGKILL.
func (s *server) killed() bool {
	if !s.ended() {
		return false
	}
	cmd, _, _ := s.process()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func (s *server) signal(what syscall.Signal) {
	if cmd, _, _ := s.process(); cmd != nil {
		_ = cmd.Process.Signal(what) // it may have ended
	}
}

// kill ends the process as a crash does.
func (s *server) kill() {
	s.signal(syscall.SIGKILL)
	if _, exited, _ := s.process(); exited != nil {
		<-exited
	}
}

// stop asks the process to end.
func (s *server) stop() {
	s.signal(syscall.SIGTERM)
	_, exited, _ := s.process()
	select {
	case <-exited:
	case <-time.After(30 * time.Second):
		s.t.Errorf("server %s did not end within 30 s of SIGTERM", s.name)
		s.kill()
	}
}

// obey replaces what the running process does wrong.
func (s *server) obey(directives ...string) error {
	r, err := http.NewRequest(http.MethodPut, "http://faults/", strings.NewReader(always+strings.Join(directives, "\n")))
	if err != nil {
		return err
	}
	answer, err := s.control.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if why, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("directives for %s: %s: %s %w", s.name, answer.Status, why, err)
	}
	return nil
}

// ready tells whether the server says that it is.
func (s *server) ready() bool {
	if _, err := os.Stat(filepath.Join(s.data, "endpoints.json")); err != nil {
		return false
	}
	answer, err := (&http.Client{Timeout: time.Second}).Get("http://" + s.http + "/readyz")
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// command runs the command line, and gives what it printed.
func command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("rollcall %s: %w: %s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}
