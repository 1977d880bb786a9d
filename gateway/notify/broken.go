package notify

import (
	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/event"
)

// forgets tells whether subscribers are not given an event on purpose, in builds for tests: the stream holds it, so that
// nobody notices but who has a plain subscription.
func forgets(e event.Event) bool {
	const nowAndThen = 8 // in events
	return fault.Broken(fault.LoseLive) && e.Revision%nowAndThen == 0
}
