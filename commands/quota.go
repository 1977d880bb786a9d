package commands

import (
	"math/bits"

	"github.com/rollcall/rollcall/log/event"
)

// A namespace's quotas bound how many keys it may have, and how many bytes their names and values may be together. What
// is counted is counted at the rows, whatever wrote them; here it is only foreseen what a decision would add.

// The parts of a quota, in percent, at which its namespace says that it is close to it, and that it is no longer. They
// are apart, so that a namespace at the brink does not say both all the time.
const (
	warnAt   = 80
	normalAt = 70
)

// decideWithin decides an order within the quotas of its namespace.
func decideWithin(s State, at Situation, o Order) (Decision, *Rejection) {
	d, r := decide(s, at, o)
	if r != nil || len(d.Events) == 0 || o.Version < VersionLeases || s.Head() == 0 {
		return d, r
	}
	settings := s.Settings()
	if c, ok := o.Command.(ApplySettings); ok {
		settings = event.NamespaceConfigured(c).Settings()
	}
	if settings.Configured == 0 {
		return d, nil // nothing was ever asked of it, so it said nothing either
	}
	level := s.Level()
	if settings.Keys == 0 && settings.Bytes == 0 && level == event.LevelNormal {
		return d, nil
	}
	after := usageAfter(s, at.Usage, d.Events)
	if _, fills := o.Command.(FillNamespace); !fills { // that all of it will fit is seen before the first of it comes
		if r := within(at.Ledger, settings, at.Usage, after); r != nil {
			return Decision{}, r
		}
	}
	if next := levelOf(level, settings, after); next != level {
		d.Events = append(d.Events, event.NamespaceUsage{
			Namespace: at.Ledger, Keys: after.Keys, Bytes: after.Bytes, KeysMax: settings.Keys, BytesMax: settings.Bytes, Level: next,
		})
	}
	return d, nil
}

// usageAfter is what a namespace holds when events have happened.
func usageAfter(s State, now event.Usage, events []event.Body) event.Usage {
	written := map[string]event.Usage{} // by key, as the events before have left it
	set := func(key string, to event.Usage) {
		from, ok := written[key]
		if !ok {
			if e, exists := s.Key(key); exists {
				from = usageOf(key, e.Value)
			}
		}
		written[key] = to
		now.Keys += to.Keys - from.Keys // modulo 2^64, as it is kept
		now.Bytes += to.Bytes - from.Bytes
	}
	for _, e := range events {
		switch e := e.(type) {
		case event.KeySet:
			set(e.Key, usageOf(e.Key, e.Value))
		case event.KeyDeleted:
			set(e.Key, event.Usage{})
		case event.KeyExpired:
			set(e.Key, event.Usage{})
		}
	}
	return now
}

// usageOf is what one key comes to.
func usageOf(key string, value []byte) event.Usage {
	return event.Usage{Keys: 1, Bytes: uint64(len(key) + len(value))}
}

// within refuses what would grow beyond a quota. What shrinks, or stays as large, may always be done: else a namespace
// whose quota was lowered could not be cleared.
func within(namespace string, s event.Settings, before, after event.Usage) *Rejection {
	for _, q := range []struct {
		what               string
		before, after, max uint64
	}{{"keys", before.Keys, after.Keys, s.Keys}, {"bytes of keys and values", before.Bytes, after.Bytes, s.Bytes}} {
		if q.max > 0 && q.after > q.max && q.after > q.before {
			return reject(CodeQuotaExceeded, "namespace %q holds %d %s, and would hold %d; its quota is %d: delete what is not needed, or raise the quota",
				namespace, q.before, q.what, q.after, q.max)
		}
	}
	return nil
}

// levelOf is the level that a namespace comes to.
func levelOf(level event.Level, s event.Settings, u event.Usage) event.Level {
	at := warnAt
	if level == event.LevelWarning {
		at = normalAt
	}
	for _, q := range []struct{ used, max uint64 }{{u.Keys, s.Keys}, {u.Bytes, s.Bytes}} {
		if q.max > 0 && percent(q.used, q.max) >= at {
			return event.LevelWarning
		}
	}
	return event.LevelNormal
}

// percent is how much of a quota is used, rounded down, and 100 where it is more.
func percent(used, quota uint64) int {
	if used >= quota {
		return 100
	}
	hi, lo := bits.Mul64(used, 100)
	whole, _ := bits.Div64(hi, lo, quota)
	return int(whole)
}
