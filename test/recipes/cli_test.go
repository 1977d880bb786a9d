package recipes

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var others = flag.Bool("others", false, "run the recipes for Node and for the nats command line, which have to be fetched or built")

// TestCurl needs no more than that curl is there.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: curl is not here")
	}
	s := startServer(t)
	seen := s.put("app/a", "1")
	second := s.put("app/a", "2")
	p := run(t, "", "cli/curl.sh", "http://"+s.http, "kv.app.>", strconv.FormatUint(seen, 10))
	eventually(t, "resumed", func() bool {
		return strings.Contains(p.stdout.String(), "id: "+strconv.FormatUint(second, 10)+"\ndata: {")
	})
	third := s.put("app/b", "3")
	eventually(t, "live", func() bool {
		return strings.Contains(p.stdout.String(), "id: "+strconv.FormatUint(third, 10)+"\ndata: {")
	})
	eventually(t, "a bookmark", func() bool { return strings.Contains(p.stdout.String(), "event: bookmark") })
	if strings.Contains(p.stdout.String(), "id: "+strconv.FormatUint(seen, 10)+"\ndata: {\"specversion\"") {
		t.Error("it got again what it had")
	}
}

// A replay that breaks off does not have the script go on behind what it lacks. What it calls is played here.
func TestScriptLosesNothing(t *testing.T) {
	dir := t.TempDir()
	event := func(revision string) string { return `{"revision":"` + revision + `","commit":"` + revision + `"}` }
	play := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	play("nats", `case "$*" in
*info*) echo '{"state": {"first_seq": 5}}' ;;
*"--start-sequence 5 "*) echo '`+event("6")+`' ; exec sleep 60 ;;
*) exit 1 ;;
esac
`)
	play("curl", "echo '"+event("1")+"'\n[ -e '"+dir+"/once' ] || { touch '"+dir+"/once'; exit 18; }\necho '"+event("3")+"'\n")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	p := run(t, "", "cli/follow.sh", "nats://none", "http://none", "default", "kv.app.>", filepath.Join(dir, "seen"))
	want := event("1") + "\n" + event("3") + "\n" + event("6") + "\n"
	eventually(t, "all events, once and in order", func() bool { return p.stdout.String() == want })
}

// TestCLI builds the nats command line, as cli/nats/go.mod pins it, and runs the scripts that use it.
func TestCLI(t *testing.T) {
	if !*others {
		t.Skip("-others builds the nats command line, which takes two minutes: see make recipes")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: curl is not here")
	}
	fetch := exec.Command("go", "mod", "download")
	fetch.Dir = "cli/nats"
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: the modules of the nats command line cannot be fetched: %v\n%s", err, out)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "nats"), "github.com/nats-io/natscli/nats")
	build.Dir = "cli/nats"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the nats command line: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CONFIG_HOME", dir) // it keeps its settings there
	t.Setenv("HOME", dir)
	t.Run("follow", func(t *testing.T) {
		s := startServer(t)
		file := filepath.Join(t.TempDir(), "seen")
		survives(t, s, file, func() *process {
			return run(t, "", "cli/follow.sh", "nats://"+s.nats, "http://"+s.http, "default", "kv.app.>", file)
		})
	})
	t.Run("live", func(t *testing.T) {
		s := startServer(t)
		p := run(t, "", "cli/live.sh", "nats://"+s.nats)
		n := 0
		eventually(t, "seen", func() bool { // it does not say when it is subscribed
			n++
			s.put("app/live", strconv.Itoa(n))
			return strings.Contains(p.stdout.String(), `"subject":"kv.app.live"`)
		})
	})
	t.Run("requests", func(t *testing.T) {
		s := startServer(t)
		got := run(t, "", "cli/requests.sh", "nats://"+s.nats).done(t)
		for _, want := range []string{`"value":"hello"`, `"code":"condition-failed"`, `"entries":[{`, `"id":"web-1"`, "rollcall"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in what was answered:\n%s", want, got)
			}
		}
	})
}
