package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// VerifiedLedger is what Verify found of a namespace whose ledger and views agree.
type VerifiedLedger struct {
	Namespace string `json:"namespace"`
	Events    uint64 `json:"events"`
	Rows      uint64 `json:"rows"` // versions of rows
	// Trimmed is how many versions are no longer kept, as the namespace's settings have it.
	Trimmed uint64 `json:"trimmed,omitempty"`
	Root    string `json:"root"` // of the Merkle tree, in base64
}

// Verify holds the views in the data folder of a server that does not run against its ledgers. The error names the
// first difference.
//
// It reads what the groups have applied and changes nothing in the folder. Clean says that the server was stopped and
// not killed: otherwise what it had acknowledged last may stand in Raft's log alone, which is not read here.
func Verify(ctx context.Context, data string) (ledgers []VerifiedLedger, clean bool, err error) {
	_, err = os.Stat(filepath.Join(data, stoppedFile))
	clean = err == nil
	ledgers, err = verify(ctx, data)
	if err == nil && len(ledgers) == 0 && clean {
		err = fmt.Errorf("%s holds no ledger", data)
	}
	return ledgers, clean, err
}

func verify(ctx context.Context, data string) (ledgers []VerifiedLedger, err error) {
	if _, err := os.Stat(filepath.Join(data, identityFile)); err != nil {
		return nil, fmt.Errorf("%s is no server's data folder: %w", data, err)
	}
	lock, err := lockFolder(data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	b, err := os.ReadFile(filepath.Join(data, identityFile))
	if err != nil {
		return nil, fmt.Errorf("read the server's identity: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return nil, fmt.Errorf("read the server's identity: %w", err)
	}
	placed := &placements{
		groups: map[string]uint64{event.System: systemGroup}, clusters: map[string]string{}, placed: map[string]event.Revision{},
	}
	found, err := log.Verify(ctx, log.Config{Dir: data, Groups: id.Groups}, placed)
	if err != nil {
		return nil, err
	}
	for group := uint64(1); group <= id.Groups; group++ {
		for _, v := range found[group] {
			if err := placed.check(v.Ledger, group); err != nil {
				return nil, err
			}
			ledgers = append(ledgers, VerifiedLedger{Namespace: v.Ledger, Events: v.Events, Rows: v.Rows, Trimmed: v.Trimmed, Root: v.Root})
		}
	}
	return ledgers, nil
}

// placements is the domain, which notes on its way through the ledgers what they say of one another.
type placements struct {
	Domain
	groups   map[string]uint64         // by namespace, as _system's ledger places it
	clusters map[string]string         // by namespace, as its own first event says
	placed   map[string]event.Revision // by namespace, the revision of _system that its own first event names
	system   event.Revision            // the last one of _system that places a namespace
}

// Fold implements machine.Domain.
func (p *placements) Fold(rows store.Writer, e event.Event) {
	p.Domain.Fold(rows, e)
	switch b := e.Body.(type) {
	case event.NamespaceCreated:
		p.groups[b.Namespace], p.system = b.Group, e.Revision
	case event.NamespaceOpened:
		p.clusters[b.Namespace], p.placed[b.Namespace] = b.Cluster, b.Placed
	case event.NamespaceRestored:
		p.clusters[b.Namespace] = b.Cluster
	}
}

// check holds where a ledger was found, and its cluster, against _system's.
func (p *placements) check(namespace string, group uint64) error {
	switch placed, ok := p.groups[namespace]; {
	case !ok && p.placed[namespace] > p.system:
		return nil // the groups stand at different moments: _system's has not come here yet to where it was placed
	case !ok:
		return fmt.Errorf("group %d holds the ledger of %q, which is no namespace of %s", group, namespace, event.System)
	case placed != group:
		return fmt.Errorf("group %d holds the ledger of %q, which %s placed on group %d", group, namespace, event.System, placed)
	case p.clusters[namespace] != p.clusters[event.System]:
		return fmt.Errorf("the ledger of %q is of cluster %s, and this is %s", namespace, p.clusters[namespace], p.clusters[event.System])
	}
	return nil
}
