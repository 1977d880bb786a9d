package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// pageScanMax is how many events a page looks at at most, and pageScanShare how much of the time that a request has: a
// filter that lets nothing through is told where to go on.
const (
	pageScanMax   = 100_000
	pageScanShare = 4
)

// pageEvents answers with as many events as a message holds, and where to go on.
func pageEvents(c *call) error {
	filter, err := event.ParseFilter(c.query.Get("subject"))
	if err != nil {
		return gateway.NewProblem(gateway.CodeInvalidFilter, "%v", err)
	}
	s, err := c.span(filter)
	if err != nil {
		return err
	}
	f, err := c.api.Backend.Follow(c.namespace, s.first)
	if err != nil {
		return err
	}
	defer f.Close()
	p := page{span: s, cluster: c.api.Backend.Cluster(), namespace: c.namespace, until: time.Now().Add(c.api.RequestTimeout / pageScanShare)}
	if err := p.fill(f); err != nil {
		return err
	}
	c.send(http.StatusOK, "application/json", p.body)
	return nil
}

// page is a page of events that is being written.
type page struct {
	span
	cluster, namespace string
	until              time.Time
	body               []byte
	looked             int
	next               event.Revision // the first revision that was not looked at
}

// fill writes the page.
func (p *page) fill(f gateway.Follower) error {
	// The source says whose history this is, also where it has no event for who asks.
	p.body = append(strconv.AppendUint([]byte(`{"revision":`), uint64(p.head), 10), `,"source":"`...)
	p.body = append(append(p.body, ledgerSource(p.cluster, p.namespace)...), `","events":[`...)
	p.next = p.first
	for full := false; !full && p.next <= p.last; {
		events, err := f.TryNext()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return fmt.Errorf("page: the ledger ends at revision %d, before %d", p.next-1, p.last)
		}
		full = p.add(events) || time.Now().After(p.until)
	}
	p.body = append(p.body, ']')
	if p.next <= p.last {
		p.body = strconv.AppendUint(append(p.body, `,"next":`...), uint64(p.next), 10)
	}
	p.body = append(p.body, "}\n"...)
	return nil
}

// add writes events until the page is full, and tells whether it is.
func (p *page) add(events []event.Event) (full bool) {
	const tail = len(`],"next":18446744073709551615}` + "\n")
	for _, e := range events {
		if e.Revision > p.last {
			p.next = e.Revision
			return true
		}
		if p.looked == pageScanMax {
			return true
		}
		if p.filter.Match(e.Body.Subject()) {
			whole := len(p.body)
			if p.body[whole-1] != '[' {
				p.body = append(p.body, ',')
			}
			p.body = gateway.AppendCloudEvent(p.body, p.cluster, p.namespace, e)
			if len(p.body)+tail > gateway.ReplyBytesMax {
				p.body = p.body[:whole]
				return true
			}
			p.limit--
		}
		p.looked++
		p.next = e.Revision + 1
		if p.limit == 0 {
			return true
		}
	}
	return false
}
