package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A snapshot is every key and value of the database at one moment, in key order:
//
//	"rollcall snapshot 1\n"
//	for each key: its length, the key, the length of its value, the value   (lengths are uvarints)
//	00, the number of keys (uvarint), SHA-256 of everything before (32 bytes)
//
// The same state always gives the same bytes.
const snapshotMagic = "rollcall snapshot 1\n"

// The largest key and value that a snapshot may hold: a reader bounds what it allocates before it has seen the
// checksum.
const (
	snapshotKeyMax   = 64 << 10
	snapshotValueMax = 64 << 20
)

// ErrSnapshotDamaged is why a snapshot was refused: it is cut short, or its checksum does not fit.
var ErrSnapshotDamaged = errors.New("snapshot is damaged")

// Snapshot is the state of the database at one moment, while the database goes on.
type Snapshot struct{ at *pebble.Snapshot }

// Snapshot takes hold of the present state. It costs nothing until it is written; close it after use.
func (d *DB) Snapshot() *Snapshot { return &Snapshot{at: d.db.NewSnapshot()} }

// Ledgers gives every ledger of the group, as the snapshot shows them.
func (s *Snapshot) Ledgers() ([]Ledger, error) { return ledgersOf(s.at) }

// Hashes gives the Merkle hashes that a leaf completed, concatenated.
func (s *Snapshot) Hashes(l LedgerID, leaf uint64) ([]byte, error) { return hashesOf(s.at, l, leaf) }

// Close lets go of the state.
func (s *Snapshot) Close() error { return s.at.Close() }

// Write streams the state. Stop, when closed, ends it early with ErrStopped.
func (s *Snapshot) Write(to io.Writer, stop <-chan struct{}) (err error) {
	out := bufio.NewWriterSize(to, SnapshotBuffer)
	sum := sha256.New()
	w := io.MultiWriter(out, sum)
	if _, err := io.WriteString(w, snapshotMagic); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	count, err := s.writeRecords(w, stop)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.AppendUvarint([]byte{0}, count)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if _, err := out.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return out.Flush()
}

// ErrStopped says that a snapshot's transfer was ended from outside.
var ErrStopped = errors.New("snapshot was stopped")

func (s *Snapshot) writeRecords(w io.Writer, stop <-chan struct{}) (count uint64, err error) {
	it, err := s.at.NewIter(nil)
	if err != nil {
		return 0, &Fault{Op: "open a snapshot", Err: err}
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var head []byte
	for ok := it.First(); ok; ok = it.Next() {
		if count%1024 == 0 {
			select {
			case <-stop:
				return 0, ErrStopped
			default:
			}
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, &Fault{Op: "read a snapshot", Err: err}
		}
		head = binary.AppendUvarint(head[:0], uint64(len(it.Key())))
		head = append(head, it.Key()...)
		head = binary.AppendUvarint(head, uint64(len(value)))
		if _, err := w.Write(head); err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
		if _, err := w.Write(value); err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
		count++
	}
	return count, it.Error()
}

// Restore reads a snapshot into a new database at dir, which must not exist, and leaves it synced and closed. Where
// it fails, what stands at dir is worth nothing.
func Restore(dir string, from io.Reader, o Options, stop <-chan struct{}) (err error) {
	return restore(dir, from, o, stop, false)
}

// RestoreBase is Restore for a state that begins a new Raft log: it leaves out the index of the last entry applied,
// which counts the entries of another log.
func RestoreBase(dir string, from io.Reader, o Options, stop <-chan struct{}) error {
	return restore(dir, from, o, stop, true)
}

func restore(dir string, from io.Reader, o Options, stop <-chan struct{}, base bool) (err error) {
	db, err := Open(dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := load(db, from, stop, base); err != nil {
		return err
	}
	return db.Sync()
}

// load reads a snapshot into a database.
func load(db *DB, from io.Reader, stop <-chan struct{}, base bool) (err error) {
	b := db.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	commit := func() error {
		if err := b.Commit(pebble.NoSync); err != nil {
			return &Fault{Op: "restore a snapshot", Err: err}
		}
		return nil
	}
	err = readSnapshot(from, stop, func(key, value []byte) error {
		if base && key[0] == prefixApplied {
			return nil
		}
		if err := b.Set(key, value, nil); err != nil {
			return &Fault{Op: "restore a snapshot", Err: err}
		}
		if b.Len() < restoreBatchBytes {
			return nil
		}
		if err := commit(); err != nil {
			return err
		}
		b.Reset()
		return nil
	})
	if err != nil {
		return err
	}
	return commit()
}

// readSnapshot gives every key and value of a snapshot to visit, which must not keep them, and then checks that the
// snapshot was whole. It reads no further than the snapshot's end where from is a bufio.Reader of snapshotBuffer.
func readSnapshot(from io.Reader, stop <-chan struct{}, visit func(key, value []byte) error) error {
	in := snapshotReader{in: bufio.NewReaderSize(from, SnapshotBuffer), sum: sha256.New()}
	if err := in.magic(); err != nil {
		return err
	}
	return in.records(stop, visit)
}

// SnapshotBuffer is the size of buffer with which a snapshot is read and written.
const SnapshotBuffer = 256 << 10

type snapshotReader struct {
	in         *bufio.Reader
	sum        hash.Hash
	key, value []byte // used again for each record
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrSnapshotDamaged, err) }

func (r *snapshotReader) magic() error {
	b := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r.in, b); err != nil {
		return damaged(err)
	}
	if string(b) != snapshotMagic {
		return fmt.Errorf("%w: it begins with %q", ErrSnapshotDamaged, b)
	}
	r.sum.Write(b)
	return nil
}

// ReadByte lets uvarints be read through the checksum.
func (r *snapshotReader) ReadByte() (byte, error) {
	c, err := r.in.ReadByte()
	if err == nil {
		r.sum.Write([]byte{c})
	}
	return c, err
}

// bytes reads bytes behind their length, into a buffer that is used again.
func (r *snapshotReader) bytes(buffer *[]byte, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, damaged(err)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: a length of %d bytes", ErrSnapshotDamaged, n)
	}
	// What a damaged length asks for is only allocated as the bytes come.
	b := (*buffer)[:0]
	for uint64(len(b)) < n {
		start, step := len(b), int(min(n-uint64(len(b)), 1<<20))
		b = slices.Grow(b, step)[:start+step]
		if _, err := io.ReadFull(r.in, b[start:]); err != nil {
			return nil, damaged(err)
		}
	}
	*buffer = b
	r.sum.Write(b)
	return b, nil
}

const restoreBatchBytes = 4 << 20

func (r *snapshotReader) records(stop <-chan struct{}, visit func(key, value []byte) error) error {
	var count uint64
	for {
		key, err := r.bytes(&r.key, snapshotKeyMax)
		if err != nil {
			return err
		}
		if len(key) == 0 {
			return r.trailer(count)
		}
		value, err := r.bytes(&r.value, snapshotValueMax)
		if err != nil {
			return err
		}
		if count++; count%1024 == 0 {
			select {
			case <-stop:
				return ErrStopped
			default:
			}
		}
		if err := visit(key, value); err != nil {
			return err
		}
	}
}

func (r *snapshotReader) trailer(count uint64) error {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return damaged(err)
	}
	want := r.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r.in, got); err != nil {
		return damaged(err)
	}
	if n != count || !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %d keys of %d, SHA-256 %x where %x was written", ErrSnapshotDamaged, count, n, want, got)
	}
	return nil
}
