package log

import (
	"context"
	"time"
)

// Rows are kept in every version until a ledger's floor lets some of them go. One goroutine deletes those, a ledger
// after the other, with a budget, so that nobody notices; see machine.Trim. Each replica does so for itself, when it
// has the time.

const (
	// DefaultTrimBytes is how many bytes a second are read at most to find versions that may go.
	DefaultTrimBytes = 4 << 20
	// DefaultTrimEvery is how often it is looked whether there is something to do.
	DefaultTrimEvery = time.Minute
	// trimRest is after how long a pass is worth its while however little it may find: each reads all rows of a ledger.
	trimRest = time.Hour
	// trimShare is how many rows there may be for each revision that the floor has gone on by, for a pass at once.
	trimShare = 16
)

// trimmer deletes old versions, for ever.
type trimmer struct {
	log   *Log
	bytes int // a second
	every time.Duration
	last  map[string]time.Time // by ledger: when a pass began
}

func newTrimmer(l *Log, c Config) *trimmer {
	t := &trimmer{log: l, bytes: c.TrimBytes, every: c.TrimEvery, last: map[string]time.Time{}}
	if t.bytes == 0 {
		t.bytes = DefaultTrimBytes
	}
	if t.every == 0 {
		t.every = DefaultTrimEvery
	}
	return t
}

func (t *trimmer) run(ctx context.Context) {
	if t.bytes < 0 {
		return
	}
	for pause(ctx, t.every) == nil {
		t.round(ctx)
	}
}

// round trims what is worth it.
func (t *trimmer) round(ctx context.Context) {
	for _, id := range t.log.Groups() {
		m := t.log.groups[id].machine
		for _, ledger := range m.Ledgers() {
			due, err := t.due(id, ledger)
			if err == nil && due {
				err = m.Trim(ledger, func(bytes int) error {
					return pause(ctx, time.Duration(float64(bytes)/float64(t.bytes)*float64(time.Second)))
				})
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.log.logger.Warn("cannot delete old versions of rows now", "group", id, "namespace", ledger, "error", err)
			}
		}
	}
}

// due tells whether a pass is worth what it costs.
func (t *trimmer) due(group uint64, ledger string) (bool, error) {
	m := t.log.groups[group].machine
	stats, err := m.Trimmed(ledger)
	if err != nil || stats.Busy {
		return err == nil, err
	}
	l, _ := m.Ledger(ledger)
	if stats.Floor <= stats.Done {
		return false, nil
	}
	worth := uint64(stats.Floor-stats.Done)*trimShare >= l.Head.Live.Rows
	if !worth && time.Since(t.last[ledger]) < trimRest {
		return false, nil
	}
	t.last[ledger] = time.Now()
	return true, nil
}

// Trimmed tells how many versions of a ledger's rows went on this server, and the floor up to which all went that may.
func (l *Log) Trimmed(group uint64, ledger string) (rows uint64, done uint64, err error) {
	g, err := l.group(group)
	if err != nil {
		return 0, 0, err
	}
	s, err := g.machine.Trimmed(ledger)
	return s.Rows, uint64(s.Done), err
}
