package server

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall/rollcall/log/archive"
	"github.com/rollcall/rollcall/log/event"
)

// contents notes, on the way through a snapshot, what its ledgers say of one another.
type contents struct {
	groups map[string]uint64 // by namespace, as _system's ledger places it
}

// event takes one event. It refuses those that this version does not know: a server could not read them later.
func (c *contents) event(ledger string, canonical []byte) error {
	e, err := event.Decode(canonical)
	if err != nil {
		return fmt.Errorf("ledger %q: %w", ledger, err)
	}
	if b, ok := e.Body.(event.NamespaceCreated); ok && ledger == event.System {
		c.groups[b.Namespace] = b.Group
	}
	return nil
}

// check holds where the ledgers are against where _system places them.
func (c *contents) check(ledgers []archive.Ledger) error {
	for _, l := range ledgers {
		if placed, ok := c.groups[l.Name]; !ok || placed != l.Group {
			return fmt.Errorf("it has the ledger of %q on group %d, where %s places none of that name", l.Name, l.Group, event.System)
		}
	}
	if !slices.ContainsFunc(ledgers, func(l archive.Ledger) bool { return l.Name == event.System }) {
		return fmt.Errorf("it has no ledger of %s", event.System)
	}
	return nil
}

func (c *contents) info(s archive.Summary) SnapshotInfo {
	info := SnapshotInfo{
		Cluster: s.Cluster, Groups: s.Groups, Taken: time.Unix(0, int64(s.Taken)).UTC(), Version: s.Version, Bytes: s.Bytes,
		Checksum: hex.EncodeToString(s.Checksum[:]),
	}
	open := map[string]bool{}
	for _, l := range s.Ledgers {
		open[l.Name] = true
		info.Ledgers = append(info.Ledgers, SnapshotLedger{
			Namespace: l.Name, Group: l.Group, Revision: l.Revision, Events: l.Leaves, Root: base64.StdEncoding.EncodeToString(l.Root),
		})
	}
	for namespace := range c.groups {
		if !open[namespace] {
			info.NotOpen = append(info.NotOpen, namespace)
		}
	}
	slices.Sort(info.NotOpen)
	return info
}
