package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/log/event"
)

// asked is one request in both forms.
type asked struct {
	operation string
	http      string // METHOD PATH
	sent      string // the body of HTTP
	call      string // the body of the message
	accept    string
}

// both are requests to every operation, with successes and refusals, in an order in which they make sense.
var both = []asked{
	{operation: "kv.put", http: "PUT /v1/default/kv/a/b?flags=7", sent: "1", call: `{"key":"a/b","flags":7,"value":"1","content_type":"text/x"}`},
	{operation: "kv.put", http: "PUT /v1/default/kv/a/b?if-value=2", sent: "1", call: `{"key":"a/b","if_value":"2","value":"1","content_type":"text/x"}`},
	{operation: "kv.put", http: "PUT /v1/default/kv/ttl?ttl=1h&dry-run=true", sent: "1", call: `{"key":"ttl","ttl":"1h","dry_run":true,"value":"1","content_type":"text/x"}`},
	{operation: "kv.put", http: "PUT /v1/default/kv/a?session=7", sent: "1", call: `{"key":"a","session":"7","value":"1","content_type":"text/x"}`},
	{operation: "kv.get", http: "GET /v1/default/kv/a/b", call: `{"key":"a/b"}`, accept: "application/json"},
	{operation: "kv.get", http: "GET /v1/default/kv/a/b?at=1&pretty=true", call: `{"key":"a/b","at":1,"pretty":true}`, accept: "application/json"},
	{operation: "kv.append", http: "POST /v1/default/kv/queue/", sent: "1", call: `{"key":"queue/","value":"1","content_type":"text/x"}`},
	{operation: "kv.put-tree", http: "PUT /v1/default/kv?prefix=conf&format=json", sent: `{"x":{"y":1}}`, call: `{"prefix":"conf","format":"json","value":"{\"x\":{\"y\":1}}"}`},
	{operation: "kv.list", http: "GET /v1/default/kv?prefix=a&separator=/&consistency=stale", call: `{"prefix":"a","separator":"/","consistency":"stale"}`},
	{operation: "kv.list", http: "GET /v1/default/kv?prefix=conf&format=json", call: `{"prefix":"conf","format":"json"}`},
	{operation: "kv.delete", http: "DELETE /v1/default/kv/a/b", call: `{"key":"a/b"}`},
	{operation: "kv.delete", http: "DELETE /v1/default/kv/a/b", call: `{"key":"a/b"}`},
	{operation: "kv.delete-prefix", http: "DELETE /v1/default/kv?prefix=conf", call: `{"prefix":"conf"}`},
	{operation: "txn", http: "POST /v1/default/txn", sent: `{"then":[{"put":{"key":"t","value":"1"}},{"get":{"key":"t"}}]}`, call: `{"then":[{"put":{"key":"t","value":"1"}},{"get":{"key":"t"}}]}`},
	{operation: "txn", http: "POST /v1/default/txn?dry-run=true", sent: `{"if":[{"key":"t","exists":false}]}`, call: `{"dry_run":true,"if":[{"key":"t","exists":false}]}`},
	{operation: "txn", http: "POST /v1/default/txn", sent: `{"if":[{"key":"t"}]}`, call: `{"if":[{"key":"t"}]}`},
	{operation: "services.put", http: "PUT /v1/default/services/web", sent: `{"only_passing":true}`, call: `{"service":"web","only_passing":true}`},
	{operation: "instances.put", http: "PUT /v1/default/services/web/instances/1", sent: `{"address":"::1","tags":["x"],"checks":[{"id":"t","ttl":"15s"}]}`, call: `{"service":"web","id":"1","address":"::1","tags":["x"],"checks":[{"id":"t","ttl":"15s"}]}`},
	{operation: "instances.get", http: "GET /v1/default/services/web/instances/1", call: `{"id":"1","service":"web"}`},
	{operation: "checks.put", http: "PUT /v1/default/services/web/instances/1/checks/t", sent: `{"status":"passing"}`, call: `{"service":"web","id":"1","check":"t","status":"passing"}`},
	{operation: "services.list", http: "GET /v1/default/services", call: ``},
	{operation: "services.get", http: "GET /v1/default/services/web?tag=x&tag=y&passing=true", call: `{"service":"web","tag":["x","y"],"passing":true}`},
	{operation: "services.get", http: "GET /v1/default/services/none", call: `{"service":"none"}`},
	{operation: "instances.maintenance", http: "PUT /v1/default/services/web/instances/1/maintenance", sent: `{"enabled":true}`, call: `{"service":"web","id":"1","enabled":true}`},
	{operation: "instances.credentials", http: "GET /v1/default/services/web/instances/1/credentials", call: `{"service":"web","id":"1"}`},
	{operation: "instances.delete", http: "DELETE /v1/default/services/web/instances/1", call: `{"service":"web","id":"1"}`},
	{operation: "nodes.put", http: "PUT /v1/default/nodes/n", sent: `{"address":"::1"}`, call: `{"node":"n","address":"::1"}`},
	{operation: "nodes.maintenance", http: "PUT /v1/default/nodes/n/maintenance", sent: `{"enabled":true,"reason":"r"}`, call: `{"node":"n","enabled":true,"reason":"r"}`},
	{operation: "nodes.get", http: "GET /v1/default/nodes/n", call: `{"node":"n"}`},
	{operation: "nodes.list", http: "GET /v1/default/nodes", call: `{}`},
	{operation: "nodes.delete", http: "DELETE /v1/default/nodes/n", call: `{"node":"n"}`},
	{operation: "sessions.create", http: "POST /v1/default/sessions", sent: `{"ttl":"10s"}`, call: `{"ttl":"10s"}`},
	{operation: "sessions.list", http: "GET /v1/default/sessions?limit=10", call: `{"limit":10}`},
	{operation: "sessions.get", http: "GET /v1/default/sessions/17", call: `{"id":"17"}`},
	{operation: "sessions.keepalive", http: "PUT /v1/default/sessions/17/keepalive", call: `{"id":"17"}`},
	{operation: "sessions.end", http: "DELETE /v1/default/sessions/17", call: `{"id":"17"}`},
	{operation: "history", http: "GET /v1/default/history?subject=kv.t", call: `{"subject":"kv.t"}`},
	{operation: "history", http: "GET /v1/default/history?subject=kv.*", call: `{"subject":"kv.*"}`},
	{operation: "namespaces.put", http: "PUT /v1/_system/namespaces/other", sent: `{"quotas":{"keys":3}}`, call: `{"name":"other","quotas":{"keys":3}}`},
	{operation: "namespaces.get", http: "GET /v1/_system/namespaces/other", call: `{"name":"other"}`},
	{operation: "namespaces.list", http: "GET /v1/_system/namespaces", call: ``},
	{operation: "namespaces.delete", http: "DELETE /v1/_system/namespaces/other", call: `{"name":"other"}`},
	{operation: "members.put", http: "PUT /v1/_system/members/m", sent: `{"raft":"127.0.0.1:1","nonce":"n"}`, call: `{"name":"m","raft":"127.0.0.1:1","nonce":"n"}`},
	{operation: "members.promote", http: "PUT /v1/_system/members/m/promote", call: `{"name":"m"}`},
	{operation: "members.list", http: "GET /v1/_system/members", call: ``},
	{operation: "members.remove", http: "DELETE /v1/_system/members/m", call: `{"name":"m"}`},
	{operation: "groups.list", http: "GET /v1/_system/groups", call: ``},
	{operation: "events", http: "GET /v1/default/events?from=2&subject=kv.%3E", call: `{"from":2,"subject":"kv.>"}`},
	{operation: "events", http: "GET /v1/default/events?from=200", call: `{"from":200}`},
}

// TestBothDoors: the same request does the same behind both doors.
func TestBothDoors(t *testing.T) {
	door := func() *api.Door {
		return api.New(api.Config{
			Backend: gatewaytest.New("test"), Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Minute,
			Now: func() time.Time { return gatewaytest.Start },
		})
	}
	overHTTP, overMessages := door(), door()
	var known []string
	for _, a := range both {
		t.Run(a.operation, func(t *testing.T) { compareDoors(t, overHTTP, overMessages, a) })
		known = append(known, a.operation)
	}
	slices.Sort(known)
	if diff := cmp.Diff(overMessages.Operations(), slices.Compact(known)); diff != "" {
		t.Errorf("the operations that are compared (-known +compared):\n%s", diff)
	}
}

func compareDoors(t *testing.T, overHTTP, overMessages *api.Door, a asked) {
	t.Helper()
	method, target, _ := strings.Cut(a.http, " ")
	request := httptest.NewRequest(method, target, strings.NewReader(a.sent))
	if strings.Contains(a.call, `"content_type"`) {
		request.Header.Set("Content-Type", "text/x")
	}
	if a.accept != "" {
		request.Header.Set("Accept", a.accept)
	}
	w := httptest.NewRecorder()
	overHTTP.ServeHTTP(w, request)
	namespace := "default"
	if strings.HasPrefix(target, "/v1/_system/") {
		namespace = "_system"
	}
	r := overMessages.Do(t.Context(), gateway.Call{Namespace: namespace, Operation: a.operation, Body: []byte(a.call)})
	got, want := []any{r.Status}, []any{w.Code}
	for name, shown := range map[string]string{"Rollcall-Revision": "Rollcall-Revision", "Rollcall-Staleness": "Rollcall-Staleness", "Etag": "ETag", "Retry-After": "Retry-After"} {
		want, got = append(want, strings.Join(w.Header()[name], ",")), append(got, strings.Join(r.Header[shown], ","))
	}
	body := string(r.Body)
	if a.operation == "events" && r.Problem == nil {
		body = lines(t, r.Body)
	}
	want, got = append(want, w.Body.String()), append(got, body)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-HTTP +message):\n%s", a.call, diff)
	}
}

// lines are the events of a page as a replay over HTTP has them.
func lines(t *testing.T, body []byte) string {
	t.Helper()
	var page struct{ Events []json.RawMessage }
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var out bytes.Buffer
	for _, e := range page.Events {
		out.Write(append(e, '\n'))
	}
	return out.String()
}

// TestPages: pages end where a message is full, and go on where they ended; and what no message holds is told.
func TestPages(t *testing.T) {
	b := gatewaytest.New("test")
	big := strings.Repeat(`"`, 500_000) // a megabyte of JSON
	for i := range 10 {
		if w := do(api.New(api.Config{Backend: b}), http.MethodPut, fmt.Sprintf("/v1/default/kv/k%d", i), big); w.Code != http.StatusCreated {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	door := api.New(api.Config{Backend: b, RequestTimeout: time.Minute})
	seen, from := 0, uint64(1)
	for pages := 0; from != 0; pages++ {
		r := door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "events", Body: fmt.Appendf(nil, `{"from":%d}`, from)})
		var page struct {
			Revision, Next uint64
			Events         []struct{ Revision string }
		}
		if err := json.Unmarshal(r.Body, &page); err != nil || r.Status != http.StatusOK || len(r.Body) > gateway.ReplyBytesMax || len(page.Events) == 0 || pages > 10 {
			t.Fatalf("got status %d, %d bytes, %d events, %v", r.Status, len(r.Body), len(page.Events), err)
		}
		for _, e := range page.Events {
			if seen++; e.Revision != fmt.Sprint(seen) {
				t.Errorf("got revision %s, want %d", e.Revision, seen)
			}
		}
		from = page.Next
	}
	if seen != 11 {
		t.Errorf("got %d events, want 11", seen)
	}
	keys, after := 0, ""
	for pages := 0; pages == 0 || after != ""; pages++ {
		r := door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "kv.list", Body: fmt.Appendf(nil, `{"after":%q,"pretty":true}`, after)})
		var page struct {
			Entries []json.RawMessage
			Next    string
		}
		if err := json.Unmarshal(r.Body, &page); err != nil || r.Status != http.StatusOK || len(page.Entries) == 0 || pages > 10 {
			t.Fatalf("got status %d, %d bytes, %d entries, %v", r.Status, len(r.Body), len(page.Entries), err)
		}
		keys, after = keys+len(page.Entries), page.Next
	}
	if keys != 10 {
		t.Errorf("got %d keys, want 10", keys)
	}
	r := door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "txn", Body: []byte(`{"then":[{"get":{"prefix":""}}]}`)})
	if r.Problem == nil || r.Problem.Code != gateway.CodeOutcomeUnknown || len(r.Body) > 1000 {
		t.Errorf("what was carried out and cannot be told: got %d, %.300s", r.Status, r.Body)
	}
	r = door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "history", Body: []byte(`{"subject":"kv.k1","limit":1000}`)})
	if r.Status != http.StatusOK {
		t.Errorf("got %d, %.300s", r.Status, r.Body)
	}
	for i := range 5 {
		b.MustSubmit(event.Default, commands.PutKey{Key: "k1", Value: []byte(big[i:])})
	}
	r = door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "history", Body: []byte(`{"subject":"kv.k1","limit":1000}`)})
	if r.Problem == nil || r.Problem.Code != commands.CodeTooLarge || len(r.Body) > 1000 {
		t.Errorf("an answer that is too large: got %d, %.300s", r.Status, r.Body)
	}
}
