package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/rollcall/rollcall/test/check"
)

// What clients do with the registry: instances that report how they are, and lookers who ask DNS for them.

// beatTTL is short, as leaseTTL is: many checks lapse while whoever reports cannot reach a server.
const beatTTL = time.Second

// registers tells whether a server has health checks.
func registers(s *server) bool {
	b, err := get(s, "/openapi.json")
	return err == nil && strings.Contains(string(b), "checks.put")
}

// beat has a client register instances, report on each for a while, and forget it then, until ctx ends.
func (c *client) beat(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		c.report(ctx, fmt.Sprintf("b%d-%d", c.number, n))
		c.rest(ctx, beatTTL/4)
	}
}

// report registers an instance and reports on its check up to twenty times. A run of reports that are one renewal after
// the other, by the revision that they are told, is a lease: the check may not lapse before its TTL.
func (c *client) report(ctx context.Context, id string) {
	path := "/v1/default/services/beat/instances/" + id
	body := fmt.Sprintf(`{"address":"10.0.0.1","port":80,"checks":[{"id":"c","ttl":%q,"deregister_after":"2s"}]}`, beatTTL)
	if a, err := c.ask(c.anyServer(), request{method: http.MethodPut, path: path, body: body}); err != nil || a.status/100 != 2 {
		return
	}
	leases := map[uint64]*check.Lease{}
	status := "passing"
	for range c.random.IntN(20) {
		switch c.random.IntN(12) {
		case 0:
			status = []string{"passing", "warning", "critical"}[c.random.IntN(3)]
		case 1:
			enabled := c.random.IntN(2) == 0
			_, _ = c.ask(c.anyServer(), request{method: http.MethodPut, path: path + "/maintenance", body: fmt.Sprintf(`{"enabled":%t}`, enabled)})
		}
		call := time.Now()
		a, err := c.ask(c.anyServer(), request{method: http.MethodPut, path: path + "/checks/c", body: fmt.Sprintf(`{"status":%q}`, status)})
		var told struct{ Revision uint64 }
		if err == nil && a.status == http.StatusOK && status != "critical" && json.Unmarshal([]byte(a.body), &told) == nil {
			l := leases[told.Revision]
			if l == nil {
				l = &check.Lease{ID: beatID(id, told.Revision), TTL: beatTTL}
				leases[told.Revision] = l
			}
			l.Renewals = append(l.Renewals, check.Renewal{Call: call})
		}
		c.rest(ctx, beatTTL/5)
		if ctx.Err() != nil {
			break
		}
	}
	for _, l := range leases {
		c.record.lease(*l)
	}
}

func beatID(id string, revision uint64) string {
	return fmt.Sprintf("check of %s since %d", id, revision)
}

// noBeats tells whether every instance is gone: they end by themselves.
func (c *cluster) noBeats() bool {
	b, err := get(c.servers[0], "/v1/default/services")
	return err == nil && !strings.Contains(string(b), `"beat"`)
}

// look asks servers' DNS who can be used, between two questions for the revision that they claim, until ctx ends.
func (c *client) look(ctx context.Context) {
	for ctx.Err() == nil {
		s := c.anyServer()
		if l, ok := lookOnce(s); ok {
			c.record.look(l)
		}
		c.rest(ctx, 20*time.Millisecond)
	}
}

func lookOnce(s *server) (l check.Look, ok bool) {
	l.Server = s.name
	var err error
	if l.From, err = dnsHead(s); err != nil {
		return l, false
	}
	question := new(miekg.Msg).SetQuestion("beat.service.rollcall.internal.", miekg.TypeSRV)
	answer, _, err := (&miekg.Client{Net: "tcp", Timeout: time.Second}).Exchange(question, s.dns)
	if err != nil || answer.Truncated || answer.Rcode != miekg.RcodeSuccess && answer.Rcode != miekg.RcodeNameError {
		return l, false
	}
	for _, r := range answer.Answer {
		if srv, ok := r.(*miekg.SRV); ok {
			id, _, _ := strings.Cut(srv.Target, ".")
			l.Instances = append(l.Instances, id)
		}
	}
	l.To, err = dnsHead(s)
	return l, err == nil
}

// usable takes from a ledger when instances could be used, and when their checks lapsed.
func usable(deliveries []check.Delivery, ends map[string]check.LeaseEnd) ([]check.Usable, error) {
	type state struct{ passing, maintenance bool }
	states := map[string]*state{}
	var all []check.Usable
	for _, d := range deliveries {
		if !strings.Contains(d.Bytes, `"rollcall.service.`) {
			continue
		}
		var e struct {
			Type string
			Time time.Time
			Data struct {
				Service, ID, Status string
				Enabled             bool
				Previous, Epoch     uint64
			}
		}
		if err := json.Unmarshal([]byte(d.Bytes), &e); err != nil {
			return nil, fmt.Errorf("an event that is none: %q: %w", d.Bytes, err)
		}
		if e.Data.Service != "beat" {
			continue
		}
		s := states[e.Data.ID]
		if s == nil {
			s = &state{}
			states[e.Data.ID] = s
		}
		switch e.Type {
		case "rollcall.service.register", "rollcall.service.deregister", "rollcall.service.expire":
			*s = state{}
		case "rollcall.service.status":
			s.passing = e.Data.Status != "critical"
			if e.Data.Epoch > 0 {
				ends[beatID(e.Data.ID, e.Data.Previous)] = check.LeaseEnd{Time: e.Time, Expired: true}
			}
		case "rollcall.service.maintenance":
			s.maintenance = e.Data.Enabled
		}
		all = append(all, check.Usable{Commit: d.Commit, Instance: e.Data.ID, Usable: s.passing && !s.maintenance})
	}
	return all, nil
}
