package recipes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func dial(s *server) (*nats.Conn, error) {
	return nats.Connect("nats://"+s.nats, nats.NoReconnect(), nats.Timeout(time.Second))
}

// TestQuotes holds docs/recipes.md to the files that are run: each quotes one whole, under its name.
func TestQuotes(t *testing.T) {
	document, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := map[string]bool{}
	for _, m := range regexp.MustCompile("(?s)`test/recipes/([a-z/.]+)`:\n\n```[a-z]+\n(.*?)```\n").FindAllStringSubmatch(string(document), -1) {
		file, err := os.ReadFile(m[1])
		if err != nil {
			t.Error(err)
		} else if string(file) != m[2] {
			t.Errorf("docs/recipes.md quotes another %s than there is", m[1])
		}
		quoted[m[1]] = true
	}
	for _, pattern := range []string{"*/main.go", "node/*.mjs", "cli/*.sh"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, file := range files {
			if !quoted[file] {
				t.Errorf("docs/recipes.md does not quote %s", file)
			}
		}
	}
}

func TestGoFollows(t *testing.T) {
	s := startServer(t)
	file := filepath.Join(t.TempDir(), "seen")
	survives(t, s, file, func() *process {
		return run(t, "", filepath.Join(bin, "follow"), "nats://"+s.nats, "default", "kv.app.>", file)
	})
}

// TestGoReadsThenFollows has one program go on where the other has read, with a change in between.
func TestGoReadsThenFollows(t *testing.T) {
	s := startServer(t)
	s.put("app/a", "1")
	file := filepath.Join(t.TempDir(), "seen")
	if got := run(t, "", filepath.Join(bin, "read"), "nats://"+s.nats, "default", "app/", file).done(t); got != "app/a=1\n" {
		t.Errorf("read %q", got)
	}
	revision := s.put("app/a", "2")
	p := run(t, "", filepath.Join(bin, "follow"), "nats://"+s.nats, "default", "kv.app.>", file)
	eventually(t, "followed", func() bool { return len(revisions(p.stdout.String())) > 0 })
	if got := revisions(p.stdout.String()); len(got) != 1 || got[0] != revision {
		t.Errorf("followed %v, want %d", got, revision)
	}
}

func TestGoWrites(t *testing.T) {
	s := startServer(t)
	for _, value := range []string{"1", "2"} {
		if got := run(t, "", filepath.Join(bin, "write"), "nats://"+s.nats, "default", "app/a", value).done(t); !strings.HasPrefix(got, "app/a went from revision ") {
			t.Errorf("wrote %q", got)
		}
		if got := s.get("/v1/default/kv/app/a"); got != value {
			t.Errorf("the key is %q, want %q", got, value)
		}
	}
}

// nodeLeast is the oldest Node that its stock NATS client is for.
const nodeLeast = 20

// modules are the stock libraries of Node, from its registry, in the versions of package-lock.json.
func modules(t *testing.T) (dir string) {
	t.Helper()
	if !*others {
		t.Skip("-others runs the recipes in other languages: see make recipes")
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not here, so that the recipes for Node cannot be run", tool)
		}
	}
	version, err := exec.Command("node", "--version").Output()
	var major int
	if _, scanErr := fmt.Sscanf(string(version), "v%d.", &major); err != nil || scanErr != nil || major < nodeLeast {
		t.Skipf("SKIPPED: the recipes for Node want version %d of it, and here is %s", nodeLeast, version)
	}
	dir = t.TempDir()
	files, err := filepath.Glob("node/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, syscall.EISDIR) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p := run(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--fetch-retries", "0", "--fetch-timeout", "20000")
	p.done(t)
	if p.cmd.ProcessState.Success() {
		return dir
	}
	for _, code := range []string{
		"ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "ERR_SOCKET", "FETCH_ERROR", "CERT",
		"E401", "E403", "E404", "E407", "E429", "E50", // of a registry, or of what stands before it, that does not give
	} {
		if strings.Contains(p.says.String(), code) {
			t.Skipf("SKIPPED: the npm registry cannot be reached: %s", p.says)
		}
	}
	t.Fatalf("npm ci: %s", p.says)
	return ""
}

func TestNode(t *testing.T) {
	dir := modules(t)
	node := func(t *testing.T, s *server, script string, args ...string) *process {
		return run(t, dir, "node", append([]string{script, "nats://" + s.nats, "default"}, args...)...)
	}
	t.Run("follow", func(t *testing.T) {
		s := startServer(t)
		file := filepath.Join(t.TempDir(), "seen")
		survives(t, s, file, func() *process { return node(t, s, "follow.mjs", "kv.app.>", file) })
	})
	t.Run("read and follow", func(t *testing.T) {
		s := startServer(t)
		s.put("app/a", "1")
		p := node(t, s, "read.mjs", "app/")
		eventually(t, "read", func() bool { return strings.Contains(p.stdout.String(), `{"app/a":"1"}`) })
		s.restart()
		s.put("app/b", "2")
		eventually(t, "followed", func() bool { return strings.Contains(p.stdout.String(), `{"app/a":"1","app/b":"2"}`) })
	})
	t.Run("write", func(t *testing.T) {
		s := startServer(t)
		for _, value := range []string{"1", "2"} {
			if got := node(t, s, "write.mjs", "app/a", value).done(t); !strings.HasPrefix(got, "app/a went from revision ") {
				t.Errorf("wrote %q", got)
			}
		}
		if got := s.get("/v1/default/kv/app/a"); got != "2" {
			t.Errorf("the key is %q", got)
		}
	})
	t.Run("register", func(t *testing.T) {
		s := startServer(t)
		p := node(t, s, "register.mjs", "web", "web-1", "10.0.0.1", "80")
		eventually(t, "kept alive", func() bool { return strings.Contains(p.stdout.String(), "kept alive") })
		if got := s.get("/v1/default/services/web?passing"); !strings.Contains(got, `"web-1"`) {
			t.Errorf("registered: %s", got)
		}
		p.end(syscall.SIGTERM)
		eventually(t, "gone", func() bool { return !strings.Contains(s.get("/v1/default/services/web"), `"web-1"`) })
	})
	t.Run("EventSource", func(t *testing.T) {
		s := startServer(t)
		p := run(t, dir, "node", "--experimental-eventsource", "browser.mjs", "http://"+s.http, "kv.app.>")
		eventually(t, "following", func() bool {
			return strings.Contains(p.stdout.String(), "complete up to") || strings.Contains(p.says.String(), "bad option")
		})
		if strings.Contains(p.says.String(), "bad option") {
			t.Skipf("SKIPPED: this node has no EventSource: %s", p.says)
		}
		revision := s.put("app/a", "1")
		eventually(t, "live", func() bool { return len(revisions(p.stdout.String())) == 1 })
		if got := revisions(p.stdout.String()); got[0] != revision {
			t.Errorf("got %v, want %d", got, revision)
		}
		// That it resumes is for browsers to do: Node's gives up when its connection breaks. TestCurl sends what they do.
	})
}
