// Package probe takes one look at a target.
//
// A look ends within its timeout, whatever the other side does, and leaves nothing behind: no connection, no goroutine and
// no process. It does not know how often anybody looks, what was seen before, or who is told.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// OutputBytesMax bounds what is kept of what a target says.
const OutputBytesMax = 4096

// timeoutDefault is for checks that say none.
const timeoutDefault = 10 * time.Second

// Prober looks at targets. Its methods may be called concurrently.
type Prober struct {
	// Commands lets checks run programs on this host. Who may register an instance may then do so, with the rights of the
	// server.
	Commands bool
	// UserAgent is what HTTP targets are told; "rollcall-check" where empty.
	UserAgent string
}

// Result is what came of a look.
type Result struct {
	Status event.Status
	// Reason says in a few words what was found. It holds nothing of what the target said, so that it may stand in a ledger.
	Reason string
	// Output is what the target said, or why it could not be asked: UTF-8 without control characters but for tabs and line
	// ends, at most OutputBytesMax, and without the instance's credentials.
	Output string
}

// Look looks at the target of a check, which is not a TTL or an alias check. The credentials are those of the instance: HTTP
// checks may name them, and no output holds one. A look that ctx ended says nothing about the target.
func (p *Prober) Look(ctx context.Context, check event.Check, instance event.Instance, credentials map[string]string) Result {
	timeout := time.Duration(check.Timeout)
	if timeout <= 0 {
		timeout = timeoutDefault
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secrets := newSecrets(credentials)
	var r Result
	switch {
	case check.HTTP != nil:
		r = p.http(ctx, *check.HTTP, credentials, secrets)
	case check.TCP != nil:
		r = p.tcp(ctx, *check.TCP)
	case check.GRPC != nil:
		r = p.grpc(ctx, *check.GRPC)
	case len(check.Command) > 0:
		r = p.command(ctx, check.Command, instance)
	default:
		r = critical("nothing to look at", "the check has no target that a server could look at")
	}
	if r.Reason == reasonTimeout {
		r.Reason = fmt.Sprintf("timed out after %s", timeout)
		if r.Output == "" {
			r.Output = r.Reason
		} else {
			r.Output = r.Reason + ": " + r.Output
		}
	}
	r.Output = secrets.redact(clean(secrets.redact(r.Output))) // cleaning may put a secret together again
	return r
}

func critical(reason, output string) Result {
	return Result{Status: event.Critical, Reason: reason, Output: output}
}

// dialer asks DNS by itself: the C library's resolver cannot be told to stop.
var dialer = net.Dialer{Resolver: &net.Resolver{PreferGo: true}, KeepAliveConfig: net.KeepAliveConfig{Enable: false}}

func (p *Prober) tcp(ctx context.Context, check event.TCPCheck) Result {
	host, reason := hostOf(check.Address)
	if reason != "" {
		return critical("address that cannot be read", reason)
	}
	conn, err := dialer.DialContext(ctx, "tcp", check.Address)
	if err != nil {
		return failed(ctx, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	if check.TLS == nil {
		return Result{event.Passing, "connected", "connected to " + check.Address}
	}
	config, err := tlsConfig(check.TLS, host)
	if err != nil {
		return critical("CA certificates that cannot be read", err.Error())
	}
	if err := tls.Client(conn, config).HandshakeContext(ctx); err != nil {
		return failed(ctx, err)
	}
	return Result{event.Passing, "connected with TLS", "connected to " + check.Address + " with TLS"}
}

// hostOf gives the host of HOST:PORT, or what is wrong with it.
func hostOf(address string) (host, wrong string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return "", fmt.Sprintf("address %.200q: HOST:PORT, such as 10.0.0.1:8080 or [fd00::1]:8080", address)
	}
	return host, ""
}

// tlsConfig gives what a check asks of TLS. A host of "" leaves the name of the certificate to whoever dials.
func tlsConfig(c *event.CheckTLS, host string) (*tls.Config, error) {
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c == nil {
		return config, nil
	}
	if c.ServerName != "" {
		config.ServerName = c.ServerName
	}
	config.InsecureSkipVerify = c.SkipVerify
	if c.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, errors.New("tls.ca: it holds no certificate in PEM")
		}
	}
	return config, nil
}
