package probe_test

import (
	"encoding/hex"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rollcall/rollcall/log/event"
)

// TestEchoes has a target give back a secret in forms that libraries make of it: the output holds none of them, nor the
// secret itself when it is made harmless to show.
func TestEchoes(t *testing.T) {
	for name, c := range map[string]struct {
		secret string
		echo   func(string) string
	}{
		"other line ends":           {"line-one\nline-two", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }},
		"HTML":                      {`p&ssw"rd<1>`, html.EscapeString},
		"escapes in lower case":     {"p/ss!word@1", func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "%2f") }},
		"encodeURIComponent":        {"p/ss!word@1", func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%21", "!") }},
		"hexadecimal in upper case": {"p@ss!word/1", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }},
	} {
		t.Run(name, func(t *testing.T) {
			echo := c.echo(c.secret)
			target := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "you said <<"+echo+">>") })
			check := httpCheck(target)
			check.HTTP.Headers = map[string]string{"X-Secret": "x"}
			r := look(t, check, map[string]string{"secret": c.secret})
			expect(t, r, event.Passing, "HTTP status 200", "you said")
			for _, form := range []string{c.secret, echo, strings.ReplaceAll(echo, "\r\n", "\n")} {
				if strings.Contains(r.Output, form) {
					t.Errorf("the output tells it: %q", r.Output)
				}
			}
		})
	}
}
