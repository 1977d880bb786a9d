package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = event.Time(300 * time.Millisecond)

// look looks at a target, and holds what is true of every look.
func look(t *testing.T, check event.Check, credentials map[string]string) probe.Result {
	t.Helper()
	if check.Timeout == 0 {
		check.Timeout = event.Time(10 * time.Second)
	}
	p := probe.Prober{Commands: true}
	began := time.Now()
	r := p.Look(t.Context(), check, event.Instance{Service: "web", ID: "1", Address: "127.0.0.1", Port: 80}, credentials)
	if took := time.Since(began); took > time.Duration(check.Timeout)+time.Minute { // what hangs does so for longer
		t.Errorf("it took %s of %s", took, time.Duration(check.Timeout))
	}
	if len(r.Output) > probe.OutputBytesMax || !utf8.ValidString(r.Output) || strings.ContainsAny(r.Output, "\x00\x1b\r\u202e") {
		t.Errorf("output of %d bytes: %q", len(r.Output), r.Output)
	}
	for name, value := range credentials {
		if value != "" && (strings.Contains(r.Output, value) || strings.Contains(r.Reason, value)) {
			t.Errorf("credential %s is in the result: %+v", name, r)
		}
	}
	if r.Reason == "" {
		t.Errorf("no reason: %+v", r)
	}
	return r
}

func expect(t *testing.T, r probe.Result, status event.Status, reason, output string) {
	t.Helper()
	if r.Status != status || r.Reason != reason || !strings.Contains(r.Output, output) {
		t.Errorf("got %s, reason %q, output %q; want %s, reason %q, output with %q", r.Status, r.Reason, r.Output, status, reason, output)
	}
}

func httpCheck(url string) event.Check { return event.Check{HTTP: &event.HTTPCheck{URL: url}} }

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTPStatus(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Location", "/200")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "text")
	})
	for _, c := range []struct {
		answer, expected int
		want             event.Status
	}{
		{200, 0, event.Passing},
		{204, 0, event.Passing},
		{299, 0, event.Passing},
		{302, 0, event.Critical}, // judged by itself, and not followed
		{302, 302, event.Passing},
		{404, 0, event.Critical},
		{404, 404, event.Passing},
		{200, 404, event.Critical},
		{429, 0, event.Warning},
		{429, 200, event.Critical},
		{429, 429, event.Passing},
		{500, 0, event.Critical},
		{999, 0, event.Critical},
	} {
		check := httpCheck(fmt.Sprintf("%s/%d", url, c.answer))
		check.HTTP.Status = uint16(c.expected)
		r := look(t, check, nil)
		expect(t, r, c.want, fmt.Sprintf("HTTP status %d", c.answer), fmt.Sprintf("HTTP/1.1 %d", c.answer))
	}
}

func TestHTTPRequest(t *testing.T) {
	got := make(chan string, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s host %s, x %q, agent %s: %s", r.Method, r.URL, r.Host, r.Header.Get("X-Token"), r.Header.Get("User-Agent"), body)
	})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	check := httpCheck(url + "/p?q=${a key}&r=1")
	check.HTTP.Method, check.HTTP.Body = "POST", "secret ${TOKEN}, and $${TOKEN} and ${"
	check.HTTP.Headers = map[string]string{"X-Token": "Bearer ${TOKEN}", "host": "elsewhere.example"}
	expect(t, look(t, check, map[string]string{"TOKEN": "s3cr3t", "a key": "1&r=2/+ é"}), event.Passing, "HTTP status 200", "HTTP/1.1 200 OK")
	want := `POST /p?q=1%26r%3D2%2F%2B%20%C3%A9&r=1 host elsewhere.example, x "Bearer s3cr3t", agent rollcall-check: secret s3cr3t, and ${TOKEN} and ${`
	if g := <-got; g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
	check.HTTP.Headers["X-Token"] = "${OTHER}"
	expect(t, look(t, check, map[string]string{"TOKEN": "s3cr3t", "a key": "the key"}), event.Critical, "unknown credential", `header "X-Token" names ${OTHER}`)
	check.HTTP.Headers["X-Token"] = "${TOKEN}"
	expect(t, look(t, check, map[string]string{"TOKEN": "two\nlines", "a key": "the key"}), event.Critical, "no valid answer", "X-Token")
}

// TestSecretsAreNotSaid has targets give back what they were told, in every way that is likely.
func TestSecretsAreNotSaid(t *testing.T) {
	credentials := map[string]string{"PASS": `p"a/s&s wörd` + "\x01", "LONG": strings.Repeat("long", 3000), "EMPTY": "", "N": "7"}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		value := r.Header.Get("X")
		_, _ = fmt.Fprintf(w, "%s %q %s %s %s", value, value, r.URL, r.Header.Get("Authorization"), base64.StdEncoding.EncodeToString([]byte(value)))
	})
	check := httpCheck(strings.Replace(url, "http://", "http://user:${PASS}@", 1) + "/${PASS}?${LONG}")
	credentials["PASS"] = `p"a/s&s wörd`
	check.HTTP.Headers = map[string]string{"X": "${PASS}"}
	r := look(t, check, credentials)
	if r.Status != event.Passing || strings.Contains(r.Output, "longlong") || strings.Contains(r.Output, base64.StdEncoding.EncodeToString([]byte("user:"+credentials["PASS"]))) {
		t.Errorf("%s %q", r.Status, r.Output)
	}
	// Cut off within a secret, and only by what is read.
	url = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", probe.OutputBytesMax-10)+"hunter-hunter-hunter")
	})
	if r := look(t, httpCheck(url), map[string]string{"S": "hunter-hunter-hunter"}); strings.Contains(r.Output, "hunt") {
		t.Errorf("it ends with the beginning of a secret: %q", r.Output[len(r.Output)-40:])
	}
	for _, bad := range []string{"http://127.0.0.1:1/?${S}", "http://${S}.invalid/", "http://[${S}", "http://127.0.0.1:${S}/"} {
		if r := look(t, httpCheck(bad), map[string]string{"S": "topsecret"}); r.Status != event.Critical || r.Output == "" {
			t.Errorf("%s: %+v", bad, r)
		}
	}
}

func TestBadTargets(t *testing.T) {
	closed := freeAddress(t)
	for _, c := range []struct {
		check  event.Check
		reason string
		output string
	}{
		{httpCheck(""), "URL that cannot be read", ""},
		{httpCheck("http://"), "URL that cannot be read", ""},
		{httpCheck("ftp://host/"), "URL that cannot be read", ""},
		{httpCheck("http://[::1/"), "URL that cannot be read", "missing ']'"},
		{httpCheck("http://a b/"), "URL that cannot be read", "invalid character"},
		{httpCheck("http://host/%zz"), "URL that cannot be read", "invalid URL escape"},
		{httpCheck("http://host:99999/"), "no valid answer", "invalid port"},
		{event.Check{HTTP: &event.HTTPCheck{URL: "http://host/", Method: "BAD METHOD"}}, "request that cannot be made", "invalid method"},
		{event.Check{HTTP: &event.HTTPCheck{URL: "http://host/", Headers: map[string]string{"b a d": "x"}}}, "no valid answer", "invalid header"},
		{event.Check{HTTP: &event.HTTPCheck{URL: "https://host/", TLS: &event.CheckTLS{CA: "none"}}}, "CA certificates that cannot be read", "PEM"},
		{httpCheck("http://" + closed), "connection refused", "refused"},
		{event.Check{TCP: &event.TCPCheck{Address: closed}}, "connection refused", "refused"},
		{event.Check{TCP: &event.TCPCheck{}}, "address that cannot be read", "HOST:PORT"},
		{event.Check{TCP: &event.TCPCheck{Address: "host"}}, "address that cannot be read", "HOST:PORT"},
		{event.Check{TCP: &event.TCPCheck{Address: "::1:80"}}, "address that cannot be read", "HOST:PORT"},
		{event.Check{TCP: &event.TCPCheck{Address: "127.0.0.1:99999"}}, "no valid answer", "invalid port"},
		{event.Check{GRPC: &event.GRPCCheck{Address: "nowhere"}}, "address that cannot be read", "HOST:PORT"},
		{event.Check{GRPC: &event.GRPCCheck{Address: closed}}, "connection refused", "refused"},
		{event.Check{Command: []string{"/does/not/exist"}}, "command cannot be run", "no such file"},
		{event.Check{}, "nothing to look at", "no target"},
	} {
		expect(t, look(t, c.check, nil), event.Critical, c.reason, c.output)
	}
	off := probe.Prober{}
	expect(t, off.Look(t.Context(), event.Check{Command: []string{"true"}}, event.Instance{}, nil), event.Critical, "commands are not enabled", "--enable-command-checks")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listen has every connection served by a function, until the test ends.
func listen(t *testing.T, f func(ctx context.Context, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				f(ctx, c)
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

// drip writes a text, and then a byte every now and then for as long as anybody listens.
func drip(text string, pause time.Duration) func(context.Context, net.Conn) {
	return func(ctx context.Context, c net.Conn) {
		_, err := io.WriteString(c, text)
		for err == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			_, err = io.WriteString(c, "x")
		}
	}
}

// TestTargetsThatNeverEnd has servers that answer slowly, without an end or not at all.
func TestTargetsThatNeverEnd(t *testing.T) {
	silent := listen(t, func(ctx context.Context, c net.Conn) {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		_, _ = io.Copy(io.Discard, c)
	})
	slowHeaders := listen(t, drip("HTTP/1.1 200 OK\r\nX: ", 10*time.Millisecond))
	slowBody := listen(t, drip("HTTP/1.1 200 OK\r\n\r\nso far", 50*time.Millisecond))
	endlessHeaders := listen(t, drip("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20), 0))
	for name, check := range map[string]event.Check{
		"http silent":       httpCheck("http://" + silent),
		"https silent":      httpCheck("https://" + silent),
		"http slow headers": httpCheck("http://" + slowHeaders),
		"http slow body":    httpCheck("http://" + slowBody),
		"tcp tls silent":    {TCP: &event.TCPCheck{Address: silent, TLS: &event.CheckTLS{}}},
		"grpc silent":       {GRPC: &event.GRPCCheck{Address: silent}},
		"grpc tls silent":   {GRPC: &event.GRPCCheck{Address: silent, TLS: &event.CheckTLS{}}},
		"command":           {Command: []string{"sh", "-c", "echo so far; sleep 1000 & sleep 1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check.Timeout = soon
			expect(t, look(t, check, nil), event.Critical, "timed out after 300ms", "timed out after 300ms")
		})
	}
	expect(t, look(t, httpCheck("http://"+endlessHeaders), nil), event.Critical, "no valid answer", "headers exceeded")
	// One that switches protocols takes the connection out of the library's hands.
	switched := listen(t, func(ctx context.Context, c net.Conn) {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}
		_, _ = io.Copy(io.Discard, c)
	})
	expect(t, look(t, httpCheck("http://"+switched), nil), event.Critical, "HTTP status 101", "HTTP/1.1 101")
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(bytes.Repeat([]byte("endless "), 1000)); err != nil || r.Context().Err() != nil {
				return
			}
		}
	})
	r := look(t, httpCheck(endless), nil)
	expect(t, r, event.Passing, "HTTP status 200", "HTTP/1.1 200 OK: endless")
	if len(r.Output) != probe.OutputBytesMax {
		t.Errorf("output of %d bytes", len(r.Output))
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	expect(t, look(t, httpCheck(loop), nil), event.Critical, "HTTP status 302", "302 Found")
	strange := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "\x1b[2J\xff\x00\u202e\r\nend\r")
	})
	expect(t, look(t, httpCheck(strange), nil), event.Passing, "HTTP status 200", "end")
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "part")
	})
	expect(t, look(t, httpCheck(cut), nil), event.Passing, "HTTP status 200", "part")
	noise := listen(t, func(_ context.Context, c net.Conn) {
		_, _ = bufio.NewReader(c).ReadByte() // else it is taken for an answer before a request
		_, _ = io.WriteString(c, "SSH-2.0-noise\r\n")
	})
	for _, check := range []event.Check{httpCheck("http://" + noise), httpCheck("https://" + noise), {GRPC: &event.GRPCCheck{Address: noise}}} {
		if r := look(t, check, nil); r.Status != event.Critical {
			t.Errorf("%+v: %+v", check, r)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r := (&probe.Prober{}).Look(ended, httpCheck("http://"+silent), event.Instance{}, nil); r.Status != event.Critical {
		t.Errorf("a look that was ended: %+v", r)
	}
}

func TestTLS(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.TLS.ServerName) }))
		s.EnableHTTP2 = h2
		s.StartTLS()
		defer s.Close()
		ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
		address := s.Listener.Addr().String()
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]
		for _, c := range []struct {
			tls    *event.CheckTLS
			status event.Status
			reason string
			output string
		}{
			{nil, event.Critical, "certificate of an unknown authority", "unknown authority"},
			{&event.CheckTLS{CA: ca}, event.Passing, "HTTP status 200", proto + " 200"},
			{&event.CheckTLS{CA: ca, ServerName: "example.com"}, event.Passing, "HTTP status 200", "example.com"},
			{&event.CheckTLS{CA: ca, ServerName: "other.example"}, event.Critical, "certificate for another name", "other.example"},
			{&event.CheckTLS{SkipVerify: true}, event.Passing, "HTTP status 200", proto + " 200"},
		} {
			expect(t, look(t, event.Check{HTTP: &event.HTTPCheck{URL: s.URL, TLS: c.tls}}, nil), c.status, c.reason, c.output)
			if c.tls == nil {
				continue
			}
			reason := c.reason
			if c.status == event.Passing {
				reason = "connected with TLS"
			}
			expect(t, look(t, event.Check{TCP: &event.TCPCheck{Address: address, TLS: c.tls}}, nil), c.status, reason, "")
		}
	}
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	expect(t, look(t, httpCheck(strings.Replace(plain, "http:", "https:", 1)), nil), event.Critical, "no TLS", "")
	expect(t, look(t, event.Check{TCP: &event.TCPCheck{Address: strings.TrimPrefix(plain, "http://")}}, nil), event.Passing, "connected", "connected to")
}

func TestGRPC(t *testing.T) {
	states := health.NewServer()
	states.SetServingStatus("up", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	start := func(register bool, o ...grpc.ServerOption) string {
		s := grpc.NewServer(o...)
		if register {
			grpc_health_v1.RegisterHealthServer(s, states)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		t.Cleanup(func() { s.Stop(); <-done })
		return l.Addr().String()
	}
	web := httptest.NewUnstartedServer(nil)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	address, bare := start(true), start(false)
	secure := start(true, grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])))
	for _, c := range []struct {
		check  event.GRPCCheck
		status event.Status
		reason string
	}{
		{event.GRPCCheck{Address: address}, event.Passing, "gRPC health SERVING"},
		{event.GRPCCheck{Address: address, Service: "up"}, event.Passing, "gRPC health SERVING"},
		{event.GRPCCheck{Address: address, Service: "down"}, event.Critical, "gRPC health NOT_SERVING"},
		{event.GRPCCheck{Address: address, Service: "other"}, event.Critical, "gRPC service unknown"},
		{event.GRPCCheck{Address: bare}, event.Critical, "gRPC health protocol not implemented"},
		{event.GRPCCheck{Address: secure, TLS: &event.CheckTLS{CA: ca}}, event.Passing, "gRPC health SERVING"},
		{event.GRPCCheck{Address: secure, TLS: &event.CheckTLS{SkipVerify: true}}, event.Passing, "gRPC health SERVING"},
		{event.GRPCCheck{Address: secure, TLS: &event.CheckTLS{}}, event.Critical, "gRPC Unavailable"},
		{event.GRPCCheck{Address: secure}, event.Critical, "gRPC Unavailable"},
	} {
		expect(t, look(t, event.Check{GRPC: &c.check}, nil), c.status, c.reason, "")
	}
}
