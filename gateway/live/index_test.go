package live

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall/rollcall/log/event"
)

// The index finds the same streams as asking each filter does, whoever came and went.
func TestIndexIsWhatFiltersSay(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "%", "%2A", "c"})
	path := func(s *rapid.Generator[string]) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(s, 1, 4), func(all []string) string { return strings.Join(all, ".") })
	}
	subject := path(segment)
	filter := rapid.Map(path(rapid.OneOf(segment, rapid.Just("*"))), func(s string) string { return s })
	rapid.Check(t, func(t *rapid.T) {
		var x index
		streams := map[*Stream]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if len(streams) > 0 && rapid.Bool().Draw(t, "leave") {
				for s := range streams {
					x.remove(s)
					delete(streams, s)
					break
				}
				continue
			}
			text := filter.Draw(t, "filter") + rapid.SampledFrom([]string{"", ".>"}).Draw(t, "rest")
			if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
				text = ""
			}
			f, err := event.ParseFilter(text)
			if err != nil {
				t.Fatal(err)
			}
			s := &Stream{filter: f}
			x.add(s)
			streams[s] = true
		}
		asked := subject.Draw(t, "subject")
		found := map[*Stream]int{}
		x.match(asked, func(all []*Stream) {
			for _, s := range all {
				found[s]++
			}
		})
		for s := range streams {
			if want := s.filter.Match(asked); want != (found[s] == 1) || found[s] > 1 {
				t.Errorf("filter %v of %q: found %d times, match is %v", s.filter, asked, found[s], want)
			}
			delete(found, s)
		}
		if len(found) > 0 || x.size != len(streams) {
			t.Errorf("found %d that are gone; %d in the index, want %d", len(found), x.size, len(streams))
		}
		for s := range streams {
			x.remove(s)
		}
		if !x.root.empty() {
			t.Error("branches stay behind")
		}
	})
}
