package client

import (
	"bytes"
	"context"
	"iter"
)

// KeyChange is what became of one key.
type KeyChange struct {
	Key string
	// Entry is the key's entry now, nil where it is gone, and Previous the one before, nil where there was none.
	Entry, Previous *Entry
	// Event is the type of the event that did it, such as rollcall.kv.expire; empty where several may have.
	Event string
}

// KeyUpdate is what one commit changed, or several.
type KeyUpdate struct {
	// State is what there is with the changes. Changes are in the order of their events.
	State   *KeyState
	Changes []KeyChange
	// Resync says that the changes are the difference to the state before, over any number of commits, in key order: the
	// reader has fallen behind, or the cache had to read everything again.
	Resync bool
}

// changesMax is how many changes wait for a slow reader, unless they are of one commit.
const changesMax = 4096

// Changes yields what changes from a state on, commit by commit, until the context or the cache ends. With nil it begins
// with all that is there. Where it is not the state that is shown now, the first update is the difference, with Resync.
//
// The reader may take its time, and holds up nobody. One that falls too far behind misses the steps, and never what they
// came to: it gets the difference, with Resync.
func (k *KeyCache) Changes(ctx context.Context, from *KeyState) iter.Seq[KeyUpdate] {
	return func(yield func(KeyUpdate) bool) {
		if from == nil {
			from = &KeyState{}
		}
		q := &changeQueue{given: from, lost: true, ready: make(chan struct{}, 1)}
		k.mu.Lock()
		k.readers[q] = struct{}{}
		k.mu.Unlock()
		defer func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.readers, q)
		}()
		for ctx.Err() == nil && k.life.Err() == nil {
			if u, ok := k.nextUpdate(q); ok {
				if !yield(u) {
					return
				}
				continue
			}
			select {
			case <-q.ready:
			case <-ctx.Done():
			case <-k.life.Done():
			}
		}
	}
}

// nextUpdate gives what is next for a reader; false for nothing.
func (k *KeyCache) nextUpdate(q *changeQueue) (KeyUpdate, bool) {
	k.mu.Lock()
	u, lost, ok := q.pop(k.State())
	was := q.given
	if ok {
		q.given = u.State
	}
	k.mu.Unlock()
	if !ok || !lost {
		return u, ok
	}
	was.tree.diff(u.State.tree, func(was, now *Entry) bool {
		if was != nil && now != nil && sameEntry(was, now) {
			return true
		}
		change := KeyChange{Entry: now, Previous: was}
		if change.Key = keyOf(now); now == nil {
			change.Key = keyOf(was)
		}
		u.Changes = append(u.Changes, change)
		return true
	})
	return u, len(u.Changes) > 0
}

func keyOf(e *Entry) string {
	if e == nil {
		return ""
	}
	return e.Key
}

// sameEntry tells whether two entries of a key say the same, which they may where everything was read again.
func sameEntry(a, b *Entry) bool {
	return a.Revision == b.Revision && a.CreateRevision == b.CreateRevision && a.Version == b.Version && a.Flags == b.Flags &&
		a.ContentType == b.ContentType && a.Session == b.Session && a.TTL == b.TTL && a.Time.Equal(b.Time) && bytes.Equal(a.Value, b.Value)
}

// changeQueue is what waits for one reader of changes. The cache's lock guards it, but for ready.
type changeQueue struct {
	ready   chan struct{}
	given   *KeyState // the last one that the reader has
	waiting []KeyUpdate
	changes int  // in waiting
	lost    bool // what the reader is to get next is the difference to given
}

func (q *changeQueue) push(u KeyUpdate) {
	if !q.lost {
		q.waiting, q.changes = append(q.waiting, u), q.changes+len(u.Changes)
		q.lost = q.changes > changesMax && len(q.waiting) > 1
	}
	q.wake()
}

// lose has the reader get the difference.
func (q *changeQueue) lose() {
	q.lost = true
	q.wake()
}

func (q *changeQueue) wake() {
	if q.lost {
		q.waiting, q.changes = nil, 0
	}
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop gives what is next: an update that waits, or, with lost, one that is to tell the difference to what is shown.
func (q *changeQueue) pop(shown *KeyState) (u KeyUpdate, lost, ok bool) {
	switch {
	case q.lost:
		q.lost = false
		return KeyUpdate{State: shown, Resync: true}, true, true
	case len(q.waiting) == 0:
		return u, false, false
	}
	u, q.waiting = q.waiting[0], q.waiting[1:]
	q.changes -= len(u.Changes)
	return u, false, true
}
