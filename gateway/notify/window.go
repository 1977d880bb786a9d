package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// The first look at a ledger's end takes this many events; each further look four times as many. No window has
// more than the last number: a window of small events is bounded by what can be published again in seconds.
const (
	scanEventsFirst = 1 << 10
	scanEventsMax   = 1 << 20
)

// windowStart finds the first revision of the part of a ledger's end that fits the window; head + 1 when nothing
// does. All revisions from there to head exist: after a jump (a restore) the window begins behind it. It begins where the
// namespace did, too: what was before is of another one of that name, that was deleted.
//
// A ledger can only be read forwards, so it looks from ever further back until there is enough. Sizes are
// estimates: where they are too low, the stream's own bound discards the oldest.
func windowStart(ctx context.Context, b gateway.Backend, namespace string, head event.Revision, bytes int64, oldest event.Time) (event.Revision, error) {
	for n := event.Revision(scanEventsFirst); ; n *= 4 {
		from := event.Revision(1)
		if head > n {
			from = head - n + 1
		}
		start, full, err := scanWindow(ctx, b, namespace, from, head, bytes, oldest)
		if err != nil {
			return 0, fmt.Errorf("find the window of %s: %w", namespace, err)
		}
		if full || from == 1 || n >= scanEventsMax {
			return start, nil
		}
	}
}

// scanWindow is windowStart for a given first revision to look at; full says that looking further back would
// find nothing more.
func scanWindow(ctx context.Context, b gateway.Backend, namespace string, from, head event.Revision, bytes int64, oldest event.Time) (start event.Revision, full bool, err error) {
	start = head + 1
	if from > head {
		return start, true, nil
	}
	follower, err := b.Follow(namespace, from)
	if err != nil {
		return 0, false, err
	}
	defer follower.Close()
	var sizes []int64 // of the events from start on
	var total int64
	for last := event.Revision(0); last < head; {
		events, err := follower.Next(ctx)
		if err != nil {
			return 0, false, err
		}
		for _, e := range events {
			if e.Revision > head {
				break
			}
			_, opened := e.Body.(event.NamespaceOpened)
			switch begins := opened || last != 0 && e.Revision != last+1; {
			case e.Time < oldest:
				sizes, total, full = sizes[:0], 0, true
			case begins:
				sizes, total, full = append(sizes[:0], estimate(e)), estimate(e), true
			default:
				sizes, total = append(sizes, estimate(e)), total+estimate(e)
			}
			last = e.Revision
		}
		if len(events) > 0 && events[len(events)-1].Revision > head {
			break
		}
	}
	drop := 0
	for ; total > bytes; drop++ {
		total, full = total-sizes[drop], true
	}
	return head + 1 - event.Revision(len(sizes)-drop), full, nil
}

// estimate is about how many bytes an event takes in a stream.
func estimate(e event.Event) int64 {
	const envelope = 600 // headers and the CloudEvent around the data
	n := envelope + len(e.Actor) + len(e.Reason)
	switch b := e.Body.(type) {
	case event.KeySet:
		n += 4*len(b.Key) + len(b.Value)
	case event.KeyDeleted:
		n += 4 * len(b.Key)
	case event.KeyExpired:
		n += 4*len(b.Key) + len(b.Directory)
	case event.KeyReleased:
		n += 4 * len(b.Key)
	}
	return int64(n)
}

// oldestTime is the time before which events are not in a window.
func oldestTime(now time.Time, age time.Duration) event.Time {
	return event.Time(now.Add(-age).UnixNano())
}
