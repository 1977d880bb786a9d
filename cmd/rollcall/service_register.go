package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcall/rollcall/client"
)

// operationsMax is how many operations one transaction takes, and how many conditions.
const operationsMax = 512

type serviceRegisterCmd struct {
	Name     string            `arg:"" optional:"" complete:"services" help:"The service."`
	ID       string            `name:"id" complete:"instances" help:"The instance; left out, HOST-SERVICE, with this host's name."`
	Address  string            `help:"Its IP address or host name."`
	Port     uint16            `help:"Its port."`
	Node     string            `help:"The host that it runs on."`
	Protocol string            `help:"What it speaks, such as http or grpc."`
	Release  string            `name:"version" help:"Its version."`
	Tag      []string          `help:"A tag; give it once for each."`
	Meta     map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"A fact about it; give it once for each."`
	Weight   *uint16           `placeholder:"N" help:"Its share among equals (RFC 2782); left out, 1."`
	Priority *uint16           `placeholder:"N" help:"Its rank, lowest first (RFC 2782); left out, 1."`
	Session  string            `placeholder:"ID" help:"It ends with this session."`
	TTL      *time.Duration    `name:"ttl" placeholder:"TIME" help:"It ends when it was not registered again for so long; with a COMMAND, when this one was not heard of for so long, and left out 15s then."`
	credentialFlags
	checkFlags
	File  string        `placeholder:"FILE" help:"Register all instances of a JSON file instead; - is standard input."`
	Grace time.Duration `default:"10s" help:"How long the COMMAND may take to stop before it is killed; left out, 10s."`
	Drain time.Duration `default:"0s" placeholder:"TIME" help:"How long to wait, when interrupted, between deregistering the instance and stopping the COMMAND."`
	rehearsing
	Command []string `arg:"" optional:"" passthrough:"partial" help:"Behind --: a command; the instance is registered while it runs."`
}

// Help teaches by example.
func (serviceRegisterCmd) Help() string {
	return `Examples:

    rollcall service register web --id web-1 --address 10.0.0.7 --port 8080
    rollcall service register web --id web-2 --address 10.0.0.8 --port 8080 --protocol http --tag blue --meta zone=a
    rollcall service register web --id web-3 --address 10.0.0.9 --port 8080 --session 7      gone when session 7 is
    rollcall service register web --id web-4 --address 10.0.0.10 --ttl 30s                   gone when not registered again
    rollcall service register web --id web-5 --address 10.0.0.11 --http-check http://10.0.0.11/health --check-interval 5s
    rollcall service register db --id db-1 --address 10.0.0.12 --credential user=web --credential password=@password.txt
    rollcall service register web --id web-6 --address 10.0.0.13 --ttl-check 15s -- sh serve.sh
    rollcall service register --file services.json

Registering the same thing again changes nothing; registering another thing under the same id replaces it, but for
credentials, which stay until others are given.

With a COMMAND behind "--", the instance is registered while it runs. It is bound to a session that is made before the
command starts, kept alive while it runs and ended when it exits, and the instance is gone with it. When this command is
interrupted, the instance is deregistered first, and --drain later the command gets SIGTERM; when the session is lost, it
gets it at once. It is killed --grace later. It finds its session in ROLLCALL_SESSION, service and instance in
ROLLCALL_SERVICE and ROLLCALL_INSTANCE, and the servers and the namespace in ROLLCALL_SERVER and ROLLCALL_NAMESPACE. A
--ttl-check is reported as passing every third of its TTL. The exit status is that of "rollcall session run".

The value of a credential may be - for standard input or @FILE for a file, so that it stands neither on the command line nor
in its history; a line end at their end is left out. Nothing shows credentials but "rollcall service credentials".

A file has this form, where an instance takes what the flags above set, and a check all that the servers know:

    {"services": [{"service": "web", "instances": [{"id": "web-1", "address": "10.0.0.7", "port": 8080, "ttl": "30s",
      "checks": [{"http": {"url": "http://10.0.0.7:8080/health"}, "interval": "5s", "deregister_after": "1h"}],
      "credentials": {"user": "web"}}]}]}

Its instances are registered in one transaction, or in several when they are more than 512.`
}

// Run registers instances.
func (c serviceRegisterCmd) Run(ctx context.Context, s *session) error {
	if c.File != "" {
		if c.Name != "" {
			return misusef("give either a service to register or --file, not both")
		}
		return registerFile(ctx, s, c.File, c.rehearsing)
	}
	i, err := c.instance(s)
	if err != nil {
		return err
	}
	if len(c.Command) > 0 {
		return c.runWith(ctx, s, i)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.Register(ctx, i, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s of %s is registered, at revision %d", plain(i.ID), plain(i.Service), w.Revision)
}

// instance is what the flags say.
func (c serviceRegisterCmd) instance(s *session) (i client.Instance, err error) {
	if c.Name == "" || c.Address == "" {
		return i, misusef("name the service and its --address, or give a --file; see \"rollcall service register --help\"")
	}
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return i, misusef("give the instance an --id: this host has no name (%w)", err)
		}
		c.ID = host + "-" + c.Name
	}
	if c.TTL != nil && *c.TTL <= 0 {
		return i, misusef("--ttl %v: it must be more than nothing", *c.TTL)
	}
	i = client.Instance{
		Service: c.Name, ID: c.ID, Node: c.Node, Address: c.Address, Port: c.Port, Protocol: c.Protocol,
		Version: c.Release, Tags: c.Tag, Meta: c.Meta, Weight: c.Weight, Priority: c.Priority, Session: c.Session,
	}
	if c.TTL != nil {
		i.TTL = *c.TTL
	}
	if i.Checks, err = c.checks(); err != nil {
		return i, err
	}
	i.Credentials, err = c.credentials(s)
	return i, err
}

// credentialFlags say what the users of an instance need to know in secret.
type credentialFlags struct {
	Credential    []string `sep:"none" placeholder:"NAME=VALUE" help:"What its users need to know in secret; give it once for each. VALUE may be - for standard input or @FILE for a file. Left out, those that it has stay."`
	NoCredentials bool     `help:"It is to have no credentials any more."`
}

// credentials reads what is given; nil for nothing.
func (f credentialFlags) credentials(s *session) (client.Credentials, error) {
	switch {
	case f.NoCredentials && len(f.Credential) > 0:
		return nil, misusef("give either --credential or --no-credentials")
	case f.NoCredentials:
		return client.Credentials{}, nil
	case len(f.Credential) == 0:
		return nil, nil
	}
	all, stdin := client.Credentials{}, ""
	for _, one := range f.Credential {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" {
			return nil, misusef("--credential takes NAME=VALUE, NAME=@FILE or NAME=-") // and does not repeat what may be a secret
		}
		if _, twice := all[name]; twice {
			return nil, misusef("credential %s is given twice", plain(name))
		}
		if value == "-" {
			if stdin != "" {
				return nil, misusef("standard input cannot be both credential %s and credential %s", plain(stdin), plain(name))
			}
			stdin = name
		}
		secret, err := s.valueOf(value)
		if err != nil {
			return nil, fmt.Errorf("read credential %s: %w", plain(name), err)
		}
		if value == "-" || strings.HasPrefix(value, "@") {
			// Who writes a secret into a file with an editor, or with echo, does not mean the line's end.
			secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
		}
		all[name] = string(secret)
	}
	return all, nil
}

// checkFlags say how an instance is checked. A file can say more.
type checkFlags struct {
	HTTPCheck        string         `name:"http-check" placeholder:"URL" help:"The servers ask this URL: any status of 200 to 299 passes."`
	TCPCheck         string         `name:"tcp-check" placeholder:"HOST:PORT" help:"The servers connect to it."`
	GRPCCheck        string         `name:"grpc-check" placeholder:"HOST:PORT" help:"The servers ask it by the gRPC health checking protocol."`
	TTLCheck         *time.Duration `name:"ttl-check" placeholder:"TIME" help:"It reports by itself, at least so often: \"rollcall service report\"."`
	CheckInterval    *time.Duration `placeholder:"TIME" help:"How often the servers look; left out, 10s."`
	CheckTimeout     *time.Duration `placeholder:"TIME" help:"How long they wait for an answer; left out, 5s."`
	SuccessThreshold uint16         `placeholder:"N" help:"How many results in a row it takes to become better; left out, 1."`
	FailureThreshold uint16         `placeholder:"N" help:"How many results in a row it takes to become worse; left out, 1."`
	DeregisterAfter  *time.Duration `placeholder:"TIME" help:"It is gone when a check was critical for so long."`
}

func (f checkFlags) checks() (all []client.Check, err error) {
	for name, d := range map[string]*time.Duration{
		"--ttl-check": f.TTLCheck, "--check-interval": f.CheckInterval, "--check-timeout": f.CheckTimeout, "--deregister-after": f.DeregisterAfter,
	} {
		if d != nil && *d <= 0 {
			return nil, misusef("%s %v: it must be more than nothing", name, *d)
		}
	}
	if f.HTTPCheck != "" {
		all = append(all, client.Check{HTTP: &client.HTTPCheck{URL: f.HTTPCheck}})
	}
	if f.TCPCheck != "" {
		all = append(all, client.Check{TCP: &client.TCPCheck{Address: f.TCPCheck}})
	}
	if f.GRPCCheck != "" {
		all = append(all, client.Check{GRPC: &client.GRPCCheck{Address: f.GRPCCheck}})
	}
	if len(all) == 0 && (f.CheckInterval != nil || f.CheckTimeout != nil || f.SuccessThreshold != 0 || f.FailureThreshold != 0) {
		return nil, misusef("--check-interval, --check-timeout and the thresholds are for checks that the servers make: give --http-check, --tcp-check or --grpc-check")
	}
	for i := range all {
		c := &all[i]
		c.Interval, c.Timeout, c.SuccessThreshold, c.FailureThreshold = orNone(f.CheckInterval), orNone(f.CheckTimeout), f.SuccessThreshold, f.FailureThreshold
	}
	if f.TTLCheck != nil {
		all = append(all, client.Check{ID: ttlCheck, TTL: *f.TTLCheck})
	}
	if len(all) == 0 && f.DeregisterAfter != nil {
		return nil, misusef("--deregister-after is about checks: give one")
	}
	for i := range all {
		all[i].DeregisterAfter = orNone(f.DeregisterAfter)
	}
	return all, nil
}

// ttlCheck is the id of a TTL check that has no other: its kind.
const ttlCheck = "ttl"

func orNone(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

// registerFile registers the instances of a file, as many at a time as a transaction takes.
func registerFile(ctx context.Context, s *session, name string, r rehearsing) error {
	const fileBytesMax = 64 << 20
	text, err := s.readFile(name, fileBytesMax)
	if err != nil {
		return err
	}
	instances, services, err := parseServices(text)
	if err != nil {
		return fmt.Errorf("register %s: %w", fileName(name), err)
	}
	if r.DryRun && len(instances) > operationsMax {
		return misusef("--dry-run rehearses one commit, and %d instances take several: at most %d fit into one", len(instances), operationsMax)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	var revision uint64
	for at := 0; at < len(instances); at += operationsMax {
		var t client.Txn
		for _, i := range instances[at:min(at+operationsMax, len(instances))] {
			t.Then = append(t.Then, client.Operation{Register: &i})
		}
		result, err := cl.Txn(ctx, t, r.rehearse(nil, &plan)...)
		if err != nil {
			return fmt.Errorf("register %s: %d of %d instances are registered: %w", fileName(name), at, len(instances), err)
		}
		revision = result.Revision
		for _, r := range result.Results {
			for _, warning := range r.Warnings {
				s.warnf("warning: %s", warning)
			}
		}
	}
	switch {
	case r.DryRun:
		return s.rehearsed(ctx, cl, plan)
	case s.JSON:
		return s.line(map[string]any{"revision": revision, "services": services, "instances": len(instances)})
	}
	return s.sayf("%d instances of %d services are registered, at revision %d", len(instances), services, revision)
}

// instanceFields and checkFields are those of the client without its methods, which take what they do not know.
type (
	instanceFields client.Instance
	checkFields    client.Check
)

// fileInstance is an instance in a file.
type fileInstance struct {
	instanceFields
	TTL    fileTime    `json:"ttl"`
	Checks []fileCheck `json:"checks"`
}

// fileCheck is a check in a file.
type fileCheck struct {
	checkFields
	TTL             fileTime `json:"ttl"`
	Interval        fileTime `json:"interval"`
	Timeout         fileTime `json:"timeout"`
	DeregisterAfter fileTime `json:"deregister_after"`
}

// fileTime is a length of time in a file, such as "1m30s".
type fileTime time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *fileTime) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err == nil && d <= 0 {
		err = fmt.Errorf("a time of %v: it must be more than nothing", d)
	}
	*t = fileTime(d)
	return err
}

func (f fileInstance) instance() client.Instance {
	i := client.Instance(f.instanceFields)
	i.TTL = time.Duration(f.TTL)
	for _, given := range f.Checks {
		c := client.Check(given.checkFields)
		c.TTL, c.Interval, c.Timeout = time.Duration(given.TTL), time.Duration(given.Interval), time.Duration(given.Timeout)
		c.DeregisterAfter = time.Duration(given.DeregisterAfter)
		i.Checks = append(i.Checks, c)
	}
	return i
}

// parseServices reads a file of services. It refuses fields that mean nothing, because each may be a misspelt one.
func parseServices(text []byte) (instances []client.Instance, services int, err error) {
	var file struct {
		Services []struct {
			Service   string         `json:"service"`
			Instances []fileInstance `json:"instances"`
		} `json:"services"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", position(text, d.InputOffset()), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("%s: there is more behind the document", position(text, d.InputOffset()))
	}
	for _, s := range file.Services {
		for _, one := range s.Instances {
			i := one.instance()
			if i.Service != "" && i.Service != s.Service {
				return nil, 0, fmt.Errorf("instance %q stands under service %q and says that it is of %q", i.ID, s.Service, i.Service)
			}
			i.Service = s.Service
			instances = append(instances, i)
		}
	}
	if len(instances) == 0 {
		return nil, 0, errors.New(`it holds no instances; see "rollcall service register --help" for its form`)
	}
	return instances, len(file.Services), nil
}

// position gives line and column of an offset in a document, as editors count them.
func position(document []byte, offset int64) string {
	before := document[:min(max(offset, 0), int64(len(document)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line, max(column, 1))
}
