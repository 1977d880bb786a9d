// Package client talks to Rollcall over HTTP.
//
// It uses the standard library alone and imports nothing of the server: what it knows is the contract of /v1, not how
// the server keeps it. It caches nothing; every answer is the server's.
//
//	c, err := client.New(client.Options{Servers: []string{"http://127.0.0.1:7600"}})
//	...
//	_, err = c.Put(ctx, "app/greeting", []byte("hello"), client.IfAbsent())
//	if errors.Is(err, client.ErrConditionFailed) { ... }
package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultServer is where a server that was started without flags listens.
const DefaultServer = "http://127.0.0.1:7600"

// Options say which servers to talk to and for which namespace. The zero value is a server on this machine.
type Options struct {
	// Servers are the base URLs of the cluster's servers, in the order of preference. When one cannot be reached, does
	// not answer or cannot help now, the next one is tried, and kept while it answers. Empty means DefaultServer.
	Servers []string
	// Namespace is what the calls are about; empty means "default".
	Namespace string
	// Reason is kept on every change that is made through the client, like a commit message.
	Reason string
	// HTTPClient carries the requests. Nil means one of the package's own, without a time limit on answers: the
	// context of a call is its limit. One that is given here should neither limit the time, which would cut
	// streams, nor follow redirects.
	HTTPClient *http.Client
	// RetryFor is how long a call goes on to begin attempts while servers do not answer or cannot help now; its context
	// may end it earlier. Zero means 10 s, and more than five minutes five minutes.
	RetryFor time.Duration
	// StreamIdle is how long Watch waits without a sign of life before it asks elsewhere; servers give one every
	// five seconds. Zero means 20 s.
	StreamIdle time.Duration
}

// Client is a connection to a cluster, for one namespace. It may be used concurrently.
type Client struct {
	servers   []*url.URL
	namespace string
	reason    string
	http      *http.Client
	idle      time.Duration
	retryFor  time.Duration
	preferred *atomic.Uint32 // index of the server that answered last; shared by the copies of In
}

// New makes a client. It connects to nothing yet, and fails only on options that make no sense.
func New(o Options) (*Client, error) {
	if len(o.Servers) == 0 {
		o.Servers = []string{DefaultServer}
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.StreamIdle == 0 {
		o.StreamIdle = 20 * time.Second
	}
	if o.RetryFor == 0 {
		o.RetryFor = retryFor
	}
	if o.HTTPClient == nil {
		o.HTTPClient = newHTTPClient()
	}
	c := &Client{
		namespace: o.Namespace, reason: o.Reason, http: o.HTTPClient, idle: o.StreamIdle,
		retryFor: min(o.RetryFor, retryForMax), preferred: new(atomic.Uint32),
	}
	for _, s := range o.Servers {
		u, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, u)
	}
	return c, nil
}

// In is the same client for another namespace.
func (c *Client) In(namespace string) *Client {
	other := *c
	other.namespace = namespace
	return &other
}

// Namespace is the namespace that the calls are about.
func (c *Client) Namespace() string { return c.namespace }

func parseServer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil {
		switch {
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
			err = errors.New("it must look like http://HOST:PORT")
		case u.RawQuery != "" || u.Fragment != "":
			err = errors.New("it must have neither a query nor a fragment")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("server address %q: %w", text, err)
	}
	return u.JoinPath("/"), nil
}

func newHTTPClient() *http.Client {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConns: 256, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			// A server answers within its own time limit or is not there any more, and then another one is to be asked.
			ResponseHeaderTimeout: 15 * time.Second,
		},
		// A redirect would come from something in between that cleaned the path, and so named another key.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Escape writes a key, or another name, as it stands in a URL's path: every byte that is neither unreserved (RFC 3986
// section 2.3) nor "/" is percent-encoded, and so are the segments "." and "..", which what lies between would
// otherwise take for directions (RFC 3986 section 5.2.4).
func Escape(key string) string { return escape(key, true) }

// escapeSegment writes one segment of a path, in which a slash is no separator.
func escapeSegment(segment string) string { return escape(segment, false) }

func escape(s string, slash bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i, segment := range strings.Split(s, "/") {
		switch {
		case i > 0 && slash:
			b.WriteByte('/')
		case i > 0:
			b.WriteString("%2F")
		}
		dots := segment == "." || segment == ".."
		for j := range len(segment) {
			if c := segment[j]; unreserved(c) && !dots {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			}
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
