package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rollcall/rollcall/client"
)

// operationsMax is how many operations one transaction takes, and how many conditions.
const operationsMax = 512

type serviceCmd struct {
	Register   serviceRegisterCmd   `cmd:"" help:"Say that an instance of a service runs."`
	Deregister serviceDeregisterCmd `cmd:"" help:"Say that an instance is gone."`
	List       serviceListCmd       `cmd:"" help:"List services, or the instances of one."`
	Resolve    serviceResolveCmd    `cmd:"" help:"Write HOST:PORT of the instances that can be used."`
}

type serviceRegisterCmd struct {
	Name     string            `arg:"" optional:"" complete:"services" help:"The service."`
	ID       string            `name:"id" help:"The instance; left out, HOST-SERVICE, with this host's name."`
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
	File     string            `placeholder:"FILE" help:"Register all instances of a JSON file instead; - is standard input."`
	rehearsing
}

// Help teaches by example.
func (serviceRegisterCmd) Help() string {
	return `Examples:

    rollcall service register web --id web-1 --address 10.0.0.7 --port 8080
    rollcall service register web --id web-2 --address 10.0.0.8 --port 8080 --protocol http --tag blue --meta zone=a
    rollcall service register web --id web-3 --address 10.0.0.9 --port 8080 --session 7      gone when session 7 is
    rollcall service register --file services.json

Registering the same thing again changes nothing; registering another thing under the same id replaces it.

A file has this form, where an instance takes what the flags above set:

    {"services": [{"service": "web", "instances": [{"id": "web-1", "address": "10.0.0.7", "port": 8080}]}]}

Its instances are registered in one transaction, or in several when they are more than 512.`
}

// Run registers instances.
func (c serviceRegisterCmd) Run(ctx context.Context, s *session) error {
	if c.File != "" {
		if c.Name != "" {
			return misusef("give either a service to register or --file, not both")
		}
		if c.DryRun {
			return misusef("--dry-run rehearses one commit, and a --file may take several")
		}
		return registerFile(ctx, s, c.File)
	}
	if c.Name == "" || c.Address == "" {
		return misusef("name the service and its --address, or give a --file; see \"rollcall service register --help\"")
	}
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return misusef("give the instance an --id: this host has no name (%w)", err)
		}
		c.ID = host + "-" + c.Name
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.Register(ctx, client.Instance{
		Service: c.Name, ID: c.ID, Node: c.Node, Address: c.Address, Port: c.Port, Protocol: c.Protocol,
		Version: c.Release, Tags: c.Tag, Meta: c.Meta, Weight: c.Weight, Priority: c.Priority,
		Session: c.Session,
	}, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s of %s is registered, at revision %d", plain(c.ID), plain(c.Name), w.Revision)
}

// registerFile registers the instances of a file, as many at a time as a transaction takes.
func registerFile(ctx context.Context, s *session, name string) error {
	const fileBytesMax = 64 << 20
	text, err := s.readFile(name, fileBytesMax)
	if err != nil {
		return err
	}
	instances, services, err := parseServices(text)
	if err != nil {
		return fmt.Errorf("register %s: %w", fileName(name), err)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var revision uint64
	for at := 0; at < len(instances); at += operationsMax {
		var t client.Txn
		for _, i := range instances[at:min(at+operationsMax, len(instances))] {
			t.Then = append(t.Then, client.Operation{Register: &i})
		}
		result, err := cl.Txn(ctx, t)
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
	if s.JSON {
		return s.line(map[string]any{"revision": revision, "services": services, "instances": len(instances)})
	}
	return s.sayf("%d instances of %d services are registered, at revision %d", len(instances), services, revision)
}

// parseServices reads a file of services. It refuses fields that mean nothing, because each may be a misspelt one.
func parseServices(text []byte) (instances []client.Instance, services int, err error) {
	var file struct {
		Services []struct {
			Service   string            `json:"service"`
			Instances []client.Instance `json:"instances"`
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
		for _, i := range s.Instances {
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

type serviceDeregisterCmd struct {
	Name string `arg:"" complete:"services" help:"The service."`
	ID   string `name:"id" required:"" help:"The instance."`
	rehearsing
}

// Help teaches by example.
func (serviceDeregisterCmd) Help() string {
	return `Examples:

    rollcall service deregister web --id web-1 --reason "replaced by web-3"`
}

// Run removes an instance.
func (c serviceDeregisterCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.Deregister(ctx, c.Name, c.ID, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "%s of %s is gone, at revision %d", plain(c.ID), plain(c.Name), w.Revision)
}

type serviceListCmd struct {
	Name string   `arg:"" optional:"" complete:"services" help:"The service whose instances to list; left out, all services."`
	Tag  []string `help:"Only instances with this tag; give it once for each."`
	At   string   `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (serviceListCmd) Help() string {
	return `Examples:

    rollcall service list
    rollcall service list web
    rollcall service list web --tag blue --json
    rollcall service list --at 41`
}

// Run lists services or instances.
func (c serviceListCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	if c.Name == "" && len(c.Tag) > 0 {
		return misusef("--tag chooses among the instances of a service: name the service")
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.Name == "" {
		services, err := cl.Services(ctx, options...)
		if err != nil {
			return err
		}
		return rows(s, services, func(v client.ServiceSummary) []string {
			return []string{plain(v.Service), strconv.Itoa(v.Instances), strings.Join(v.Tags, ",")}
		})
	}
	service, err := cl.Instances(ctx, c.Name, client.Query{Tags: c.Tag}, options...)
	if err != nil {
		return err
	}
	return rows(s, service.Instances, func(i client.InstanceState) []string {
		return []string{plain(i.ID), hostPort(i.Instance), string(i.Status), plain(i.Node), plain(i.Version), strings.Join(i.Tags, ",")}
	})
}

// rows writes one line for each thing: JSON, or a row of a table.
func rows[T any](s *session, things []T, row func(T) []string) error {
	var cells [][]string
	for _, thing := range things {
		if s.JSON {
			if err := s.line(thing); err != nil {
				return err
			}
			continue
		}
		cells = append(cells, row(thing))
	}
	return table(s.stdout, cells)
}

type serviceResolveCmd struct {
	Name string   `arg:"" complete:"services" help:"The service."`
	Tag  []string `help:"Only instances with this tag; give it once for each."`
}

// Help teaches by example.
func (serviceResolveCmd) Help() string {
	return `Examples:

    rollcall service resolve web
    curl http://$(rollcall service resolve web --tag blue | head -1)/

No instance that can be used is exit status 1.`
}

// Run writes the addresses of the instances that are passing.
func (c serviceResolveCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	service, err := cl.Instances(ctx, c.Name, client.Query{Tags: c.Tag, Passing: true})
	if err != nil {
		return err
	}
	if len(service.Instances) == 0 {
		return fmt.Errorf("no instance of service %q can be used; \"rollcall service list %s\" shows all of them", c.Name, c.Name)
	}
	for _, i := range service.Instances {
		if s.JSON {
			err = s.line(i)
		} else {
			err = s.sayf("%s", hostPort(i.Instance))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hostPort is where an instance can be reached; without a port it is the host alone.
func hostPort(i client.Instance) string {
	if i.Port == 0 {
		return i.Address
	}
	return net.JoinHostPort(i.Address, strconv.Itoa(int(i.Port)))
}

// position gives line and column of an offset in a document, as editors count them.
func position(document []byte, offset int64) string {
	before := document[:min(max(offset, 0), int64(len(document)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line, max(column, 1))
}
