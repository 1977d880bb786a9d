package probe

import "sync"

// commandsOff says how commands are allowed.
const commandsOff = "commands are not run by this server: start it with --enable-command-checks to allow them"

// head keeps the beginning of what is written to it, and takes the rest without keeping it: whoever writes is not to notice.
type head struct {
	mu    sync.Mutex
	bytes []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = append(h.bytes, p[:min(len(p), OutputBytesMax-len(h.bytes))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.bytes)
}
