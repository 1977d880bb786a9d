package audit_test

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/rollcall/rollcall/log/audit"
)

// TestAgainstTlog holds roots, kept hashes and proofs of trees of many sizes against golang.org/x/mod/sumdb/tlog,
// which is an independent implementation of RFC 6962.
func TestAgainstTlog(t *testing.T) {
	var (
		frontier audit.Frontier
		kept     [][]byte
		theirs   []tlog.Hash
	)
	read := func(leaf uint64) ([]byte, error) {
		if leaf >= uint64(len(kept)) {
			return nil, fmt.Errorf("leaf %d of %d", leaf, len(kept))
		}
		return kept[leaf], nil
	}
	reader := audit.HashReader(read)
	their := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, i := range indexes {
			hashes = append(hashes, theirs[i])
		}
		return hashes, nil
	})
	for n := range int64(130) {
		if got, want := frontier.Root(), must(tlog.TreeHash(n, their)); got != want {
			t.Fatalf("root of %d leaves: got %v, want %v", n, got, want)
		}
		loaded, err := audit.Load(uint64(n), read)
		if err != nil {
			t.Fatal(err)
		}
		if loaded.Root() != frontier.Root() || loaded.Size() != frontier.Size() {
			t.Fatalf("%d leaves: the loaded frontier has root %v, the grown one %v", n, loaded.Root(), frontier.Root())
		}
		leaf := fmt.Appendf(nil, "leaf %d", n)
		more, err := tlog.StoredHashes(n, leaf, their)
		if err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, more...)
		kept = append(kept, frontier.Append(leaf))
		if got, want := len(kept[n]), len(more)*audit.HashSize; got != want {
			t.Fatalf("leaf %d keeps %d bytes, want %d", n, got, want)
		}
	}
	size := int64(len(kept))
	root := frontier.Root()
	for n := range size {
		proof, err := tlog.ProveRecord(size, n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, root, n, tlog.RecordHash(fmt.Appendf(nil, "leaf %d", n))); err != nil {
			t.Errorf("inclusion of leaf %d: %v", n, err)
		}
		if n == 0 {
			continue
		}
		consistency, err := tlog.ProveTree(size, n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(consistency, size, root, n, must(tlog.TreeHash(n, their))); err != nil {
			t.Errorf("consistency of %d with %d: %v", n, size, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
