package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

// leaseTTL is short, so that many sessions end while they are held by somebody who cannot reach a server in time.
const leaseTTL = time.Second

// hold has a client begin sessions, keep each alive for a while on random servers, and forget it then, until ctx ends.
func (c *client) hold(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for ctx.Err() == nil {
		if l, ok := c.createSession(); ok {
			c.keep(ctx, &l)
			c.record.lease(l)
		}
		c.rest(ctx, leaseTTL/4)
	}
}

func (c *client) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (c *client) anyServer() *server { return c.cluster.servers[c.random.IntN(len(c.cluster.servers))] }

func (c *client) createSession() (check.Lease, bool) {
	call := time.Now()
	a, err := c.ask(c.anyServer(), request{method: http.MethodPost, path: "/v1/default/sessions", body: fmt.Sprintf(`{"ttl":%q}`, leaseTTL)})
	var made struct{ ID string }
	if err != nil || a.status != http.StatusCreated || json.Unmarshal([]byte(a.body), &made) != nil {
		return check.Lease{}, false
	}
	return check.Lease{ID: made.ID, TTL: leaseTTL, Renewals: []check.Renewal{{Call: call}}}, true
}

// keep renews a session up to twenty times; a holder that is refused by one server asks another one.
func (c *client) keep(ctx context.Context, l *check.Lease) {
	for range c.random.IntN(20) {
		c.rest(ctx, leaseTTL/5)
		call := time.Now()
		a, err := c.ask(c.anyServer(), request{method: http.MethodPut, path: "/v1/default/sessions/" + l.ID + "/keepalive"})
		switch {
		case err != nil:
		case a.status == http.StatusOK:
			l.Renewals = append(l.Renewals, check.Renewal{Call: call})
		case a.status == http.StatusNotFound:
			l.Gone = true
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// leaseEnds takes the ends of sessions from a ledger.
func leaseEnds(deliveries []check.Delivery) (map[string]check.LeaseEnd, error) {
	ends := map[string]check.LeaseEnd{}
	for _, d := range deliveries {
		if !bytes.Contains([]byte(d.Bytes), []byte("rollcall.session.e")) { // expire, end
			continue
		}
		var e struct {
			Type string
			Time time.Time
			Data struct{ ID string }
		}
		if err := json.Unmarshal([]byte(d.Bytes), &e); err != nil {
			return nil, fmt.Errorf("an event that is none: %q: %w", d.Bytes, err)
		}
		ends[e.Data.ID] = check.LeaseEnd{Time: e.Time, Expired: e.Type == "rollcall.session.expire"}
	}
	return ends, nil
}
