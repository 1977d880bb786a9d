package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Sum is a hash of a set of row versions: the sum, modulo 2^128, of a hash of each version's table, key, commit and
// row. Versions are only ever added, so a ledger's sum is kept up by adding what each commit writes, in whatever
// batches and order. It stays that of all versions when some are trimmed: see Trimmed.
//
// It finds accidents: a fold that differs between replicas, a row that a disk lost or altered. It is no proof against
// somebody who makes up rows until a sum fits; the Merkle tree is, for the events, and the rows follow from these.
// Each version costs one SHA-256 of the bytes that are written anyway, which the processor has instructions for.
type Sum struct{ hi, lo uint64 }

// sumBytes is the size of a sum in bytes.
const sumBytes = 16

// Plus gives the sum of both sets together.
func (s Sum) Plus(o Sum) Sum {
	lo, carry := bits.Add64(s.lo, o.lo, 0)
	hi, _ := bits.Add64(s.hi, o.hi, carry)
	return Sum{hi: hi, lo: lo}
}

// Minus takes a set out that is in s.
func (s Sum) Minus(o Sum) Sum {
	lo, borrow := bits.Sub64(s.lo, o.lo, 0)
	hi, _ := bits.Sub64(s.hi, o.hi, borrow)
	return Sum{hi: hi, lo: lo}
}

func (s Sum) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, s.hi), s.lo)
}

func readSum(b []byte) Sum {
	return Sum{hi: binary.BigEndian.Uint64(b), lo: binary.BigEndian.Uint64(b[8:])}
}

// String is the sum in hexadecimal digits.
func (s Sum) String() string { return hex.EncodeToString(s.append(nil)) }

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != sumBytes {
		return fmt.Errorf("%.40q is no sum of rows: %d hexadecimal digits", text, 2*sumBytes)
	}
	*s = readSum(b)
	return nil
}

// Sum is that of one version.
func (v RowVersion) Sum() Sum { return new(summer).of(v.Key, v.Row) }

// summer hashes versions. It keeps memory for the next one, and is used by one goroutine.
type summer struct{ scratch []byte }

// of hashes one version, given its whole key. The ledger's number is left out: it is a group's own business. A key can
// be told from the row behind it, since it says itself where it ends.
func (s *summer) of(key, row []byte) Sum {
	s.scratch = append(append(s.scratch[:0], key[1+ledgerBytes:]...), row...)
	hash := sha256.Sum256(s.scratch)
	return readSum(hash[:])
}

// sumChunkBytes is how much SumRows reads while it holds an iterator.
const sumChunkBytes = 4 << 20

// SumRows reads every version of a ledger's rows up to a commit, and gives their sum.
func (d *DB) SumRows(l LedgerID, to event.Revision) (Sum, error) { return sumRows(d.db, l, to) }

func sumRows(r pebble.Reader, l LedgerID, to event.Revision) (sum Sum, err error) {
	var after []byte
	for {
		part, last, _, err := sumSome(r, l, to, after, sumChunkBytes)
		if err != nil {
			return Sum{}, err
		}
		sum = sum.Plus(part)
		if after = last; last == nil {
			return sum, nil
		}
	}
}

// SumSome is a part of SumRows: it begins behind the key after (nil: at the first), and ends when it has read so many
// bytes. It gives the sum of what it read, the last key, or nil when there is no more, and how many bytes it read.
//
// Versions up to a commit that is there stay as they are while others are written, so the sum over all parts does not
// depend on when each was read.
func (d *DB) SumSome(l LedgerID, to event.Revision, after []byte, bytesMax int) (sum Sum, last []byte, read int, err error) {
	return sumSome(d.db, l, to, after, bytesMax)
}

func sumSome(r pebble.Reader, l LedgerID, to event.Revision, after []byte, bytesMax int) (sum Sum, last []byte, read int, err error) {
	defer Catch(&err)
	start := ledgerKey(prefixRows, l)
	options := &pebble.IterOptions{LowerBound: start, UpperBound: successor(start)}
	if after != nil {
		options.LowerBound = after // a key that no row has would be none that the comparer knows the order of
	}
	it := iterate(r, options)
	defer it.close()
	var summer summer
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		if bytes.Equal(key, after) {
			continue
		}
		if split(key) == len(key) {
			return Sum{}, nil, read, &Fault{Op: "sum the rows", Err: fmt.Errorf("the key %x means nothing", key)}
		}
		read += len(key)
		if _, commit := rowKeyOf(key); commit <= to {
			row := it.value()
			read += len(row)
			sum = sum.Plus(summer.of(key, row))
		}
		if read >= bytesMax {
			last = bytes.Clone(key)
			break
		}
	}
	it.check("sum the rows")
	return sum, last, read, nil
}
