package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
)

// reasonTimeout stands for the look's own timeout, which Look puts into words.
const reasonTimeout = "timed out"

// failed is the result where a target could not be asked.
func failed(ctx context.Context, err error) Result {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL may hold a secret, and whoever reads the output knows it
	}
	reason := classify(err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return critical(reasonTimeout, "")
	}
	return critical(reason, err.Error())
}

// classify gives an error in a few words that say nothing secret.
func classify(err error) string {
	for _, c := range []struct {
		err    error
		reason string
	}{
		{syscall.ECONNREFUSED, "connection refused"},
		{syscall.ECONNRESET, "connection reset"},
		{syscall.EPIPE, "connection reset"},
		{syscall.EHOSTUNREACH, "host unreachable"},
		{syscall.ENETUNREACH, "network unreachable"},
		{syscall.EMFILE, "out of file descriptors"},
		{http.ErrSchemeMismatch, "no TLS"},
		{io.ErrUnexpectedEOF, "connection closed"},
		{io.EOF, "connection closed"},
	} {
		if errors.Is(err, c.err) {
			return c.reason
		}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "host not found"
		}
		return "DNS lookup failed"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "certificate of an unknown authority"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "certificate for another name"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "certificate expired"
		}
		return "certificate invalid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "no TLS"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "TLS refused"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "connection timed out" // by the system, before the look's own time was over
	}
	return "no valid answer"
}
