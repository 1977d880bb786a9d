package probe

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted stands where a secret stood.
const redacted = "***"

// secrets are what no output may hold.
type secrets struct {
	forms    []string // the longer ones first
	replacer *strings.Replacer
}

func newSecrets(credentials map[string]string) *secrets {
	s := &secrets{}
	for _, value := range credentials {
		s.add(value)
	}
	return s
}

// add takes a value for a secret, in each form in which a target might give it back.
func (s *secrets) add(value string) {
	if value == "" {
		return
	}
	s.forms = append(s.forms, value, url.QueryEscape(value), url.PathEscape(value), escape(value), hex.EncodeToString([]byte(value)),
		base64.StdEncoding.EncodeToString([]byte(value)), base64.RawStdEncoding.EncodeToString([]byte(value)),
		base64.URLEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)), clean(value))
	lines := strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n")
	s.forms = append(s.forms, lines, html.EscapeString(value), strings.ToUpper(hex.EncodeToString([]byte(value))),
		lowerEscapes(escape(value)), lowerEscapes(url.QueryEscape(value)), lowerEscapes(url.PathEscape(value)), uriComponent.Replace(escape(value)))
	for _, quoted := range []string{fmt.Sprintf("%q", value), quoteJSON(value)} {
		s.forms = append(s.forms, quoted[1:len(quoted)-1]) // as it stands in somebody's message
	}
	s.replacer = nil
}

// uriComponent turns what escape gives into what JavaScript's encodeURIComponent does.
var uriComponent = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")

// lowerEscapes writes the digits of percent escapes in lower case, as some do.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

func quoteJSON(value string) string {
	b, err := json.Marshal(value)
	if err != nil {
		return `""` // a string can always be marshalled
	}
	return string(b)
}

// redact takes the secrets out of a text. Where the text was cut off within a secret, its beginning goes too.
func (s *secrets) redact(text string) string {
	if len(s.forms) == 0 {
		return text
	}
	if s.replacer == nil {
		s.forms = slices.DeleteFunc(s.forms, func(form string) bool { return form == "" })
		slices.SortFunc(s.forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
		s.forms = slices.Compact(s.forms)
		var pairs []string
		for _, form := range s.forms { // the first that fits is taken
			pairs = append(pairs, form, redacted)
		}
		s.replacer = strings.NewReplacer(pairs...)
	}
	text = s.replacer.Replace(text)
	for _, form := range s.forms {
		for n := min(len(form)-1, len(text)); n >= 4; n-- { // shorter ones tell nothing, and are everywhere
			if strings.HasSuffix(text, form[:n]) {
				return text[:len(text)-n] + redacted
			}
		}
	}
	return text
}

// expand puts credentials in the place of their names: ${NAME}. What is to stay "${" is written "$${". It tells which
// name is unknown.
func expand(text string, credentials map[string]string, encode func(string) string) (out, unknown string) {
	var b strings.Builder
	for {
		at := strings.Index(text, "${")
		if at < 0 {
			break
		}
		if at > 0 && text[at-1] == '$' {
			b.WriteString(text[:at-1] + "${")
			text = text[at+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[at+2:], "}")
		if !closed {
			break
		}
		value, known := credentials[name]
		if !known {
			return "", name
		}
		b.WriteString(text[:at] + encode(value))
		text = rest
	}
	b.WriteString(text)
	return b.String(), ""
}

// escape lets a value stand anywhere in a URL for itself.
func escape(value string) string { return strings.ReplaceAll(url.QueryEscape(value), "+", "%20") }

func plain(value string) string { return value }

// clean makes a text harmless to show: UTF-8, without control characters and what turns the direction of writing but for
// tabs and line ends, and no longer than OutputBytesMax.
func clean(text string) string {
	if len(text) > 4*OutputBytesMax {
		text = text[:4*OutputBytesMax] // no more than that can come of it below
	}
	text = strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n"))
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) || r == '\u2028' || r == '\u2029' {
			return '\uFFFD'
		}
		return r
	}, text)
	if len(text) > OutputBytesMax {
		cut := OutputBytesMax
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return text
}
