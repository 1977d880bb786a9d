// Package archive is the file that a whole cluster's ledgers are saved in, and read back from.
//
//	"rollcall backup 1\n"
//	the header: its length (uvarint), CBOR {1: cluster, 2: groups, 3: time, 4: version}
//	for each group, from the first: its snapshot, as package store streams it
//	the index: its length (uvarint), CBOR, an array of {1: ledger, 2: group, 3: revision, 4: time, 5: leaves, 6: root}
//	SHA-256 of everything before (32 bytes)
//
// It knows no event's meaning, no Raft and no files: it is given streams. Whatever the size, memory is constant but
// for the index.
package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

const magic = "rollcall backup 1\n"

// The bounds of what is read before its checksum has been seen.
const (
	headerBytesMax = 64 << 10
	indexBytesMax  = 256 << 20
	groupsMax      = 1 << 16
)

// Header says what an archive is of.
type Header struct {
	Cluster string     `cbor:"1,keyasint"`
	Groups  uint64     `cbor:"2,keyasint"`
	Taken   event.Time `cbor:"3,keyasint"`           // by the clock of the server that took it
	Version string     `cbor:"4,keyasint,omitempty"` // what that server said of itself
}

// Ledger is where a ledger ends in an archive.
type Ledger struct {
	Name     string         `cbor:"1,keyasint"`
	Group    uint64         `cbor:"2,keyasint"`
	Revision event.Revision `cbor:"3,keyasint"`
	Time     event.Time     `cbor:"4,keyasint"` // of the last event
	Leaves   uint64         `cbor:"5,keyasint"` // of its Merkle tree: how many events it has
	Root     []byte         `cbor:"6,keyasint"` // of its Merkle tree
}

// Summary is what an archive holds.
type Summary struct {
	Header
	Ledgers  []Ledger // by group and name
	Bytes    int64
	Checksum [sha256.Size]byte
}

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: 1 << 24, MaxNestedLevels: 8,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: this is a build mistake, seen at the first start
	}
	return v
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", store.ErrSnapshotDamaged, fmt.Errorf(format, args...))
}

// summing hashes and counts everything that is read but the last bytes, which are the checksum of all before. It
// takes its time to say which bytes are the last: the reader in front of it reads ahead.
type summing struct {
	in   io.Reader
	sum  hash.Hash
	held []byte // what may be the last
	n    int64
}

func (s *summing) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	s.n += int64(n)
	s.held = append(s.held, p[:n]...)
	if more := len(s.held) - sha256.Size; more > 0 {
		s.sum.Write(s.held[:more])
		s.held = s.held[:copy(s.held, s.held[more:])]
	}
	return n, err
}

func readFrame(in *bufio.Reader, limit uint64, v any) error {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return damaged("read the length of a part: %w", err)
	}
	if n > limit {
		return damaged("a part of %d bytes", n)
	}
	var b bytes.Buffer // it grows as the bytes come, whatever a damaged length says
	if got, err := io.CopyN(&b, in, int64(n)); err != nil {
		return damaged("%d bytes of a part of %d: %w", got, n, err)
	}
	if err := decMode.Unmarshal(b.Bytes(), v); err != nil {
		return damaged("%w", err)
	}
	return nil
}

func appendFrame(dst []byte, v any) ([]byte, error) {
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a part of an archive: %w", err)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...), nil
}
