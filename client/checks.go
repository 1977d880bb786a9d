package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Status is how a check, or an instance as a whole, is. A server may know more of them than are named here.
type Status string

// What they may be. Only instances are in maintenance.
const (
	Passing     Status = "passing"
	Warning     Status = "warning"
	Critical    Status = "critical"
	Maintenance Status = "maintenance"
)

// Check is one way to find out how an instance is. Exactly one of HTTP, TCP, GRPC, TTL, Command and Alias is set.
type Check struct {
	// ID is unique within the instance; empty means its kind, such as "http".
	ID      string        `json:"id,omitempty"`
	HTTP    *HTTPCheck    `json:"http,omitempty"`
	TCP     *TCPCheck     `json:"tcp,omitempty"`
	GRPC    *GRPCCheck    `json:"grpc,omitempty"`
	TTL     time.Duration `json:"-"` // the instance reports by itself, with Report, at least so often
	Command *CommandCheck `json:"command,omitempty"`
	Alias   *AliasCheck   `json:"alias,omitempty"`
	// Interval is how often a server looks, and Timeout how long it waits for an answer; zero means 10 s and 5 s. TTL
	// checks, at which nobody looks, have neither, and no thresholds.
	Interval time.Duration `json:"-"`
	Timeout  time.Duration `json:"-"`
	// SuccessThreshold is how many results in a row it takes to become better, FailureThreshold to become worse; zero
	// means 1.
	SuccessThreshold uint16 `json:"success_threshold,omitempty"`
	FailureThreshold uint16 `json:"failure_threshold,omitempty"`
	// DeregisterAfter has an instance gone of which the check was critical for so long; zero is never.
	DeregisterAfter time.Duration `json:"-"`
	// InitialStatus is the one before the first result; empty means Critical.
	InitialStatus Status `json:"initial_status,omitempty"`
}

// HTTPCheck passes on the expected status. In URL, Headers and Body, ${NAME} stands for the instance's credential of that
// name.
type HTTPCheck struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"` // empty means GET
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Status is the one that passes; zero means any of 200 to 299, and then 429 is a warning.
	Status uint16    `json:"status,omitempty"`
	TLS    *CheckTLS `json:"tls,omitempty"`
}

// TCPCheck passes when a connection can be made.
type TCPCheck struct {
	Address string    `json:"address"`       // HOST:PORT
	TLS     *CheckTLS `json:"tls,omitempty"` // with it, the handshake has to succeed too
}

// GRPCCheck asks the gRPC health checking protocol, and passes on SERVING.
type GRPCCheck struct {
	Address string    `json:"address"`           // HOST:PORT
	Service string    `json:"service,omitempty"` // empty is the server as a whole
	TLS     *CheckTLS `json:"tls,omitempty"`     // nil: the connection is in the clear
}

// CheckTLS says how a certificate is verified.
type CheckTLS struct {
	ServerName string `json:"server_name,omitempty"` // empty means the host that is asked
	CA         string `json:"ca,omitempty"`          // in PEM; empty means the authorities of the server's system
	SkipVerify bool   `json:"skip_verify,omitempty"` // takes any certificate
}

// CommandCheck is a program that a server runs, if it was told that it may: exit status 0 passes, 1 warns, any other is
// critical.
type CommandCheck struct {
	Args []string `json:"args"`
}

// AliasCheck takes the status of another service, or of one instance of it.
type AliasCheck struct {
	Service string `json:"service"`
	ID      string `json:"id,omitempty"` // empty means the worst of all
}

// CheckState is a check with how it turned out.
type CheckState struct {
	Check
	Status Status
	// Since is when it came to have that status, and Revision the event that says so.
	Since    time.Time
	Revision uint64
	// Output is what the last look at it gave, Server who looked or was reported to, and Looked when; empty where no
	// server has it in memory.
	Output string
	Server string
	Looked time.Time
	// Fault is why the last looks do not count: it seems to be the observer's.
	Fault string
}

// checkFields are a Check's without its methods.
type checkFields Check

// wireCheck is a Check in JSON.
type wireCheck struct {
	checkFields
	TTL             duration `json:"ttl,omitempty"`
	Interval        duration `json:"interval,omitempty"`
	Timeout         duration `json:"timeout,omitempty"`
	DeregisterAfter duration `json:"deregister_after,omitempty"`
}

func newWireCheck(c Check) wireCheck {
	return wireCheck{checkFields(c), duration(c.TTL), duration(c.Interval), duration(c.Timeout), duration(c.DeregisterAfter)}
}

func (w wireCheck) check() Check {
	c := Check(w.checkFields)
	c.TTL, c.Interval, c.Timeout = time.Duration(w.TTL), time.Duration(w.Interval), time.Duration(w.Timeout)
	c.DeregisterAfter = time.Duration(w.DeregisterAfter)
	return c
}

// MarshalJSON implements json.Marshaler, in the form that the server takes.
func (c Check) MarshalJSON() ([]byte, error) { return json.Marshal(newWireCheck(c)) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *Check) UnmarshalJSON(b []byte) error {
	var w wireCheck
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*c = w.check()
	return nil
}

// wireCheckState is a CheckState in JSON.
type wireCheckState struct {
	wireCheck
	Status   Status    `json:"status"`
	Since    time.Time `json:"since,omitzero"`
	Revision uint64    `json:"revision"`
	Output   string    `json:"output,omitempty"`
	Server   string    `json:"server,omitempty"`
	Looked   time.Time `json:"looked,omitzero"`
	Fault    string    `json:"fault,omitempty"`
}

// MarshalJSON implements json.Marshaler, in the form of the server's own answers.
func (s CheckState) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireCheckState{newWireCheck(s.Check), s.Status, s.Since, s.Revision, s.Output, s.Server, s.Looked, s.Fault})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *CheckState) UnmarshalJSON(b []byte) error {
	var w wireCheckState
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = CheckState{w.check(), w.Status, w.Since, w.Revision, w.Output, w.Server, w.Looked, w.Fault}
	return nil
}

// Reported is the answer to a report.
type Reported struct {
	// Revision is the event that made the check what it is.
	Revision uint64
	// TTL is within what the next report is due; zero where the check is critical, and nothing is.
	TTL time.Duration
}

// MarshalJSON implements json.Marshaler, in the form of the server's own answers.
func (r Reported) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireReported{r.Revision, duration(r.TTL)})
}

type wireReported struct {
	Revision uint64   `json:"revision"`
	TTL      duration `json:"ttl,omitempty"`
}

// Report says how an instance is by one of its TTL checks, and in words for people: passing, warning or critical. Only a
// change of status is an event; reporting the same again renews the check's TTL. An instance, or a check of it, that is
// not there is ErrNotFound.
func (c *Client) Report(ctx context.Context, service, id, check string, status Status, output string, options ...WriteOption) (Reported, error) {
	r := c.newRequest("checks.put", "service", service, "id", id, "check", check).with(options)
	body := struct {
		Status Status `json:"status"`
		Output string `json:"output,omitempty"`
	}{status, output}
	if err := r.json(body); err != nil {
		return Reported{}, err
	}
	var w wireReported
	if _, err := c.read(ctx, r, &w); err != nil {
		return Reported{}, fmt.Errorf("report check %q of instance %q: %w", check, service+"/"+id, err)
	}
	return Reported{w.Revision, time.Duration(w.TTL)}, nil
}

// SetMaintenance takes an instance out of use, whatever its checks say, and says why; or puts it back.
func (c *Client) SetMaintenance(ctx context.Context, service, id string, enabled bool, reason string, options ...WriteOption) (Written, error) {
	r := c.newRequest("instances.maintenance", "service", service, "id", id).with(options)
	if err := r.json(newMaintenance(enabled, reason)); err != nil {
		return Written{}, err
	}
	return c.written(ctx, r, "set maintenance of instance", service+"/"+id)
}

// maintenance is the body of a request that begins or ends one.
type maintenance struct {
	Enabled bool   `json:"enabled"`
	Reason  string `json:"reason,omitempty"`
}

func newMaintenance(enabled bool, reason string) maintenance {
	if !enabled {
		reason = "" // of a maintenance that is over nobody asks why
	}
	return maintenance{enabled, reason}
}
