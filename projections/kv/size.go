package kv

import "github.com/rollcall/rollcall/log/store"

// Counted says what a namespace's usage is made of: the bytes of each key and its value. What else is kept with them is
// Rollcall's own business, and may change.
var Counted = store.Counted{Table: store.TableKV, Size: size}

// size is what a row is worth. One that is damaged is for those to find who read it.
func size(key, row []byte) (n int) {
	n = len(key) + len(row)
	var damaged error
	defer store.Catch(&damaged)
	return len(key) + len(decode(key, row).Value)
}
