package check_test

import (
	"testing"

	"github.com/rollcall/rollcall/test/check"
)

func TestDNSShowsOnlyUsable(t *testing.T) {
	changes := []check.Usable{
		{3, "a", false}, {5, "a", true}, {5, "b", true}, {9, "a", false},
	}
	for _, c := range []struct {
		name     string
		from, to uint64
		shown    []string
		fault    string
	}{
		{"nobody has registered", 1, 1, nil, ""},
		{"it waits for its first result", 3, 4, nil, ""},
		{"both are there", 5, 5, []string{"a", "b"}, ""},
		{"between two revisions either may be", 4, 9, nil, ""},
		{"between two revisions either may be", 4, 9, []string{"a", "b"}, ""},
		{"it was not there yet", 3, 4, []string{"a"}, "could not be used"},
		{"it was critical", 9, 12, []string{"a", "b"}, "could not be used"},
		{"nobody knows it", 9, 12, []string{"b", "c"}, "could not be used"},
		{"it was there all the time", 6, 12, []string{"a"}, "could be used at every"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFault(t, check.DNSShowsOnlyUsable([]check.Look{{Server: "s", From: c.from, To: c.to, Instances: c.shown}}, changes), c.fault)
		})
	}
}
