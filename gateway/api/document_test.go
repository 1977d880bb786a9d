package api_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

const documentFile = "../../testdata/http/openapi.json"

func document(t *testing.T) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	api.New(api.Config{Backend: gatewaytest.New("test"), Version: "test"}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d: %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// A change of the document is a change of what clients are promised, so it is to be seen. -rewrite writes it anew.
func TestDocumentGolden(t *testing.T) {
	got := document(t)
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.WriteFile(documentFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the document changed (-want +got):\n%s", diff)
	}
}

// node is a part of a JSON document.
type node = map[string]any

// walk visits every object.
func walk(v any, visit func(node)) {
	switch v := v.(type) {
	case node:
		visit(v)
		for _, child := range v {
			walk(child, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, visit)
		}
	}
}

func TestDocumentIsWhole(t *testing.T) {
	var d node
	if err := json.Unmarshal(document(t), &d); err != nil {
		t.Fatal(err)
	}
	if got := d["openapi"]; got != "3.1.0" {
		t.Errorf("got OpenAPI %v, want 3.1.0", got)
	}
	schemas := d["components"].(node)["schemas"].(node)
	refs := 0
	walk(d, func(n node) {
		ref, ok := n["$ref"].(string)
		if !ok {
			return
		}
		refs++
		if name, local := strings.CutPrefix(ref, "#/components/schemas/"); !local || schemas[name] == nil {
			t.Errorf("$ref %q leads nowhere", ref)
		}
	})
	if refs == 0 {
		t.Error("the document has no $ref at all")
	}
	ids := map[string]string{}
	for path, item := range d["paths"].(node) {
		for method, op := range item.(node) {
			checkOperation(t, method+" "+path, op.(node), ids)
		}
	}
	if want := 40; len(ids) != want {
		t.Errorf("%d operations are described, want %d", len(ids), want)
	}
	for _, c := range gateway.ProblemCodes() {
		if about := d["info"].(node)["description"].(string); !strings.Contains(about, "`"+string(c.Code)+"`") {
			t.Errorf("the description does not list code %q", c.Code)
		}
	}
}

func checkOperation(t *testing.T, name string, op node, ids map[string]string) {
	t.Helper()
	id, _ := op["operationId"].(string)
	if id == "" || ids[id] != "" {
		t.Errorf("%s: operation id %q is missing, or that of %q too", name, id, ids[id])
	}
	ids[id] = name
	if op["summary"] == nil {
		t.Errorf("%s has no summary", name)
	}
	successes := 0
	for status, response := range op["responses"].(node) {
		if about, _ := response.(node)["description"].(string); about == "" {
			t.Errorf("%s: answer %s has no description", name, status)
		}
		if status[0] == '2' {
			successes++
		}
	}
	if successes == 0 {
		t.Errorf("%s has no success", name)
	}
	parameters, _ := op["parameters"].([]any)
	named := map[string]bool{}
	for _, p := range parameters {
		p := p.(node)
		if p["in"] == "path" {
			named[p["name"].(string)] = true
		} else if p["description"] == nil {
			t.Errorf("%s: parameter %v has no description", name, p["name"])
		}
	}
	for part := range strings.SplitSeq(name, "{") {
		if i := strings.IndexByte(part, '}'); i >= 0 && !named[part[:i]] {
			t.Errorf("%s: path parameter %q is not described", name, part[:i])
		}
	}
}
