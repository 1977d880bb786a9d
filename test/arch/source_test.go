package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is this module's path; an import below it is one of ours.
const module = "github.com/rollcall/rollcall"

// root is the top of the repository, seen from this folder.
const root = "../.."

// file is one Go file.
type file struct {
	path   string // from the top of the repository, with slashes
	folder string // "." for the top
	test   bool   // a _test.go file
	lines  int
	syntax *ast.File
	fset   *token.FileSet
}

// imports are the paths that the file imports.
func (f *file) imports() []string {
	var out []string
	for _, spec := range f.syntax.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil { // the parser has already accepted the literal
			out = append(out, path)
		}
	}
	return out
}

// line gives the position of a node as path:line.
func (f *file) line(at token.Pos) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(at).Line)
}

// readSource parses every Go file of this module, whatever its build tags say.
func readSource(t *testing.T) []*file {
	t.Helper()
	var files []*file
	walk(t, func(path string, read func() []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		files = append(files, parseFile(t, path, read()))
	})
	if len(files) < 20 {
		t.Fatalf("found %d Go files below %s: this test looks in the wrong place", len(files), root)
	}
	return files
}

func parseFile(t *testing.T, path string, text []byte) *file {
	t.Helper()
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	folder := "."
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		folder = path[:i]
	}
	return &file{
		path:   path,
		folder: folder,
		test:   strings.HasSuffix(path, "_test.go"),
		lines:  strings.Count(string(text), "\n"),
		syntax: syntax,
		fset:   fset,
	}
}

// walk visits the files of the repository that people write. Left out are hidden folders, what a build or a run leaves
// behind, and modules of their own.
func walk(t *testing.T, visit func(path string, read func() []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (leftOut(d.Name()) || exists(filepath.Join(path, "go.mod"))) {
				return filepath.SkipDir
			}
			return nil
		}
		visit(rel, func() []byte {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return text
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func leftOut(folder string) bool {
	return strings.HasPrefix(folder, ".") || slices.Contains([]string{"bin", "rollcall-data"}, folder)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read gives a text file at the top of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
