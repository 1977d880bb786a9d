package log

import (
	"context"
	"sync"

	"github.com/lni/dragonboat/v4"
)

// host is Dragonboat's, which has to be asked through it: NodeHost.Close takes away, without a lock, what calls that
// are under way look at, so that one of them may panic.
type host struct {
	raft   *dragonboat.NodeHost
	ending context.Context //nolint:containedctx // it is that of the log, and ends before close is called

	mu     sync.RWMutex // held for reading during calls
	closed bool
}

// use calls Raft, with what does not wait. Once that is closed the error is ErrClosed. Calls must not be nested.
func (h *host) use(call func(*dragonboat.NodeHost) error) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return ErrClosed
	}
	return call(h.raft)
}

// await is use for what waits: ctx ends when the log is closed, and then a call that has failed has ErrClosed.
func (h *host) await(ctx context.Context, call func(context.Context, *dragonboat.NodeHost) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ending, cancel)()
	err := h.use(func(raft *dragonboat.NodeHost) error { return call(ctx, raft) })
	if err != nil && h.ending.Err() != nil {
		return ErrClosed
	}
	return err
}

// reader gives what Raft's log of a group holds.
func (h *host) reader(group uint64) (reader dragonboat.ReadonlyLogReader, err error) {
	err = h.use(func(raft *dragonboat.NodeHost) (err error) {
		reader, err = raft.GetLogReader(group)
		return err
	})
	return reader, err
}

// leader is the replica that leads a group, as far as this server knows; zero when it knows of none.
func (h *host) leader(group uint64) uint64 {
	var leader uint64
	_ = h.use(func(raft *dragonboat.NodeHost) error { // which has no leader then
		if id, _, ok, err := raft.GetLeaderID(group); err == nil && ok {
			leader = id
		}
		return nil
	})
	return leader
}

// close stops Raft, when the calls that are under way have returned. What Raft itself calls meanwhile may use it.
func (h *host) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.raft.Close()
}
