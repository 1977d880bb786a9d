package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/client"
)

type serviceCmd struct {
	Register    serviceRegisterCmd    `cmd:"" help:"Say that an instance of a service runs, for good or while a command does."`
	Deregister  serviceDeregisterCmd  `cmd:"" help:"Say that an instance is gone."`
	List        serviceListCmd        `cmd:"" help:"List services, or the instances of one."`
	Show        serviceShowCmd        `cmd:"" help:"Show how the instances of a service are, and why."`
	Resolve     serviceResolveCmd     `cmd:"" help:"Write HOST:PORT of the instances that can be used."`
	Watch       serviceWatchCmd       `cmd:"" help:"Show what happens to the instances of a service, as it happens."`
	Report      serviceReportCmd      `cmd:"" help:"Say how an instance is, by a TTL check of it."`
	Maintenance serviceMaintenanceCmd `cmd:"" help:"Take an instance out of use, or put it back."`
	Credentials serviceCredentialsCmd `cmd:"" help:"Read what the users of an instance need to know in secret."`
	Configure   serviceConfigureCmd   `cmd:"" help:"Set what holds for a service as a whole."`
}

type serviceDeregisterCmd struct {
	Name string `arg:"" complete:"services" help:"The service."`
	ID   string `name:"id" required:"" complete:"instances" help:"The instance."`
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
	Name    string   `arg:"" optional:"" complete:"services" help:"The service whose instances to list; left out, all services."`
	Tag     []string `help:"Only instances with this tag; give it once for each."`
	Passing bool     `help:"Only instances that may be used."`
	Status  []string `enum:"passing,warning,critical,maintenance" placeholder:"STATUS" help:"Only instances that are passing, warning, critical or in maintenance; give it once for each."`
	Filter  string   `placeholder:"EXPRESSION" help:"Only instances for which it holds, such as 'meta.zone == \"a\"' (go-bexpr)."`
	At      string   `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (serviceListCmd) Help() string {
	return `Examples:

    rollcall service list
    rollcall service list web
    rollcall service list web --tag blue --json
    rollcall service list web --status critical --status warning
    rollcall service list web --filter 'meta.zone == "a" and "blue" in tags'
    rollcall service list --at 41

Of each instance it writes the id, the address, the status, the node, the version, the tags, and which event makes it what it
is. "rollcall service show" says more.`
}

// Run lists services or instances.
func (c serviceListCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	query := client.Query{Tags: c.Tag, Passing: c.Passing, Filter: c.Filter}
	for _, status := range c.Status {
		query.Statuses = append(query.Statuses, client.Status(status))
	}
	if c.Name == "" && (len(c.Tag) > 0 || c.Passing || len(c.Status) > 0 || c.Filter != "") {
		return misusef("--tag, --passing, --status and --filter choose among the instances of a service: name the service")
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
			return []string{plain(v.Service), strconv.Itoa(v.Instances), strconv.Itoa(v.Passing) + " passing", plain(strings.Join(v.Tags, ","))}
		})
	}
	service, err := cl.Instances(ctx, c.Name, query, options...)
	if err != nil {
		return err
	}
	return rows(s, service.Instances, func(i client.InstanceState) []string {
		return []string{plain(i.ID), hostPort(i.Instance), string(i.Status), plain(i.Node), plain(i.Version), plain(strings.Join(i.Tags, ",")), why(i)}
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
