// Command bench measures a running Rollcall from outside: it starts the binary that it is given on free ports with a
// data folder of its own, and prints the figures. Puts and watches are measured in turn with those of one etcd server.
//
//	make figures
//
// Client and server share the machine, so the figures are those of both together. It is a module of its own, so that
// etcd is no dependency of Rollcall.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rollcall/rollcall/client"
)

func main() {
	binary := flag.String("binary", "bin/rollcall", "the program to measure")
	duration := flag.Duration("time", 5*time.Second, "how long each load lasts")
	keys := flag.Int("keys", 100_000, "keys to have before the restart")
	many := flag.Int("store", 0, "measure what so many keys cost, and sessions, instead of everything else")
	sessions := flag.Int("sessions", 10_000, "sessions to keep alive with -store")
	instances := flag.Int("discovery", 0, "measure how soon DNS shows what happens to instances, and what so many of them cost, instead of everything else")
	peer := flag.String("serve-etcd", "", "be an etcd server in this folder; used by this program itself")
	onlyWatch := flag.Bool("watch", false, "measure watches beside etcd's, instead of everything else")
	door := flag.String("door", "", "with -watch, only this one of Rollcall's doors: nats, ordered, client or sse")
	flag.IntVar(&watchers, "watchers", watchers, "how many watchers there are with -watch, a multiple of 20")
	onlyPuts := flag.Bool("puts", false, "measure puts and gets beside etcd's, instead of everything else")
	onlyDNS := flag.Bool("dns", false, "measure DNS beside a bare responder, instead of everything else")
	bare := flag.String("serve-dns", "", "be a bare responder with the answers of that server; used by this program itself")
	flag.Parse()
	if *bare != "" {
		if err := serveBare(*bare); err != nil {
			fmt.Fprintln(os.Stderr, "bench: dns:", err)
			os.Exit(1)
		}
		return
	}
	if *peer != "" {
		if err := serveEtcd(*peer); err != nil {
			fmt.Fprintln(os.Stderr, "bench: etcd:", err)
			os.Exit(1)
		}
		return
	}
	measure := func() error { return run(*binary, *duration, *keys) }
	if *many > 0 {
		measure = func() error { return store(*binary, *duration, *many, *sessions) }
	}
	if *onlyWatch {
		measure = func() error { return watch(*binary, *duration, *door) }
	}
	if *onlyPuts {
		measure = func() error { return putsAlone(*binary, *duration) }
	}
	if *onlyDNS {
		measure = func() error { return dnsAlone(*binary, *duration) }
	}
	if *instances > 0 {
		measure = func() error { return discovery(*binary, *instances) }
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(binary string, duration time.Duration, keys int) error {
	data, err := os.MkdirTemp("", "rollcall-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	fmt.Printf("%s, %s/%s, %d processors\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	s, _, err := start(binary, data)
	if err != nil {
		return err
	}
	defer func() { s.kill() }()
	if err := loads(s, filepath.Join(data, "etcd"), duration); err != nil {
		return err
	}
	if err := s.questions(duration); err != nil {
		return err
	}
	return restart(binary, data, s, keys)
}

// putsAlone measures a fresh server with loads and nothing else.
func putsAlone(binary string, duration time.Duration) error {
	data, err := os.MkdirTemp("", "rollcall-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	s, _, err := start(binary, data)
	if err != nil {
		return err
	}
	defer s.kill()
	return loads(s, filepath.Join(data, "etcd"), duration)
}

// loads measures puts beside etcd's, in turn so that all see the same machine, and gets.
func loads(s *server, etcdData string, duration time.Duration) error {
	peer, err := startEtcd(etcdData)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	requests, hangUp, err := s.requests()
	if err != nil {
		return errors.Join(err, peer.stop())
	}
	defer hangUp()
	library, err := s.client()
	if err != nil {
		return errors.Join(err, peer.stop())
	}
	defer library.Close()
	for _, inFlight := range []int{1, 64, 256} {
		if err = puts(s, peer, library, requests, inFlight, duration); err != nil {
			break
		}
	}
	return errors.Join(err, peer.stop())
}

// puts measures each way to put with so many in flight, and what a put costs the servers.
func puts(s *server, peer *etcd, library *client.Client, requests call, inFlight int, duration time.Duration) error {
	through := func(ctx context.Context, key string, value []byte) error {
		_, err := library.Put(ctx, key, value)
		return err
	}
	ways := []struct {
		name string
		do   call
		pid  int
		figures
	}{
		{name: "etcd", do: peer.put, pid: peer.cmd.Process.Pid},
		{name: "client", do: through, pid: s.cmd.Process.Pid},
		{name: "NATS", do: requests, pid: s.cmd.Process.Pid},
		{name: "HTTP", do: s.caller(http.MethodPut, inFlight), pid: s.cmd.Process.Pid},
	}
	for range 2 { // the second round counts: all are warm then
		for i := range ways {
			w := &ways[i]
			server, client := processorOf(w.pid), ownProcessor()
			f, err := load(w.do, inFlight, duration)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			f.server = (processorOf(w.pid) - server) / time.Duration(f.count)
			f.client = (ownProcessor() - client) / time.Duration(f.count)
			w.figures = f
		}
	}
	for _, w := range ways {
		fmt.Printf("put, %3d in flight, %s: %s; server %s, client %s a put; ratio %.2f\n",
			inFlight, w.name, w.figures, w.server.Round(100*time.Nanosecond), w.client.Round(100*time.Nanosecond), w.rate/ways[0].rate)
	}
	get, err := load(s.caller(http.MethodGet, inFlight), inFlight, duration)
	if err == nil {
		fmt.Printf("get, %3d in flight, HTTP: %s\n", inFlight, get)
	}
	return err
}

// server is a running server.
type server struct {
	cmd  *exec.Cmd
	data string
	HTTP string `json:"http"`
	NATS string `json:"nats"`
	DNS  string `json:"dns"`
}

// start runs the server and gives the time until it was ready.
func start(binary, data string) (*server, time.Duration, error) {
	endpoints := filepath.Join(data, "endpoints.json")
	if err := os.Remove(endpoints); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	args := []string{"serve", "--data", data}
	for _, l := range []string{"http", "raft", "nats", "dns"} {
		args = append(args, "--"+l, "127.0.0.1:0")
	}
	s := &server{cmd: exec.Command(binary, args...), data: data}
	s.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, 0, err
	}
	for time.Since(began) < 2*time.Minute {
		if b, err := os.ReadFile(endpoints); err == nil {
			return s, time.Since(began), json.Unmarshal(b, s)
		}
		time.Sleep(time.Millisecond)
	}
	s.kill()
	return nil, 0, errors.New("the server was not ready within two minutes")
}

func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
}

type figures struct {
	count          int
	rate           float64
	p50, p99       time.Duration
	server, client time.Duration // of processors, for each
}

func (f figures) String() string { return fmt.Sprintf("%6.0f/s, p50 %s, p99 %s", f.rate, f.p50, f.p99) }

// call is one request about a key.
type call func(ctx context.Context, key string, value []byte) error

// load has a number of callers work on 10,000 keys, with values of 256 bytes, for a while.
func load(do call, inFlight int, duration time.Duration) (figures, error) {
	value := bytes.Repeat([]byte("v"), 256)
	var failed atomic.Pointer[error]
	latencies := make([][]time.Duration, inFlight)
	var wg sync.WaitGroup
	began := time.Now()
	for caller := range inFlight {
		wg.Go(func() {
			for i := caller; time.Since(began) < duration; i += inFlight {
				at := time.Now()
				if err := do(context.Background(), fmt.Sprintf("bench/%d", i*7919%10_000), value); err != nil {
					failed.Store(&err)
					return
				}
				latencies[caller] = append(latencies[caller], time.Since(at))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if err := failed.Load(); err != nil {
		return figures{}, *err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return figures{
		count: len(all), rate: float64(len(all)) / elapsed.Seconds(),
		p50: all[len(all)/2].Round(10 * time.Microsecond), p99: all[len(all)*99/100].Round(10 * time.Microsecond),
	}, nil
}

// caller puts or gets through HTTP, with as many connections as there are callers.
func (s *server) caller(method string, inFlight int) call {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, MaxConnsPerHost: inFlight}}
	return func(ctx context.Context, key string, value []byte) error {
		var body io.Reader
		if method == http.MethodPut {
			body = bytes.NewReader(value)
		}
		r, err := http.NewRequestWithContext(ctx, method, "http://"+s.HTTP+"/v1/default/kv/"+key, body)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode >= 300 && answer.StatusCode != http.StatusNotFound {
			return fmt.Errorf("%s %s: %s", method, key, answer.Status)
		}
		return nil
	}
}

// restart kills the server when it has so many keys, starts it again, and looks at its memory.
func restart(binary, data string, s *server, keys int) error {
	if err := fill(s.HTTP, keys); err != nil {
		return err
	}
	before := memory(s.cmd.Process.Pid)
	s.kill()
	again, took, err := start(binary, data)
	if err != nil {
		return err
	}
	*s = *again
	fmt.Printf("start after SIGKILL with %d keys: %s until ready; resident memory %d MiB then, %d MiB before\n",
		keys, took.Round(time.Millisecond), memory(s.cmd.Process.Pid)>>20, before>>20)
	return nil
}

// fill puts keys in transactions of 500.
func fill(address string, keys int) error {
	value := strings.Repeat("v", 256)
	for first := 0; first < keys; first += 500 {
		var then []string
		for i := first; i < min(first+500, keys); i++ {
			then = append(then, fmt.Sprintf(`{"put":{"key":"fill/%07d","value":%q}}`, i, value))
		}
		body := `{"then":[` + strings.Join(then, ",") + `]}`
		answer, err := http.Post("http://"+address+"/v1/default/txn", "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("fill: %s: %s %w", answer.Status, text, err)
		}
	}
	return nil
}

// memory is a process's resident memory in bytes, zero where the system does not tell.
func memory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
