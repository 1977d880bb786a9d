package commands_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// roundTrip holds what comes out of a reply against what went in.
func roundTrip(t *testing.T, what string, a commands.Answer) {
	t.Helper()
	got, rejection, err := commands.DecodeReply(commands.EncodeReply(a, nil))
	if diff := cmp.Diff(a, got); err != nil || rejection != nil || diff != "" {
		t.Errorf("%s: %v %v (-want +got):\n%s", what, rejection, err, diff)
	}
}

// TestReplyLosesNoField would fail for a field that is added to an answer and forgotten by the plain form of replies.
func TestReplyLosesNoField(t *testing.T) {
	plain := func() commands.Answer {
		return commands.Answer{Revision: 1 << 40, Results: []commands.Result{{Revision: 9, Created: true, Deleted: 3}}}
	}
	for _, results := range [][]commands.Result{nil, {{}}, {{Revision: 1}, {Deleted: 1 << 63}}} {
		roundTrip(t, "results", commands.Answer{Revision: 7, Results: results})
	}
	fill := func(v reflect.Value) bool {
		switch {
		case v.CanUint():
			v.SetUint(2)
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.Kind() == reflect.String:
			v.SetString("s")
		case v.Type() == reflect.TypeFor[[]int]():
			v.Set(reflect.ValueOf([]int{2}))
		case v.Type() == reflect.TypeFor[[]event.Entry]():
			v.Set(reflect.ValueOf([]event.Entry{{Key: "k", Value: []byte("v")}}))
		default:
			return false
		}
		return true
	}
	for _, part := range []func(*commands.Answer) reflect.Value{
		func(a *commands.Answer) reflect.Value { return reflect.ValueOf(a).Elem() },
		func(a *commands.Answer) reflect.Value { return reflect.ValueOf(&a.Results[0]).Elem() },
	} {
		a := plain()
		for i := range part(&a).NumField() {
			a := plain()
			field := part(&a).Type().Field(i).Name
			if field == "Results" {
				continue
			}
			if !fill(part(&a).Field(i)) {
				t.Fatalf("this test does not know how to fill field %s", field)
			}
			roundTrip(t, field, a)
		}
	}
}

func TestReplyThatIsCutShort(t *testing.T) {
	b := commands.EncodeReply(commands.Answer{Revision: 1 << 40, Results: []commands.Result{{Revision: 1 << 40}}}, nil)
	for n := range len(b) {
		if a, r, err := commands.DecodeReply(b[:n]); err == nil {
			t.Errorf("%x: got %v, %v", b[:n], a, r)
		}
	}
	if a, r, err := commands.DecodeReply(append(b, 0)); err == nil {
		t.Errorf("with a byte more: got %v, %v", a, r)
	}
}

func BenchmarkReply(b *testing.B) {
	a := commands.Answer{Revision: 1234567, Results: []commands.Result{{Revision: 1234567, Created: true}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := commands.DecodeReply(commands.EncodeReply(a, nil)); err != nil {
			b.Fatal(err)
		}
	}
}
