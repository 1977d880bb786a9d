package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// tables are the three tables of ARCHITECTURE.md.
type tables struct {
	ours     []rule // folder -> folders of ours
	modules  []rule // module -> folders that may import it
	standard []rule // folder -> standard packages; no row, no limit
}

func readTables(t *testing.T) tables {
	t.Helper()
	document := read(t, "ARCHITECTURE.md")
	packages, err := parseTables(document, headOurs)
	if err != nil {
		t.Fatalf("read ARCHITECTURE.md: %v", err)
	}
	modules, err := parseTables(document, headModules)
	if err != nil {
		t.Fatalf("read ARCHITECTURE.md: %v", err)
	}
	if len(packages) != 2 || len(modules) != 1 {
		t.Fatalf("ARCHITECTURE.md has %d tables %q, want 2, and %d tables %q, want 1",
			len(packages), headOurs, len(modules), headModules)
	}
	return tables{ours: packages[0], standard: packages[1], modules: modules[0]}
}

// forbidden says why a file in folder may not import path. It is empty when it may.
func (ts tables) forbidden(folder, path string, test bool) string {
	if below, ok := strings.CutPrefix(path, module+"/"); ok {
		return ts.forbiddenOurs(folder, below, test)
	}
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
		return ts.forbiddenModule(folder, path, test)
	}
	r, ok := find(ts.standard, folder)
	if !ok || test || slices.Contains(r.allow, path) {
		return ""
	}
	return fmt.Sprintf("%s may not import the standard package %s, because %s", folder, path, r.because)
}

func (ts tables) forbiddenOurs(folder, path string, test bool) string {
	r, ok := find(ts.ours, folder)
	switch {
	case test:
		return ""
	case !ok:
		return fmt.Sprintf("%s has no row in the import table of ARCHITECTURE.md: add one with its reason", folder)
	case matchesAny(r.allow, path) && !matchesAny(r.except, path):
		return ""
	}
	return fmt.Sprintf("%s may not import %s, because %s", folder, path, r.because)
}

// forbiddenModule looks at another module. Test files may import any that has a row.
func (ts tables) forbiddenModule(folder, path string, test bool) string {
	for _, r := range ts.modules {
		if !matches(r.subject+"/...", path) {
			continue
		}
		if test || matches("test/...", folder) || matchesAny(r.allow, folder) {
			return ""
		}
		return fmt.Sprintf("%s may not import %s, because %s", folder, path, r.because)
	}
	return fmt.Sprintf("%s imports %s, which has no row among the modules of ARCHITECTURE.md: add one with its reason",
		folder, path)
}

func TestImports(t *testing.T) {
	ts := readTables(t)
	for _, f := range readSource(t) {
		for i, path := range f.imports() {
			if why := ts.forbidden(f.folder, path, f.test); why != "" {
				t.Errorf("%s: %s", f.line(f.syntax.Imports[i].Pos()), why)
			}
		}
	}
}

// TestTablesAreTrue finds rows about what is not there, and packages and modules that have no row.
func TestTablesAreTrue(t *testing.T) {
	ts := readTables(t)
	folders := map[string]bool{}
	for _, f := range readSource(t) {
		folders[f.folder] = true
	}
	for folder := range folders {
		if _, ok := find(ts.ours, folder); !ok {
			t.Errorf("%s has no row in the import table of ARCHITECTURE.md", folder)
		}
	}
	for _, r := range ts.ours {
		for _, pattern := range slices.Concat([]string{r.subject}, r.allow, r.except) {
			if !anyMatches(pattern, folders) {
				t.Errorf("the row of `%s` in ARCHITECTURE.md speaks of `%s`, and there is no such package",
					r.subject, pattern)
			}
		}
	}
	direct, all := modules(t)
	for _, r := range ts.modules {
		if !slices.Contains(all, r.subject) {
			t.Errorf("ARCHITECTURE.md has a row for %s, which go.mod does not require", r.subject)
		}
	}
	for _, path := range direct {
		if !slices.ContainsFunc(ts.modules, func(r rule) bool { return r.subject == path }) {
			t.Errorf("go.mod requires %s, which has no row in ARCHITECTURE.md", path)
		}
	}
}

func anyMatches(pattern string, folders map[string]bool) bool {
	for folder := range folders {
		if matches(pattern, folder) {
			return true
		}
	}
	return false
}

// modules are the paths that go.mod requires. Those that are not direct are the dependencies of others.
func modules(t *testing.T) (direct, all []string) {
	t.Helper()
	mod, err := modfile.Parse("go.mod", []byte(read(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		all = append(all, r.Mod.Path)
		if !r.Indirect {
			direct = append(direct, r.Mod.Path)
		}
	}
	return direct, all
}

// TestForbidden holds the check itself to a made-up architecture: it must refuse what no row allows.
func TestForbidden(t *testing.T) {
	ts := tables{
		ours: []rule{
			{subject: "core", because: "core is pure"},
			{subject: "door", allow: []string{"core"}, because: "doors are thin"},
			{subject: "door/*", allow: []string{"door", "core"}, because: "doors are apart"},
			{subject: "wiring", allow: []string{"..."}, except: []string{"tool/..."}, because: "tools sit on top"},
		},
		modules: []rule{
			{subject: "example.com/disk", allow: []string{"core"}, because: "one place writes"},
			{subject: "example.com/check", because: "tests check"},
		},
		standard: []rule{{subject: "core", allow: []string{"bytes"}, because: "core has no clock"}},
	}
	for _, c := range []struct {
		name, folder, path string
		test               bool
		want               string
	}{
		{name: "allowed", folder: "door", path: module + "/core"},
		{name: "upwards", folder: "core", path: module + "/door", want: "core is pure"},
		{name: "between siblings", folder: "door/a", path: module + "/door/b", want: "doors are apart"},
		{name: "child of a pattern", folder: "door/a", path: module + "/door"},
		{name: "everything", folder: "wiring", path: module + "/door/a"},
		{name: "excepted", folder: "wiring", path: module + "/tool/x", want: "tools sit on top"},
		{name: "no row", folder: "new", path: module + "/core", want: "no row"},
		{name: "upwards in a test", folder: "core", path: module + "/door", test: true},
		{name: "module in its place", folder: "core", path: "example.com/disk/v2"},
		{name: "module elsewhere", folder: "door", path: "example.com/disk", want: "one place writes"},
		{name: "module elsewhere in a test", folder: "door", path: "example.com/disk", test: true},
		{name: "module of tests", folder: "core", path: "example.com/check", want: "tests check"},
		{name: "unknown module in a test", folder: "core", path: "example.com/diskette", test: true, want: "no row"},
		{name: "standard", folder: "core", path: "bytes"},
		{name: "standard elsewhere", folder: "door", path: "time"},
		{name: "clock", folder: "core", path: "time", want: "core has no clock"},
		{name: "clock in a test", folder: "core", path: "time", test: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ts.forbidden(c.folder, c.path, c.test)
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want one with %q", got, c.want)
			}
		})
	}
}
