package requests

import (
	"bytes"
	"encoding/binary"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
)

// Requests that are too old to count would stay in the newest rows for good. So each time that a ledger lets old states
// go, some of its requests are looked at, in the order of their keys, and those are deleted whose time is over. The next
// time goes on behind them: the row of TableSystem says where.
var sweptKey = []byte("requests")

const (
	// How many are looked at for one event: twice as many as revisions have gone by, for each may have brought one, but no
	// more than sweepMost, so that no fold takes long.
	sweepLeast = 2_000
	sweepMost  = 50_000
	// forgotten is after how long a request is deleted: a proposer's clock, by which it counts, may be behind that of the
	// ledger.
	forgotten = 2 * event.RequestKept
)

func sweep(w store.Writer, now event.Time, passed event.Revision) {
	most := int(min(max(2*passed, sweepLeast), sweepMost))
	cursor, begun := w.Get(store.TableSystem, sweptKey)
	var from []byte
	if begun {
		from = append(bytes.Clone(cursor), 0) // the least key behind it
	}
	var old [][]byte
	var last []byte
	looked := 0
	for key, row := range w.Scan(store.TableRequests, nil, from) {
		if looked == most {
			break
		}
		looked++
		last = append(last[:0], key...)
		if now-timeOf(row) > forgotten {
			old = append(old, bytes.Clone(key))
		}
	}
	for _, key := range old {
		w.Delete(store.TableRequests, key)
	}
	switch {
	case looked == most:
		w.Set(store.TableSystem, sweptKey, last)
	case begun:
		w.Delete(store.TableSystem, sweptKey)
	}
}

// timeOf is when a request was answered.
func timeOf(row []byte) event.Time {
	var n uint64
	for range 3 { // the first revision, the commit, the time
		v, size := binary.Uvarint(row)
		if size <= 0 {
			return 0
		}
		n, row = v, row[size:]
	}
	return event.Time(n)
}
