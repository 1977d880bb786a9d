package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestSecretsStay registers an instance with credentials, which its check uses too, and looks for them everywhere: they are
// where they are asked for by name, and in no other answer, no event, no notification, no DNS answer and no log.
func TestSecretsStay(t *testing.T) {
	const secret = "s3cr3t-that-nobody-may-see"
	var authorized atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+secret {
			authorized.Store(true)
		}
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization")) // a target that tells what it was told
	}))
	defer target.Close()
	p := start(t, t.TempDir())

	var told strings.Builder
	conn, err := nats.Connect("nats://" + p.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	messages, err := conn.SubscribeSync("rollcall.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}

	path := "/v1/default/services/db/instances/db-1"
	p.do("PUT", path, fmt.Sprintf(`{"address":"127.0.0.1","port":5432,"meta":{"zone":"a"},"credentials":{"token":%q},
		"checks":[{"id":"http","interval":"100ms","http":{"url":%q,"headers":{"Authorization":"Bearer ${token}"}}}]}`, secret, target.URL)).want(t, http.StatusCreated)
	awaitThat(t, "the instance passes", func() bool {
		return p.do("GET", path, "").want(t, http.StatusOK)["status"] == "passing"
	})
	if !authorized.Load() {
		t.Error("the check did not use the credential")
	}
	p.do("PUT", path+"?dry-run=true", fmt.Sprintf(`{"address":"127.0.0.1","credentials":{"token":%q}}`, secret+"2")).want(t, http.StatusOK)
	p.do("POST", "/v1/default/txn", fmt.Sprintf(`{"then":[{"register":{"service":"db","id":"db-2","address":"127.0.0.1","credentials":{"token":%q}}}]}`, secret)).want(t, http.StatusOK)

	for _, at := range []string{
		path, "/v1/default/services/db", "/v1/default/services", "/v1/default/events", "/v1/default/history?subject=service.db.db-1",
		"/v1/default/nodes", "/metrics", "/v1/default/kv?prefix=", "/v1/default/sessions",
	} {
		r := p.do("GET", at, "")
		told.WriteString(r.body)
		if r.status != http.StatusOK {
			t.Errorf("%s: %d %s", at, r.status, r.body)
		}
	}
	for _, name := range []string{"db.service.rollcall.internal.", "db-1.db.instance.rollcall.internal."} {
		told.WriteString(lookUpText(p.DNS, name))
	}
	for registered := 0; registered < 2; {
		m, err := messages.NextMsg(patience)
		if err != nil {
			t.Fatalf("%d registrations were told: %v", registered, err)
		}
		if m.Header.Get("Rollcall-Type") == "rollcall.service.credentials" {
			registered++
		}
		fmt.Fprintf(&told, "%v %s", m.Header, m.Data)
	}
	if got := p.do("GET", path+"/credentials", "").want(t, http.StatusOK)["credentials"]; fmt.Sprint(got) != "map[token:"+secret+"]" {
		t.Errorf("asked for by name they are %v", got)
	}
	p.stop()
	told.WriteString(p.output.String())
	if at := strings.Index(told.String(), secret); at >= 0 {
		s := told.String()
		t.Errorf("a secret was told: …%s…", s[max(0, at-200):min(len(s), at+100)])
	}
	if !strings.Contains(told.String(), `"names":["token"]`) {
		t.Error("the events do not say which credentials there are")
	}
}

// lookUpText is every TXT record of a name, and what is wrong where there is none.
func lookUpText(server, name string) string {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	all, err := r.LookupTXT(context.Background(), name)
	return fmt.Sprint(all, err)
}
