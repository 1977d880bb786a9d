package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/rollcall/rollcall/log/event"
)

// Options say how to open a DB. The zero value is usable.
type Options struct {
	FS     FS     // the default is DefaultFS
	Cache  *Cache // shared by all groups of a server; the default is a small one of its own
	Logger *slog.Logger
	// Damaged is told when the database meets data that is not what it wrote, by itself too, as in a compaction. It must
	// not wait.
	Damaged func()
	// ReadOnly changes nothing on disk: no log is written and nothing is compacted.
	ReadOnly bool
	// Counted says which rows are counted in Head.Live; the zero value counts none.
	Counted Counted
}

// DB is the database of one group. Its methods may be called concurrently, but for those that write: there is one
// writer, the state machine.
type DB struct {
	db     *pebble.DB
	newest *newest // for batches only, and so is summer
	summer summer

	counted Counted
}

// Compaction was 40 % of apply with Pebble's defaults, much of it the price of each block of 4 KiB and of merging four
// memtables at a time into what is there already. Blocks of 32 KiB saved another twentieth, and would have twice as much
// read for one row that no cache has.
const (
	memTableBytes  = 16 << 20
	bloomBitsByKey = 10
	blockBytes     = 16 << 10
	levelZeroMerge = 8  // runs in level 0 that are merged into the next level
	levelZeroStop  = 32 // runs in level 0 that make apply wait
)

// Open opens the database in a folder, and makes it where there is none.
func Open(dir string, o Options) (*DB, error) {
	if o.FS == nil {
		o.FS = DefaultFS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	options := &pebble.Options{
		FS:                 o.FS,
		Cache:              o.Cache,
		Comparer:           comparer,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{o.Logger},
		MemTableSize:       memTableBytes,
		ReadOnly:           o.ReadOnly,

		L0CompactionThreshold: levelZeroMerge,
		L0StopWritesThreshold: levelZeroStop,
		// Pebble would end the process where it finds damage: the error says it as well, and who reads what is damaged
		// gets it.
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			o.Logger.Error("stored data is damaged", "path", i.Path, "error", i.Details)
			if o.Damaged != nil {
				o.Damaged()
			}
		}},
	}
	for i := range options.Levels {
		options.Levels[i].BlockSize = blockBytes
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsByKey)
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return &DB{db: db, newest: newNewest(), counted: o.Counted}, nil
}

// Close releases the database. It does not sync: what was not synced comes back from Raft.
func (d *DB) Close() error { return d.db.Close() }

// Sync makes everything that was committed survive a loss of power.
func (d *DB) Sync() error {
	if err := d.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	return nil
}

// Applied is the index of the last Raft entry whose effects are in the database.
func (d *DB) Applied() (uint64, error) {
	b, err := d.get(appliedKey())
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, &Fault{Op: "read the applied index", Err: fmt.Errorf("%d bytes where 8 were written", len(b))}
	}
	return binary.BigEndian.Uint64(b), nil
}

// Head is where a ledger ends.
type Head struct {
	Revision event.Revision // of the last event, which is also the last commit
	Time     event.Time     // of the last event
	Leaves   uint64         // how many leaves the Merkle tree has
	Rows     Sum            // of all row versions up to the revision, those that were trimmed since too
	Live     Live           // of the rows that are counted, as of the revision
	// Floor is the oldest revision that may be read; zero where all may. The database does not keep it: whoever knows
	// what rows mean finds it in them.
	Floor event.Revision
}

// Ledger is a ledger of the group.
type Ledger struct {
	ID   LedgerID
	Name string
	Head Head
}

// Ledgers gives every ledger of the group.
func (d *DB) Ledgers() ([]Ledger, error) {
	ledgers, err := ledgersOf(d.db)
	for i := range ledgers {
		if err == nil {
			ledgers[i].Head.Live, err = d.live(ledgers[i])
		}
	}
	return ledgers, err
}

func ledgersOf(r pebble.Reader) (ledgers []Ledger, err error) {
	defer Catch(&err)
	it := iterate(r, &pebble.IterOptions{LowerBound: []byte{prefixNames}, UpperBound: []byte{prefixNames + 1}})
	defer it.close()
	for ok := it.First(); ok; ok = it.Next() {
		l := Ledger{Name: string(it.Key()[1:]), ID: LedgerID(binary.BigEndian.Uint32(it.value()))}
		b, err := get(r, headKey(l.ID))
		if err != nil {
			return nil, err
		}
		if l.Head, err = decodeHead(b); err == nil && len(b) == oldHeadBytes {
			l.Head.Rows, err = sumRows(r, l.ID, l.Head.Revision)
		}
		if err != nil {
			return nil, fmt.Errorf("ledger %q: %w", l.Name, err)
		}
		ledgers = append(ledgers, l)
	}
	it.check("list ledgers")
	return ledgers, nil
}

// A head's record: revision, time and leaves, 8 bytes each, and the sum of the rows. Before there was a sum it ended
// without one; then all rows are read once, and the next commit writes a whole head.
const (
	oldHeadBytes = 24
	headBytes    = oldHeadBytes + sumBytes
)

func encodeHead(h Head) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, headBytes), uint64(h.Revision))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Time))
	return h.Rows.append(binary.BigEndian.AppendUint64(b, h.Leaves))
}

func decodeHead(b []byte) (Head, error) {
	if len(b) != headBytes && len(b) != oldHeadBytes {
		return Head{}, &Fault{Op: "read a ledger's head", Err: fmt.Errorf("%d bytes where %d were written", len(b), headBytes)}
	}
	h := Head{
		Revision: event.Revision(binary.BigEndian.Uint64(b)),
		Time:     event.Time(binary.BigEndian.Uint64(b[8:])),
		Leaves:   binary.BigEndian.Uint64(b[16:]),
	}
	if len(b) == headBytes {
		h.Rows = readSum(b[oldHeadBytes:])
	}
	return h, nil
}

// Hashes gives the Merkle hashes that a leaf completed, concatenated.
func (d *DB) Hashes(l LedgerID, leaf uint64) ([]byte, error) { return hashesOf(d.db, l, leaf) }

func hashesOf(r pebble.Reader, l LedgerID, leaf uint64) ([]byte, error) {
	b, err := get(r, hashKey(l, leaf))
	if err == nil && b == nil {
		err = &Fault{Op: "read Merkle hashes", Err: fmt.Errorf("ledger %d has none for leaf %d", l, leaf)}
	}
	return b, err
}

func (d *DB) get(key []byte) ([]byte, error) { return get(d.db, key) }

// get gives a copy of a key's value; nil when there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, &Fault{Op: "get", Err: err}
	}
	b := append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		return nil, &Fault{Op: "get", Err: err}
	}
	return b, nil
}

// iterator adds to Pebble's one the panics of this package.
type iterator struct{ *pebble.Iterator }

func (d *DB) iter(o *pebble.IterOptions) iterator { return iterate(d.db, o) }

func iterate(r pebble.Reader, o *pebble.IterOptions) iterator {
	it, err := r.NewIter(o)
	fault("open an iterator", err)
	return iterator{it}
}

func (it iterator) value() []byte {
	v, err := it.ValueAndErr()
	fault("read a value", err)
	return v
}

func (it iterator) check(op string) { fault(op, it.Error()) }

func (it iterator) close() { fault("close an iterator", it.Close()) }

// pebbleLogger lets Pebble speak through slog. Its information is our debugging.
type pebbleLogger struct{ to *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) { l.to.Debug(fmt.Sprintf(format, args...)) }

func (l pebbleLogger) Errorf(format string, args ...any) { l.to.Error(fmt.Sprintf(format, args...)) }

// Fatalf is called where Pebble cannot go on; the contract is that it does not return.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.to.Error(fmt.Sprintf(format, args...))
	panic(&Fault{Op: "run Pebble", Err: fmt.Errorf(format, args...)})
}
