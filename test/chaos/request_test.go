package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/rollcall/rollcall/test/check"
)

// The keys, in parts that transactions and lists stay within.
var (
	parts = []string{"red", "green", "blue", "grey", "pink", "gold", "lime", "teal"}
	names = []string{"a", "b", "c"}
)

// command makes a random write.
func (c *client) command() check.Operation {
	part := pick(c.random, parts)
	k := part + "/" + pick(c.random, names)
	o := check.Operation{Writes: []check.Write{{Key: k}}}
	known := c.current[k]
	switch c.random.IntN(12) {
	case 0, 1, 2: // a put
	case 3: // a create
		o.If = []check.Condition{{Key: k}}
	case 4, 5: // compare-and-set by revision
		o.If = []check.Condition{{Key: k, Revision: known.Revision}}
	case 6: // and by value
		o.If = []check.Condition{{Key: k, ByValue: true, Value: known.Value}}
	case 7: // a delete
		o.If = []check.Condition{{Key: k, Exists: true}}
		o.Writes[0].Delete = true
	default: // a transaction: two keys, if a third one is what it was
		third := part + "/" + names[2]
		o.Writes = []check.Write{{Key: part + "/" + names[0]}, {Key: part + "/" + names[1]}}
		o.If = []check.Condition{{Key: third, Revision: c.current[third].Revision}}
	}
	return o
}

// question makes a random read.
func (c *client) question() check.Operation {
	part := pick(c.random, parts)
	o := check.Operation{Reads: []check.Read{{Key: part + "/" + pick(c.random, names)}}}
	switch c.random.IntN(6) {
	case 0:
		o.Consistency = check.Stale
	case 1:
		o.Consistency, o.MinRevision = check.Stale, c.seen
	case 2:
		o.Reads = nil
		for _, name := range names {
			o.Reads = append(o.Reads, check.Read{Key: part + "/" + name})
		}
	}
	return o
}

func pick(random interface{ IntN(n int) int }, from []string) string {
	return from[random.IntN(len(from))]
}

// request is a request as HTTP has it.
type request struct {
	method, path, body string
	headers            map[string]string
}

// request is how a write is asked for. Its reason carries its identity into the ledger.
func (c *client) request(o check.Operation, key string) request {
	q := request{method: http.MethodPut, headers: map[string]string{"Rollcall-Reason": o.ID}}
	if c.keyed {
		q.headers["Idempotency-Key"] = key
	}
	if len(o.Writes) > 1 {
		q.method, q.path, q.body = http.MethodPost, "/v1/default/txn", transaction(o)
		q.headers["Content-Type"] = "application/json"
		return q
	}
	q.path, q.body = "/v1/default/kv/"+o.Writes[0].Key, o.Writes[0].Value
	if o.Writes[0].Delete {
		q.method = http.MethodDelete
	}
	for _, condition := range o.If {
		switch {
		case condition.ByValue:
			q.path += "?if-value=" + url.QueryEscape(condition.Value)
		case condition.Exists: // which a delete asks for anyway
		case condition.Revision == 0:
			q.headers["If-None-Match"] = "*"
		default:
			q.headers["If-Match"] = fmt.Sprintf("%q", fmt.Sprint(condition.Revision))
		}
	}
	return q
}

func transaction(o check.Operation) string {
	type object map[string]any
	var conditions, puts []object
	for _, condition := range o.If {
		conditions = append(conditions, object{"key": condition.Key, "revision": condition.Revision})
	}
	for _, w := range o.Writes {
		puts = append(puts, object{"put": object{"key": w.Key, "value": w.Value}})
	}
	b, err := json.Marshal(object{"if": conditions, "then": puts})
	if err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return string(b)
}

// committed reads an answer to a write that was answered with success: a transaction may say that it was not done.
func committed(a reply) (check.Outcome, uint64) {
	var answer struct {
		Succeeded *bool
		Revision  uint64
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		return check.Unknown, 0
	}
	if answer.Succeeded != nil && !*answer.Succeeded {
		return check.Refused, answer.Revision
	}
	return check.OK, answer.Revision
}

// entry is a key as a server shows it.
type entry struct {
	Key      string
	Value    string
	Revision uint64
}

// shows gives what an answer to a read says of keys.
func shows(a reply, err error, keys []string) ([]check.Read, error) {
	reads := make([]check.Read, len(keys))
	for i, key := range keys {
		reads[i] = check.Read{Key: key}
	}
	if err != nil {
		return reads, err
	}
	var list struct{ Entries []entry }
	switch {
	case a.status == http.StatusNotFound && a.code == "not-found":
		return reads, nil
	case a.status != http.StatusOK:
		return reads, fmt.Errorf("%d %s", a.status, a.code)
	case len(keys) > 1:
		err = json.Unmarshal([]byte(a.body), &list)
	default:
		list.Entries = make([]entry, 1)
		err = json.Unmarshal([]byte(a.body), &list.Entries[0])
	}
	for _, e := range list.Entries {
		for i := range reads {
			if reads[i].Key == e.Key {
				reads[i].Value, reads[i].Revision = e.Value, e.Revision
			}
		}
	}
	return reads, err
}

func problemCode(body []byte) string {
	var problem struct{ Code string }
	_ = json.Unmarshal(body, &problem) // what is no problem has no code
	return problem.Code
}
