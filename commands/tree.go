package commands

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/rollcall/rollcall/log/event"
)

// PutTree gives a whole subtree its values, in one commit that writes only what differs.
//
// Its scope is the keys that start with Prefix, and, where Prefix is more than a slash, the key that Prefix without its
// slash is: a document that is not an object stands there. Keys that end in a slash are directories, which have no
// value: they are never looked at.
type PutTree struct {
	// Prefix is empty, which means every key, or ends in a slash.
	Prefix string `cbor:"1,keyasint,omitempty"`
	// Replace deletes the keys of the scope that Entries lacks.
	Replace bool `cbor:"2,keyasint,omitempty"`
	// Flat lets a key be a value and have keys below it. Without it an entry takes the place of all that lies below it,
	// and of the values that it lies below.
	Flat bool `cbor:"3,keyasint,omitempty"`
	// Entries are in the order of their keys, and no key is there twice.
	Entries []TreeEntry `cbor:"4,keyasint,omitempty"`
	// Since, where it is not zero, is the revision since which nothing in the scope may have changed.
	Since event.Revision `cbor:"5,keyasint,omitempty"`
}

// TreeEntry is one value of a subtree. Where it is text, and so is what it replaces, the content type stays as it is.
type TreeEntry struct {
	Key         string `cbor:"1,keyasint"`
	Value       []byte `cbor:"2,keyasint,omitempty"`
	ContentType string `cbor:"3,keyasint,omitempty"`
}

func (PutTree) command()      {}
func (PutTree) since() uint32 { return VersionLeases }

// base is the key that the scope itself is; empty where there is none.
func (c PutTree) base() string {
	base := strings.TrimSuffix(c.Prefix, "/")
	if event.IsDirectory(base) {
		return "" // which has no value
	}
	return base
}

// find gives the entry of a key.
func (c PutTree) find(key string) (TreeEntry, bool) {
	i, ok := slices.BinarySearchFunc(c.Entries, key, func(e TreeEntry, key string) int { return cmp.Compare(e.Key, key) })
	if !ok {
		return TreeEntry{}, false
	}
	return c.Entries[i], true
}

// above yields the keys of the scope that a key of it lies below.
func (c PutTree) above(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := max(len(c.Prefix)-1, 0); i < len(key); i++ {
			if key[i] == '/' && i > 0 && key[i-1] != '/' && !yield(key[:i]) { // what ends in a slash is a directory
				return
			}
		}
	}
}

func validateTree(c PutTree) *Rejection {
	if c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/") {
		return reject(CodeInvalidArgument, "the prefix %.80q of a subtree is to be empty or to end in a slash", c.Prefix)
	}
	if len(c.Entries) > event.TreeEntriesMax {
		return reject(CodeTooLarge, "the document has %d values; at most %d are written at once: bring in its parts, each below a prefix of its own", len(c.Entries), event.TreeEntriesMax)
	}
	size := 0
	objects := map[string]struct{}{}
	for i, e := range c.Entries {
		if r := validatePut(PutKey{Key: e.Key, Value: e.Value, ContentType: e.ContentType}); r != nil {
			return r
		}
		if !strings.HasPrefix(e.Key, c.Prefix) && e.Key != c.base() {
			return reject(CodeInvalidArgument, "key %q is not below %q", e.Key, c.Prefix)
		}
		if i > 0 && c.Entries[i-1].Key >= e.Key {
			return reject(CodeInvalidArgument, "keys are to be sorted and without repeats; %q comes after %q", e.Key, c.Entries[i-1].Key)
		}
		size += len(e.Key) + len(e.Value)
		for above := range c.above(e.Key) {
			if _, value := c.find(above); value && !c.Flat {
				return reject(CodeInvalidArgument, "keys %q and %q: the first would have to be a value and an object at once", above, e.Key)
			}
			objects[above] = struct{}{}
		}
		if len(objects) > event.TreeEntriesMax {
			return reject(CodeTooLarge, "the document has more than %d objects with members: bring in its parts, each below a prefix of its own", event.TreeEntriesMax)
		}
	}
	if size > event.TxnBytesMax {
		return reject(CodeTooLarge, "the document holds %d bytes of keys and values; at most %d are written at once: bring in its parts, each below a prefix of its own", size, event.TxnBytesMax)
	}
	return nil
}

func decideTree(s State, at Situation, c PutTree) (Decision, *Rejection) {
	if r := checkSince(s, at, c); r != nil {
		return Decision{}, r
	}
	w := treeWriter{s: s, c: c, doomed: map[string]event.Revision{}}
	for _, e := range c.Entries {
		if r := w.put(e); r != nil {
			return Decision{}, r
		}
	}
	if c.Replace {
		for key, revision := range scope(s, c) {
			if _, stays := c.find(key); stays {
				continue
			}
			if r := w.delete(key, revision); r != nil {
				return Decision{}, r
			}
		}
	}
	// Deletions come first, so that who follows the events and puts a document together never meets a conflict.
	var events []event.Body
	keys := make([]string, 0, len(w.doomed))
	for key := range w.doomed {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		events = append(events, event.KeyDeleted{Key: key, Previous: w.doomed[key]})
	}
	result := Result{Deleted: uint64(len(keys)), Put: uint64(len(w.puts))}
	events = append(events, w.puts...)
	if len(events) == 0 {
		return nothing(s.Head(), result), nil
	}
	if len(events) > event.CommitEventsMax {
		return Decision{}, tooManyEvents(c)
	}
	return Decision{Events: events, Answer: Answer{Results: []Result{result}}}, nil
}

func tooManyEvents(c PutTree) *Rejection {
	return reject(CodeTooLarge, "the document changes more than %d keys at %q: delete longer prefixes one by one first", event.CommitEventsMax, c.Prefix)
}

// scope yields the keys that a tree is about, in key order.
func scope(s State, c PutTree) iter.Seq2[string, event.Revision] {
	return func(yield func(string, event.Revision) bool) {
		if base := c.base(); base != "" {
			if e, exists := s.Key(base); exists && !yield(base, e.Revision) {
				return
			}
		}
		for key, revision := range s.KeyRevisions(c.Prefix) {
			if !strings.HasSuffix(key, "/") && !yield(key, revision) {
				return
			}
		}
	}
}

// checkSince refuses a tree whose scope has changed since the writer saw it, and names the first key that differs.
func checkSince(s State, at Situation, c PutTree) *Rejection {
	if c.Since == 0 {
		return nil
	}
	then, r := stateThen(s, at, c.Since)
	if r != nil {
		return r
	}
	next, stop := iter.Pull2(scope(then, c))
	defer stop()
	key, revision, ok := next()
	looked := 0
	for nowKey, nowRevision := range scope(s, c) {
		if looked++; looked > event.CommitEventsMax {
			return reject(CodeTooLarge, "more than %d keys lie below %q: If-Match takes longer prefixes", event.CommitEventsMax, c.Prefix)
		}
		switch {
		case ok && key == nowKey && revision == nowRevision:
			key, revision, ok = next()
		case ok && key == nowKey:
			return reject(CodeConditionFailed, "key %q was changed at revision %d, after %d", nowKey, nowRevision, c.Since)
		case ok && key < nowKey:
			return reject(CodeConditionFailed, "key %q was deleted after revision %d", key, c.Since)
		default:
			return reject(CodeConditionFailed, "key %q was made at revision %d, after %d", nowKey, nowRevision, c.Since)
		}
	}
	if ok {
		return reject(CodeConditionFailed, "key %q was deleted after revision %d", key, c.Since)
	}
	return nil
}

// stateThen is the state at an earlier revision. What can no longer be read is refused.
func stateThen(s State, at Situation, r event.Revision) (State, *Rejection) {
	if r > s.Head() {
		return nil, reject(CodeConditionFailed, "revision %d does not exist yet; the last one is %d", r, s.Head())
	}
	if r := kept(s, r, "the condition that nothing has changed"); r != nil {
		return nil, r
	}
	then := at.Past(r)
	if then.Restored() != s.Restored() {
		return nil, reject(CodeConditionFailed, "the namespace was restored from a snapshot since revision %d was seen: it may have been another one then", r)
	}
	return then, nil
}

// treeWriter collects what a tree changes.
type treeWriter struct {
	s      State
	c      PutTree
	puts   []event.Body
	doomed map[string]event.Revision
	seen   map[string]struct{} // the keys above entries that were looked at
}

func (w *treeWriter) put(e TreeEntry) *Rejection {
	if !w.c.Flat && !w.c.Replace {
		below, revisions := "", w.s.KeyRevisions(e.Key+"/")
		for key, revision := range revisions {
			if strings.HasSuffix(key, "/") {
				continue
			}
			if isEmptyObject(e.ContentType, e.Value) {
				below = key // an object without members adds nothing to one that has some
				break
			}
			if r := w.delete(key, revision); r != nil {
				return r
			}
		}
		if below != "" {
			w.clear(e.Key)
			w.clearAbove(e.Key)
			return nil
		}
	}
	w.clearAbove(e.Key)
	current, exists := w.s.Key(e.Key)
	contentType := e.ContentType
	if exists {
		contentType = keptType(current, e)
	}
	if exists && contentType == current.ContentType && string(current.Value) == string(e.Value) {
		return nil
	}
	w.puts = append(w.puts, put(PutKey{
		Key: e.Key, Value: e.Value, ContentType: contentType, Flags: current.Flags, TTL: current.TTL, Session: current.Session,
	}, current))
	return nil
}

// clearAbove deletes the values that a key lies below, of which no document that nests could hold both. Where both may
// be, only what stands for an object without members goes.
func (w *treeWriter) clearAbove(key string) {
	for above := range w.c.above(key) {
		if _, done := w.seen[above]; done {
			continue
		}
		if w.seen == nil {
			w.seen = map[string]struct{}{}
		}
		w.seen[above] = struct{}{}
		w.clear(above)
	}
}

// clear deletes a key whose place an object takes, if it exists.
func (w *treeWriter) clear(key string) {
	if _, given := w.c.find(key); given && w.c.Flat {
		return
	}
	e, exists := w.s.Key(key)
	if exists && (!w.c.Flat || isEmptyObject(e.ContentType, e.Value)) {
		w.doomed[key] = e.Revision
	}
}

func (w *treeWriter) delete(key string, revision event.Revision) *Rejection {
	if len(w.doomed) >= event.CommitEventsMax {
		return tooManyEvents(w.c)
	}
	w.doomed[key] = revision
	return nil
}

// keptType is the content type that an existing key gets with a new value: text keeps the kind of text that it was, and
// what is unchanged keeps its own.
func keptType(current event.Entry, e TreeEntry) string {
	switch was := current.ContentType; {
	case isTime(was) && !isJSON(e.ContentType) && string(current.Value) == string(e.Value):
		return was // most formats have no dates, and give one back as text
	case isJSON(was) != isJSON(e.ContentType), isTime(was) != isTime(e.ContentType):
		return e.ContentType
	case string(current.Value) == string(e.Value), isJSON(was), was == "", strings.HasPrefix(strings.ToLower(was), "text/"):
		return was
	}
	return e.ContentType
}

// isTime tells whether a content type makes text a date or time in documents, as package gateway/document writes it.
func isTime(contentType string) bool { return strings.Contains(contentType, "toml=") }

func isJSON(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/json")
}

func isEmptyObject(contentType string, value []byte) bool {
	return isJSON(contentType) && string(value) == "{}"
}
