package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answerBytesMax bounds an answer that is read as a whole. The largest is a page of listMax values.
const answerBytesMax = 512 << 20

func newHTTPClient() *http.Client {
	dialer := net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTime,
			MaxIdleConns: 256, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			ResponseHeaderTimeout: attemptTime,
		},
		// A redirect would come from something in between that cleaned the path, and so named another key.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// http makes the request for one server. The path is set both ways, escaped and not, because net/url sends RawPath
// as it stands only while it is an encoding of Path.
func (r *request) http(ctx context.Context, base *url.URL) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	u := *base
	u.RawPath = base.EscapedPath() + r.escapedPath()
	path, err := url.PathUnescape(u.RawPath)
	if err != nil {
		return nil, fmt.Errorf("escape path %q: %w", u.RawPath, err)
	}
	u.Path = path
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, base.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.URL = &u
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	if r.reason != "" {
		req.Header.Set(headerReason, r.reason)
	}
	if r.key != "" {
		// net/http makes a request again by itself when it finds this header by its usual spelling. That would do no
		// harm, but hide that there was an attempt without an answer.
		req.Header[strings.ToLower(headerKey)] = []string{r.key}
	}
	return req, nil
}

// askHTTP asks one server and reads the whole answer.
func (c *Client) askHTTP(ctx context.Context, r *request, s *server) (answer, error) {
	response, err := c.send(ctx, r, s)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	limit := int64(answerBytesMax)
	if response.StatusCode >= 300 {
		limit = problemBytesMax
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return answer{}, &brokenError{r.write(), err}
	case response.StatusCode >= 300:
		return answer{}, newProblem(response.StatusCode, response.Header, s.name, body)
	case int64(len(body)) > limit:
		return answer{}, fmt.Errorf("read answer of %s: it is longer than %d bytes", s.name, limit)
	}
	return answer{
		status: response.StatusCode, revision: headRevision(response.Header), contentType: response.Header.Get("Content-Type"), body: body,
	}, nil
}

// send sends a request to one server; the caller reads and closes the answer.
func (c *Client) send(ctx context.Context, r *request, s *server) (*http.Response, error) {
	req, err := r.http(ctx, s.base)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(req)
	if err == nil {
		return response, nil
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which may be long: a condition may stand in it
	}
	if neverLeft(err) {
		return nil, &UnreachableError{Servers: c.serverNames(), Err: err}
	}
	return nil, &brokenError{r.write(), err}
}

// openAt sends a request whose answer is a stream to one server.
func (c *Client) openAt(ctx context.Context, r *request, s *server) (*http.Response, error) {
	response, err := c.send(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, problemBytesMax))
	if err != nil {
		return nil, &brokenError{r.write(), err}
	}
	return nil, newProblem(response.StatusCode, response.Header, s.name, body)
}

// neverLeft tells whether a request failed before a byte of it could have reached a server.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// headRevision is the revision that an answer shows; zero when it does not say.
func headRevision(h http.Header) uint64 {
	n, err := strconv.ParseUint(h.Get(headerRevision), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
