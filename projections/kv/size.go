package kv

import "github.com/rollcall/rollcall/log/store"

// Counted says what a namespace's usage is made of: the bytes of each key and its value. What else is kept with them is
// Rollcall's own business, and may change.
var Counted = store.Counted{Table: store.TableKV, Size: func(key, row []byte) int { return len(key) + len(decode(key, row).Value) }}
