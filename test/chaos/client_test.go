package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

// client asks random servers for random things, one after the other, over plain HTTP, and records what it is told. It
// repeats nothing, but for writes with an idempotency key.
type client struct {
	cluster *cluster
	record  *record
	number  int
	random  *rand.Rand
	http    *http.Client
	think   time.Duration
	keyed   bool // the servers take idempotency keys
	forgets bool // it repeats writes under another key each time: a client that is wrong on purpose

	asked   int
	seen    uint64                // the highest revision that it was told
	current map[string]check.Read // what it saw of keys last, for compare-and-set
}

// patience is how long a client waits for an answer: longer than a server does for a quorum.
const patience = 4 * time.Second

func newClient(c *cluster, r *record, number int, chance int64) *client {
	return &client{
		cluster: c, record: r, number: number, random: rand.New(rand.NewPCG(uint64(chance), uint64(number))), think: 10 * time.Millisecond,
		// A paused server must not take the client's other connections with it.
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}, current: map[string]check.Read{},
	}
}

// run goes on until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.step(c.cluster.servers[c.random.IntN(len(c.cluster.servers))])
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(c.random.Int64N(int64(2 * c.think)))):
		}
	}
	c.http.CloseIdleConnections()
}

func (c *client) step(s *server) {
	if c.random.IntN(2) == 0 {
		c.read(s, c.question())
		return
	}
	o := c.command()
	if answer := c.write(s, o); c.keyed && answer.again {
		c.repeat(o, answer)
	}
}

// reply is an answer, read to its end.
type reply struct {
	status   int
	revision uint64 // that the answer shows
	code     string // of a problem, or why there was no answer
	body     string
}

// ask makes one request and waits for its answer.
func (c *client) ask(s *server, q request) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var body io.Reader = http.NoBody
	if q.method != http.MethodGet {
		// The library cannot send it again. It would do that by itself with what has an idempotency key and no body, such
		// as a delete: a server that took it and died would then be told as one that refused the connection.
		body = io.MultiReader(strings.NewReader(q.body))
	}
	r, err := http.NewRequestWithContext(ctx, q.method, "http://"+s.http+q.path, body)
	if err != nil {
		return reply{}, err
	}
	for name, value := range q.headers {
		r.Header.Set(name, value)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{}, err
	}
	revision, _ := strconv.ParseUint(answer.Header.Get("Rollcall-Revision"), 10, 64) // zero where there is none
	return reply{answer.StatusCode, revision, problemCode(b), string(b)}, nil
}

// outcome says what an answer to a write means. A 503 promises that nothing was written, and is held to that.
func outcome(a reply, err error) (check.Outcome, string) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return check.Failed, "connection-refused"
	case err != nil:
		return check.Unknown, "connection-broken"
	case a.status/100 == 2:
		return check.OK, "ok"
	case a.status == http.StatusPreconditionFailed, a.status == http.StatusNotFound:
		return check.Refused, a.code
	case a.status == http.StatusServiceUnavailable, a.status/100 == 4:
		return check.Failed, a.code
	}
	return check.Unknown, a.code
}

// answered is what became of a write.
type answered struct {
	id    string
	reply reply
	again bool // its outcome is to be asked for once more
}

// write asks a server for a write.
func (c *client) write(s *server, o check.Operation) answered {
	o = c.named(o)
	o.Server = s.name
	o.Call = c.record.now()
	_, _, life := s.process()
	a, err := c.ask(s, c.request(o, o.ID))
	var code string
	o.Outcome, code = outcome(a, err)
	o.Return = c.record.now()
	if o.Outcome == check.OK {
		o.Outcome, o.Revision = committed(a)
	}
	c.learn(o)
	c.record.operation(o, "write "+code)
	c.shown(s, life, o)
	return answered{o.ID, a, o.Outcome == check.Unknown || o.Outcome == check.OK && c.random.IntN(4) == 0}
}

// repeat sends a write again, on other servers, until its outcome is told. The first answer is in the history already.
func (c *client) repeat(o check.Operation, before answered) {
	again := check.Repeat{ID: before.id}
	if before.reply.status/100 == 2 {
		again.Answers = append(again.Answers, fmt.Sprint(before.reply.status, " ", before.reply.body))
	}
	o.ID = before.id
	o = c.valued(o)
	for attempt := range 5 {
		key := o.ID
		if c.forgets {
			key = fmt.Sprintf("%s-again-%d", o.ID, attempt)
		}
		a, err := c.ask(c.cluster.servers[c.random.IntN(len(c.cluster.servers))], c.request(o, key))
		if told, _ := outcome(a, err); told == check.OK || told == check.Refused {
			again.Answers = append(again.Answers, fmt.Sprint(a.status, " ", a.body))
			break
		}
	}
	c.record.repeat(again)
}

// named gives an operation its identity, which is also what it writes.
func (c *client) named(o check.Operation) check.Operation {
	c.asked++
	o.ID, o.Client = fmt.Sprintf("c%d-%d", c.number, c.asked), c.number
	return c.valued(o)
}

func (c *client) valued(o check.Operation) check.Operation {
	for i := range o.Writes {
		if !o.Writes[i].Delete {
			o.Writes[i].Value = o.ID
		}
	}
	return o
}

// learn remembers what a client that was told this knows.
func (c *client) learn(o check.Operation) {
	if o.Outcome != check.OK {
		return
	}
	c.seen = max(c.seen, o.Revision)
	for _, w := range o.Writes {
		c.current[w.Key] = check.Read{Key: w.Key, Value: w.Value, Revision: o.Revision}
		if w.Delete {
			c.current[w.Key] = check.Read{Key: w.Key}
		}
	}
	for _, r := range o.Reads {
		c.current[r.Key] = r
	}
}

// shown samples what this client was shown by one life of a server: it must not be shown less by it later.
func (c *client) shown(s *server, life int, o check.Operation) {
	if _, _, now := s.process(); o.Outcome != check.OK || now != life {
		return
	}
	c.record.sample(check.Sample{
		Server: fmt.Sprintf("client %d on %s", c.number, s.name), Life: life, Revision: o.Revision,
		Current: o.IsWrite() || o.Consistency == check.Linearizable,
	})
}

// read asks a server a question.
func (c *client) read(s *server, o check.Operation) {
	c.asked++
	o.ID, o.Client, o.Server = fmt.Sprintf("r%d-%d", c.number, c.asked), c.number, s.name
	path, keys := readPath(o)
	o.Call = c.record.now()
	_, _, life := s.process()
	a, err := c.ask(s, request{method: http.MethodGet, path: path, headers: map[string]string{"Accept": "application/json"}})
	o.Return = c.record.now()
	code := "ok"
	if o.Reads, err = shows(a, err, keys); err != nil {
		o.Outcome, code = check.Failed, a.code
		if code == "" {
			code = "no-answer"
		}
	} else {
		o.Outcome, o.Revision = check.OK, a.revision
	}
	c.learn(o)
	c.record.operation(o, "read "+code)
	c.shown(s, life, o)
}

// readPath is what to ask for, and the keys that the answer speaks of. A question for several keys is one for a list.
func readPath(o check.Operation) (path string, keys []string) {
	for _, r := range o.Reads {
		keys = append(keys, r.Key)
	}
	path = "/v1/default/kv/" + keys[0]
	query := url.Values{}
	if len(keys) > 1 {
		part, _, _ := strings.Cut(keys[0], "/")
		path = "/v1/default/kv"
		query.Set("prefix", part+"/")
	}
	if o.Consistency == check.Stale {
		query.Set("consistency", "stale")
	}
	if o.MinRevision > 0 {
		query.Set("min-revision", strconv.FormatUint(o.MinRevision, 10))
	}
	return path + "?" + query.Encode(), keys
}
