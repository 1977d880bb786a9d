package check

import "testing"

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"", "kv.a", true},
		{">", "kv", true},
		{">", "kv.a.b", true},
		{"kv.a", "kv.a", true},
		{"kv.a", "kv.b", false},
		{"kv.a", "kv.a.b", false},
		{"kv.a.b", "kv.a", false},
		{"kv.*", "kv.a", true},
		{"kv.*", "kv", false},
		{"kv.*", "kv.a.b", false},
		{"kv.*.b", "kv.a.b", true},
		{"kv.*.b", "kv.a.c", false},
		{"*.a", "kv.a", true},
		{"kv.>", "kv", false},
		{"kv.>", "kv.a", true},
		{"kv.>", "kv.a.b.c", true},
		{"kv.*.>", "kv.a", false},
		{"kv.*.>", "kv.a.b", true},
		{"kv.a*", "kv.ab", false}, // a star is a whole segment
		{"kv.>.b", "kv.a.b", false},
		{"kv.%", "kv.%", true},
	} {
		if got := Matches(c.filter, c.subject); got != c.want {
			t.Errorf("Matches(%q, %q) is %t", c.filter, c.subject, got)
		}
	}
}
