package machine

import "github.com/rollcall/rollcall/log/store"

// TrimBy has each step of trimming read about so many bytes.
func (m *Machine) TrimBy(bytes int) { m.trimChunk = bytes }

// ScrubBy has each step of scrubbing read about so many bytes, until it is undone.
func ScrubBy(bytes int) (undo func()) {
	before := scrubChunk
	scrubChunk = store.Chunk{Events: 16, Bytes: bytes}
	return func() { scrubChunk = before }
}
