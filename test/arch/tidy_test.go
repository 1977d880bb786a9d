package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The bounds of the house. An exception is named here with its reason; there is none.
const (
	fileLinesMax     = 700
	functionLinesMax = 70 // outside tests
	docLinesMax      = 2  // the first sentence of a package's doc
)

// Names that say nothing about what is inside.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "type", "types", "model", "models", "misc"}

// unfinished finds the marks of work put off. It is put together here so that this file does not hold them.
var unfinished = regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME|` + "XX" + `X)\b`)

// A complaint is one breach of the rules, with its place. Every check below gives all of them.
type complaints []string

func (c *complaints) addf(format string, arguments ...any) {
	*c = append(*c, fmt.Sprintf(format, arguments...))
}

func TestTidy(t *testing.T) {
	files := readSource(t)
	for _, c := range []struct {
		name  string
		check func([]*file) complaints
	}{
		{"package docs", checkDocs},
		{"package names", checkNames},
		{"imports", checkImportNames},
		{"lengths", checkLengths},
		{"sleeps", checkSleeps},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, complaint := range c.check(files) {
				t.Error(complaint)
			}
		})
	}
}

// checkDocs wants one doc comment for each package, in one file, that says first and shortly what the package is.
func checkDocs(files []*file) (c complaints) {
	docs := map[string][]*file{}
	names := map[string]string{}
	tested := map[string]bool{} // folders of which no file but tests was seen
	for _, f := range files {
		if _, seen := tested[f.folder]; !seen {
			tested[f.folder] = true
		}
		tested[f.folder] = tested[f.folder] && f.test
	}
	for _, f := range files {
		if f.test && !tested[f.folder] {
			continue
		}
		names[f.folder] = f.syntax.Name.Name
		if f.syntax.Doc != nil {
			docs[f.folder] = append(docs[f.folder], f)
		}
	}
	for folder, name := range names {
		if len(docs[folder]) != 1 {
			c.addf("%s: %d package docs, want one", folder, len(docs[folder]))
			continue
		}
		f := docs[folder][0]
		checkDoc(&c, f, name)
	}
	slices.Sort(c)
	return c
}

func checkDoc(c *complaints, f *file, name string) {
	opening := "Package " + name + " "
	if name == "main" {
		opening = "Command " + f.folder[strings.LastIndexByte(f.folder, '/')+1:] + " "
	}
	text := f.syntax.Doc.Text()
	if !strings.HasPrefix(text, opening) {
		c.addf("%s: the package doc must begin with %q", f.path, opening)
	}
	sentence := text
	if end := regexp.MustCompile(`\.\s`).FindStringIndex(text); end != nil {
		sentence = text[:end[0]]
	}
	if lines := strings.Count(sentence, "\n") + 1; lines > docLinesMax {
		c.addf("%s: the first sentence of the package doc has %d lines, want at most %d", f.path, lines, docLinesMax)
	}
}

// checkNames wants a package to be called like its folder, and the name to say something.
func checkNames(files []*file) (c complaints) {
	for _, f := range files {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		folder := f.folder[strings.LastIndexByte(f.folder, '/')+1:]
		if name != "main" && name != folder {
			c.addf("%s: package %s in folder %s: give both one name", f.path, name, folder)
		}
		if slices.Contains(vagueNames, name) {
			c.addf("%s: package name %s says nothing: name it for the noun inside", f.path, name)
		}
	}
	return c
}

// checkImportNames wants no standard log, because ours has that name, and miekg/dns under the name miekg, because
// ours is called dns.
func checkImportNames(files []*file) (c complaints) {
	for _, f := range files {
		for _, spec := range f.syntax.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser refuses such a file
			}
			switch {
			case path == "log":
				c.addf("%s: imports the standard log; use log/slog", f.line(spec.Pos()))
			case path == "github.com/miekg/dns" && (spec.Name == nil || spec.Name.Name != "miekg"):
				c.addf("%s: import github.com/miekg/dns as miekg", f.line(spec.Pos()))
			}
		}
	}
	return c
}

func checkLengths(files []*file) (c complaints) {
	for _, f := range files {
		if f.lines > fileLinesMax {
			c.addf("%s has %d lines, want at most %d: split it by what changes together", f.path, f.lines, fileLinesMax)
		}
		if f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			if lines > functionLinesMax {
				c.addf("%s: %s has %d lines, want at most %d", f.line(fn.Pos()), fn.Name.Name, lines, functionLinesMax)
			}
		}
	}
	return c
}

// checkSleeps wants tests to await a condition. A sleep is too short on a busy machine and too long on any other.
func checkSleeps(files []*file) (c complaints) {
	for _, f := range files {
		support := f.folder == "gateway/gatewaytest" || matches("test/...", f.folder) && f.syntax.Name.Name != "main"
		if !f.test && !support || slices.Contains(f.imports(), "testing/synctest") { // in virtual time, to sleep is to move the clock
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Sleep" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				c.addf("%s: a test sleeps; await the condition instead", f.line(s.Pos()))
			}
			return true
		})
	}
	return c
}

// TestNothingPutOff looks at every file in which people write instructions. Documents may speak of the marks.
func TestNothingPutOff(t *testing.T) {
	written := regexp.MustCompile(`(\.(go|sh|yml|toml)|/run|^Makefile)$`)
	walk(t, func(path string, read func() []byte) {
		if !written.MatchString(path) {
			return
		}
		for i, line := range bytes.Split(read(), []byte("\n")) {
			if unfinished.Match(line) {
				t.Errorf("%s:%d: put off: %s", path, i+1, bytes.TrimSpace(line))
			}
		}
	})
}

// TestFoldersAreDescribed wants ARCHITECTURE.md to speak of every folder at the top.
func TestFoldersAreDescribed(t *testing.T) {
	document := read(t, "ARCHITECTURE.md")
	seen := map[string]bool{}
	walk(t, func(path string, _ func() []byte) {
		top, _, below := strings.Cut(path, "/")
		if !below || seen[top] {
			return
		}
		seen[top] = true
		if !regexp.MustCompile("`" + regexp.QuoteMeta(top) + "[`/]").MatchString(document) {
			t.Errorf("ARCHITECTURE.md does not speak of `%s/`", top)
		}
	})
}

// TestTidyRefuses holds each check to source that breaks its rule, and to source that does not.
func TestTidyRefuses(t *testing.T) {
	const doc = "// Package a is a letter.\n"
	long := "package a\nfunc f() {\n" + strings.Repeat("\t_ = 0\n", functionLinesMax) + "}\n"
	for _, c := range []struct {
		name  string
		check func([]*file) complaints
		path  string
		text  string
		want  string // part of the complaint; empty for none
	}{
		{"doc", checkDocs, "a/a.go", doc + "package a\n", ""},
		{"no doc", checkDocs, "a/a.go", "package a\n", "0 package docs"},
		{"doc of another", checkDocs, "a/a.go", "// Package b is b.\npackage a\n", "must begin with"},
		{"doc of a command", checkDocs, "cmd/a/a.go", "// Command a runs.\npackage main\n", ""},
		{"endless doc", checkDocs, "a/a.go", "// Package a is\n// a\n// b\n// c.\npackage a\n", "first sentence"},
		{"name", checkNames, "x/a/a_test.go", "package a_test\n", ""},
		{"other name", checkNames, "x/b/a.go", "package a\n", "give both one name"},
		{"vague name", checkNames, "x/util/a.go", "package util\n", "says nothing"},
		{"slog", checkImportNames, "a/a.go", "package a\nimport \"log/slog\"\n", ""},
		{"standard log", checkImportNames, "a/a.go", "package a\nimport \"log\"\n", "log/slog"},
		{"miekg", checkImportNames, "a/a.go", "package a\nimport miekg \"github.com/miekg/dns\"\n", ""},
		{"miekg as dns", checkImportNames, "a/a.go", "package a\nimport \"github.com/miekg/dns\"\n", "as miekg"},
		{"long function", checkLengths, "a/a.go", long, "f has 72 lines"},
		{"long test", checkLengths, "a/a_test.go", long, ""},
		{"long file", checkLengths, "a/a.go", "package a\n" + strings.Repeat("\n", fileLinesMax), "has 701 lines"},
		{"sleep in code", checkSleeps, "a/a.go", "package a\nfunc f() { time.Sleep(1) }\n", ""},
		{"sleep in a tool", checkSleeps, "test/a/a.go", "package main\nfunc f() { time.Sleep(1) }\n", ""},
		{"sleep in test support", checkSleeps, "test/a/a.go", "package a\nfunc f() { time.Sleep(1) }\n", "a test sleeps"},
		{"sleep in virtual time", checkSleeps, "a/a_test.go", "package a\nimport \"testing/synctest\"\nvar _ = synctest.Test\nfunc f() { time.Sleep(1) }\n", ""},
		{"sleep in a test", checkSleeps, "a/a_test.go", "package a\nfunc f() { time.Sleep(1) }\n", "a test sleeps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.check([]*file{parseFile(t, c.path, []byte(c.text))})
			if c.want == "" && len(got) != 0 {
				t.Errorf("got %q, want no complaint", got)
			}
			if c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("got %q, want one complaint with %q", got, c.want)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	for text, want := range map[string]bool{
		"// TO" + "DO: later":   true,
		"mktemp -d XX" + "XXXX": false,
		"// FIX" + "ME":         true,
		"a todo list":           false,
	} {
		if got := unfinished.MatchString(text); got != want {
			t.Errorf("unfinished(%q) = %t, want %t", text, got, want)
		}
	}
}
