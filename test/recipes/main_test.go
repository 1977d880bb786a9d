package recipes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/rollcall/rollcall/client" // so that go test knows what the binary is made of
	_ "github.com/rollcall/rollcall/server"

	"github.com/rollcall/rollcall/test/address"
)

// bin is a folder with the server and the recipes in Go, built once.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rollcall-recipes")
	if err != nil {
		panic(err)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../../cmd/rollcall", "./follow", "./read", "./write")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// output is what a process has said so far.
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

// String is all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is one that was started, and the whole group of those that it starts.
type process struct {
	cmd          *exec.Cmd
	stdout, says *output
	exited       chan struct{}
}

// run starts a process that ends with the test at the latest.
func run(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), stdout: &output{}, says: &output{}, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.stdout, p.says
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s %q printed\n%.4000s\nand said\n%.4000s", name, args, p.stdout, p.says)
		}
	})
	return p
}

// end signals the group, and waits for the process.
func (p *process) end(signal syscall.Signal) {
	select {
	case <-p.exited:
		return
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, signal)
		<-p.exited
	}
}

// done gives what a process printed that is to end by itself.
func (p *process) done(t *testing.T) string {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("it did not end: %s%s", p.stdout, p.says)
	}
	return p.stdout.String()
}

// patience is with a busy machine.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

// server is one server, over its lives, at the same addresses.
type server struct {
	t          *testing.T
	data       string
	http, nats string
	*process
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, data: t.TempDir(), http: address.Free(t), nats: address.Free(t)}
	s.start()
	return s
}

// start starts it, with a window that soon does not hold what was before.
func (s *server) start() {
	s.t.Helper()
	_ = os.Remove(filepath.Join(s.data, "endpoints.json"))
	s.process = run(s.t, "", filepath.Join(bin, "rollcall"), "serve", "--data", s.data, "--http", s.http, "--nats", s.nats,
		"--raft", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--raft-tick", "10ms", "--window-age", "2s", "--bookmark-every", "200ms")
	eventually(s.t, "ready", func() bool {
		_, err := os.Stat(filepath.Join(s.data, "endpoints.json"))
		return err == nil
	})
}

// restart ends it as a crash does, and starts it again.
func (s *server) restart() {
	s.end(syscall.SIGKILL)
	s.start()
}

// put writes a key over HTTP and gives the revision.
func (s *server) put(key, value string) uint64 {
	s.t.Helper()
	var written struct{ Revision uint64 }
	eventually(s.t, "written", func() bool {
		r, err := http.NewRequest(http.MethodPut, "http://"+s.http+"/v1/default/kv/"+key, strings.NewReader(value))
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key+value)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		return err == nil && answer.StatusCode/100 == 2 && json.Unmarshal(b, &written) == nil
	})
	return written.Revision
}

func (s *server) get(path string) string {
	s.t.Helper()
	answer, err := http.Get("http://" + s.http + path)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// beyond tells whether the stream has nothing any more up to a revision: who wants that has to ask the ledger.
func (s *server) beyond(revision uint64) bool {
	nc, err := dial(s)
	if err != nil {
		return false
	}
	defer nc.Close()
	m, err := nc.Request("$JS.API.STREAM.INFO.rollcall_default", nil, time.Second)
	if err != nil {
		return false
	}
	var info struct {
		State struct {
			FirstSeq uint64 `json:"first_seq"`
		}
	}
	return json.Unmarshal(m.Data, &info) == nil && info.State.FirstSeq > revision
}

// survives holds a recipe that follows kv.app.> to what it claims: it prints every event once and in order, though it is ended
// and begun again, away for longer than the window, and loses the server in between.
func survives(t *testing.T, s *server, file string, follow func() *process) {
	t.Helper()
	var want []uint64
	write := func(n int) {
		for range n {
			s.put("other", fmt.Sprint(len(want)))
			want = append(want, s.put("app/"+fmt.Sprint(len(want)), "x"))
		}
	}
	var got strings.Builder
	awaitAll := func(p *process) {
		t.Helper()
		eventually(t, "all of it printed", func() bool { return len(revisions(got.String()+p.stdout.String())) >= len(want) })
		// Printed is not yet written down: who is ended in between may do it again.
		eventually(t, "written down", func() bool {
			b, err := os.ReadFile(file)
			return err == nil && strings.TrimSpace(string(b)) == fmt.Sprint(want[len(want)-1])
		})
	}
	write(5)
	first := follow()
	awaitAll(first)
	write(5) // live
	awaitAll(first)
	s.restart() // the server is lost
	write(5)
	awaitAll(first)
	first.end(syscall.SIGTERM)
	got.WriteString(first.stdout.String())

	write(5) // the reader is away, for longer than the window
	eventually(t, "out of the window", func() bool { return s.beyond(want[len(want)-1]) })
	second := follow()
	awaitAll(second)
	write(5)
	awaitAll(second)
	second.end(syscall.SIGTERM)
	got.WriteString(second.stdout.String())
	if have := revisions(got.String()); fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("got revisions %v, want %v", have, want)
	}
}

var revisionOf = regexp.MustCompile(`(?m)^(?:(\d+) rollcall\.|\{.*"revision":"(\d+)")`)

// revisions are those of the events that a recipe has printed.
func revisions(printed string) (all []uint64) {
	for _, m := range revisionOf.FindAllStringSubmatch(printed, -1) {
		var n uint64
		if _, err := fmt.Sscan(m[1]+m[2], &n); err == nil {
			all = append(all, n)
		}
	}
	return all
}
