package chaos

import (
	"bytes"
	"os"
	"testing"

	"github.com/rollcall/rollcall/fault"
)

// TestReleaseHasNoFaults looks for what breaks servers in the binary for use, and, so that it is known to look in the
// right way, in the one that has it. (Linking may leave a name out of either that is part of a longer one: so no name
// is looked for that is a word of its own anywhere.)
func TestReleaseHasNoFaults(t *testing.T) {
	with, without := read(t, binary), read(t, release)
	for _, name := range append(fault.Points(),
		"ROLLCALL_FAULTS", "rollcall/fault.Broken", "rollcall/fault.pass", "rollcall/log.compactions",
		fault.StaleReads, fault.AckBeforeCommit, fault.DropRow, fault.RevisionReuse, fault.RevisionGap, fault.RevisionFalls,
		fault.OtherBytes, fault.LoseEvent, fault.RepeatEvent, fault.HalfCommit, fault.FeedStops, fault.ReplayBreaks,
		fault.LoseLive, fault.SplitCommit, fault.LoseMatch, fault.PassOther, fault.ResumeLate, fault.BookmarkEarly, fault.BookmarksStand, fault.PreviousWrong, fault.VersionGoesOn,
		fault.SnapshotEntries, fault.CompactionOverhead) {
		if !bytes.Contains(with, []byte(name)) {
			t.Errorf("the binary with faults does not hold %q: this test looks for the wrong thing", name)
		}
		if bytes.Contains(without, []byte(name)) {
			t.Errorf("the binary for use holds %q", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
