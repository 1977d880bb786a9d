package event

import (
	"maps"
	"slices"
)

// Status is how an instance, or one check of it, is. Events hold the numbers: append only.
type Status uint8

// The statuses, the better one first. Maintenance is never that of a check.
const (
	Passing     Status = 1
	Warning     Status = 2
	Critical    Status = 3
	Maintenance Status = 4
)

// String is the status as it is shown.
func (s Status) String() string {
	switch s {
	case Passing:
		return "passing"
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	case Maintenance:
		return "maintenance"
	}
	return "unknown"
}

// Usable tells whether what has the status may be used: warning counts as passing, where the service's settings do not
// say otherwise (ServiceSettings.Usable).
func (s Status) Usable() bool { return s == Passing || s == Warning }

// Check is one way to find out how an instance is. Exactly one of HTTP, TCP, GRPC, TTL, Command and Alias says which.
type Check struct {
	ID      string       `cbor:"1,keyasint"` // unique within the instance
	HTTP    *HTTPCheck   `cbor:"2,keyasint,omitempty"`
	TCP     *TCPCheck    `cbor:"3,keyasint,omitempty"`
	GRPC    *GRPCCheck   `cbor:"4,keyasint,omitempty"`
	TTL     Time         `cbor:"5,keyasint,omitempty"` // the instance reports by itself, at least so often
	Command []string     `cbor:"6,keyasint,omitempty"` // a program and its arguments, run by a server
	Alias   *AliasTarget `cbor:"7,keyasint,omitempty"`
	// Interval is how often a server looks, and Timeout how long it waits for an answer; zero for TTL checks.
	Interval Time `cbor:"8,keyasint,omitempty"`
	Timeout  Time `cbor:"9,keyasint,omitempty"`
	// SuccessThreshold is how many results in a row it takes to become better, FailureThreshold to become worse; one
	// where zero.
	SuccessThreshold uint16 `cbor:"10,keyasint,omitempty"`
	FailureThreshold uint16 `cbor:"11,keyasint,omitempty"`
	// DeregisterAfter removes an instance of which the check was critical for so long; zero for never.
	DeregisterAfter Time `cbor:"12,keyasint,omitempty"`
	// Initial is the status before the first result; Critical where zero.
	Initial Status `cbor:"13,keyasint,omitempty"`
}

// HTTPCheck passes on the expected status, and warns on 429 where none is expected. Redirects are not followed.
type HTTPCheck struct {
	URL     string            `cbor:"1,keyasint"`
	Method  string            `cbor:"2,keyasint,omitempty"` // GET where empty
	Headers map[string]string `cbor:"3,keyasint,omitempty"`
	Body    string            `cbor:"4,keyasint,omitempty"`
	Status  uint16            `cbor:"5,keyasint,omitempty"` // the one that passes; any of 200 to 299 where zero
	TLS     *CheckTLS         `cbor:"6,keyasint,omitempty"`
}

// TCPCheck passes when a connection can be made, and with TLS its handshake.
type TCPCheck struct {
	Address string    `cbor:"1,keyasint"` // HOST:PORT
	TLS     *CheckTLS `cbor:"2,keyasint,omitempty"`
}

// GRPCCheck asks the gRPC health checking protocol, and passes on SERVING.
type GRPCCheck struct {
	Address string    `cbor:"1,keyasint"`           // HOST:PORT
	Service string    `cbor:"2,keyasint,omitempty"` // the server as a whole where empty
	TLS     *CheckTLS `cbor:"3,keyasint,omitempty"` // nil for none
}

// CheckTLS says how a target's certificate is verified.
type CheckTLS struct {
	ServerName string `cbor:"1,keyasint,omitempty"` // that of the certificate; the host that is asked where empty
	CA         string `cbor:"2,keyasint,omitempty"` // PEM; the system's where empty
	SkipVerify bool   `cbor:"3,keyasint,omitempty"` // takes any certificate
}

// AliasTarget is what an alias check takes its status from: the worst of a service's instances, or one of them.
type AliasTarget struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint,omitempty"`
}

// Start is the status that the check begins with.
func (c Check) Start() Status {
	if c.Initial == 0 {
		return Critical
	}
	return c.Initial
}

// Bytes is how much text the check holds.
func (c Check) Bytes() int {
	size := len(c.ID)
	tls := func(t *CheckTLS) {
		if t != nil {
			size += len(t.ServerName) + len(t.CA)
		}
	}
	if h := c.HTTP; h != nil {
		size += len(h.URL) + len(h.Method) + len(h.Body)
		for name, value := range h.Headers {
			size += len(name) + len(value)
		}
		tls(h.TLS)
	}
	if c.TCP != nil {
		size += len(c.TCP.Address)
		tls(c.TCP.TLS)
	}
	if c.GRPC != nil {
		size += len(c.GRPC.Address) + len(c.GRPC.Service)
		tls(c.GRPC.TLS)
	}
	for _, word := range c.Command {
		size += len(word)
	}
	if c.Alias != nil {
		size += len(c.Alias.Service) + len(c.Alias.ID)
	}
	return size
}

// Equal tells whether two checks say the same.
func (c Check) Equal(o Check) bool {
	return c.SameTarget(o) && c.ID == o.ID && c.TTL == o.TTL && c.Interval == o.Interval && c.Timeout == o.Timeout &&
		c.SuccessThreshold == o.SuccessThreshold && c.FailureThreshold == o.FailureThreshold &&
		c.DeregisterAfter == o.DeregisterAfter && c.Initial == o.Initial
}

// SameTarget tells whether two checks ask the same of the same: then a result of one says something about the other.
func (c Check) SameTarget(o Check) bool {
	return (c.TTL != 0) == (o.TTL != 0) && slices.Equal(c.Command, o.Command) &&
		equal(c.HTTP, o.HTTP, HTTPCheck.equal) && equal(c.TCP, o.TCP, TCPCheck.equal) && equal(c.GRPC, o.GRPC, GRPCCheck.equal) &&
		equal(c.Alias, o.Alias, func(a, b AliasTarget) bool { return a == b })
}

func (c HTTPCheck) equal(o HTTPCheck) bool {
	return c.URL == o.URL && c.Method == o.Method && maps.Equal(c.Headers, o.Headers) && c.Body == o.Body &&
		c.Status == o.Status && sameTLS(c.TLS, o.TLS)
}

func (c TCPCheck) equal(o TCPCheck) bool { return c.Address == o.Address && sameTLS(c.TLS, o.TLS) }

func (c GRPCCheck) equal(o GRPCCheck) bool {
	return c.Address == o.Address && c.Service == o.Service && sameTLS(c.TLS, o.TLS)
}

func sameTLS(a, b *CheckTLS) bool { return equal(a, b, func(a, b CheckTLS) bool { return a == b }) }

func equal[T any](a, b *T, same func(T, T) bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return same(*a, *b)
}
