package event_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

var add = flag.Bool("add", false, "write the golden bytes of events that have none yet; those that exist are never rewritten")

// samples has one event of each kind with every field set, and one with as few as possible.
func samples() map[string]event.Event {
	at := func(body event.Body) event.Event {
		return event.Event{Revision: 41, Commit: 42, Time: 1764000000123456789, Actor: "ci", Reason: "ticket 7", Body: body}
	}
	return map[string]event.Event{
		"key-set": at(event.KeySet{
			Key: "app/db/url", Value: []byte("postgres://db"), ContentType: "text/plain", Flags: 7,
			CreateRevision: 12, Version: 3, Previous: 40,
		}),
		"key-set-least": {Revision: 1, Commit: 1, Body: event.KeySet{Key: "k", Value: []byte{}, Version: 1}},
		"key-deleted":   at(event.KeyDeleted{Key: "app/db/url", Previous: 41}),
		"instance-registered": at(event.InstanceRegistered{Instance: event.Instance{
			Service: "web", ID: "web-1", Node: "host-3", Address: "10.0.0.1", Port: 8080, Protocol: "http", Version: "1.2.3",
			Tags: []string{"blue", "canary"}, Meta: map[string]string{"zone": "b", "az": "1"}, Weight: 10, Priority: 1,
		}, CreateRevision: 3, Previous: 9}),
		"instance-registered-least":    {Revision: 2, Commit: 2, Body: event.InstanceRegistered{Instance: event.Instance{Service: "s", ID: "i", Address: "::1"}}},
		"instance-deregistered":        at(event.InstanceDeregistered{Service: "web", ID: "web-1", Previous: 9}),
		"namespace-opened":             at(event.NamespaceOpened{Namespace: "blue", Cluster: "0011223344556677", Placed: 5, Groups: 4}),
		"namespace-opened-again-first": at(event.NamespaceOpened{Namespace: "blue", Cluster: "0011223344556677", Placed: 9, Again: true}),
		"namespace-opened-later":       at(event.NamespaceOpened{Namespace: "blue", Cluster: "0011223344556677", Placed: 1000005, Skipped: 1000000}),
		"namespace-created":            at(event.NamespaceCreated{Namespace: "blue", Group: 2}),
		"member-added":                 at(event.MemberAdded{Name: "a", Replica: 3, Address: "10.0.0.1:7601", Nonce: "00ff", Voter: true}),
		"member-added-least":           {Revision: 2, Commit: 2, Body: event.MemberAdded{Name: "a", Replica: 1, Address: "h:1"}},
		"member-promoted":              at(event.MemberPromoted{Name: "a", Replica: 3}),
		"member-removed":               at(event.MemberRemoved{Name: "a", Replica: 3}),
		"namespace-restored": at(event.NamespaceRestored{
			Namespace: "blue", Cluster: "8899aabbccddeeff", From: 40, Skipped: 1000000, FromCluster: "0011223344556677",
			Taken: 1763000000123456789, Snapshot: bytes.Repeat([]byte{0xab}, 32),
		}),
		"namespace-restored-least": {Revision: 3, Commit: 3, Body: event.NamespaceRestored{
			Namespace: "b", Cluster: "c", From: 1, Skipped: 1, FromCluster: "d", Snapshot: []byte{},
		}},
		"member-added-version":          at(event.MemberAdded{Name: "a", Replica: 3, Address: "10.0.0.1:7601", Nonce: "00ff", Voter: true, Version: 2}),
		"member-version":                at(event.MemberVersion{Name: "a", Replica: 3, Version: 2}),
		"cluster-version":               at(event.ClusterVersion{Version: 2, Previous: 1}),
		"key-set-leased":                at(event.KeySet{Key: "app/", Value: []byte{}, Version: 1, Session: "17", TTL: 60e9}),
		"key-deleted-session":           at(event.KeyDeleted{Key: "a", Previous: 41, Session: "17"}),
		"key-expired":                   at(event.KeyExpired{Key: "a/b", Previous: 41, Session: "17", Directory: "a/"}),
		"key-expired-least":             at(event.KeyExpired{Key: "a", Previous: 41}),
		"key-released":                  at(event.KeyReleased{Key: "a", Previous: 41, Session: "17"}),
		"instance-registered-session":   at(event.InstanceRegistered{Instance: event.Instance{Service: "s", ID: "i", Address: "::1", Session: "17"}}),
		"instance-deregistered-session": at(event.InstanceDeregistered{Service: "web", ID: "web-1", Previous: 9, Session: "17"}),
		"instance-expired":              at(event.InstanceExpired{Service: "web", ID: "web-1", Previous: 9, Session: "17"}),
		"session-created":               at(event.SessionCreated{ID: "41", TTL: 15e9, OnEnd: event.Delete, LockDelay: 1e9}),
		"session-created-least":         at(event.SessionCreated{ID: "41", TTL: 15e9}),
		"session-ended":                 at(event.SessionEnded{ID: "17"}),
		"session-expired":               at(event.SessionExpired{ID: "17", Epoch: 12}),
		"timekeeper-claimed":            at(event.TimekeeperClaimed{Namespace: "blue", Server: "a", Previous: 12}),
		"request":                       requested(at(event.KeyDeleted{Key: "app/db/url", Previous: 41})),
		"namespace-configured": at(event.NamespaceConfigured{
			Namespace: "blue", Keys: 1000, Bytes: 1 << 30, Age: 720 * 3600 * 1e9, Revisions: 10_000, Configured: 40,
		}),
		"namespace-configured-least": {Revision: 3, Commit: 3, Body: event.NamespaceConfigured{Namespace: "b"}},
		"namespace-usage":            at(event.NamespaceUsage{Namespace: "blue", Keys: 800, Bytes: 7, KeysMax: 1000, BytesMax: 9, Level: event.LevelWarning}),
		"namespace-usage-least":      {Revision: 3, Commit: 3, Body: event.NamespaceUsage{Namespace: "b"}},
		"instance-registered-checks": at(event.InstanceRegistered{Instance: event.Instance{
			Service: "web", ID: "web-1", Address: "10.0.0.1", Port: 8080, Checks: []event.Check{
				{ID: "http", HTTP: &event.HTTPCheck{
					URL: "https://10.0.0.1:8080/health", Method: "POST", Headers: map[string]string{"Host": "web", "Accept": "*/*"}, Body: "ping",
					Status: 204, TLS: &event.CheckTLS{ServerName: "web", CA: "pem", SkipVerify: true},
				}, Interval: 10e9, Timeout: 1e9, SuccessThreshold: 2, FailureThreshold: 3, DeregisterAfter: 3600e9, Initial: event.Warning},
				{ID: "tcp", TCP: &event.TCPCheck{Address: "10.0.0.1:8080", TLS: &event.CheckTLS{}}, Interval: 10e9, Timeout: 1e9},
				{ID: "grpc", GRPC: &event.GRPCCheck{Address: "10.0.0.1:8080", Service: "s"}, Interval: 10e9, Timeout: 1e9},
				{ID: "ttl", TTL: 15e9},
				{ID: "command", Command: []string{"true", "x"}, Interval: 10e9, Timeout: 1e9},
				{ID: "alias", Alias: &event.AliasTarget{Service: "db", ID: "db-1"}, Interval: 10e9},
			},
		}}),
		"instance-registered-ttl":    at(event.InstanceRegistered{Instance: event.Instance{Service: "s", ID: "i", Address: "::1", TTL: 15e9}}),
		"instance-expired-check":     at(event.InstanceExpired{Service: "web", ID: "web-1", Previous: 9, Check: "http"}),
		"instance-credentials":       at(event.InstanceCredentials{Service: "web", ID: "web-1", Credentials: map[string]string{"user": "u", "password": "p"}, Previous: 9}),
		"instance-credentials-least": {Revision: 3, Commit: 3, Body: event.InstanceCredentials{Service: "s", ID: "i"}},
		"instance-status":            at(event.InstanceStatus{Service: "web", ID: "web-1", Check: "http", Status: event.Critical, Was: event.Passing, Previous: 9, Server: "a", Epoch: 12}),
		"instance-status-least":      {Revision: 3, Commit: 3, Body: event.InstanceStatus{Service: "s", ID: "i", Check: "c", Status: event.Passing, Was: event.Critical, Previous: 2}},
		"instance-maintenance":       at(event.InstanceMaintenance{Service: "web", ID: "web-1", Enabled: true, Reason: "new disk"}),
		"instance-maintenance-least": {Revision: 3, Commit: 3, Body: event.InstanceMaintenance{Service: "s", ID: "i"}},
		"service-configured":         at(event.ServiceConfigured{Service: "web", DNSTTL: 30e9, Previous: 9}),
		"service-configured-passing": at(event.ServiceConfigured{Service: "web", OnlyPassing: true}),
		"service-configured-least":   {Revision: 3, Commit: 3, Body: event.ServiceConfigured{Service: "s"}},
		"node-set":                   at(event.NodeSet{Node: "host-3", Address: "10.0.0.3", Meta: map[string]string{"rack": "7", "zone": "b"}, CreateRevision: 3, Previous: 9}),
		"node-set-least":             {Revision: 3, Commit: 3, Body: event.NodeSet{Node: "n", Address: "h"}},
		"node-deleted":               at(event.NodeDeleted{Node: "host-3", Previous: 9}),
		"node-maintenance":           at(event.NodeMaintenance{Node: "host-3", Enabled: true, Reason: "new disk"}),
		"node-maintenance-least":     {Revision: 3, Commit: 3, Body: event.NodeMaintenance{Node: "n"}},
		"namespace-trimmed":          at(event.NamespaceTrimmed{Namespace: "blue", KeptFrom: 30, Previous: 20}),
		"namespace-trimmed-least":    {Revision: 3, Commit: 3, Body: event.NamespaceTrimmed{Namespace: "b", KeptFrom: 2}},
		"namespace-configured-ttl":   at(event.NamespaceConfigured{Namespace: "blue", Keys: 1000, Configured: 40, TTL: 30e9}),
		"namespace-created-again":    at(event.NamespaceCreated{Namespace: "blue", Group: 2, Previous: 40, From: "default", FromRevision: 99}),
		"namespace-opened-again": at(event.NamespaceOpened{
			Namespace: "blue", Cluster: "0011223344556677", Placed: 5, From: "default", FromRevision: 99, Closed: 41,
		}),
		"namespace-closed":        at(event.NamespaceClosed{Namespace: "blue", Placed: 5}),
		"namespace-closed-least":  {Revision: 3, Commit: 3, Body: event.NamespaceClosed{Namespace: "b"}},
		"namespace-expired":       at(event.NamespaceExpired{Namespace: "blue", Placed: 5, Epoch: 12, TTL: 30e9}),
		"namespace-expired-least": {Revision: 3, Commit: 3, Body: event.NamespaceExpired{Namespace: "b", Epoch: 2, TTL: 1e9}},
		"namespace-deleted":       at(event.NamespaceDeleted{Namespace: "blue", Group: 2, Placed: 5, Closed: 41, Expired: true}),
		"namespace-deleted-least": {Revision: 3, Commit: 3, Body: event.NamespaceDeleted{Namespace: "b", Group: 1, Placed: 2}},
		"namespace-filled":        at(event.NamespaceFilled{Namespace: "blue", From: "default", FromRevision: 99}),
	}
}

// requested is an event whose commit answers a request with an idempotency key.
func requested(e event.Event) event.Event {
	e.Request = &event.Request{Key: "5f3a", Fingerprint: bytes.Repeat([]byte{0xab}, 16), Version: 2}
	return e
}

// TestGoldenBytes holds every kind of event against the bytes that it had when it was first shipped: they are hashed
// into ledgers, so they may never change.
func TestGoldenBytes(t *testing.T) {
	for name, e := range samples() {
		t.Run(name, func(t *testing.T) {
			got := event.Append(nil, e)
			path := filepath.Join("..", "..", "testdata", "events", name+".hex")
			golden, err := os.ReadFile(path)
			if os.IsNotExist(err) && *add {
				err = os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644)
				golden = []byte(hex.EncodeToString(got))
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSpace(string(golden)); hex.EncodeToString(got) != want {
				t.Errorf("bytes of %s:\n got %x\nwant %s", name, got, want)
			}
			back, err := event.DecodeCanonical(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, back); diff != "" {
				t.Errorf("decoded otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := event.Append(nil, samples()["key-set-least"])
	cases := []struct{ name, hex string }{
		{"nothing", ""},
		{"cut short", hex.EncodeToString(good[:len(good)-1])},
		{"trailing bytes", hex.EncodeToString(good) + "00"},
		{"an array", "80"},
		{"unknown kind", "a50119ffff0201030104000 7a0"},
		{"unknown field", "a6011864020103010400" + "07a3" + "01616b0240" + "0601" + "1863" + "00"},
		{"a longer integer than needed", "a5011864021800" + "01" + "0301040007a301616b02400601"},
		{"keys out of order", "a5" + "0201" + "011864" + "03010400" + "07a301616b02400601"},
		{"the same key twice", "a6" + "011864" + "011864" + "020103010400" + "07a301616b02400601"},
		{"indefinite length", "bf" + "011864" + "020103010400" + "07a301616b02400601" + "ff"},
		{"text that is not UTF-8", "a5011864020103010400" + "07a301" + "61ff" + "02400601"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
			if err != nil {
				b = []byte(c.hex)
			}
			if e, err := event.DecodeCanonical(b); err == nil {
				t.Errorf("%s was taken for %+v", c.hex, e)
			}
		})
	}
}

// FuzzDecode looks for bytes that make decoding panic, or that are taken without being the canonical ones.
func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		f.Add(event.Append(nil, e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := event.DecodeCanonical(b)
		if err != nil {
			return
		}
		if again := event.Append(nil, e); !bytes.Equal(again, b) {
			t.Errorf("%x was taken, but encodes to %x", b, again)
		}
	})
}

func TestKeySubject(t *testing.T) {
	cases := []struct{ key, subject string }{
		{"app/db/url", "kv.app.db.url"},
		{"a", "kv.a"},
		{"a//b", "kv.a.%.b"},
		{"/a", "kv.%.a"},
		{"a/", "kv.a.%"},
		{"/", "kv.%.%"},
		{"", "kv.%"},
		{"a.b/c d/*/>/100%", "kv.a%2Eb.c%20d.%2A.%3E.100%25"},
		{"é/日本", "kv.é.日本"},
		{"tab\t/del\x7f", "kv.tab%09.del%7F"},
	}
	for _, c := range cases {
		if got := event.KeySubject(c.key); got != c.subject {
			t.Errorf("subject of %q: got %q, want %q", c.key, got, c.subject)
		}
		back, err := event.ParseKeySubject(c.subject)
		if err != nil || back != c.key {
			t.Errorf("key of %q: got %q, %v, want %q", c.subject, back, err, c.key)
		}
	}
	for _, bad := range []string{"", "kv", "kv.", "kv.a..b", "service.a", "kv.a%2fb", "kv.%41", "kv.a%", "kv.a%2", "kv.%zz", "kv.a/b", "kv.a b"} {
		if key, err := event.ParseKeySubject(bad); err == nil {
			t.Errorf("subject %q was taken for key %q", bad, key)
		}
	}
}

// FuzzKeySubject checks that every key has a subject that NATS can carry, and that it leads back to the key.
func FuzzKeySubject(f *testing.F) {
	for _, key := range []string{"a/b", "", "/", "a//b", "%", "a.b *>", "\x00\x7f", "日本", "\xff"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		subject := event.KeySubject(key)
		for segment := range strings.SplitSeq(subject, ".") {
			if segment == "" || segment == "*" || segment == ">" || strings.ContainsAny(segment, " \t\r\n\x00") {
				t.Fatalf("key %q: subject %q has the segment %q", key, subject, segment)
			}
		}
		back, err := event.ParseKeySubject(subject)
		if err != nil || back != key {
			t.Fatalf("key %q: subject %q leads to %q, %v", key, subject, back, err)
		}
	})
}

// FuzzParseKeySubject checks the other direction: a subject that is taken is the one spelling of its key.
func FuzzParseKeySubject(f *testing.F) {
	for _, s := range []string{"kv.a.b", "kv.%", "kv.%2E", "kv.%2e", "kv.a%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		key, err := event.ParseKeySubject(subject)
		if err == nil && event.KeySubject(key) != subject {
			t.Fatalf("%q was taken for key %q, whose subject is %q", subject, key, event.KeySubject(key))
		}
	})
}

func TestFilter(t *testing.T) {
	cases := []struct {
		filter  string
		match   []string
		nothing []string
	}{
		{"", []string{"kv.a", "kv.a.b"}, nil},
		{">", []string{"kv.a", "service.a.b"}, nil},
		{"kv.a", []string{"kv.a"}, []string{"kv.a.b", "kv.b", "kv"}},
		{"kv.>", []string{"kv.a", "kv.a.b"}, []string{"kv", "service.a"}},
		{"kv.*", []string{"kv.a"}, []string{"kv", "kv.a.b"}},
		{"kv.*.c", []string{"kv.a.c"}, []string{"kv.c", "kv.a.b", "kv.a.c.d"}},
		{"*.web.*", []string{"service.web.1"}, []string{"service.web"}},
	}
	for _, c := range cases {
		f, err := event.ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.match {
			if !f.Match(s) {
				t.Errorf("filter %q does not match %q", c.filter, s)
			}
		}
		for _, s := range c.nothing {
			if f.Match(s) {
				t.Errorf("filter %q matches %q", c.filter, s)
			}
		}
	}
	for _, bad := range []string{".", "a..b", "a.>.b", "a*", "a.>b", "a b", "\xff"} {
		if _, err := event.ParseFilter(bad); err == nil {
			t.Errorf("filter %q was taken", bad)
		}
	}
}

// TestNames holds names against the DNS rules that they must pass.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`).Draw(t, "name")
		if !event.IsNamespaceName(s) || !event.IsDNSLabel(s) {
			t.Fatalf("%q was refused", s)
		}
	})
	for _, bad := range []string{"", "-a", "a-", "a.b", "a b", "é", strings.Repeat("a", 64)} {
		if event.IsDNSLabel(bad) || event.IsNamespaceName(bad) {
			t.Errorf("%q was taken", bad)
		}
	}
	if event.IsNamespaceName("Upper") || !event.IsNamespaceName(event.System) {
		t.Error("upper case is no namespace's name, and _system is one")
	}
}

func ExampleKeySubject() {
	fmt.Println(event.KeySubject("app/db/url"))
	fmt.Println(event.KeySubject("hosts/example.com"))
	// Output:
	// kv.app.db.url
	// kv.hosts.example%2Ecom
}
