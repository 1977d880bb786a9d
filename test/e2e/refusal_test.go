package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// TestRefusals sends what nobody should send. Each gets a clear refusal with a stable code, nothing of it is written,
// and the server goes on.
func TestRefusals(t *testing.T) {
	p := start(t, t.TempDir())
	p.do("PUT", "/v1/default/kv/k", "v").want(t, http.StatusCreated)
	good := `{"address":"10.0.0.1","port":80}`
	cases := []struct {
		name, method, path, body string
		header                   string
		status                   int
		code                     string
	}{
		{"unknown namespace", "PUT", "/v1/nowhere/kv/k", "v", "", 404, "unknown-namespace"},
		{"unknown path", "GET", "/v1/default/nothing", "", "", 404, "unknown-path"},
		{"wrong method", "PATCH", "/v1/default/kv/k", "", "", 405, "method-not-allowed"},
		{"unknown parameter", "GET", "/v1/default/kv/k?consistancy=stale", "", "", 400, "unknown-parameter"},
		{"key too long", "PUT", "/v1/default/kv/" + strings.Repeat("k", 1025), "v", "", 400, "invalid-key"},
		{"key not UTF-8", "PUT", "/v1/default/kv/%ff", "v", "", 400, "invalid-key"},
		{"key with NUL", "PUT", "/v1/default/kv/%00", "v", "", 400, "invalid-key"},
		{"key of 129 segments", "PUT", "/v1/default/kv/" + strings.Repeat("a/", 128) + "a", "v", "", 400, "invalid-key"},
		{"key that ends in a slash", "PUT", "/v1/default/kv/dir/", "v", "", 400, "invalid-key"},
		{"value too large", "PUT", "/v1/default/kv/big", strings.Repeat("v", 512<<10+1), "", 413, "too-large"},
		{"create what exists", "PUT", "/v1/default/kv/k", "w", "If-None-Match: *", 412, "condition-failed"},
		{"replace another revision", "PUT", "/v1/default/kv/k", "w", `If-Match: "1"`, 412, "condition-failed"},
		{"replace another value", "PUT", "/v1/default/kv/k?if-value=other", "w", "", 412, "condition-failed"},
		{"an ETag that is none", "PUT", "/v1/default/kv/k", "w", "If-Match: banana", 400, "invalid-etag"},
		{"delete nothing", "DELETE", "/v1/default/kv/none", "", "", 404, "not-found"},
		{"read nothing", "GET", "/v1/default/kv/none", "", "", 404, "not-found"},
		{"a revision in the future", "GET", "/v1/default/kv/k?at=999999", "", "", 400, "invalid-revision"},
		{"a revision that is none", "GET", "/v1/default/kv/k?at=banana", "", "", 400, "invalid-revision"},
		{"malformed JSON", "POST", "/v1/default/txn", `{"then":[`, "", 400, "invalid-json"},
		{"an unknown field", "POST", "/v1/default/txn", `{"thn":[]}`, "", 400, "unknown-field"},
		{"an instance without address", "PUT", "/v1/default/services/web/instances/1", `{"port":80}`, "", 400, "invalid-instance"},
		{"a port out of range", "PUT", "/v1/default/services/web/instances/1", `{"address":"10.0.0.1","port":65536}`, "", 400, ""},
		{"a port below zero", "PUT", "/v1/default/services/web/instances/1", `{"address":"10.0.0.1","port":-1}`, "", 400, ""},
		{"an address that is none", "PUT", "/v1/default/services/web/instances/1", `{"address":"10.0.0.256"}`, "", 400, "invalid-instance"},
		{"Rollcall's own namespace", "PUT", "/v1/_system/services/web/instances/1", good, "", 403, "reserved-namespace"},
		{"a namespace with a reserved name", "PUT", "/v1/_system/namespaces/service", "", "", 400, "invalid-namespace"},
	}
	before := p.do("GET", "/v1/default/events", "").body
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.header != "" {
				headers = append(headers, c.header)
			}
			r := p.do(c.method, c.path, c.body, headers...)
			var problem struct {
				Status                    int
				Type, Title, Code, Detail string
			}
			if err := json.Unmarshal([]byte(r.body), &problem); err != nil {
				t.Fatalf("status %d, body %q: %v", r.status, r.body, err)
			}
			if r.status != c.status || problem.Status != c.status || c.code != "" && problem.Code != c.code {
				t.Errorf("got %d %q, want %d %q: %s", r.status, problem.Code, c.status, c.code, r.body)
			}
			if problem.Type == "" || problem.Title == "" || problem.Detail == "" || r.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("the problem does not say enough: %s %s", r.header.Get("Content-Type"), r.body)
			}
		})
	}
	if after := p.do("GET", "/v1/default/events", "").body; after != before {
		t.Errorf("something was written:\n%s", strings.TrimPrefix(after, before))
	}
	// A tag that is no DNS label is accepted, and the answer says what that means.
	r := p.do("PUT", "/v1/default/services/web/instances/1", `{"address":"10.0.0.1","port":80,"tags":["not a label"]}`)
	if r.want(t, http.StatusCreated); !strings.Contains(r.body, "not a label") {
		t.Errorf("the answer has no warning about the tag: %s", r.body)
	}
	hostile(t, p)
}

// hostile sends DNS packets that are none, and then asks a question that is one.
func hostile(t *testing.T, p *process) {
	t.Helper()
	conn, err := net.Dial("udp", p.DNS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	query, err := new(miekg.Msg).SetQuestion("web.service.rollcall.internal.", miekg.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	loop := append(query[:12:12], 0xc0, 12, 0, 1, 0, 1) // a name that points at itself
	for _, packet := range [][]byte{{}, {0}, query[:11], query[:13], query[:len(query)-1], loop, append(query[:12:12], 63)} {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(query); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, 4096); ; {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("the good question got no answer: %v", err)
		}
		reply := new(miekg.Msg)
		if err := reply.Unpack(buffer[:n]); err != nil {
			t.Fatalf("a reply that is no message: %x", buffer[:n])
		}
		if reply.Rcode == miekg.RcodeSuccess && len(reply.Answer) == 1 {
			return
		}
	}
}
