// Package arch holds the source to what ARCHITECTURE.md says and to the house rules. It has tests only.
//
// It reads source text: it knows nothing of what the packages do, runs no command and needs no network.
package arch

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule is one row of a table of ARCHITECTURE.md: what subject stands for may use allow, but not except.
type rule struct {
	subject string
	allow   []string
	except  []string
	because string
}

// The columns of the tables, by which they are found.
const (
	headOurs    = "| package | may import | because |"
	headModules = "| module | only in | because |"
)

// testsOnly stands in the second column for a module that only test files import.
const testsOnly = "tests"

var quoted = regexp.MustCompile("`([^`]+)`")

// parseTables gives the rows of every table under the given header, in the order of the document.
func parseTables(document, header string) ([][]rule, error) {
	var tables [][]rule
	lines := strings.Split(document, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) != header {
			continue
		}
		var rows []rule
		for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
			r, err := parseRow(lines[i])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			rows = append(rows, r)
		}
		tables = append(tables, rows)
	}
	return tables, nil
}

func parseRow(line string) (rule, error) {
	cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	if len(cells) != 3 {
		return rule{}, fmt.Errorf("want three cells, got %d: %s", len(cells), line)
	}
	subject, because := names(cells[0]), strings.TrimSpace(cells[2])
	if len(subject) != 1 || because == "" {
		return rule{}, fmt.Errorf("want one name in backquotes and a reason: %s", line)
	}
	r := rule{subject: subject[0], because: because}
	allow, except, _ := strings.Cut(cells[1], " but not ")
	r.allow, r.except = names(allow), names(except)
	// A cell without a name says why in one word, so that a forgotten backquote is no silent "nothing".
	if word := strings.TrimSpace(allow); len(r.allow) == 0 && word != "-" && word != testsOnly {
		return rule{}, errors.New("want names in backquotes, - or " + testsOnly + ": " + line)
	}
	return r, nil
}

func names(cell string) []string {
	var out []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// matches says whether a pattern of the tables stands for the folder.
func matches(pattern, folder string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, below := strings.CutPrefix(folder, base+"/")
		return below && !strings.Contains(rest, "/")
	}
	return pattern == folder
}

func matchesAny(patterns []string, folder string) bool {
	for _, p := range patterns {
		if matches(p, folder) {
			return true
		}
	}
	return false
}

// find gives the most specific row about a folder: an exact name before a pattern, a longer pattern before a shorter.
func find(rows []rule, folder string) (rule, bool) {
	best, found := rule{}, false
	for _, r := range rows {
		if r.subject == folder {
			return r, true
		}
		if matches(r.subject, folder) && (!found || len(r.subject) > len(best.subject)) {
			best, found = r, true
		}
	}
	return best, found
}

func TestParseTables(t *testing.T) {
	const document = `
words

| package | may import | because |
|---|---|---|
| ` + "`a` | - | first |\n| `b/*` | `a`, `c/...` | second |\n| `d` | `...` but not `b/*`, `e` | third |" + `

| package | may import | because |
|---|---|---|
| ` + "`f` | `bytes` | fourth |\n"
	got, err := parseTables(document, headOurs)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]rule{
		{
			{subject: "a", because: "first"},
			{subject: "b/*", allow: []string{"a", "c/..."}, because: "second"},
			{subject: "d", allow: []string{"..."}, except: []string{"b/*", "e"}, because: "third"},
		},
		{{subject: "f", allow: []string{"bytes"}, because: "fourth"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(rule{})); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	for _, row := range []string{"| `a` | - |", "| a | - | why |", "| `a` | b | why |", "| `a` | `b` | |"} {
		if _, err := parseRow(row); err == nil {
			t.Errorf("row %q was accepted", row)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, folder string
		want            bool
	}{
		{"log", "log", true},
		{"log", "log/event", false},
		{"log/*", "log/event", true},
		{"log/*", "log", false},
		{"log/*", "log/a/b", false},
		{"log/...", "log", true},
		{"log/...", "log/a/b", true},
		{"log/...", "logs", false},
		{"...", "anything", true},
	} {
		if got := matches(c.pattern, c.folder); got != c.want {
			t.Errorf("matches(%q, %q) = %t, want %t", c.pattern, c.folder, got, c.want)
		}
	}
}
