package commands

import "github.com/rollcall/rollcall/log/event"

func decidePut(s State, c PutKey) (Decision, *Rejection) {
	current, exists := s.Key(c.Key)
	if r := checkKey(s, c.Key, current, exists, c.If); r != nil {
		return Decision{}, r
	}
	if r := checkSession(s, c.Session); r != nil {
		return Decision{}, r
	}
	return one(put(c, current), Result{Created: !exists}), nil
}

// put is the event that replaces the current entry, which is the zero Entry when there is none.
func put(c PutKey, current event.Entry) event.KeySet {
	value := c.Value
	if value == nil {
		value = []byte{}
	}
	return event.KeySet{
		Key: c.Key, Value: value, ContentType: c.ContentType, Flags: c.Flags,
		CreateRevision: current.CreateRevision, Version: current.Version + 1, Previous: current.Revision,
		Session: c.Session, TTL: c.TTL,
	}
}

func decideDelete(s State, c DeleteKey) (Decision, *Rejection) {
	current, exists := s.Key(c.Key)
	if r := checkKey(s, c.Key, current, exists, c.If); r != nil {
		return Decision{}, r
	}
	if !exists {
		return Decision{}, reject(CodeNotFound, "key %q does not exist", c.Key)
	}
	return one(event.KeyDeleted{Key: c.Key, Previous: current.Revision}, Result{Deleted: 1}), nil
}

func decideDeletePrefix(s State, c DeletePrefix) (Decision, *Rejection) {
	var events []event.Body
	for key, revision := range s.KeyRevisions(c.Prefix) {
		if len(events) == event.CommitEventsMax {
			return Decision{}, reject(CodeTooLarge, "more than %d keys start with %q: delete longer prefixes one by one", event.CommitEventsMax, c.Prefix)
		}
		events = append(events, event.KeyDeleted{Key: key, Previous: revision})
	}
	if len(events) == 0 {
		return Decision{}, reject(CodeNotFound, "no key starts with %q", c.Prefix)
	}
	return Decision{Events: events, Answer: Answer{Results: []Result{{Deleted: uint64(len(events))}}}}, nil
}

// checkKey holds a key against the conditions of a single-key command, and says what is there when one fails.
func checkKey(s State, key string, current event.Entry, exists bool, conditions []Condition) *Rejection {
	if len(failing(s, conditions)) == 0 {
		return nil
	}
	r := reject(CodeConditionFailed, "key %q is not as the condition requires: it does not exist", key)
	if exists {
		r = reject(CodeConditionFailed, "key %q is not as the condition requires: it is at revision %d", key, current.Revision)
		r.Revision = current.Revision
	}
	return r
}
