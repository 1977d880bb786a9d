package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall/rollcall/client"
)

type serviceReportCmd struct {
	Name   string `arg:"" complete:"services" help:"The service."`
	Status string `arg:"" enum:"passing,warning,critical" help:"How it is: passing, warning or critical."`
	ID     string `name:"id" required:"" complete:"instances" help:"The instance."`
	Check  string `default:"ttl" complete:"checks" help:"The TTL check; left out, the one called ttl."`
	Output string `complete:"values" placeholder:"TEXT" help:"In words, for people; - is standard input and @FILE is a file."`
	rehearsing
}

// Help teaches by example.
func (serviceReportCmd) Help() string {
	return `Examples:

    rollcall service report api passing --id api-1
    rollcall service report api warning --id api-1 --output "the queue is long"
    df -h | rollcall service report api critical --id api-1 --check ttl --output -

A TTL check is critical when nothing was reported for its TTL, so report about every third of it; only a change of status is
written into the ledger.`
}

// Run reports.
func (c serviceReportCmd) Run(ctx context.Context, s *session) error {
	output, err := s.valueOf(c.Output)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	r, err := cl.Report(ctx, c.Name, c.ID, c.Check, client.Status(c.Status), string(output), c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	case s.JSON:
		return s.line(r)
	case r.TTL == 0:
		return s.sayf("check %s of %s is %s, at revision %d", plain(c.Check), plain(c.ID), c.Status, r.Revision)
	}
	return s.sayf("check %s of %s is %s, at revision %d; report again within %v", plain(c.Check), plain(c.ID), c.Status, r.Revision, r.TTL)
}

type serviceMaintenanceCmd struct {
	Name  string `arg:"" complete:"services" help:"The service."`
	State string `arg:"" enum:"on,off" help:"on takes it out of use, off puts it back."`
	ID    string `name:"id" required:"" complete:"instances" help:"The instance."`
	rehearsing
}

// Help teaches by example.
func (serviceMaintenanceCmd) Help() string {
	return `Examples:

    rollcall service maintenance web on --id web-1 --reason "new disk"
    rollcall service maintenance web off --id web-1

While it is in maintenance DNS does not show it, whatever its checks say. The --reason is shown with the instance for as long
as it lasts, and kept on the event. Deregistering the instance ends it, too.`
}

// Run takes an instance out of use, or puts it back.
func (c serviceMaintenanceCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var plan client.Rehearsal
	w, err := cl.SetMaintenance(ctx, c.Name, c.ID, c.State == "on", s.Reason, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "maintenance of %s of %s is %s, at revision %d", plain(c.ID), plain(c.Name), c.State, w.Revision)
}

type serviceCredentialsCmd struct {
	Name       string `arg:"" complete:"services" help:"The service."`
	Credential string `arg:"" optional:"" help:"The credential whose value to write; left out, all of them with their names."`
	ID         string `name:"id" required:"" complete:"instances" help:"The instance."`
	At         string `placeholder:"REVISION|TIME" help:"As they were then."`
}

// Help teaches by example.
func (serviceCredentialsCmd) Help() string {
	return `Examples:

    rollcall service credentials db --id db-1
    PGPASSWORD=$(rollcall service credentials db password --id db-1)

They are in no event and in no other answer. An instance gets them when it is registered: see "rollcall service register
--help".`
}

// Run shows secrets to who asked for them by name.
func (c serviceCredentialsCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	found, err := cl.Credentials(ctx, c.Name, c.ID, options...)
	if err != nil {
		return err
	}
	if c.Credential != "" {
		value, ok := found.Credentials[c.Credential]
		if !ok {
			return fmt.Errorf("instance %q has no credential %q", c.Name+"/"+c.ID, c.Credential)
		}
		if s.JSON {
			return s.line(map[string]any{"name": c.Credential, "value": value})
		}
		return s.sayf("%s", value) // as it is: a program wants it
	}
	if s.JSON {
		return s.line(found)
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(found.Credentials)) {
		rows = append(rows, []string{plain(name), plain(found.Credentials[name])})
	}
	return table(s.stdout, rows)
}

type serviceConfigureCmd struct {
	Name        string         `arg:"" complete:"services" help:"The service; it need not have instances."`
	DNSTTL      *time.Duration `name:"dns-ttl" placeholder:"TIME" help:"For how long DNS answers may be cached, in whole seconds; 0s for not at all, as it is at first."`
	OnlyPassing *bool          `negatable:"" help:"Keep instances that are in warning out of use; --no-only-passing has them used, as it is at first."`
	rehearsing
}

// Help teaches by example.
func (serviceConfigureCmd) Help() string {
	return `What is not named stays as it is.

    rollcall service configure web --dns-ttl 30s
    rollcall service configure web --only-passing --reason "warnings mean trouble"`
}

// Run configures a service.
func (c serviceConfigureCmd) Run(ctx context.Context, s *session) error {
	if c.DNSTTL == nil && c.OnlyPassing == nil {
		return misusef("nothing to configure: name --dns-ttl or --only-passing")
	}
	if c.DNSTTL != nil && *c.DNSTTL < 0 {
		return misusef("--dns-ttl %v: it must not be less than nothing", *c.DNSTTL)
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	// The server takes all settings at once. Of two people who change different ones at the same moment, one may undo
	// what the other did; the ledger shows it.
	now, err := cl.Instances(ctx, c.Name, client.Query{})
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return err
	}
	settings := now.Settings
	if c.DNSTTL != nil {
		settings.DNSTTL = *c.DNSTTL
	}
	if c.OnlyPassing != nil {
		settings.OnlyPassing = *c.OnlyPassing
	}
	var plan client.Rehearsal
	w, err := cl.ConfigureService(ctx, c.Name, settings, c.rehearse(nil, &plan)...)
	switch {
	case err != nil:
		return err
	case c.DryRun:
		return s.rehearsed(ctx, cl, plan)
	}
	return s.result(w, "service %s is configured, at revision %d: %s", plain(c.Name), w.Revision, settingsOf(settings))
}

// settingsOf says what holds for a service.
func settingsOf(settings client.ServiceSettings) string {
	words := "DNS answers may not be cached"
	if settings.DNSTTL > 0 {
		words = "DNS answers may be cached for " + settings.DNSTTL.String()
	}
	if settings.OnlyPassing {
		return words + ", and instances in warning are kept out of use"
	}
	return words + ", and a warning counts as passing"
}

type serviceWatchCmd struct {
	Name string `arg:"" complete:"services" help:"The service."`
	From uint64 `placeholder:"REVISION" help:"Begin with this revision; left out, with what happens from now on."`
}

// Help teaches by example.
func (serviceWatchCmd) Help() string {
	return `Examples:

    rollcall service watch web
    rollcall service watch web --from 1 --json     all that ever happened to its instances, then what happens

It is "rollcall watch" for the instances of one service: that they are registered, how they are, and that they are gone. It
goes on over lost connections, without gap or repeat, until it is interrupted. What happens to the node of an instance is
told by "rollcall watch 'node.>'".`
}

// Run shows changes until the context ends.
func (c serviceWatchCmd) Run(ctx context.Context, s *session) error {
	return watchCmd{Subject: client.InstancesSubject(c.Name), From: c.From}.Run(ctx, s)
}

type serviceShowCmd struct {
	Name string `arg:"" complete:"services" help:"The service."`
	ID   string `arg:"" optional:"" name:"id" complete:"instances" help:"The instance; left out, all of them, and the service's settings."`
	At   string `placeholder:"REVISION|TIME" help:"As it was then."`
}

// Help teaches by example.
func (serviceShowCmd) Help() string {
	return `Examples:

    rollcall service show web
    rollcall service show web web-1
    rollcall service show web web-1 --json | jq '.checks[] | select(.status != "passing") | .output'

It says of an instance how it is, which event makes it so, and how each of its checks is, since when and with what output.`
}

// Run shows a service or an instance.
func (c serviceShowCmd) Run(ctx context.Context, s *session) error {
	options, err := readOptions(c.At)
	if err != nil {
		return err
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.ID != "" {
		i, err := cl.Instance(ctx, c.Name, c.ID, options...)
		switch {
		case err != nil:
			return err
		case s.JSON:
			return s.line(i)
		}
		return s.tellInstance(i)
	}
	service, err := cl.Instances(ctx, c.Name, client.Query{}, options...)
	switch {
	case err != nil:
		return err
	case s.JSON:
		return s.line(service)
	}
	if err := s.sayf("service %s, with %d instances: %s", plain(service.Service), len(service.Instances), settingsOf(service.Settings)); err != nil {
		return err
	}
	for _, i := range service.Instances {
		if err := s.sayf(""); err != nil {
			return err
		}
		if err := s.tellInstance(i); err != nil {
			return err
		}
	}
	return nil
}

// tellInstance shows all that is known about an instance.
func (s *session) tellInstance(i client.InstanceState) error {
	rows := [][]string{
		{"instance", plain(i.ID) + " of " + plain(i.Service)},
		{"status", string(i.Status)},
		{"because", fmt.Sprintf("#%d %s, %s", i.Because.Revision, plain(kindOf(i.Because.Type)), moment(i.Because.Time))},
	}
	optional := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	optional("reason", plain(i.Reason))
	optional("address", hostPort(i.Instance))
	optional("node", plain(i.Node))
	optional("protocol", plain(i.Protocol))
	optional("version", plain(i.Version))
	optional("tags", plain(strings.Join(i.Tags, ",")))
	optional("meta", metaWords(i.Meta))
	if i.Weight != nil && i.Priority != nil && (*i.Weight != 1 || *i.Priority != 1) {
		optional("weight", strconv.Itoa(int(*i.Weight))+" at priority "+strconv.Itoa(int(*i.Priority)))
	}
	optional("session", plain(i.Session))
	if i.TTL > 0 {
		optional("ttl", i.TTL.String())
	}
	optional("registered", fmt.Sprintf("#%d, %s", i.Revision, moment(i.Time)))
	for _, c := range i.Checks {
		rows = append(rows, checkRows(c)...)
	}
	return table(s.stdout, rows)
}

func metaWords(meta map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		words = append(words, plain(name)+"="+plain(meta[name]))
	}
	return strings.Join(words, " ")
}

// checkRows say how a check is. They are indented by what they are about.
func checkRows(c client.CheckState) [][]string {
	rows := [][]string{
		{"check " + plain(c.ID), fmt.Sprintf("%s since %s, #%d", c.Status, moment(c.Since), c.Revision)},
		{"  asks", checkWords(c.Check)},
	}
	if c.Server != "" {
		rows = append(rows, []string{"  seen by", plain(c.Server) + ", " + moment(c.Looked)})
	}
	if output := strings.TrimRight(c.Output, "\n"); output != "" {
		name := "  output"
		for line := range strings.SplitSeq(output, "\n") {
			rows = append(rows, []string{name, plain(line)})
			name = ""
		}
	}
	if c.Fault != "" {
		rows = append(rows, []string{"  fault", plain(c.Fault)})
	}
	return rows
}

// checkWords say what a check asks.
func checkWords(c client.Check) string {
	var words string
	switch {
	case c.HTTP != nil:
		words = plain(c.HTTP.URL)
	case c.TCP != nil:
		words = "tcp " + plain(c.TCP.Address)
	case c.GRPC != nil:
		words = strings.TrimSpace("grpc " + plain(c.GRPC.Address) + " " + plain(c.GRPC.Service))
	case c.Command != nil:
		words = "command " + plain(strings.Join(c.Command.Args, " "))
	case c.Alias != nil:
		words = strings.TrimSuffix("service "+plain(c.Alias.Service)+"/"+plain(c.Alias.ID), "/")
	case c.TTL > 0:
		words = "for a report every " + c.TTL.String()
	}
	if c.Interval > 0 {
		words += " every " + c.Interval.String()
	}
	if c.DeregisterAfter > 0 {
		words += "; deregisters when critical for " + c.DeregisterAfter.String()
	}
	return words
}

// kindOf is the type of an event as people read it.
func kindOf(kind string) string { return strings.TrimPrefix(kind, "rollcall.") }

// why says in a few words which event makes an instance what it is, and what of it is bad.
func why(i client.InstanceState) string {
	if i.Because.Revision == 0 {
		return ""
	}
	text := fmt.Sprintf("#%d %s", i.Because.Revision, plain(kindOf(i.Because.Type)))
	var bad []string
	for _, c := range i.Checks {
		if c.Status == i.Status && c.Status != client.Passing {
			bad = append(bad, plain(c.ID))
		}
	}
	switch {
	case len(bad) > 0:
		return text + ": " + strings.Join(bad, ", ")
	case i.Reason != "":
		return text + ": " + plain(i.Reason)
	}
	return text
}
