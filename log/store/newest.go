package store

// newest remembers the newest rows that decisions read and folds wrote, because finding one among the versions in
// Pebble costs more than deciding about it (it was 30 % of apply). It belongs to the goroutine that writes.
//
// It is two generations: what is used moves to the young one; when that is full it becomes the old one, and the old
// one is forgotten. That is as good as least-recently-used here, in a tenth of the code.
//
// Requests are not remembered: one hardly ever comes again, and thousands of them a second would push out the rows that are
// read again.
type newest struct {
	young, old map[rowName][]byte // nil: the row is known not to exist
	bytes      int                // in the young generation
}

type rowName struct {
	ledger LedgerID
	table  Table
	key    string
}

const (
	newestBytesMax = 8 << 20 // of each generation: some 20,000 small rows
	newestOverhead = 128     // about what an element costs besides its bytes
)

func newNewest() *newest { return &newest{young: map[rowName][]byte{}} }

func (n *newest) get(name rowName) (row []byte, known bool) {
	if row, known = n.young[name]; known {
		return row, true
	}
	if row, known = n.old[name]; known {
		n.put(name, row)
	}
	return row, known
}

func (n *newest) put(name rowName, row []byte) {
	if name.table == TableRequests {
		return
	}
	if before, known := n.young[name]; known {
		n.bytes -= cost(name, before)
	}
	n.young[name] = row
	if n.bytes += cost(name, row); n.bytes > newestBytesMax {
		n.young, n.old, n.bytes = map[rowName][]byte{}, n.young, 0
	}
}

func cost(name rowName, row []byte) int { return newestOverhead + len(name.key) + len(row) }
