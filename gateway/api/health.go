package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

func healthOperations() []operation {
	return []operation{{
		id: "checks.put", method: http.MethodPut, path: instancePath + "/checks/{check}", group: "services", write: true,
		summary: "Report how an instance is",
		about: "For TTL checks, which are critical when nothing was reported for their TTL. Only a change of status is an event; reporting the same again renews the TTL. " +
			"The output is kept in the memory of the servers, the first 4 KiB of it, and wakes nobody.",
		body:    jsonBody[report]("The status"),
		answers: []answer{{status: 200, about: "It is known", headers: []string{"ETag"}, as: asJSON[reported]()}},
		refusals: []commands.Code{
			commands.CodeNotFound, commands.CodeInvalidArgument, commands.CodeBusy, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody, commands.CodeTooLarge,
		},
		handle: putReport,
	}, {
		id: "instances.maintenance", method: http.MethodPut, path: instancePath + "/maintenance", group: "services", write: true,
		summary: "Take an instance out of use, or put it back",
		about:   "While it is in maintenance DNS does not show it and it is not passing, whatever its checks say. Deregistering the instance ends it.",
		body:    jsonBody[maintenance]("Whether, and why"),
		answers: []answer{{status: 200, about: "So it is", headers: []string{"ETag"}, as: asJSON[written]()}},
		refusals: []commands.Code{
			commands.CodeNotFound, commands.CodeInvalidArgument, gateway.CodeInvalidJSON, gateway.CodeUnknownField, gateway.CodeInvalidBody, commands.CodeTooLarge,
		},
		handle: func(c *call) error {
			return c.maintain(func(m maintenance) commands.Command {
				return commands.SetInstanceMaintenance{Service: c.param("service"), ID: c.param("id"), Enabled: *m.Enabled, Reason: m.Reason}
			})
		},
	}, {
		id: "instances.credentials", method: http.MethodGet, path: instancePath + "/credentials", group: "services",
		summary:  "Read an instance's credentials",
		about:    "They are in no other answer, nor in DNS, in events or in notifications.",
		answers:  []answer{{status: 200, about: "The credentials; none is an empty object", as: asJSON[credentials]()}},
		refusals: []commands.Code{commands.CodeNotFound},
		handle:   getCredentials,
	}}
}

// report is what an instance says of itself.
type report struct {
	Status string `json:"status" enum:"passing,warning,critical"`
	Output string `json:"output,omitempty" doc:"In words, for people"`
}

// reported is the answer to a report.
type reported struct {
	Revision event.Revision `json:"revision" doc:"The event that made the check what it is"`
	TTL      string         `json:"ttl,omitempty" doc:"Within what the next report is due; left out where it is critical"`
}

// maintenance says whether something is kept out of use.
type maintenance struct {
	Enabled *bool  `json:"enabled"`
	Reason  string `json:"reason,omitempty"`
}

// credentials are what the users of an instance need to know in secret.
type credentials struct {
	Credentials map[string]string `json:"credentials"`
	Revision    event.Revision    `json:"revision,omitempty" doc:"The commit that set them; left out where there are none"`
}

// instanceState is an instance with what is known about it.
type instanceState struct {
	Service        string            `json:"service"`
	ID             string            `json:"id"`
	Node           string            `json:"node"`
	Address        string            `json:"address"`
	Port           uint16            `json:"port"`
	Protocol       string            `json:"protocol"`
	Version        string            `json:"version"`
	Tags           []string          `json:"tags" doc:"Sorted"`
	Meta           map[string]string `json:"meta"`
	Weight         uint16            `json:"weight"`
	Priority       uint16            `json:"priority"`
	Session        string            `json:"session,omitempty"`
	TTL            string            `json:"ttl,omitempty"`
	Status         string            `json:"status" enum:"passing,warning,critical,maintenance" doc:"Maintenance before all, then the worst of the checks"`
	Because        because           `json:"because" doc:"The event that makes it so"`
	Reason         string            `json:"reason,omitempty" doc:"Why it is in maintenance"`
	Checks         []checkState      `json:"checks"`
	Revision       event.Revision    `json:"revision" doc:"The commit that last changed the registration"`
	CreateRevision event.Revision    `json:"create_revision" doc:"The commit that made it"`
	Time           string            `json:"time" format:"date-time"`

	verdict event.Verdict
	latest  event.Revision // the last event that the state shows
}

// because names the event that makes something what it is.
type because struct {
	Revision event.Revision `json:"revision"`
	Type     string         `json:"type"`
	Time     string         `json:"time" format:"date-time"`
}

// checkState is a check with how it turned out.
type checkState struct {
	gateway.Check
	Status   string         `json:"status" enum:"passing,warning,critical"`
	Since    string         `json:"since" format:"date-time" doc:"Since when it has that status"`
	Revision event.Revision `json:"revision" doc:"The event that made it so"`
	Output   string         `json:"output,omitempty" doc:"What the last look at it gave, where a server has it in memory"`
	Server   string         `json:"server,omitempty" doc:"The server that looks at it, or that was reported to"`
	Looked   string         `json:"looked,omitempty" format:"date-time" doc:"When that was"`
	Fault    string         `json:"fault,omitempty" doc:"Why the last looks do not count: the fault seems to be the observer's"`
}

func newInstanceState(r event.Registration, h event.Health, node event.MaintenanceState) instanceState {
	v := h.Verdict(r, node)
	s := instanceState{
		Service: r.Service, ID: r.ID, Node: r.Node, Address: r.Address, Port: r.Port, Protocol: r.Protocol,
		Version: r.Version, Tags: r.Tags, Meta: r.Meta, Weight: r.Weight, Priority: r.Priority, Session: r.Session,
		TTL: gateway.FormatTTL(r.TTL), Status: v.Status.String(),
		Because: because{v.Revision, gateway.TypeOf(v.Kind), gateway.FormatTime(v.Time)},
		Checks:  []checkState{}, Revision: r.Revision, CreateRevision: r.CreateRevision, Time: gateway.FormatTime(r.Time),
		verdict: v, latest: max(r.Revision, h.Maintenance.Revision, node.Revision),
	}
	switch {
	case h.Maintenance.Enabled:
		s.Reason = h.Maintenance.Reason
	case node.Enabled:
		s.Reason = node.Reason
	}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if s.Meta == nil {
		s.Meta = map[string]string{}
	}
	for n, c := range h.Checks {
		s.latest = max(s.latest, c.Revision)
		s.Checks = append(s.Checks, checkState{
			Check: gateway.NewCheck(r.Checks[n]), Status: c.Status.String(), Since: gateway.FormatTime(c.Time), Revision: c.Revision,
		})
	}
	return s
}

// shows is the last revision that made the instance what it shows; outputs are no part of it.
func (s instanceState) shows() event.Revision { return s.latest }

// observe adds to the checks of instances of a service what the servers that look at them have in memory.
// The past has none, and who cannot be asked keeps nobody waiting.
func (c *call) observe(service string, instances []instanceState) {
	checked := slices.ContainsFunc(instances, func(s instanceState) bool { return len(s.Checks) > 0 })
	if c.query["at"] != nil || !checked {
		return
	}
	seen, err := c.api.Backend.Observations(c.ctx, c.namespace, service)
	if err != nil {
		return
	}
	for i := range instances {
		for n := range instances[i].Checks {
			check := &instances[i].Checks[n]
			if o, ok := seen[gateway.CheckKey{ID: instances[i].ID, Check: check.ID}]; ok {
				check.Output, check.Server, check.Fault = o.Output, o.Server, o.Fault
				check.Looked = o.At.UTC().Format(time.RFC3339Nano)
				if check.TTL != "" && o.Status.String() != check.Status { // it lapsed: this was said before
					check.Output = strings.TrimSuffix("nothing was reported for "+check.TTL+"; the last report was "+o.Status.String()+": "+o.Output, ": ")
				}
			}
		}
	}
}

// outputBytesMax is how much of an output is kept.
const outputBytesMax = 4 << 10

// note has what an instance said of itself be remembered.
func (c *call) note(r commands.ReportStatus, output string) {
	if len(output) > outputBytesMax {
		output = strings.ToValidUTF8(output[:outputBytesMax], "")
	}
	output = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD' // it is shown in terminals
		}
		return r
	}, output)
	c.api.Backend.Note(c.namespace, r.Service, gateway.CheckKey{ID: r.ID, Check: r.Check}, gateway.Observation{
		Status: r.Status, Output: output, At: c.api.Now(),
	})
}

// reportTries is how often a report is tried when something else happens to the check at the same moment.
const reportTries = 3

func putReport(c *call) error {
	raw, err := c.body(jsonBytesMax, "the report")
	if err != nil {
		return err
	}
	var given report
	if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
		return err
	}
	status, err := gateway.ParseStatus(given.Status)
	if err != nil {
		return gateway.NewProblem(commands.CodeInvalidArgument, "status: %v", err)
	}
	at := commands.ReportStatus{Service: c.param("service"), ID: c.param("id"), Check: c.param("check"), Status: status}
	revision, ttl, err := c.report(at)
	if err != nil {
		return err
	}
	c.note(at, given.Output)
	c.committed(revision)
	return c.json(http.StatusOK, reported{Revision: revision, TTL: ttl})
}

// report makes a report known. What is known already is no event, and none of Raft's business: it renews the check's TTL.
func (c *call) report(r commands.ReportStatus) (revision event.Revision, ttl string, err error) {
	if r.Status == event.Critical || c.flag(dryRun) {
		answer, err := c.submit(c.namespace, r)
		return answer.Revision, "", err
	}
	lease := gateway.Lease{Service: r.Service, ID: r.ID, Check: r.Check, Status: r.Status}
	submit := func() (commands.Answer, error) { return c.submit(c.namespace, r) }
	for range reportTries {
		renewal, err := c.api.Backend.Renew(c.ctx, c.namespace, lease)
		if err == nil {
			return renewal.Revision, gateway.FormatDuration(event.Time(renewal.TTL)), nil
		}
		if !errors.Is(err, gateway.ErrNoLease) {
			return 0, "", err
		}
		if _, err := submit(); err != nil {
			return 0, "", err
		}
		submit = func() (commands.Answer, error) { return c.submitNext(r) }
	}
	return 0, "", gateway.NewProblem(commands.CodeBusy, "check %q of instance %q was changed by others at this moment; try again", r.Check, r.ID)
}

func (c *call) maintain(command func(maintenance) commands.Command) error {
	raw, err := c.body(jsonBytesMax, "the body")
	if err != nil {
		return err
	}
	var given maintenance
	if err := decode(raw, &given, commands.CodeInvalidArgument); err != nil {
		return err
	}
	if given.Enabled == nil {
		return gateway.NewProblem(commands.CodeInvalidArgument, "enabled is missing: true takes it out of use, false puts it back")
	}
	answer, err := c.submit(c.namespace, command(given))
	if err != nil {
		return err
	}
	return c.written(http.StatusOK, answer.Revision)
}

func getCredentials(c *call) error {
	out := credentials{Credentials: map[string]string{}}
	err := c.view(c.namespace, func(v gateway.View) error {
		service, id := c.param("service"), c.param("id")
		if _, ok := v.Instance(service, id); !ok {
			return gateway.NewProblem(commands.CodeNotFound, "service %q has no instance %q", service, id)
		}
		if values, at := v.Credentials(service, id); at > 0 {
			out = credentials{values, at}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.set("Cache-Control", "no-store")
	return c.json(http.StatusOK, out)
}

// statuses are the ones that may be asked for.
func parseStatuses(all []string) (map[string]bool, error) {
	wanted := map[string]bool{}
	for _, s := range all {
		if _, err := gateway.ParseStatus(s); err != nil && s != event.Maintenance.String() {
			return nil, gateway.NewProblem(gateway.CodeInvalidParameter, "%s", fmt.Sprintf("\"status\" is %.40q; it takes passing, warning, critical or maintenance", s))
		}
		wanted[s] = true
	}
	return wanted, nil
}
