package gateway_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// TestCheckRoundTrip: what a door shows of a check is, given back, the same check.
func TestCheckRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[a-zA-Z0-9 "é{}$-]{0,9}`)
	length := rapid.Int64Range(1, int64(event.TTLMax))
	rapid.Check(t, func(t *rapid.T) {
		tls := func() *event.CheckTLS {
			if rapid.Bool().Draw(t, "tls") {
				return nil
			}
			return &event.CheckTLS{ServerName: word.Draw(t, "name"), CA: word.Draw(t, "ca"), SkipVerify: rapid.Bool().Draw(t, "skip")}
		}
		c := event.Check{
			ID: rapid.StringMatching(`[a-z"é]{1,5}`).Draw(t, "id"), Interval: event.Time(length.Draw(t, "interval")), Timeout: event.Time(length.Draw(t, "timeout")),
			SuccessThreshold: rapid.Uint16().Draw(t, "success"), FailureThreshold: rapid.Uint16().Draw(t, "failure"),
			DeregisterAfter: event.Time(length.Draw(t, "deregister")), Initial: event.Status(rapid.IntRange(0, 3).Draw(t, "initial")),
		}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			c.HTTP = &event.HTTPCheck{URL: word.Draw(t, "url"), Method: word.Draw(t, "method"), Body: word.Draw(t, "body"), Status: rapid.Uint16().Draw(t, "status"), TLS: tls()}
			if rapid.Bool().Draw(t, "headers") {
				c.HTTP.Headers = map[string]string{"a": word.Draw(t, "header")}
			}
		case 1:
			c.TCP = &event.TCPCheck{Address: word.Draw(t, "address"), TLS: tls()}
		case 2:
			c.GRPC = &event.GRPCCheck{Address: word.Draw(t, "address"), Service: word.Draw(t, "service"), TLS: tls()}
		case 3:
			c.TTL, c.Interval, c.Timeout = event.Time(length.Draw(t, "ttl")), 0, 0
		case 4:
			c.Command = []string{word.Draw(t, "program"), "x"}
		case 5:
			c.Alias, c.Timeout = &event.AliasTarget{Service: word.Draw(t, "service"), ID: word.Draw(t, "id")}, 0
		}
		raw, err := json.Marshal(gateway.NewCheck(c))
		if err != nil {
			t.Fatal(err)
		}
		var shown gateway.Check
		if err := json.Unmarshal(raw, &shown); err != nil {
			t.Fatal(err)
		}
		got, err := shown.Event()
		if err != nil || !got.Equal(c) || got.ID != c.ID {
			t.Fatalf("%s: got %+v, %v, want %+v", raw, got, err, c)
		}
	})
}
