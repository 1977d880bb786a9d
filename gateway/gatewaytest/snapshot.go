package gatewaytest

import (
	"context"
	"errors"
	"io"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// Snapshot implements gateway.Backend. The file is what Faults.Snapshot says, because the file's form is not a door's
// business; it breaks off where Faults.SnapshotBreaks says so.
func (b *Backend) Snapshot(context.Context) (gateway.Snapshot, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	l, err := b.ledger(event.System)
	if err == nil {
		err = b.faults.View
	}
	if err != nil {
		return nil, err
	}
	return snapshot{head: l.head(), file: b.faults.Snapshot, breaks: b.faults.SnapshotBreaks}, nil
}

// snapshot implements gateway.Snapshot.
type snapshot struct {
	head   event.Revision
	file   []byte
	breaks bool
}

func (s snapshot) Head() event.Revision { return s.head }

func (s snapshot) Write(w io.Writer, _ <-chan struct{}) error {
	if _, err := w.Write(s.file); err != nil || !s.breaks {
		return err
	}
	return errors.New("it was made to break off")
}

func (snapshot) Close() error { return nil }
