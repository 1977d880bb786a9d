package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

const typeJSON = "application/json"

// GetJSON reads a key whose value is JSON. A key that is not there is ErrNotFound. The entry is that of the value.
func GetJSON[T any](ctx context.Context, c *Client, key string, options ...ReadOption) (value T, e Entry, err error) {
	if e, err = c.Get(ctx, key, options...); err != nil {
		return value, e, err
	}
	if err := json.Unmarshal(e.Value, &value); err != nil {
		return value, e, fmt.Errorf("read key %q at revision %d as JSON: %w", key, e.Revision, err)
	}
	return value, e, nil
}

// PutJSON gives a key a value in JSON.
func PutJSON[T any](ctx context.Context, c *Client, key string, value T, options ...WriteOption) (Written, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return Written{}, fmt.Errorf("write key %q as JSON: %w", key, err)
	}
	return c.Put(ctx, key, b, append([]WriteOption{ContentType(typeJSON)}, options...)...)
}

// Update changes the JSON value of a key to what a function makes of it, and gives the new value. Where somebody else has
// written the key between its reading and its writing, it is read again, and the function called again, until the context
// ends; so the function must have no effects of its own. An error of the function ends it, with nothing written.
//
// The key keeps its flags; a TTL or a session it has only where an option says so.
func Update[T any](ctx context.Context, c *Client, key string, change func(old T, exists bool) (T, error), options ...WriteOption) (T, Written, error) {
	var zero T
	for failures := 1; ; failures++ {
		old, e, err := GetJSON[T](ctx, c, key)
		absent := errors.Is(err, ErrNotFound)
		if err != nil && !absent {
			return zero, Written{}, err
		}
		value, err := change(old, !absent)
		if err != nil {
			return zero, Written{}, fmt.Errorf("update key %q: %w", key, err)
		}
		condition := IfAbsent()
		if !absent {
			condition = IfRevision(e.Revision)
		}
		w, err := PutJSON(ctx, c, key, value, append([]WriteOption{Flags(e.Flags), condition}, options...)...)
		if err == nil {
			return value, w, nil
		}
		if !errors.Is(err, ErrConditionFailed) || errors.Is(err, ErrOutcomeUnknown) {
			return zero, w, err
		}
		if pause(ctx, backoff(min(failures, 3), nil)) != nil { // chance parts those who write at once
			return zero, w, fmt.Errorf("update key %q: %w (%w)", key, ctx.Err(), err)
		}
	}
}
