package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// store measures what many keys cost, and sessions that do nothing but live on.
func store(binary string, duration time.Duration, keys, sessions int) error {
	data, err := os.MkdirTemp("", "rollcall-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	s, _, err := start(binary, data)
	if err != nil {
		return err
	}
	defer func() { s.kill() }()
	empty := memory(s.cmd.Process.Pid)
	began := time.Now()
	if err := fill(s.HTTP, keys); err != nil {
		return err
	}
	fmt.Printf("%d keys: written in %s; resident memory %d MiB, %d MiB before; %d MiB on disk\n", keys, time.Since(began).Round(time.Second),
		memory(s.cmd.Process.Pid)>>20, empty>>20, onDisk(data)>>20)
	if _, err := load(s.caller(http.MethodPut, 64), 64, time.Second); err != nil { // so that there are 10,000 keys below bench/
		return err
	}
	for _, query := range []string{"", "&keys", "&format=json"} {
		if err := s.list(query); err != nil {
			return err
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		f, err := load(s.caller(method, 1), 1, duration)
		if err != nil {
			return err
		}
		fmt.Printf("%s, 1 in flight: %s\n", strings.ToLower(method), f)
	}
	return s.idle(sessions, duration*6)
}

// list lists 10,000 keys of 256 bytes, five times.
func (s *server) list(query string) error {
	var all []time.Duration
	size := 0
	for range 5 {
		began := time.Now()
		b, err := s.get("/v1/default/kv?prefix=bench/" + query)
		if err != nil {
			return err
		}
		all, size = append(all, time.Since(began)), len(b)
	}
	slices.Sort(all)
	fmt.Printf("list of 10,000 keys%s: %s, %d KiB\n", query, all[len(all)/2].Round(100*time.Microsecond), size>>10)
	return nil
}

func (s *server) get(path string) ([]byte, error) {
	answer, err := http.Get("http://" + s.HTTP + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, answer.StatusCode, b)
	}
	return b, err
}

// idle keeps sessions alive that hold nothing, three times in their TTL.
func (s *server) idle(n int, duration time.Duration) error {
	const ttl, workers = 30 * time.Second, 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	ids := make([]string, n)
	each := func(do func(i int) error) error {
		errs := make(chan error, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := w; i < n; i += workers {
					if err := do(i); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		return <-errs
	}
	ask := func(method, path, body string, into any) error {
		r, err := http.NewRequest(method, "http://"+s.HTTP+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		b, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode/100 != 2 {
			err = fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, b)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	}
	began := time.Now()
	err := each(func(i int) error {
		var made struct{ ID string }
		err := ask(http.MethodPost, "/v1/default/sessions", fmt.Sprintf(`{"ttl":%q}`, ttl), &made)
		ids[i] = made.ID
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d sessions: created in %s\n", n, time.Since(began).Round(time.Millisecond))
	var namespace struct{ Revision uint64 }
	head := func() (uint64, error) {
		b, err := s.get("/v1/default/kv?prefix=none")
		if err != nil {
			return 0, err
		}
		return namespace.Revision, json.Unmarshal(b, &namespace)
	}
	if _, err := head(); err != nil {
		return err
	}
	before, used := namespace.Revision, s.processor()
	latencies := make([]time.Duration, 0, n)
	var mu sync.Mutex
	for began = time.Now(); time.Since(began) < duration; {
		round := time.Now()
		if err := each(func(i int) error {
			at := time.Now()
			err := ask(http.MethodPut, "/v1/default/sessions/"+ids[i]+"/keepalive", "", &struct{}{})
			mu.Lock()
			latencies = append(latencies, time.Since(at))
			mu.Unlock()
			return err
		}); err != nil {
			return err
		}
		time.Sleep(time.Until(round.Add(ttl / 3)))
	}
	took := time.Since(began)
	used = s.processor() - used
	if _, err := head(); err != nil {
		return err
	}
	slices.Sort(latencies)
	fmt.Printf("kept alive every %s for %s: %d events, %.1f %% of a processor in the server; a keepalive takes p50 %s, p99 %s with %d in flight\n",
		ttl/3, took.Round(time.Second), namespace.Revision-before, 100*used.Seconds()/took.Seconds(),
		latencies[len(latencies)/2].Round(10*time.Microsecond), latencies[len(latencies)*99/100].Round(10*time.Microsecond), workers)
	return nil
}

// processor is how much time of processors the server has used.
func (s *server) processor() time.Duration { return processorOf(s.cmd.Process.Pid) }

// processorOf is how much time of processors a process has used.
func processorOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // a hundred ticks a second, on every Linux of today
}

// onDisk is how much a folder holds.
func onDisk(folder string) (size int64) {
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}
