package machine

import (
	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
)

// In builds for tests the machine can be made wrong on purpose, to see that the checkers notice.

// misnumber gives another number than that of the last revision, now and then.
func misnumber(last event.Revision) event.Revision {
	const often = 16
	switch {
	case last%often != 0 || last == 0:
	case fault.Broken(fault.RevisionReuse):
		return last - 1
	case fault.Broken(fault.RevisionGap):
		return last + 1
	}
	return last
}

// misspell gives other words than a command's.
func misspell(reason string) string {
	if fault.Broken(fault.OtherBytes) {
		return reason + "."
	}
	return reason
}
