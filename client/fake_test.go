package client_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall/rollcall/client"
)

// fakeNATS is a server that speaks as much of the NATS protocol as the client does, and does with each connection
// exactly what a test tells it to, in that order.
type fakeNATS struct {
	t        testing.TB
	listener net.Listener
	// handle gets each request; it is called in the order in which a connection brings them.
	handle func(*fakeConn, ask)
	tasks  sync.WaitGroup

	mu    sync.Mutex
	conns map[*fakeConn]bool
	dials int
	mute  bool // says nothing, not even hello
}

// ask is a request.
type ask struct {
	operation, namespace, reply, key string
	body                             map[string]any
}

func (a ask) number(name string) uint64 {
	f, _ := a.body[name].(float64)
	return uint64(f)
}

// fakeConn is one connection of it.
type fakeConn struct {
	net.Conn
	mu   sync.Mutex
	subs map[string]string // subjects by sid
}

// newFakeNATS starts one.
func newFakeNATS(t testing.TB, handle func(*fakeConn, ask)) *fakeNATS {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNATS{t: t, listener: l, handle: handle, conns: map[*fakeConn]bool{}}
	f.tasks.Go(f.accept)
	t.Cleanup(func() {
		l.Close()
		f.cut()
		f.tasks.Wait()
	})
	return f
}

func (f *fakeNATS) url() string { return "nats://" + f.listener.Addr().String() }

func (f *fakeNATS) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		one := &fakeConn{Conn: c, subs: map[string]string{}}
		f.mu.Lock()
		f.conns[one] = true
		f.dials++
		f.mu.Unlock()
		f.tasks.Go(func() {
			f.serve(one)
			f.mu.Lock()
			delete(f.conns, one)
			f.mu.Unlock()
			c.Close()
		})
	}
}

// cut ends all connections.
func (f *fakeNATS) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

// all are the connections of now.
func (f *fakeNATS) all() []*fakeConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*fakeConn
	for c := range f.conns {
		all = append(all, c)
	}
	return all
}

func (f *fakeNATS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func (f *fakeNATS) serve(c *fakeConn) {
	f.mu.Lock()
	mute := f.mute
	f.mu.Unlock()
	if !mute {
		c.write(`INFO {"server_id":"fake","version":"2.15.0","headers":true,"max_payload":1048576,"proto":1}` + "\r\n")
	}
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch strings.ToUpper(words[0]) {
		case "PING":
			c.write("PONG\r\n")
		case "SUB":
			c.mu.Lock()
			c.subs[words[len(words)-1]] = words[1]
			c.mu.Unlock()
		case "UNSUB":
			c.mu.Lock()
			delete(c.subs, words[1])
			c.mu.Unlock()
		case "PUB", "HPUB":
			if !f.published(c, r, words) {
				return
			}
		}
	}
}

func (f *fakeNATS) published(c *fakeConn, r io.Reader, words []string) bool {
	size, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		return false
	}
	payload := make([]byte, size+2)
	if _, err := io.ReadFull(r, payload); err != nil {
		return false
	}
	payload = payload[:size]
	a := ask{reply: words[2]}
	if words[0] == "HPUB" {
		n, _ := strconv.Atoi(words[3])
		for line := range strings.Lines(string(payload[:n])) {
			if key, ok := strings.CutPrefix(line, "Idempotency-Key: "); ok {
				a.key = strings.TrimSpace(key)
			}
		}
		payload = payload[n:]
	}
	if err := json.Unmarshal(payload, &a.body); err != nil {
		f.t.Errorf("request %s is no JSON object: %s", words[1], payload)
	}
	subject := strings.TrimPrefix(words[1], "rollcall-api.")
	a.namespace, a.operation, _ = strings.Cut(subject, ".")
	f.handle(c, a)
	return true
}

func (c *fakeConn) write(s string) {
	_, _ = io.WriteString(c.Conn, s) // the client may be gone
}

// send sends a message to whoever has subscribed to its subject. The lock must be held, or nobody else may send.
func (c *fakeConn) send(subject, header, body string) {
	for sid, filter := range c.subs {
		if !matches(filter, subject) {
			continue
		}
		head := "NATS/1.0" + header + "\r\n\r\n"
		if !strings.HasPrefix(header, " ") {
			head = "NATS/1.0\r\n" + header + "\r\n"
		}
		c.write(fmt.Sprintf("HMSG %s %s %d %d\r\n%s%s\r\n", subject, sid, len(head), len(head)+len(body), head, body))
	}
}

func matches(filter, subject string) bool {
	want, got := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, w := range want {
		switch {
		case w == ">" && i < len(got):
			return true
		case i >= len(got) || w != "*" && w != got[i]:
			return false
		}
	}
	return len(want) == len(got)
}

// event sends the event of a revision.
func (c *fakeConn) event(e fakeEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send("rollcall.default."+e.subject, fmt.Sprintf("Rollcall-Revision: %d\r\nRollcall-Commit: %d\r\n", e.revision, e.commit), e.json())
}

// bookmark sends a bookmark.
func (c *fakeConn) bookmark(revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send("rollcall-bookmark.default", fmt.Sprintf("Rollcall-Revision: %d\r\n", revision), fmt.Sprintf(`{"namespace":"default","revision":%d}`, revision))
}

// ended sends the last bookmark of a namespace.
func (c *fakeConn) ended(revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send("rollcall-bookmark.default", fmt.Sprintf("Rollcall-Revision: %d\r\n", revision), fmt.Sprintf(`{"namespace":"default","revision":%d,"ended":true}`, revision))
}

// answer answers a request.
func (c *fakeConn) answer(a ask, status int, body string, headers ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send(a.reply, fmt.Sprintf("Rollcall-Status: %d\r\n", status)+strings.Join(headers, ""), body)
}

// refuse answers with a problem.
func (c *fakeConn) refuse(a ask, status int, code client.Code, detail string, headers ...string) {
	body, _ := json.Marshal(client.Problem{Title: "refused", Status: status, Code: code, Detail: detail})
	c.answer(a, status, string(body), append(headers, fmt.Sprintf("Nats-Service-Error-Code: %d\r\nNats-Service-Error: %s\r\n", status, code))...)
}

// fakeEvent is an event of a fake ledger.
type fakeEvent struct {
	revision, commit uint64
	subject, source  string
	size             int
}

func (e fakeEvent) json() string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"default/%d","source":%q,"type":"rollcall.kv.put","subject":%q,"time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","revision":"%d","commit":"%d","data":{"key":"k","value":%q}}`,
		e.revision, e.source, e.subject, e.revision, e.commit, strings.Repeat("v", e.size))
}

// plain is an event of a commit of its own.
func plain(revision uint64) fakeEvent {
	return fakeEvent{revision: revision, commit: revision, subject: "kv.k", source: "rollcall/test/default"}
}

// page answers a request for events out of a ledger whose head is the last one, at most so many at a time.
func (c *fakeConn) page(a ask, ledger []fakeEvent, atOnce int) {
	head := uint64(0)
	if len(ledger) > 0 {
		head = ledger[len(ledger)-1].revision
	}
	from, to := max(a.number("from"), 1), a.number("to")
	if to == 0 {
		to = head
	}
	if from > head+1 {
		c.refuse(a, 400, "invalid-revision", "that is the future")
		return
	}
	if limit := a.number("limit"); limit > 0 {
		atOnce = min(atOnce, int(limit))
	}
	filter, _ := a.body["subject"].(string)
	var events []string
	next := ""
	for _, e := range ledger {
		switch {
		case e.revision < from || e.revision > to || filter != "" && !matches(filter, e.subject):
			continue
		case len(events) == atOnce:
			next = fmt.Sprintf(`,"next":%d`, e.revision)
		default:
			events = append(events, e.json())
			continue
		}
		break
	}
	if len(events) == atOnce && next != "" {
		next = fmt.Sprintf(`,"next":%d`, nextOf(events[len(events)-1]))
	}
	c.answer(a, 200, fmt.Sprintf(`{"revision":%d,"events":[%s]%s}`, head, strings.Join(events, ","), next))
}

func nextOf(event string) uint64 {
	var e struct {
		Revision uint64 `json:"revision,string"`
	}
	_ = json.Unmarshal([]byte(event), &e)
	return e.Revision + 1
}
