package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// TestScripts holds the door to the conversations in testdata/http. Each file has a server of its own. Requests go
// over a socket byte for byte, because what a client library or a router does to a path is part of what is tested.
//
//	request [show=(Header,…)]   the request as it is sent; {{x*N}} stands for N times x
//	advance D                   moves the clock
//	fault NAME[=VALUE]…         what goes wrong from now on; none mends everything
//	trim NAMESPACE to=REVISION  has states no longer be kept
//	commands                    how many commands were decided since the last time
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../../testdata/http", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return
		}
		s := newScript(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "request":
				return s.request(t, d)
			case "advance":
				by, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				s.backend.Advance(by)
				return ""
			case "fault":
				s.backend.SetFaults(faults(t, d))
				return ""
			case "trim":
				return s.trim(t, d)
			case "lapse":
				return s.lapse(t, d)
			case "commands":
				before := s.decided
				s.decided = s.backend.Submitted()
				return strconv.Itoa(s.decided-before) + "\n"
			}
			d.Fatalf(t, "unknown directive %q", d.Cmd)
			return ""
		})
	})
}

// trim has a namespace no longer keep the states before a revision, as its group's leader does.
func (s *script) trim(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var to uint64
	d.ScanArgs(t, "to", &to)
	_, err := s.backend.Submit(t.Context(), d.CmdArgs[0].Key, gateway.Request{Command: commands.TrimHistory{To: event.Revision(to)}})
	if err != nil {
		return err.Error() + "\n"
	}
	return ""
}

// lapse has a namespace's TTL pass, as its group's leader finds it.
func (s *script) lapse(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	name := d.CmdArgs[0].Key
	claim, err := s.backend.Submit(t.Context(), name, gateway.Request{Command: commands.ClaimTimekeeper{Server: "a"}})
	if err != nil {
		return err.Error() + "\n"
	}
	expire := commands.Expire{Epoch: claim.Revision}
	err = s.backend.View(t.Context(), name, gateway.ReadOptions{}, func(v gateway.View) error {
		expire.Leases = []commands.Lease{{Namespace: true, Revision: v.Settings().Configured}}
		return nil
	})
	if err == nil {
		_, err = s.backend.Submit(t.Context(), name, gateway.Request{Command: expire, Reason: "nobody renewed it in time"})
	}
	if err != nil {
		return err.Error() + "\n"
	}
	return ""
}

type script struct {
	backend *gatewaytest.Backend
	address string
	decided int
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{backend: gatewaytest.New("test")}
	server := httptest.NewServer(api.New(api.Config{
		Backend: s.backend, Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Second, Version: "test",
		Now: func() time.Time { return gatewaytest.Start },
	}))
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().String()
	return s
}

var faultErrors = map[string]error{
	"no-quorum": gateway.ErrUnavailable, "busy": gateway.ErrBusy, "closed": gateway.ErrClosed,
	"outcome-unknown": gateway.ErrOutcomeUnknown, "inner": fmt.Errorf("pebble: /secret/path: input/output error"),
	"unknown-command": &commands.Rejection{Code: commands.CodeUnknownCommand, Message: "kind 77"},
}

func faults(t *testing.T, d *datadriven.TestData) (f gatewaytest.Faults) {
	t.Helper()
	for _, arg := range d.CmdArgs {
		value := arg.Vals
		if arg.Key == "none" {
			return f
		}
		err := faultErrors[value[0]]
		switch arg.Key {
		case "submit":
			f.Submit = err
		case "applied":
			f.Applied = err
		case "view":
			f.View = err
		case "follow":
			f.Follow = err
		case "snapshot":
			f.Snapshot = []byte(value[0])
		case "breaks":
			f.SnapshotBreaks = value[0] == "true"
		case "staleness":
			f.Staleness, err = time.ParseDuration(value[0])
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
		default:
			d.Fatalf(t, "unknown fault %q", arg.Key)
		}
	}
	return f
}

// shown are the headers that every answer shows.
var shown = []string{"Allow", "Content-Type", "Etag", "Retry-After", "Rollcall-Revision", "Rollcall-Staleness"}

func (s *script) request(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	defer c.Close()
	method, raw := wire(d.Input)
	go func() { _, _ = c.Write(raw) }() // a body that is refused need not be taken whole: who reads meanwhile sees the refusal
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var out strings.Builder
	fmt.Fprintln(&out, response.StatusCode)
	names := slices.Clone(shown)
	if arg, ok := d.Arg("show"); ok {
		names = append(names, arg.Vals...)
	}
	for _, name := range names {
		for _, v := range response.Header.Values(name) {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	if len(body) > 2000 {
		body = fmt.Appendf(nil, "(%d bytes)", len(body))
	}
	out.Write(requestID.ReplaceAll(printable(body), []byte(`"request":"…"`)))
	if err != nil {
		fmt.Fprintf(&out, "(broken off: %v)", err)
	}
	return strings.TrimSuffix(out.String(), "\n") + "\n"
}

var requestID = regexp.MustCompile(`"request":"[A-Z2-7]{26}"`)

var repeated = regexp.MustCompile(`\{\{(.+?)\*(\d+)\}\}`)

// wire is a request as it goes over the socket: the head's lines end as they must, and the body's length is told.
func wire(input string) (method string, raw []byte) {
	input = repeated.ReplaceAllStringFunc(input, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
	head, body, hasBody := strings.Cut(input, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	if unquoted, err := strconv.Unquote(`"` + body + `"`); err == nil && strings.Contains(body, `\x`) {
		body = unquoted
	}
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, _, _ = strings.Cut(lines[0], " ")
	lines[0] += " HTTP/1.1"
	lines = append(lines, "Host: test", "Connection: close")
	chunked := slices.Contains(lines, "Transfer-Encoding: chunked")
	switch {
	case chunked:
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case hasBody && !strings.Contains(head, "Content-Length"):
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	}
	return method, []byte(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

func printable(body []byte) []byte {
	if bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\n' || r == 0xfffd }) {
		return fmt.Appendf(nil, "%q", body)
	}
	return body
}

// seed puts something into a backend: what most tests begin with.
func seed(b *gatewaytest.Backend, keys ...string) event.Revision {
	var last event.Revision
	for _, key := range keys {
		last = b.MustSubmit(event.Default, commands.PutKey{Key: key, Value: []byte("value of " + key)})
	}
	return last
}
