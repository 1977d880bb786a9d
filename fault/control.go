//go:build faults && unix

package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// init takes the directives of the environment before anything of the server runs.
func init() {
	if err := begin(os.Getenv("ROLLCALL_FAULTS"), os.Getenv("ROLLCALL_FAULTS_SOCKET")); err != nil {
		panic("fault: " + err.Error()) // only whoever tests sees it
	}
}

func begin(directives, socket string) error {
	if err := obey(directives); err != nil || socket == "" {
		return err
	}
	// A server that died has left its own behind.
	if err := os.Remove(socket); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(control), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return nil
}

func control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(counts()) // who asked is told by a body that is cut short
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = obey(string(body))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// obey replaces the plan by what directives say.
func obey(directives string) error {
	p := plan{
		crash: map[string]int{}, delay: map[string]time.Duration{}, cut: map[link]bool{}, slow: map[link]time.Duration{},
		broken: map[string]bool{}, value: map[string]uint64{},
	}
	size := uint64(math.MaxUint64)
	for line := range strings.Lines(directives) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var err error
		if words[0] == "filesize" && len(words) == 2 {
			size, err = strconv.ParseUint(words[1], 10, 64)
		} else {
			err = p.add(words)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	if err := limitFiles(size); err != nil {
		return err
	}
	set(p)
	return nil
}

func (p *plan) add(words []string) (err error) {
	switch words = append(words, "", "", ""); words[0] {
	case "crash":
		p.crash[words[1]], err = strconv.Atoi(words[2])
	case "delay":
		p.delay[words[1]], err = time.ParseDuration(words[2])
	case "cut":
		p.cut[link{words[1], words[2]}] = true
	case "slow":
		p.slow[link{words[1], words[2]}], err = time.ParseDuration(words[3])
	case "broken":
		p.broken[words[1]] = true
	case "value":
		p.value[words[1]], err = strconv.ParseUint(words[2], 10, 64)
	default:
		return errors.New("no directive")
	}
	if (words[0] == "crash" || words[0] == "delay") && !slices.Contains(Points(), words[1]) {
		return errors.New("there is no such point")
	}
	return err
}

// limitFiles bounds the length of files: what would make one longer fails, as on a full disk.
func limitFiles(size uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = min(size, limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}
