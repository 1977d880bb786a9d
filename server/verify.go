package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rollcall/rollcall/log"
)

// VerifiedLedger is what Verify found of a namespace whose ledger and views agree.
type VerifiedLedger struct {
	Namespace string `json:"namespace"`
	Events    uint64 `json:"events"`
	Rows      uint64 `json:"rows"` // versions of rows
	Root      string `json:"root"` // of the Merkle tree, in base64
}

// Verify holds the views in the data folder of a server that does not run against its ledgers. The error names the
// first difference.
func Verify(ctx context.Context, data string) (ledgers []VerifiedLedger, err error) {
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
	found, err := log.Verify(ctx, log.Config{Dir: data, Groups: id.Groups}, Domain{})
	if err != nil {
		return nil, err
	}
	for _, v := range found {
		ledgers = append(ledgers, VerifiedLedger{Namespace: v.Ledger, Events: v.Events, Rows: v.Rows, Root: v.Root})
	}
	return ledgers, nil
}
