// Package client talks to Rollcall, over NATS or HTTP.
//
// The address of a server says which: nats://HOST:PORT or http://HOST:PORT, and a list may hold both. Every call does the
// same over either and fails in the same way. Over NATS all calls of a client share one connection to a server, however
// many are under way, and watches of the same subject one subscription; that is the fast way. HTTP alone has Snapshot,
// answers above 4 MiB, and names that are not UTF-8: where a list has an http:// server, too, it is asked for these.
//
// The package imports nothing of the server: what it knows is the contract, not how the server keeps it. What
// calls answer is the server's; CacheKeys and CacheService keep copies that say which revision they are of.
//
//	c, err := client.New(client.Options{Servers: []string{"nats://127.0.0.1:4222", "http://127.0.0.1:7600"}})
//	...
//	defer c.Close()
//	_, err = c.Put(ctx, "app/greeting", []byte("hello"), client.IfAbsent())
//	if errors.Is(err, client.ErrConditionFailed) { ... }
package client

import (
	"context"
	"errors"
	"fmt"
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
	// Servers are the addresses of the cluster's servers, nats://HOST:PORT or http://HOST:PORT, in the order of
	// preference. When one cannot be reached, does not answer or cannot help now, the next one is tried, and kept while
	// it answers. Empty means DefaultServer.
	Servers []string
	// Namespace is what the calls are about; empty means "default".
	Namespace string
	// Reason is kept on every change that is made through the client, like a commit message.
	Reason string
	// HTTPClient carries the requests over HTTP. Nil means one of the package's own, without a time limit on answers: the
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
	// What follows is shared by the copies of In.
	all, web *pool // all servers, and those that speak HTTP
	http     *http.Client
	life     context.Context // ends with Close
	end      context.CancelFunc
	ownHTTP  bool

	namespace string
	reason    string
	idle      time.Duration
	retryFor  time.Duration
	attempt   time.Duration // how long an answer may take over NATS
	room      room          // of a watch over NATS
}

// server is one of the servers. It is reached over HTTP, or through its link.
type server struct {
	name string
	base *url.URL // of HTTP
	link *link    // of NATS; nil for HTTP
}

// pool is servers of which one is preferred while it answers.
type pool struct {
	servers   []*server
	preferred atomic.Uint32 // counts on for ever; its remainder is the index
}

func (p *pool) at(n uint32) *server { return p.servers[int(n)%len(p.servers)] }

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
	c := &Client{
		namespace: o.Namespace, reason: o.Reason, http: o.HTTPClient, idle: o.StreamIdle,
		retryFor: min(o.RetryFor, retryForMax), attempt: attemptTime, room: tapRoom, all: new(pool), web: new(pool),
	}
	if c.http == nil {
		c.http, c.ownHTTP = newHTTPClient(), true
	}
	c.life, c.end = context.WithCancel(context.Background())
	for _, text := range o.Servers {
		s, err := newServer(c.life, text)
		if err != nil {
			c.end()
			return nil, err
		}
		c.all.servers = append(c.all.servers, s)
		if s.link == nil {
			c.web.servers = append(c.web.servers, s)
		}
	}
	return c, nil
}

// Close ends the client, and its copies of In: connections over NATS are closed, watches end, and calls fail with
// ErrClosed, those under way with what a broken connection gives. It may be called more than once. A client that speaks
// HTTP alone need not be closed.
func (c *Client) Close() {
	c.end()
	for _, s := range c.all.servers {
		if s.link != nil {
			s.link.close()
		}
	}
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
}

// In is the same client for another namespace.
func (c *Client) In(namespace string) *Client {
	other := *c
	other.namespace = namespace
	return &other
}

// Namespace is the namespace that the calls are about.
func (c *Client) Namespace() string { return c.namespace }

func newServer(life context.Context, text string) (*server, error) {
	u, err := url.Parse(text)
	if err == nil {
		switch {
		case u.Scheme == "tls":
			err = errors.New("NATS is not spoken over TLS yet; it must look like nats://HOST:PORT or http://HOST:PORT")
		case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "nats", u.Host == "":
			err = errors.New("it must look like http://HOST:PORT or nats://HOST:PORT")
		case u.RawQuery != "" || u.Fragment != "":
			err = errors.New("it must have neither a query nor a fragment")
		case u.Scheme == "nats" && strings.Trim(u.Path, "/") != "":
			err = errors.New("a NATS server has no path")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("server address %q: %w", text, err)
	}
	if u.Scheme == "nats" {
		u.Path = ""
		return &server{name: u.Redacted(), link: &link{url: u.String(), life: life}}, nil
	}
	u = u.JoinPath("/")
	return &server{name: u.String(), base: u}, nil
}

// Escape writes a key, or another name, as it stands in a URL's path: every byte that is neither unreserved (RFC 3986
// section 2.3) nor "/" is percent-encoded, and so are the segments "." and "..", which what lies between would
// otherwise take for directions (RFC 3986 section 5.2.4).
func Escape(key string) string { return escape(key, true) }

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
