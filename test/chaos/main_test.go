package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/rollcall/rollcall/client" // so that go test knows what the binary is made of
	_ "github.com/rollcall/rollcall/server"
)

var (
	// binary is the program under test, with faults; release is the one without.
	binary, release string

	duration = flag.Duration("duration", 0, "how long TestChaos goes on breaking things; 0 leaves it out")
	all      = flag.Bool("all", false, "have servers be wrong in every way, and die at every point")
	seed     = flag.Int64("seed", 0, "what TestChaos and its clients take their chances from; 0 takes one from the clock")
	servers  = flag.Int("servers", 3, "how many servers TestChaos starts")
	rounds   = flag.Int("failovers", 0, "how often TestFailover kills and cuts off the leader; 0 leaves it out")
	tick     = flag.String("tick", "20ms", "Raft's unit of time; a server's default is 40ms")
	verbose  = flag.Bool("show", false, "show what the servers say, whether or not a test fails")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if raceEnabled {
		fmt.Println("the race detector would look at the clients only: nothing to do")
		return
	}
	dir, err := os.MkdirTemp("", "rollcall-chaos")
	if err != nil {
		panic(err)
	}
	binary, release = filepath.Join(dir, "rollcall-faults"), filepath.Join(dir, "rollcall")
	for _, args := range [][]string{
		{"build", "-tags", "faults", "-o", binary, "../../cmd/rollcall"},
		{"build", "-o", release, "../../cmd/rollcall"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build rollcall: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}
