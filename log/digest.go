package log

import (
	"fmt"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

// Digest gives what a ledger and its views come to on this server at a commit, zero meaning the newest; see
// machine.Machine.Digest for when it is not known.
func (l *Log) Digest(group uint64, ledger string, at event.Revision) (d machine.Digest, known bool, err error) {
	g, err := l.group(group)
	if err != nil {
		return machine.Digest{}, false, err
	}
	if _, ok := g.machine.Ledger(ledger); !ok {
		return machine.Digest{}, false, fmt.Errorf("%w: %q on group %d", ErrNoLedger, ledger, group)
	}
	return g.machine.Digest(ledger, at)
}
