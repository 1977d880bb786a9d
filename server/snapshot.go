package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/archive"
	"github.com/rollcall/rollcall/log/event"
)

// Snapshot implements gateway.Backend.
//
// _system's group is taken last. A ledger is opened only after _system has placed its namespace, so _system's state
// names every namespace whose ledger is in the snapshot: there is none that a restore would have to drop or adopt. It
// may name some whose ledgers were not open yet when their groups were taken; a restored server opens those, as every
// start does.
func (s *Server) Snapshot(ctx context.Context) (gateway.Snapshot, error) {
	head, err := s.Head(event.System)
	if err != nil {
		return nil, err
	}
	b, err := s.log.Backup(ctx, archive.Header{
		Cluster: s.cluster, Taken: event.Time(time.Now().UnixNano()), Version: s.config.Version,
	}, systemGroup)
	if err != nil {
		return nil, outside(err)
	}
	return snapshot{b, head}, nil
}

// snapshot is a backup with what doors say about it. Its head is of the moment when it was asked for.
type snapshot struct {
	*log.Backup
	head event.Revision
}

// Head implements gateway.Snapshot.
func (s snapshot) Head() event.Revision { return s.head }

// SnapshotInfo is what the file of a snapshot holds.
type SnapshotInfo struct {
	Cluster  string           `json:"cluster"`
	Groups   uint64           `json:"groups"`
	Taken    time.Time        `json:"taken"`
	Version  string           `json:"version,omitempty"` // of the server that took it
	Bytes    int64            `json:"bytes"`
	Checksum string           `json:"sha256"`
	Ledgers  []SnapshotLedger `json:"ledgers"`
	// NotOpen are namespaces that have no ledger yet: they were being made.
	NotOpen []string `json:"not_open,omitempty"`
}

// SnapshotLedger is where a ledger ends in a snapshot.
type SnapshotLedger struct {
	Namespace string         `json:"namespace"`
	Group     uint64         `json:"group"`
	Revision  event.Revision `json:"revision"`
	Events    uint64         `json:"events"`
	Root      string         `json:"root"` // of the Merkle tree, in base64
}

// InspectSnapshot checks everything in the file of a snapshot, and says what it holds.
func InspectSnapshot(ctx context.Context, path string) (SnapshotInfo, error) {
	f, info, err := openSnapshot(ctx, path)
	if err != nil {
		return SnapshotInfo{}, err
	}
	return info, f.Close()
}

// openSnapshot is InspectSnapshot; the file is at its start afterwards.
func openSnapshot(ctx context.Context, path string) (*os.File, SnapshotInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	info, err := CheckSnapshot(ctx, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, SnapshotInfo{}, errors.Join(fmt.Errorf("check %s: %w", path, err), f.Close())
	}
	return f, info, nil
}

// CheckSnapshot is InspectSnapshot for a snapshot on its way.
func CheckSnapshot(ctx context.Context, from io.Reader) (SnapshotInfo, error) {
	placed := contents{groups: map[string]uint64{event.System: systemGroup}}
	summary, err := archive.Check(from, ctx.Done(), placed.event)
	if err == nil {
		err = placed.check(summary.Ledgers)
	}
	if err != nil {
		return SnapshotInfo{}, err
	}
	return placed.info(summary), nil
}
