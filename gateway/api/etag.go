package api

import (
	"strconv"
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// An entity tag is a revision in decimal, in quotes (RFC 9110 section 8.8.3). It is strong: the same tag, the same
// bytes.

func etagOf(r event.Revision) string {
	b := make([]byte, 0, 22)
	b = strconv.AppendUint(append(b, '"'), uint64(r), 10)
	return string(append(b, '"'))
}

// parseETag reads one tag of Rollcall's own.
func parseETag(header, tag string) (event.Revision, error) {
	digits, opened := strings.CutPrefix(tag, `"`)
	digits, closed := strings.CutSuffix(digits, `"`)
	n, err := strconv.ParseUint(digits, 10, 64)
	if !opened || !closed || err != nil || n == 0 || digits[0] == '0' || digits[0] == '+' {
		return 0, gateway.NewProblem(gateway.CodeInvalidETag,
			"%s is %.80s, which is no entity tag of Rollcall's: that is a revision in quotes, such as \"12\"", header, tag)
	}
	return event.Revision(n), nil
}

// single gives a header that may stand there once; ok is false where it does not.
func (c *call) single(name string) (value string, ok bool, err error) {
	values := c.r.Header[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return strings.TrimSpace(values[0]), true, nil
	}
	return "", false, gateway.NewProblem(gateway.CodeInvalidHeader, "%s is given %d times; once is enough", name, len(values))
}

// conditions gives what a request requires of a key before it changes it. All must hold.
func (c *call) conditions(key string) (all []commands.Condition, err error) {
	match, ok, err := c.single("If-Match")
	if err != nil {
		return nil, err
	}
	if ok {
		condition, err := ifMatch(key, match)
		if err != nil {
			return nil, err
		}
		all = append(all, condition)
	}
	none, ok, err := c.single("If-None-Match")
	if err != nil {
		return nil, err
	}
	if ok {
		if none != "*" {
			return nil, gateway.NewProblem(gateway.CodeInvalidETag,
				"If-None-Match is %.80s; on a write only * is known, which makes a key and replaces none", none)
		}
		all = append(all, commands.KeyExists(key, false))
	}
	if v := c.query["if-value"]; v != nil {
		all = append(all, commands.KeyValue(key, []byte(v[0])))
	}
	if c.message != nil {
		all = append(all, c.message.conditions...)
	}
	return all, nil
}

func ifMatch(key, match string) (commands.Condition, error) {
	if match == "*" {
		return commands.KeyExists(key, true), nil
	}
	if strings.Contains(match, ",") {
		return commands.Condition{}, gateway.NewProblem(gateway.CodeInvalidETag,
			"If-Match is %.80s; a list is not known here: give the one revision that the key is to be at", match)
	}
	revision, err := parseETag("If-Match", match)
	return commands.KeyRevision(key, revision), err
}

// fresh tells whether a reader has this revision already, by its If-None-Match (RFC 9110 section 13.1.2). There the
// comparison is weak, because something between here and the client may have weakened the tag.
func (c *call) fresh(r event.Revision) (bool, error) {
	values := c.r.Header["If-None-Match"]
	if len(values) == 0 {
		return false, nil
	}
	found := false
	for tag := range strings.SplitSeq(strings.Join(values, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" {
			found = true
			continue
		}
		have, err := parseETag("If-None-Match", tag)
		if err != nil {
			return false, err
		}
		found = found || have == r
	}
	return found, nil
}

// accepts tells whether the client names a media type among those that it takes. Wildcards do not count: who takes
// everything is given what is there.
func (c *call) accepts(mediaType string) bool {
	if c.message != nil {
		return mediaType == "application/json"
	}
	for _, line := range c.r.Header["Accept"] {
		for one := range strings.SplitSeq(line, ",") {
			name, options, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) && !refusing(options) {
				return true
			}
		}
	}
	return false
}

// refusing tells whether the parameters of a media range have a weight of zero.
func refusing(options string) bool {
	for one := range strings.SplitSeq(options, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			return err == nil && q == 0
		}
	}
	return false
}
