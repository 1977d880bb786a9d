package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// KeyState is all keys with a prefix, as of one revision. It never changes. Whoever reads entries must leave their values as
// they are: they are shared.
type KeyState struct {
	revision uint64
	tree     *keyTree
	size     int
}

// Revision is the revision that the state is of: it is what List gives with At(Revision()).
func (s *KeyState) Revision() uint64 { return s.revision }

// Len is how many keys there are.
func (s *KeyState) Len() int { return s.size }

// Get gives the entry of a key.
func (s *KeyState) Get(key string) (Entry, bool) {
	if e := s.tree.get(key); e != nil {
		return *e, true
	}
	return Entry{}, false
}

// All yields the entries whose keys start with a prefix, in key order; the empty one is all of them.
func (s *KeyState) All(prefix string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		s.tree.all(prefix, func(e *Entry) bool { return yield(*e) })
	}
}

// KeyCache is a copy of all keys with a prefix in this process, which follows the servers. What it shows is always what
// was there at one revision: never half of a commit, and never older than what it has shown, unless the cluster has gone back
// itself. Make one with CacheKeys.
type KeyCache struct {
	client          *Client
	prefix, subject string
	watch           watchFunc
	progress        progress
	current         atomic.Pointer[keyVersion]
	life            context.Context
	stop            context.CancelFunc
	running         sync.WaitGroup
	asking          chan struct{} // one question at a time: what one brings serves the others
	half            chan struct{} // there may be half of a commit in pending

	mu sync.Mutex // guards what follows, and is held where current is replaced
	// source is the cluster whose history this is, and generation counts the snapshots: what was asked for before the last
	// one says nothing about it.
	source     string
	generation int
	// position is what everything up to has been seen. pending are the changes of a commit that may not be whole yet.
	position uint64
	pending  []pendingKey
	readers  map[*changeQueue]struct{}
}

// keyVersion is the state that is shown until another one is.
type keyVersion struct {
	KeyState
	superseded chan struct{}
}

// CacheKeys reads all keys with a prefix, and keeps the copy current in the background until the context ends or Close is
// called. The empty prefix is every key of the namespace. It fails where they cannot be read now; what goes wrong later is
// in Status, and tried again for as long as it takes.
//
// Each cache costs one stream of events, and the memory for its entries.
func (c *Client) CacheKeys(ctx context.Context, prefix string) (*KeyCache, error) {
	return c.cacheKeys(ctx, prefix, c.watchMarked)
}

func (c *Client) cacheKeys(ctx context.Context, prefix string, watch watchFunc) (*KeyCache, error) {
	k := &KeyCache{
		client: c, prefix: prefix, subject: prefixSubject(prefix), watch: watch,
		asking: make(chan struct{}, 1), half: make(chan struct{}, 1), readers: map[*changeQueue]struct{}{},
	}
	if err := k.snapshot(ctx); err != nil {
		return nil, fmt.Errorf("cache prefix %q: %w", prefix, err)
	}
	k.life, k.stop = context.WithCancel(ctx)
	follow := follower{watch: watch, subject: k.subject, next: k.next, take: k.follow, resync: k.snapshot, progress: &k.progress}
	k.running.Go(func() { follow.run(k.life) })
	k.running.Go(k.finishCommits)
	return k, nil
}

// Close ends the cache. What it shows stays as it is.
func (k *KeyCache) Close() {
	k.stop()
	k.running.Wait()
}

// State is what the cache shows now. Read several keys from one state to see them as of one revision.
func (k *KeyCache) State() *KeyState { return &k.current.Load().KeyState }

// Get gives the entry of a key, as of now.
func (k *KeyCache) Get(key string) (Entry, bool) { return k.State().Get(key) }

// Revision is the revision that the cache shows now.
func (k *KeyCache) Revision() uint64 { return k.State().revision }

// Status says how the cache stands.
func (k *KeyCache) Status() CacheStatus { return k.progress.status(k.Revision()) }

// WaitRevision returns when the cache shows a revision, such as that of one's own write. A revision that is not there yet is
// waited for. It fails when the context ends, or the cache.
func (k *KeyCache) WaitRevision(ctx context.Context, revision uint64) error {
	shown := func() (uint64, <-chan struct{}) {
		v := k.current.Load()
		return v.revision, v.superseded
	}
	return awaitRevision(ctx, k.life, revision, shown, func(ctx context.Context) error { return k.ask(ctx, revision) })
}

// Sync returns when the cache shows everything that was committed, by anybody, before the call.
func (k *KeyCache) Sync(ctx context.Context) error {
	head, err := k.client.head(ctx)
	if err != nil {
		return fmt.Errorf("synchronize the cache of prefix %q: %w", k.prefix, err)
	}
	return k.WaitRevision(ctx, head)
}

// prefixSubject is the narrowest subject that all keys with a prefix have.
func prefixSubject(prefix string) string {
	segments := strings.Split(prefix, "/")
	segments[0], segments[len(segments)-1] = "kv", ">"
	for i, s := range strings.Split(prefix, "/") {
		if i < len(segments)-1 {
			segments[i] = subjectSegment(s)
		}
	}
	return strings.Join(append([]string{"kv"}, segments...), ".")
}

// snapshotTries is how often a snapshot is begun again whose revision was trimmed while it was read.
const snapshotTries = 5

// snapshot reads all keys as of one revision, and shows them.
func (k *KeyCache) snapshot(ctx context.Context) error {
	shown := uint64(0)
	if v := k.current.Load(); v != nil {
		shown = v.revision
	}
	for try := 1; ; try++ {
		revision, entries, source, err := k.read(ctx)
		if err == nil && k.begin(revision, entries, source, revision < shown) {
			return nil
		}
		if try == snapshotTries && err == nil {
			return errors.New("newer changes came faster than everything could be read")
		}
		if try == snapshotTries || err != nil && !errors.Is(err, ErrHistoryTrimmed) && !errors.Is(err, errRestored) {
			return err
		}
	}
}

// read reads all keys as of one revision, and which cluster has it.
func (k *KeyCache) read(ctx context.Context) (revision uint64, entries []*Entry, source string, err error) {
	page, err := k.client.ListPage(ctx, k.prefix, "", listMax)
	for revision = page.Revision; err == nil; {
		for i := range page.Entries {
			entries = append(entries, &page.Entries[i])
		}
		if page.Next == "" {
			break
		}
		page, err = k.client.ListPage(ctx, k.prefix, page.Next, listMax, At(revision))
	}
	if err != nil {
		return 0, nil, "", err
	}
	if source, err = k.client.sourceAt(ctx, revision); err == nil && source == "" {
		err = errRestored // the cluster that has been read had this revision, and the one that is there now has not
	}
	return revision, entries, source, err
}

// begin shows a snapshot, unless one of that history that is newer is shown meanwhile; back says that history has gone back.
func (k *KeyCache) begin(revision uint64, entries []*Entry, source string, back bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.current.Load(); v != nil && !back && source == k.source && v.revision > revision {
		return false
	}
	k.generation++
	k.source, k.position, k.pending = source, revision, nil
	k.show(KeyState{revision: revision, tree: keyTreeOf(slices.Values(entries)), size: len(entries)}, nil)
	for q := range k.readers {
		q.lose()
	}
	k.progress.heard()
	return true
}

// show replaces what is shown; the caller holds the lock.
func (k *KeyCache) show(s KeyState, changes []KeyChange) {
	next := &keyVersion{KeyState: s, superseded: make(chan struct{})}
	if before := k.current.Swap(next); before != nil {
		close(before.superseded)
	}
	if len(changes) == 0 {
		return
	}
	for q := range k.readers {
		q.push(KeyUpdate{State: &next.KeyState, Changes: changes})
	}
}

func (k *KeyCache) next() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.position + 1
}

// pendingKey is one event of a commit, read as what it leaves behind.
type pendingKey struct {
	Event
	wire wireEntry
}

// follow takes what the stream brings.
func (k *KeyCache) follow(ctx context.Context, e Event) error {
	k.mu.Lock()
	generation, source := k.generation, k.source
	k.mu.Unlock()
	switch {
	case !e.IsBookmark():
		return k.take(generation, e)
	case e.Source != "" && e.Source != source:
		return errRestored
	}
	if err := k.verify(ctx, e.Revision); err != nil {
		return err
	}
	k.reach(generation, e.Revision)
	return nil
}

// verifyJump is how far a cache goes on at once, without an event that says whose it is, before it asks: in a cluster that
// was restored the revisions jump, by 1,000,000 where nobody has said otherwise.
const verifyJump = 100_000

// verify makes sure that a revision far ahead is of the history that was followed so far.
func (k *KeyCache) verify(ctx context.Context, revision uint64) error {
	k.mu.Lock()
	position, source := k.position, k.source
	k.mu.Unlock()
	if revision <= position+verifyJump {
		return nil
	}
	now, err := k.client.sourceAt(ctx, revision)
	if err == nil && now != source {
		err = errRestored
	}
	return err
}

// take takes one event, from whichever stream brings it first: each brings all from where the cache stood when it began, in
// order, so what is not behind position has been seen.
func (k *KeyCache) take(generation int, e Event) error {
	var w struct {
		Source string    `json:"source"`
		Data   wireEntry `json:"data"`
	}
	if err := json.Unmarshal(e.Raw, &w); err != nil {
		return fmt.Errorf("read event %d: %w", e.Revision, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case generation != k.generation || e.Revision <= k.position:
		return nil
	case w.Source != k.source:
		return errRestored
	}
	switch e.Type {
	case "rollcall.kv.put", "rollcall.kv.release", "rollcall.kv.delete", "rollcall.kv.expire":
	default:
		return unknownEventError{e.Type}
	}
	if len(k.pending) > 0 && k.pending[0].Commit != e.Commit {
		k.commit()
	}
	k.pending = append(k.pending, pendingKey{e, w.Data})
	k.position = e.Revision
	if e.Revision == e.Commit {
		k.commit()
		return nil
	}
	select {
	case k.half <- struct{}{}:
	default:
	}
	return nil
}

// reach says that everything up to a revision has been seen.
func (k *KeyCache) reach(generation int, revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if generation != k.generation {
		return
	}
	k.position = max(k.position, revision)
	if len(k.pending) > 0 && k.pending[0].Commit <= revision {
		k.commit()
	}
	if now := k.current.Load().KeyState; revision > now.revision {
		now.revision = revision // where half of a commit is pending, nothing of it shows at this revision
		k.show(now, nil)
	}
}

// commit shows what is pending, which is whole; the caller holds the lock.
func (k *KeyCache) commit() {
	s := k.current.Load().KeyState
	s.revision = k.pending[0].Commit
	changes := make([]KeyChange, 0, len(k.pending))
	for _, p := range k.pending {
		if !strings.HasPrefix(p.wire.Key, k.prefix) {
			continue
		}
		was := s.tree.get(p.wire.Key)
		now := p.entry(was)
		switch {
		case now != nil:
			s.tree = s.tree.put(now)
		case was != nil:
			s.tree = s.tree.remove(was.Key)
		}
		switch {
		case was == nil && now == nil:
			continue
		case was == nil:
			s.size++
		case now == nil:
			s.size--
		}
		changes = append(changes, KeyChange{Key: p.wire.Key, Entry: now, Previous: was, Event: p.Type})
	}
	k.pending = nil
	k.show(s, changes)
}

// entry is what an event leaves behind of the entry before it; nil for nothing. These are the rules by which the servers fold
// events.
func (p pendingKey) entry(was *Entry) *Entry {
	switch p.Type {
	case "rollcall.kv.put":
		e := p.wire.entry()
		e.Revision, e.Time = p.Commit, p.Time
		if strings.HasSuffix(e.Key, "/") {
			e.Value = nil // a directory has none
		}
		return &e
	case "rollcall.kv.release":
		if was == nil {
			return nil
		}
		e := *was
		e.Session, e.Revision, e.Time = "", p.Commit, p.Time
		e.Version++
		return &e
	}
	return nil
}

// ask reads what happened up to a revision, where the stream has not brought it yet: it may wait for a bookmark where the
// rest of a commit is none of its subject's.
func (k *KeyCache) ask(ctx context.Context, revision uint64) error {
	select {
	case k.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.asking }()
	if k.Revision() >= revision {
		return nil
	}
	if err := k.verify(ctx, revision); err != nil {
		return err
	}
	k.mu.Lock()
	generation, from := k.generation, k.position+1
	k.mu.Unlock()
	if from <= revision {
		for e, err := range k.client.Events(ctx, Range{From: from, To: revision, Subject: k.subject}) {
			if err == nil {
				err = k.take(generation, e)
			}
			if err != nil {
				return err
			}
		}
	}
	k.reach(generation, revision)
	k.progress.heard()
	return nil
}

// finishCommits asks for the end of a commit that does not come by itself.
func (k *KeyCache) finishCommits() {
	for {
		select {
		case <-k.half:
		case <-k.life.Done():
			return
		}
		wait := askAfter
		for failures, commit := 0, k.halfOf(); commit > 0; commit = k.halfOf() {
			if pause(k.life, wait) != nil {
				return
			}
			if k.halfOf() != commit {
				failures, wait = 0, askAfter
				continue
			}
			ctx, cancel := context.WithTimeout(k.life, askTime)
			err := k.ask(ctx, commit)
			cancel()
			failures++
			wait = backoff(failures, err)
		}
	}
}

// halfOf is the commit that is pending; zero for none.
func (k *KeyCache) halfOf() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) == 0 {
		return 0
	}
	return k.pending[0].Commit
}
