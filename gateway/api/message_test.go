package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// TestCalls holds the door to the requests in testdata/nats. Each file has a backend of its own.
//
//	call [NAMESPACE.]OPERATION   its body, after lines of headers and an empty line where there are some
//	fault, trim, advance         as in testdata/http
func TestCalls(t *testing.T) {
	datadriven.Walk(t, "../../testdata/nats", func(t *testing.T, path string) {
		s := &script{backend: gatewaytest.New("test")}
		door := api.New(api.Config{
			Backend: s.backend, Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Second, Version: "test",
			Now: func() time.Time { return gatewaytest.Start },
		})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "call":
				return showReply(door.Do(t.Context(), parseCall(d)))
			case "advance":
				by, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				s.backend.Advance(by)
				return ""
			case "fault":
				s.backend.SetFaults(faults(t, d))
				return ""
			case "trim":
				return s.trim(t, d)
			}
			d.Fatalf(t, "unknown directive %q", d.Cmd)
			return ""
		})
	})
}

// parseCall reads a call: "default." may be left out before the operation.
func parseCall(d *datadriven.TestData) gateway.Call {
	c := gateway.Call{Namespace: "default", Operation: d.CmdArgs[0].Key, Header: map[string][]string{}}
	if namespace, operation, ok := strings.Cut(c.Operation, ":"); ok {
		c.Namespace, c.Operation = namespace, operation
	}
	body := repeated.ReplaceAllStringFunc(d.Input, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		var n int
		_, _ = fmt.Sscan(parts[2], &n)
		return strings.Repeat(parts[1], n)
	})
	for !strings.HasPrefix(body, "{") {
		line, rest, ok := strings.Cut(body, "\n")
		name, value, isHeader := strings.Cut(line, ": ")
		if !isHeader || strings.ContainsAny(name, "{[\"") {
			break
		}
		c.Header[name] = append(c.Header[name], value)
		if body = strings.TrimPrefix(rest, "\n"); !ok {
			break
		}
	}
	c.Body = []byte(body)
	return c
}

func showReply(r gateway.Reply) string {
	var out strings.Builder
	fmt.Fprintln(&out, r.Status)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	if (r.Problem != nil) != (r.Status >= 400) {
		fmt.Fprintf(&out, "(the status is %d and the problem %v)\n", r.Status, r.Problem)
	}
	body := r.Body
	if len(body) > 2000 {
		body = fmt.Appendf(nil, "(%d bytes)", len(body))
	}
	out.Write(requestID.ReplaceAll(printable(body), []byte(`"request":"…"`)))
	return strings.TrimSuffix(out.String(), "\n") + "\n"
}

// FuzzCall: whatever stands in a request, there is an answer, with a status that is known, in JSON.
func FuzzCall(f *testing.F) {
	door := func() *api.Door {
		b := gatewaytest.New("test")
		seed(b, "a", "a/b")
		return api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	}
	operations := door().Operations()
	for i := range operations {
		for _, body := range []string{
			``, `{}`, `null`, `[]`, `{"key":"a"}`, `{"key":"a","value":"1","ttl":"30s","if":[{"exists":false}]}`, `{"key":"a","value_base64":"AA=="}`,
			`{"service":"web","id":"1","address":"::1","tags":["x"],"checks":[{"id":"t","ttl":"15s"}]}`, `{"name":"x","id":"7","ttl":"10s"}`,
			`{"prefix":"","keys":true,"limit":3,"at":1,"consistency":"stale"}`, `{"from":1,"to":2,"subject":"kv.>","limit":1}`,
			`{"if":[{"key":"a","revision":{"op":"<","to":5}}],"then":[{"get":{"prefix":""}}],"dry_run":true}`, "{\"key\":\"\xff\"}", `{"key":"\ud800"}`, `{"key":"a","key":"b"}`,
		} {
			f.Add(uint8(i), body)
		}
	}
	known := map[int]bool{200: true, 201: true, 304: true}
	for _, c := range gateway.ProblemCodes() {
		known[c.Status] = true
	}
	f.Fuzz(func(t *testing.T, operation uint8, body string) {
		name := operations[int(operation)%len(operations)]
		namespace := "default"
		if operation >= 128 {
			namespace = "_system"
		}
		r := door().Do(t.Context(), gateway.Call{Namespace: namespace, Operation: name, Body: []byte(body)})
		switch {
		case !known[r.Status] || r.Status == http.StatusInternalServerError:
			t.Errorf("%s %q: got status %d: %s", name, body, r.Status, r.Body)
		case (r.Problem != nil) != (r.Status >= 400):
			t.Errorf("%s %q: got status %d and problem %v", name, body, r.Status, r.Problem)
		case r.Header["Content-Type"] == nil && r.Status != http.StatusNotModified && !json.Valid(r.Body):
			t.Errorf("%s %q: the answer is no JSON: %s", name, body, r.Body)
		}
	})
}

// TestCallPanics: a fault behind the door is told as one, and what stood in the answer already is not.
func TestCallPanics(t *testing.T) {
	b := strange{Backend: gatewaytest.New("test")}
	b.submit = func(context.Context, gateway.Request) (commands.Answer, error) { panic("a secret") }
	var observed string
	door := api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), ObserveCall: func(operation string, status int, _ time.Duration) {
		observed = fmt.Sprint(operation, " ", status)
	}})
	r := door.Do(t.Context(), gateway.Call{Namespace: "default", Operation: "kv.put", Body: []byte(`{"key":"a","value":"1"}`)})
	if r.Status != http.StatusInternalServerError || r.Problem == nil || r.Problem.Request == "" || strings.Contains(string(r.Body), "secret") {
		t.Errorf("got %d %s", r.Status, r.Body)
	}
	if observed != "kv.put 500" {
		t.Errorf("observed %q", observed)
	}
}

// TestCallsWaitForRoom: the answer to a read is made when there is room for it, none for a write is waited for, and who
// waits too long is told so.
func TestCallsWaitForRoom(t *testing.T) {
	b := gatewaytest.New("test")
	door := api.New(api.Config{Backend: b, Logger: slog.New(slog.DiscardHandler), RequestTimeout: 500 * time.Millisecond})
	full := false
	var asked []string
	do := func(operation, body string) gateway.Reply {
		asked = nil
		return door.Do(t.Context(), gateway.Call{
			Namespace: "default", Operation: operation, Body: []byte(body),
			Room: func(ctx context.Context, large, wait bool) bool {
				asked = append(asked, fmt.Sprint(large, " ", wait))
				if full && wait {
					<-ctx.Done()
				}
				return wait && !full
			},
		})
	}
	if r := do("kv.put", `{"key":"a","value":"1"}`); r.Status != http.StatusCreated || asked != nil {
		t.Errorf("put: got %d and asked %v", r.Status, asked)
	}
	for operation, large := range map[string]string{"kv.get": "false", "kv.list": "true", "events": "true", "history": "true", "services.list": "true"} {
		body := ""
		switch operation {
		case "kv.get":
			body = `{"key":"a"}`
		case "history":
			body = `{"subject":"kv.a"}`
		}
		full = false
		if r := do(operation, body); r.Status != http.StatusOK || asked[len(asked)-1] != large+" true" {
			t.Errorf("%s: got %d %s and asked %v", operation, r.Status, r.Body, asked)
		}
		full = true
		if r := do(operation, body); r.Problem == nil || r.Problem.Code != commands.CodeBusy {
			t.Errorf("%s without room: got %d %s", operation, r.Status, r.Body)
		}
	}
}
