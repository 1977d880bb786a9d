package probe

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/rollcall/rollcall/log/event"
)

const (
	userAgentDefault = "rollcall-check"
	headerBytesMax   = 64 << 10 // of an answer
)

// http makes one request on a connection of its own: one that was open already would say nothing about whether the target
// still accepts any.
func (p *Prober) http(ctx context.Context, check event.HTTPCheck, credentials map[string]string, secrets *secrets) Result {
	request, wrong := p.request(ctx, check, credentials, secrets)
	if wrong != nil {
		return *wrong
	}
	config, err := tlsConfig(check.TLS, "")
	if err != nil {
		return critical("CA certificates that cannot be read", err.Error())
	}
	opened := &connections{}
	defer opened.close() // whatever the library does with them
	// A connection that has switched protocols is no business of the request's context any more.
	defer context.AfterFunc(ctx, opened.close)()
	response, err := client(config, opened).Do(request)
	if err != nil {
		return failed(ctx, err)
	}
	defer response.Body.Close()
	var said []byte
	if response.StatusCode != http.StatusSwitchingProtocols { // what comes then is not HTTP
		said, err = io.ReadAll(io.LimitReader(response.Body, OutputBytesMax))
	}
	line := response.Proto + " " + response.Status
	output := line + ": " + string(said)
	if len(said) == 0 {
		output = line
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // what was cut off was said all the same
		r := failed(ctx, err)
		r.Output = strings.TrimSuffix(line+", and then: "+r.Output, ", and then: ")
		return r
	}
	return Result{judge(response.StatusCode, int(check.Status)), fmt.Sprintf("HTTP status %d", response.StatusCode), output}
}

// judge gives the status of an HTTP answer.
func judge(status, expected int) event.Status {
	switch {
	case expected != 0 && status == expected, expected == 0 && status/100 == 2:
		return event.Passing
	case expected == 0 && status == http.StatusTooManyRequests:
		return event.Warning // it is there, and busy
	}
	return event.Critical
}

func (p *Prober) request(ctx context.Context, check event.HTTPCheck, credentials map[string]string, secrets *secrets) (*http.Request, *Result) {
	no := func(reason, format string, args ...any) (*http.Request, *Result) {
		r := critical(reason, fmt.Sprintf(format, args...))
		return nil, &r
	}
	unknown := func(where, name string) (*http.Request, *Result) {
		return no("unknown credential", "%s names ${%s}, and the instance has no credential of that name", where, name)
	}
	address, name := expand(check.URL, credentials, escape)
	if name != "" {
		return unknown("the URL", name)
	}
	body, name := expand(check.Body, credentials, plain)
	if name != "" {
		return unknown("the body", name)
	}
	target, err := url.Parse(address)
	switch {
	case err != nil:
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return no("URL that cannot be read", "the URL cannot be read: %v", err)
	case target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "":
		return no("URL that cannot be read", "the URL is not http:// or https:// and a host")
	}
	if target.User != nil {
		secrets.add(base64.StdEncoding.EncodeToString([]byte(target.User.Username() + ":" + password(target.User))))
	}
	method := check.Method
	if method == "" {
		method = http.MethodGet
	}
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return no("request that cannot be made", "the request cannot be made: %v", err)
	}
	request.Close = true
	request.Header.Set("User-Agent", p.UserAgent)
	if p.UserAgent == "" {
		request.Header.Set("User-Agent", userAgentDefault)
	}
	for header, value := range check.Headers {
		value, name := expand(value, credentials, plain)
		if name != "" {
			return unknown(fmt.Sprintf("header %q", header), name)
		}
		if strings.EqualFold(header, "Host") {
			request.Host = value
			continue
		}
		request.Header.Set(header, value)
	}
	return request, nil
}

func password(u *url.Userinfo) string {
	p, _ := u.Password()
	return p
}

// client makes one request: it follows no redirects, takes no proxy from the environment and unpacks nothing.
func client(config *tls.Config, opened *connections) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // over TLS, where the target has nothing else
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: opened.dialQuiet, TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: headerBytesMax, Protocols: protocols,
		},
	}
}

// connections are those that a look has opened.
type connections struct {
	mu     sync.Mutex
	open   []net.Conn
	closed bool
	failed error // why the last one could not be opened
}

func (c *connections) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

func (c *connections) noted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.keep(conn)
}

func (c *connections) keep(conn net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c.open = append(c.open, conn)
	return conn, nil
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.open {
		_ = conn.Close() // it may be closed already
	}
}

// dialQuiet opens a connection on which nothing is read before something was written. Targets that speak first, as SSH and
// SMTP do, would make the library write to the process's log.
func (c *connections) dialQuiet(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.keep(&quiet{Conn: conn, begun: make(chan struct{})})
}

type quiet struct {
	net.Conn

	once  sync.Once
	begun chan struct{} // closed when something was written, or the connection was closed
}

func (q *quiet) begin() { q.once.Do(func() { close(q.begun) }) }

func (q *quiet) Read(p []byte) (int, error) {
	<-q.begun
	return q.Conn.Read(p)
}

func (q *quiet) Write(p []byte) (int, error) {
	n, err := q.Conn.Write(p)
	q.begin()
	return n, err
}

func (q *quiet) Close() error {
	defer q.begin()
	return q.Conn.Close()
}
