package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// discovery measures how long it takes until DNS shows what happened to an instance, and what many of them cost.
func discovery(binary string, instances int) error {
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
	for _, part := range []func() error{s.registrations, s.heartbeats, s.ports, func() error { return s.crowd(instances) }} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) put(path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPut, "http://"+s.HTTP+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if b, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode/100 != 2 {
		return fmt.Errorf("PUT %s: %d %s %w", path, answer.StatusCode, b, err)
	}
	return nil
}

type object = map[string]any

// shown asks DNS for the addresses of a service until there are so many of them, and gives the time of the answer.
func (s *server) shown(service string, want uint16) (time.Time, error) {
	conn, err := net.Dial("udp", s.DNS)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = conn.Close() }()
	query := []byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(service+".service.rollcall.internal", ".") {
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 1, 0, 1)
	answer := make([]byte, 1<<16)
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return time.Time{}, err
		}
		if _, err := conn.Write(query); err != nil {
			return time.Time{}, err
		}
		if n, err := conn.Read(answer); err == nil && n >= 12 && binary.BigEndian.Uint16(answer[6:]) == want {
			return time.Now(), nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	return time.Time{}, fmt.Errorf("DNS does not show %d addresses of %s within a minute", want, service)
}

func spread(what string, all []time.Duration) {
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100].Round(10 * time.Microsecond) }
	fmt.Printf("%s: p50 %s, p90 %s, longest %s (%d times)\n", what, at(50), at(90), at(100), len(all))
}

// registrations are seen by whoever asks DNS meanwhile, and by the one who made them at once.
func (s *server) registrations() error {
	var answered, seen []time.Duration
	for i := range 200 {
		service := fmt.Sprintf("r%d", i)
		began := time.Now()
		at, errs := make(chan time.Time, 1), make(chan error, 1)
		go func() {
			when, err := s.shown(service, 1)
			at <- when
			errs <- err
		}()
		if err := s.put("/v1/default/services/"+service+"/instances/a", object{"address": "10.0.0.1", "port": 80}); err != nil {
			return err
		}
		answered = append(answered, time.Since(began))
		seen = append(seen, (<-at).Sub(began))
		if err := <-errs; err != nil {
			return err
		}
	}
	spread("from a registration's request to its answer", answered)
	spread("from a registration's request to the DNS answer that shows it", seen)
	return nil
}

// heartbeats end: DNS no longer shows an instance when its TTL has passed.
func (s *server) heartbeats() error {
	const ttl = 2 * time.Second
	var all []time.Duration
	for i := range 20 {
		service := fmt.Sprintf("h%d", i)
		path := "/v1/default/services/" + service + "/instances/a"
		if err := s.put(path, object{"address": "10.0.0.1", "checks": []object{{"id": "c", "ttl": ttl.String()}}}); err != nil {
			return err
		}
		for range 2 {
			if err := s.put(path+"/checks/c", object{"status": "passing"}); err != nil {
				return err
			}
		}
		last := time.Now()
		if _, err := s.shown(service, 1); err != nil {
			return err
		}
		gone, err := s.shown(service, 0)
		if err != nil {
			return err
		}
		all = append(all, gone.Sub(last)-ttl)
	}
	spread("from the end of a TTL of "+ttl.String()+" to the DNS answer without the instance", all)
	return nil
}

// ports close: the next look finds it.
func (s *server) ports() error {
	for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond} {
		var opened, closed []time.Duration
		for i := range 20 {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			}()
			service := fmt.Sprintf("p%d-%d", interval.Milliseconds(), i)
			began := time.Now()
			err = s.put("/v1/default/services/"+service+"/instances/a", object{"address": "127.0.0.1", "checks": []object{
				{"id": "c", "tcp": object{"address": listener.Addr().String()}, "interval": interval.String(), "timeout": "100ms"},
			}})
			if err != nil {
				return err
			}
			seen, err := s.shown(service, 1)
			if err != nil {
				return err
			}
			opened = append(opened, seen.Sub(began))
			time.Sleep(interval * time.Duration(i%10) / 10) // the looks are not to be in step with this
			_ = listener.Close()
			began = time.Now()
			gone, err := s.shown(service, 0)
			if err != nil {
				return err
			}
			closed = append(closed, gone.Sub(began))
		}
		spread("from a registration with a TCP check to the DNS answer that shows it", opened)
		spread("from a port's closing to the DNS answer without it, looked at every "+interval.String(), closed)
	}
	return nil
}

// crowd is many instances, ten in a service.
func (s *server) crowd(n int) error {
	before := memory(s.cmd.Process.Pid)
	began := time.Now()
	for at := 0; at < n; {
		var then []object
		for ; at < n && len(then) < 500; at++ {
			then = append(then, object{"register": object{
				"service": fmt.Sprintf("crowd-%d", at/10), "id": fmt.Sprintf("crowd-%d-%d", at/10, at%10), "node": fmt.Sprintf("host-%d", at%100),
				"address": fmt.Sprintf("10.%d.%d.%d", at>>16&255, at>>8&255, at&255), "port": 8080, "tags": []string{"v1", "blue"},
				"meta": object{"zone": "a", "build": "1.2.3"},
			}})
		}
		b, err := json.Marshal(object{"then": then})
		if err != nil {
			return err
		}
		answer, err := http.Post("http://"+s.HTTP+"/v1/default/txn", "application/json", bytes.NewReader(b))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("register: %d %.300s %w", answer.StatusCode, text, err)
		}
	}
	if _, err := s.shown(fmt.Sprintf("crowd-%d", (n-1)/10), 10); err != nil {
		return err
	}
	took := time.Since(began)
	after := memory(s.cmd.Process.Pid)
	fmt.Printf("%d instances, ten in a service: registered and in DNS in %s; resident memory %d MiB, %d MiB before\n", n, took.Round(100*time.Millisecond), after>>20, before>>20)
	var all []time.Duration
	for i := range 200 {
		began := time.Now()
		if err := s.put("/v1/default/services/crowd-7/instances/late", object{"address": fmt.Sprintf("10.255.0.%d", i)}); err != nil {
			return err
		}
		all = append(all, time.Since(began))
	}
	spread("a change of one instance among them, from the request to the answer, when DNS shows it", all)
	return nil
}
