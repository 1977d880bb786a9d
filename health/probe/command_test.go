//go:build unix

package probe_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

func shell(script string, args ...string) event.Check {
	return event.Check{Command: append([]string{"sh", "-c", script}, args...)}
}

func TestCommand(t *testing.T) {
	t.Setenv("ROLLCALL_SECRET", "of the server")
	expect(t, look(t, shell("echo fine"), nil), event.Passing, "command exit 0", "fine")
	expect(t, look(t, shell("echo so so >&2; exit 1"), nil), event.Warning, "command exit 1", "so so")
	expect(t, look(t, shell("exit 2"), nil), event.Critical, "command exit 2", "command exit 2")
	expect(t, look(t, shell("kill -9 $$"), nil), event.Critical, "command ended by a signal", "")
	expect(t, look(t, shell(`echo "$0 $ROLLCALL_SERVICE $ROLLCALL_INSTANCE $ROLLCALL_ADDRESS $ROLLCALL_PORT [$ROLLCALL_SECRET] $(pwd)"`, "${TOKEN};ls"), map[string]string{"TOKEN": "s3cr3t"}),
		event.Passing, "command exit 0", "${TOKEN};ls web 1 127.0.0.1 80 [] /")
	expect(t, look(t, shell("cat"), nil), event.Passing, "command exit 0", "") // its input is empty
	r := look(t, shell("yes | head -c 10000000"), nil)
	expect(t, r, event.Passing, "command exit 0", "y\ny\n")
	if len(r.Output) < probe.OutputBytesMax-1 {
		t.Errorf("output of %d bytes", len(r.Output))
	}
}

// TestCommandLeavesNobody has programs leave others behind, which keep their output open.
func TestCommandLeavesNobody(t *testing.T) {
	for name, script := range map[string]string{
		"that ends":    "sleep 1000 & echo $! > $0",
		"that hangs":   "sleep 1000 & echo $! > $0; sleep 1000",
		"that resists": "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & echo $! > $0; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			check := shell(script, file)
			check.Timeout = event.Time(5 * time.Second) // until then the programs have begun, however busy the machine is
			look(t, check, nil)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			for began := time.Now(); !gone(pid); <-time.After(5 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatalf("process %d lives on", pid)
				}
			}
		})
	}
}

// gone tells whether a process runs no longer; one that nobody has buried yet does not.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}
