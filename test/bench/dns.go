package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	miekg "github.com/miekg/dns"
)

// dnsAlone measures DNS and nothing else.
func dnsAlone(binary string, duration time.Duration) error {
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
	return s.questions(duration)
}

// dnsRounds is how often each server is measured: the middle one of the rates counts.
const dnsRounds = 5

// questions asks for a service of ten instances, in turn with a bare responder that has the same answers ready, so that
// both see the same machine.
func (s *server) questions(duration time.Duration) error {
	for i := range 10 {
		if err := s.put(fmt.Sprintf("/v1/default/services/web/instances/web-%d", i), object{"address": fmt.Sprintf("10.0.0.%d", i+1), "port": 8080}); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("dnsperf"); err != nil {
		fmt.Println("dns: dnsperf is not installed, left out")
		return nil
	}
	peer, address, err := startBare(s.DNS)
	if err != nil {
		return fmt.Errorf("start the bare responder: %w", err)
	}
	defer func() {
		_ = peer.Process.Signal(syscall.SIGKILL)
		_ = peer.Wait()
	}()
	for _, kind := range []string{"A", "SRV"} {
		questions := filepath.Join(s.data, "questions")
		if err := os.WriteFile(questions, []byte(dnsName+" "+kind+"\n"), 0o600); err != nil {
			return err
		}
		var ours, theirs []float64
		for range dnsRounds {
			for _, side := range []struct {
				address string
				rates   *[]float64
			}{{s.DNS, &ours}, {address, &theirs}} {
				rate, err := dnsperf(side.address, questions, duration)
				if err != nil {
					return err
				}
				*side.rates = append(*side.rates, rate)
			}
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		fmt.Printf("dns %-3s, ten instances: %6.0f/s (%.0f to %.0f)   bare responder: %6.0f/s (%.0f to %.0f)   ratio %.2f\n", kind,
			ours[dnsRounds/2], ours[0], ours[dnsRounds-1], theirs[dnsRounds/2], theirs[0], theirs[dnsRounds-1],
			ours[dnsRounds/2]/theirs[dnsRounds/2])
	}
	return nil
}

const dnsName = "web.service.rollcall.internal"

// dnsperf gives how many questions a second a server answers.
func dnsperf(address, questions string, duration time.Duration) (float64, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	seconds := strconv.Itoa(max(1, int(duration.Seconds())))
	out, err := exec.Command("dnsperf", "-s", host, "-p", port, "-d", questions, "-l", seconds, "-c", "8", "-T", "1", "-q", "200", "-e").Output()
	if err != nil {
		return 0, fmt.Errorf("dnsperf: %w", err)
	}
	rate := 0.0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		switch {
		case strings.Contains(line, "Queries per second"):
			if rate, err = strconv.ParseFloat(words[len(words)-1], 64); err != nil {
				return 0, err
			}
		case strings.Contains(line, "Queries lost") && words[2] != "0" && !strings.Contains(line, "(0.0"):
			fmt.Printf("dnsperf at %s: %s\n", address, strings.Join(words, " "))
		}
	}
	if rate == 0 {
		return 0, fmt.Errorf("dnsperf said no rate:\n%s", out)
	}
	return rate, nil
}

// startBare starts this program as the bare responder.
func startBare(from string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.Command(self, "-serve-dns", from)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", errors.Join(err, cmd.Wait())
	}
	return cmd, strings.TrimSpace(line), nil
}

// serveBare answers by UDP with what another server answers to the same type of question, as it came: the least that
// the library can do for a query is to read it and to send bytes that are ready.
func serveBare(from string) error {
	answers := map[uint16][]byte{}
	for _, kind := range []uint16{miekg.TypeA, miekg.TypeSRV} {
		q := new(miekg.Msg)
		q.SetQuestion(miekg.Fqdn(dnsName), kind)
		q.SetEdns0(4096, false) // as dnsperf does
		r, _, err := new(miekg.Client).Exchange(q, from)
		if err != nil {
			return err
		}
		r.Compress = true
		if answers[kind], err = r.Pack(); err != nil {
			return err
		}
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(conn.LocalAddr())
	s := &miekg.Server{PacketConn: conn, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		answer := slices.Clone(answers[q.Question[0].Qtype])
		answer[0], answer[1] = byte(q.Id>>8), byte(q.Id)
		_, _ = w.Write(answer) // who does not get it asks again
	})}
	return s.ActivateAndServe()
}
