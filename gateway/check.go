package gateway

import (
	"fmt"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// Check is a check of an instance in JSON: exactly one of http, tcp, grpc, ttl, command and alias.
type Check struct {
	ID      string        `json:"id,omitempty" doc:"Unique within the instance; its kind where it is left out"`
	HTTP    *HTTPCheck    `json:"http,omitempty" doc:"Passes on the expected status"`
	TCP     *TCPCheck     `json:"tcp,omitempty" doc:"Passes when a connection can be made"`
	GRPC    *GRPCCheck    `json:"grpc,omitempty" doc:"Asks the gRPC health checking protocol; passes on SERVING"`
	TTL     string        `json:"ttl,omitempty" doc:"The instance reports by itself, at least so often; else the check is critical"`
	Command *CommandCheck `json:"command,omitempty" doc:"A program that a server runs: exit status 0 passes, 1 warns, any other is critical. Servers refuse unless they were started with --enable-command-checks"`
	Alias   *AliasCheck   `json:"alias,omitempty" doc:"Takes the status of another service, or of an instance of it"`

	Interval         string `json:"interval,omitempty" doc:"How often a server looks; 10s unless told otherwise"`
	Timeout          string `json:"timeout,omitempty" doc:"How long it waits for an answer; 5s, or the interval where that is less, unless told otherwise"`
	SuccessThreshold uint16 `json:"success_threshold,omitempty" doc:"How many results in a row it takes to become better; 1 unless told otherwise"`
	FailureThreshold uint16 `json:"failure_threshold,omitempty" doc:"How many results in a row it takes to become worse; 1 unless told otherwise"`
	DeregisterAfter  string `json:"deregister_after,omitempty" doc:"An instance of which the check was critical for so long is deregistered"`
	InitialStatus    string `json:"initial_status,omitempty" enum:"passing,warning,critical" doc:"Before the first result; critical unless told otherwise"`
}

// HTTPCheck is what is asked by HTTP. In url, headers and body, ${NAME} stands for the instance's credential of that name.
type HTTPCheck struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty" doc:"GET unless told otherwise"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Status  uint16            `json:"status,omitempty" doc:"The one that passes; any of 200 to 299 unless told otherwise, and then 429 is a warning. Redirects are not followed"`
	TLS     *CheckTLS         `json:"tls,omitempty" doc:"How the certificate is verified"`
}

// TCPCheck is where a connection is made to.
type TCPCheck struct {
	Address string    `json:"address" doc:"HOST:PORT"`
	TLS     *CheckTLS `json:"tls,omitempty" doc:"With it, the handshake has to succeed too"`
}

// GRPCCheck is which gRPC service is asked about.
type GRPCCheck struct {
	Address string    `json:"address" doc:"HOST:PORT"`
	Service string    `json:"service,omitempty" doc:"The server as a whole where it is left out"`
	TLS     *CheckTLS `json:"tls,omitempty" doc:"Without it the connection is in the clear"`
}

// CheckTLS says how a certificate is verified.
type CheckTLS struct {
	ServerName string `json:"server_name,omitempty" doc:"That the certificate is for; the host that is asked unless told otherwise"`
	CA         string `json:"ca,omitempty" doc:"The authorities, in PEM; the system's unless told otherwise"`
	SkipVerify bool   `json:"skip_verify,omitempty" doc:"Takes any certificate"`
}

// CommandCheck is a program and its arguments.
type CommandCheck struct {
	Args []string `json:"args"`
}

// AliasCheck names what a status is taken from.
type AliasCheck struct {
	Service string `json:"service"`
	ID      string `json:"id,omitempty" doc:"One instance; the worst of all where it is left out"`
}

// NewCheck presents a check.
func NewCheck(c event.Check) Check {
	out := Check{
		ID: c.ID, TTL: FormatTTL(c.TTL), Interval: FormatTTL(c.Interval), Timeout: FormatTTL(c.Timeout),
		SuccessThreshold: c.SuccessThreshold, FailureThreshold: c.FailureThreshold, DeregisterAfter: FormatTTL(c.DeregisterAfter),
	}
	if c.Initial != 0 {
		out.InitialStatus = c.Initial.String()
	}
	tls := func(t *event.CheckTLS) *CheckTLS { return (*CheckTLS)(t) }
	if h := c.HTTP; h != nil {
		out.HTTP = &HTTPCheck{URL: h.URL, Method: h.Method, Headers: h.Headers, Body: h.Body, Status: h.Status, TLS: tls(h.TLS)}
	}
	if t := c.TCP; t != nil {
		out.TCP = &TCPCheck{Address: t.Address, TLS: tls(t.TLS)}
	}
	if g := c.GRPC; g != nil {
		out.GRPC = &GRPCCheck{Address: g.Address, Service: g.Service, TLS: tls(g.TLS)}
	}
	if len(c.Command) > 0 {
		out.Command = &CommandCheck{Args: c.Command}
	}
	if a := c.Alias; a != nil {
		out.Alias = &AliasCheck{Service: a.Service, ID: a.ID}
	}
	return out
}

func newChecks(all []event.Check) (out []Check) {
	for _, c := range all {
		out = append(out, NewCheck(c))
	}
	return out
}

// The times of a check that does not say otherwise.
const (
	checkInterval = 10 * time.Second
	checkTimeout  = 5 * time.Second
)

// Event is the check as it is recorded, with the defaults spelled out. The error says what cannot be read.
func (c Check) Event() (out event.Check, err error) {
	out = event.Check{ID: c.ID, SuccessThreshold: c.SuccessThreshold, FailureThreshold: c.FailureThreshold}
	if out.ID == "" {
		out.ID = c.kind()
	}
	for _, d := range []struct {
		name, from string
		to         *event.Time
	}{
		{"ttl", c.TTL, &out.TTL},
		{"interval", c.Interval, &out.Interval},
		{"timeout", c.Timeout, &out.Timeout},
		{"deregister_after", c.DeregisterAfter, &out.DeregisterAfter},
	} {
		if d.from == "" {
			continue
		}
		parsed, err := time.ParseDuration(d.from)
		if err != nil || parsed <= 0 {
			return out, fmt.Errorf("%s is %.40q; it takes a length of time such as 10s", d.name, d.from)
		}
		*d.to = event.Time(parsed)
	}
	if c.InitialStatus != "" {
		if out.Initial, err = ParseStatus(c.InitialStatus); err != nil {
			return out, fmt.Errorf("initial_status: %w", err)
		}
	}
	if c.TTL == "" && out.Interval == 0 {
		out.Interval = event.Time(checkInterval)
	}
	if c.TTL == "" && c.Alias == nil && out.Timeout == 0 {
		out.Timeout = min(event.Time(checkTimeout), out.Interval)
	}
	c.target(&out)
	return out, nil
}

func (c Check) target(out *event.Check) {
	tls := func(t *CheckTLS) *event.CheckTLS { return (*event.CheckTLS)(t) }
	if h := c.HTTP; h != nil {
		out.HTTP = &event.HTTPCheck{URL: h.URL, Method: h.Method, Headers: h.Headers, Body: h.Body, Status: h.Status, TLS: tls(h.TLS)}
		if len(h.Headers) == 0 {
			out.HTTP.Headers = nil
		}
	}
	if t := c.TCP; t != nil {
		out.TCP = &event.TCPCheck{Address: t.Address, TLS: tls(t.TLS)}
	}
	if g := c.GRPC; g != nil {
		out.GRPC = &event.GRPCCheck{Address: g.Address, Service: g.Service, TLS: tls(g.TLS)}
	}
	if c.Command != nil {
		out.Command = c.Command.Args
	}
	if a := c.Alias; a != nil {
		out.Alias = &event.AliasTarget{Service: a.Service, ID: a.ID}
	}
}

func (c Check) kind() string {
	switch {
	case c.HTTP != nil:
		return "http"
	case c.TCP != nil:
		return "tcp"
	case c.GRPC != nil:
		return "grpc"
	case c.TTL != "":
		return "ttl"
	case c.Command != nil:
		return "command"
	case c.Alias != nil:
		return "alias"
	}
	return ""
}

// ParseStatus reads the status of a check.
func ParseStatus(s string) (event.Status, error) {
	for _, status := range []event.Status{event.Passing, event.Warning, event.Critical} {
		if status.String() == s {
			return status, nil
		}
	}
	return 0, fmt.Errorf("%.40q is no status; it is passing, warning or critical", s)
}
