// Package fault lets a test break a running server: it dies at a named point, links between servers are cut, and parts
// of it can be made wrong on purpose, to see whether the checkers notice.
//
// All of that exists only in a build with the tag "faults". Without the tag every function here is empty and compiled
// away, and a binary for use holds not even the names (test/chaos looks).
//
// A server of such a build takes directives, one a line, from the environment (ROLLCALL_FAULTS) when it starts, and from
// the socket at ROLLCALL_FAULTS_SOCKET while it runs: PUT replaces the directives by those of the body, GET says how
// often each point was passed.
//
//	crash POINT N       dies of SIGKILL when it passes the point for the N-th time from now
//	delay POINT TIME    waits there, each time
//	cut FROM TO         what server FROM sends to server TO, which is this one, is lost
//	slow FROM TO TIME   and here it is late
//	broken NAME         the part of that name is wrong
//	value NAME NUMBER   a number that a test needs to be another one
//	filesize BYTES      no file can be made longer, as on a full disk
package fault

// The points, in the order in which a change and a snapshot pass them.
const (
	ProposeBefore = "propose.before" // an entry is about to be handed to Raft
	ProposeAfter  = "propose.after"  // Raft has taken it, and may have sent it or not
	ApplyBefore   = "apply.before"   // committed entries have come
	CommitBefore  = "commit.before"  // their batch is complete
	CommitAfter   = "commit.after"   // it is written, and nobody has seen it
	PublishAfter  = "publish.after"  // readers and followers have, the caller not
	SyncBefore    = "sync.before"    // the state is about to be synced

	SnapshotTake    = "snapshot.take"    // a state is held
	SnapshotSave    = "snapshot.save"    // it is about to be streamed
	SnapshotSaved   = "snapshot.saved"   // it has been
	SnapshotReceive = "snapshot.receive" // a state is about to be received
	SnapshotArrived = "snapshot.arrived" // it is complete and synced, and is not the present one
	SnapshotCurrent = "snapshot.current" // CURRENT names it, and the old one is still open
	SnapshotSwapped = "snapshot.swapped" // readers see it, and the marker is old
	SnapshotDone    = "snapshot.done"    // all of it is done
	LogCompacted    = "log.compacted"    // Raft's log has lost its beginning

	MarkerBefore = "marker.before" // the marker is about to be replaced
	MarkerAfter  = "marker.after"  // it has been
	FileRename   = "file.rename"   // a small file's new bytes are synced beside the old ones
	FileRenamed  = "file.renamed"  // they have its name, and the folder is not synced

	MemberBefore   = "member.before"   // a change of who takes part is about to be proposed
	MemberAfter    = "member.after"    // it has been decided
	TransferBefore = "transfer.before" // another server is about to be asked to lead
)

// Points are the names of all points.
func Points() []string {
	return []string{
		ProposeBefore, ProposeAfter, ApplyBefore, CommitBefore, CommitAfter, PublishAfter, SyncBefore,
		SnapshotTake, SnapshotSave, SnapshotSaved, SnapshotReceive, SnapshotArrived, SnapshotCurrent, SnapshotSwapped,
		SnapshotDone, LogCompacted, MarkerBefore, MarkerAfter, FileRename, FileRenamed, MemberBefore, MemberAfter,
		TransferBefore,
	}
}

// What can be made wrong on purpose. Each is here because a checker must notice it.
const (
	StaleReads      = "stale-reads"       // reads do not ask whether this server is current
	AckBeforeCommit = "ack-before-commit" // a write is acknowledged before Raft has it
	DropRow         = "drop-row"          // the fold leaves out an event here and there, on this server
	RevisionReuse   = "revision-reuse"    // a revision is given twice now and then
	RevisionGap     = "revision-gap"      // one is left out now and then
	RevisionFalls   = "revision-falls"    // stale reads show an older state now and then
	OtherBytes      = "other-bytes"       // this server writes other bytes than the others
	MinRevision     = "min-revision"      // reads do not wait for the revision that they ask for
	LoseEvent       = "lose-event"        // followers are not given an event now and then
	RepeatEvent     = "repeat-event"      // they are given one twice
	HalfCommit      = "half-commit"       // they are given a commit without its end
	LeasesEarly     = "leases-early"      // renewals are acknowledged, and change nothing
	NamesBehind     = "names-behind"      // DNS does not hear that an instance is critical
	FeedStops       = "feed-stops"        // they are given nothing more
	LoseEnd         = "lose-end"          // nor that their namespace has ended
	LoseLive        = "lose-live"         // plain subscribers are not given an event now and then, the stream is
	SplitCommit     = "split-commit"      // the last event of a commit comes behind the first of the next one
	LoseMatch       = "lose-match"        // who follows a subject is not given an event of it now and then
	PassOther       = "pass-other"        // who follows a subject is given events of others
	ResumeLate      = "resume-late"       // who resumes is not given what comes first
	BookmarkEarly   = "bookmark-early"    // a stream says that it is further than it is
	BookmarksStand  = "bookmarks-stand"   // who follows a subject is not told how far the ledger is
	PreviousWrong   = "previous-wrong"    // events name another previous revision now and then
	VersionGoesOn   = "version-goes-on"   // a key that is made anew goes on with its version
	ReplayBreaks    = "replay-breaks"     // whoever reads the ledger from its beginning is cut short
)

// Numbers that a test may change.
const (
	SnapshotEntries    = "snapshot-entries"    // after how many entries Raft's log is compacted
	CompactionOverhead = "compaction-overhead" // how many entries are kept then
)
