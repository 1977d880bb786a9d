package document

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestHostileDocuments has small inputs that once cost far more than they are: time that they take must be in proportion.
func TestHostileDocuments(t *testing.T) {
	soon := func(t *testing.T, do func()) {
		t.Helper()
		began := time.Now()
		do()
		if took := time.Since(began); took > time.Minute { // it takes seconds under the race detector on a busy machine, and took minutes without
			t.Errorf("it took %s", took)
		}
	}
	t.Run("a value that nests deeply is not indented", func(t *testing.T) {
		deep := []byte(strings.Repeat("[", 9990) + strings.Repeat("]", 9990))
		for _, f := range []Format{JSON, YAML} {
			soon(t, func() {
				b, err := Render(f, "p", []Leaf{{"p/a", deep, TypeJSON}})
				if err != nil || len(b) > 2*len(deep) {
					t.Errorf("%s: %d bytes of %d: %v", f, len(b), len(deep), err)
				}
			})
		}
	})
	t.Run("many long keys are indented up to a limit", func(t *testing.T) {
		var leaves []Leaf
		for i := range 10_000 {
			leaves = append(leaves, Leaf{"p/" + string(rune('a'+i%26)) + strings.Repeat("x", i/26%300) + strings.Repeat("/a", 120), nil, TypeText})
		}
		leaves = leaves[:26*60]
		for _, f := range []Format{JSON, YAML} {
			soon(t, func() {
				if b, err := Render(f, "p", leaves); !errors.Is(err, ErrTooLarge) {
					t.Errorf("%s: %d bytes: %v", f, len(b), err)
				}
			})
		}
	})
	for name, text := range map[string]string{
		"a long number":   "a: 0x" + strings.Repeat("f", 1_000_000),
		"many empty maps": "[" + strings.Repeat("? a : ", 150_000) + "]",
		"many anchors":    "[" + strings.Repeat("&a b,", 20_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			soon(t, func() {
				var syntax *SyntaxError
				if _, err := Parse(YAML, "p", []byte(text)); !errors.As(err, &syntax) {
					t.Errorf("it is taken: %v", err)
				}
			})
		})
	}
}

// TestByteOrderMark has files as some editors write them.
func TestByteOrderMark(t *testing.T) {
	for f, text := range map[Format]string{JSON: `{"a":"1"}`, YAML: "a: \"1\"\n", TOML: "a = \"1\"\n", Env: "a=\"1\"\n", Properties: "a=1x\n"} {
		leaves, err := Parse(f, "p", append([]byte("\ufeff"), text...))
		if err != nil || len(leaves) != 1 || leaves[0].Key != "p/a" {
			t.Errorf("%s: %v, %v", f, leaves, err)
		}
	}
}

// TestDirectoryIsNoBase has a prefix with an empty segment: what it would be a document of is a directory.
func TestDirectoryIsNoBase(t *testing.T) {
	if p := NewPlace("app//"); p != (Place{Below: "app//"}) {
		t.Errorf("it is %+v", p)
	}
	b, err := Render(JSON, "app//", []Leaf{{"app//x", []byte("1"), TypeText}})
	if err != nil || !bytes.Contains(b, []byte(`"x": "1"`)) {
		t.Errorf("%s: %v", b, err)
	}
}
